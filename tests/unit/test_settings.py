"""The settings: profiles, bounds, and errors that teach."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from app.realtime.queue.options import BOUNDS, QueueOptions
from config import SettingsError, load_settings
from config.kinds import ROOT
from config.settings import DEFAULT_SECRET_KEY, SECTIONS, Settings
from scripts.write_docs import documents

GOOD_SECRET = "x" * 48


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


def test_the_settings_of_the_queue_are_those_of_the_engine() -> None:
    for field in fields(QueueOptions):
        setting = Settings.model_fields[f"queue_{field.name}"]
        assert setting.default == field.default, field.name
        if field.name in BOUNDS:
            rules = setting.metadata
            bounds = [getattr(rule, name) for name in ("ge", "le") for rule in rules if hasattr(rule, name)]
            assert tuple(bounds) == BOUNDS[field.name], field.name


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "abc", "1 to 65535"),
        ("PORT", "0", "1 to 65535"),
        ("PORT", "65536", "1 to 65535"),
        ("WEB_CONCURRENCY", "2", "only 1"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("SESSION_COOKIE_SECURE", "perhaps", "true, false"),
        ("RATE_SEND", "often", "count/second|minute|hour|day"),
        ("RATE_SEND", "0/second", "at least one"),
        ("CORS_ORIGINS", "example.org", "https://example.org"),
        ("CORS_ORIGINS", "https://example.org/", "no slash at its end"),
        ("EMITTER_OVERFLOW", "panic", "block, drop_oldest, raise"),
        ("MARKET_REPLAY_SPEED", "0", "0.1 to 1000"),
        ("CHAT_TEXT_MAX_CHARS", "20000", "SOCKET_MAX_MESSAGE_BYTES=100000 is too little"),
        ("QUEUE_MAX_MESSAGE_BYTES", "64", "should be 13000 or more"),
        ("APP_ENV", "prod", "development, testing, production"),
    ],
)
def test_wrong_value_names_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert name in str(error.value)
    assert value in str(error.value)
    assert allowed in str(error.value)


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "abc")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match=r"(?s)PORT.*LOG_LEVEL"):
        load_settings()


def test_secrets_are_not_repeated_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "too-short-but-secret")
    monkeypatch.setenv("DATABASE_URL", "mysql://root:hunter2@host/db")
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "too-short-but-secret" not in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "API_TOKEN" in str(error.value)
    assert "postgresql://" in str(error.value)


@pytest.mark.parametrize("secret", [None, DEFAULT_SECRET_KEY, "x" * 31])
def test_production_refuses_a_weak_secret(monkeypatch: pytest.MonkeyPatch, secret: str | None) -> None:
    monkeypatch.setenv("APP_ENV", "production")
    if secret:
        monkeypatch.setenv("SECRET_KEY", secret)
    with pytest.raises(SettingsError, match="token_urlsafe"):
        load_settings()


def test_production_refuses_every_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENV", "production")
    monkeypatch.setenv("SECRET_KEY", GOOD_SECRET)
    monkeypatch.setenv("CORS_ORIGINS", "https://example.org, *")
    with pytest.raises(SettingsError, match=r"CORS_ORIGINS=\*"):
        load_settings()
    monkeypatch.setenv("CORS_ORIGINS", "https://example.org")
    assert load_settings().cors_origins == ["https://example.org"]


def test_production_refuses_unpatched_sockets() -> None:
    code = "import config; config.load_settings()"
    environment = {"APP_ENV": "production", "SECRET_KEY": GOOD_SECRET}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "not monkey-patched" in done.stderr
    patched = "from gevent import monkey; monkey.patch_all(); " + code
    subprocess.run([sys.executable, "-c", patched], cwd=ROOT, env=environment, check=True)


def test_production_is_strict_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENV", "production")
    monkeypatch.setenv("SECRET_KEY", GOOD_SECRET)
    settings = load_settings()
    assert settings.session_cookie_secure
    assert settings.log_format == "json"
    assert not settings.database_auto_upgrade


@pytest.mark.parametrize("why", ["no permission", "no text"])
def test_an_env_file_that_cannot_be_read_is_told(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    if why == "no text":
        file.write_bytes(b"PORT=\xff\xfe")
    else:
        # Root may read any file, so a mode would not do.
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied", str(file))

        monkeypatch.setattr("pydantic_settings.sources.providers.dotenv.dotenv_values", refuse)
        file.write_text("PORT=1\n")
    monkeypatch.setitem(Settings.model_config, "env_file", file)
    with pytest.raises(SettingsError, match=r"\.env cannot be read .*: whoever runs"):
        load_settings()


def test_env_file_is_read_and_its_typing_errors_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=5001\n")
    monkeypatch.setitem(Settings.model_config, "env_file", file)
    assert load_settings().port == 5001
    monkeypatch.setenv("PORT", "5002")
    assert load_settings().port == 5002, "the environment wins"
    file.write_text("PROT=5001\n")
    with pytest.raises(SettingsError, match=r"PROT in \.env is not a setting"):
        load_settings()


def test_every_setting_has_a_section_a_meaning_and_bounds() -> None:
    in_sections = [name for section in SECTIONS for name in section.model_fields]
    assert sorted(in_sections) == sorted(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize("path", documents())
def test_generated_documents_are_up_to_date(path: str) -> None:
    """docs/configuration.md, docs/events.md and .env.example say what the code does: `make docs`."""
    assert (ROOT / path).read_text(encoding="utf-8") == documents()[path]


def test_relative_sqlite_paths_start_at_the_project() -> None:
    assert load_settings(database_url="sqlite:///instance/a.db").database_url == (
        f"sqlite:///{ROOT}/instance/a.db"
    )
    assert load_settings(database_url="postgres://u:p@h/n").database_url == "postgresql+psycopg://u:p@h/n"
