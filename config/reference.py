"""Writes docs/configuration.md and .env.example from the settings, so that they cannot drift apart."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from config.bounds import bounds
from config.settings import SECTIONS, ProductionSettings


def _default(value: Any) -> str:
    if value is None or value == []:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rows(section: type[BaseSettings]) -> list[tuple[str, FieldInfo]]:
    return list(section.model_fields.items())


def _unit(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def configuration_page() -> str:
    """The text of docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "<!-- Written by `make docs` from config/settings.py: change it there. -->",
        "",
        "Every setting is an environment variable. The environment wins over the file `.env`, which wins",
        "over the default. A wrong value stops the start with an error that names the variable, the value",
        "and what is allowed; so does an unknown name in `.env`. `APP_ENV=production` refuses a missing or",
        "default `SECRET_KEY`, the default `ADMIN_TOKEN`, a `MESSAGE_QUEUE` without `CHANNEL_SECRET`, `*` as",
        "an origin, more than one worker, and sockets that are not patched.",
        "",
    ]
    for section in SECTIONS:
        lines += [f"## {(section.__doc__ or '').rstrip('.')}", ""]
        lines += ["| variable | allowed | unit | default | meaning |", "| --- | --- | --- | --- | --- |"]
        for name, field in _rows(section):
            default = f"`{_default(field.default)}`" if _default(field.default) != "unset" else "unset"
            strict = ProductionSettings.model_fields[name].default
            if strict != field.default:
                default += f"; `{_default(strict)}` in production"
            meaning = str(field.description).replace("|", "\\|")
            lines.append(f"| `{name.upper()}` | {bounds(field)} | {_unit(field)} | {default} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def env_example() -> str:
    """The text of .env.example."""
    lines = [
        "# Copy to .env and change what you need. Written by `make docs` from config/settings.py.",
        "# A line that is commented out shows the default.",
        "",
    ]
    for section in SECTIONS:
        lines += [f"# --- {(section.__doc__ or '').rstrip('.')} ---", ""]
        for name, field in _rows(section):
            unit = f" [{_unit(field)}]" if _unit(field) else ""
            default = _default(field.default)
            lines.append(f"# {field.description}")
            lines.append(f"# {bounds(field)}{unit}")
            lines.append(f"#{name.upper()}={'' if default == 'unset' else default}")
            lines.append("")
    return "\n".join(lines)
