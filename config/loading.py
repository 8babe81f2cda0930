"""Reads the settings, and explains in a sentence each what is wrong with them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.bounds import bounds
from config.kinds import ROOT
from config.settings import PROFILES, Settings

# Their values are secret, or carry a password.
SECRET_NAMES = frozenset(
    {
        "SECRET_KEY",
        "ADMIN_TOKEN",
        "API_TOKEN",
        "AUTH_JWT_SECRET",
        "CHANNEL_SECRET",
        "DATABASE_URL",
        "MESSAGE_QUEUE",
    }
)


class SettingsError(Exception):
    """A setting is wrong. The message names the variable, its value and what is allowed."""


def load_settings(**overrides: Any) -> Settings:
    """Read and check all settings.

    :param overrides: values by field name that win over the environment, for tests and scripts.
    :raises SettingsError: naming every wrong variable, its value and what is allowed.
    """
    try:
        name = str(overrides.get("app_env") or _profile_name())
        if name not in PROFILES:
            raise SettingsError(f"APP_ENV={name!r}: allowed are {', '.join(PROFILES)}")
        return PROFILES[name](**overrides)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"The file {ROOT / '.env'} cannot be read ({error}): whoever runs the application must "
            "be able to read it, and nobody else: for example owner root, its group, mode 640"
        ) from None
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(problem)}" for problem in error.errors())
        raise SettingsError(
            f"The settings are wrong ({name}):\n{problems}\nEvery setting: docs/configuration.md"
        ) from None


def _profile_name() -> str:
    """The profile that the environment or `.env` names."""

    class Peek(BaseSettings):
        model_config = SettingsConfigDict(env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore")
        app_env: str = "development"

    return Peek().app_env


def _explain(problem: Any) -> str:
    """One line for one problem: variable, value, what is allowed."""
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    variable = str(problem["loc"][0]).upper()
    if problem["type"] == "extra_forbidden":
        return f"{variable} in .env is not a setting: correct its name or remove the line"
    value = "(hidden)" if variable in SECRET_NAMES else repr(problem["input"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{variable}={value}: {message}{_allowed(variable)}"


def _allowed(variable: str) -> str:
    """What the documentation of a variable allows, for an error's end."""
    field = Settings.model_fields.get(variable.lower())
    if field is None:
        return ""
    return f". Allowed: {bounds(field)}"
