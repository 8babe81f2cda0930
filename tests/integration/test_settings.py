"""What is wrong at the start is said at the start, in words that help."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
import requests

from tests.support.servers import HOST, ROOT, Node, StartError, child_environment, run_python
from tests.support.waiting import WAIT_SECONDS

SECRET_KEY = "a-secret-key-of-the-tests-that-is-long-enough"
# Each set by name, so that a .env of whoever runs the tests cannot change them.
PRODUCTION = {
    "APP_ENV": "production",
    "SECRET_KEY": SECRET_KEY,
    "CORS_ORIGINS": "https://example.org",
    "DATABASE_AUTO_UPGRADE": "true",
    "LOG_FORMAT": "json",
    "MARKET_SOURCE": "off",
}


def refusal(*, arguments: tuple[str, ...] = (), **settings: str) -> str:
    """Try to start a node; the output of its refusal."""
    node = Node(arguments=arguments, **settings)
    with pytest.raises(StartError) as refused, node:
        pass
    assert refused.value.returncode not in (None, 0)
    assert "Booting worker" not in refused.value.log
    assert "Traceback" not in refused.value.log, refused.value.log
    return refused.value.log


def test_production_starts_when_all_is_well() -> None:
    with Node(**PRODUCTION) as node:
        page = requests.get(f"{node.url}/sign-in", timeout=WAIT_SECONDS)
        assert page.status_code == 200
        answer = requests.post(
            f"{node.url}/sign-in", data={"name": "Ada"}, timeout=WAIT_SECONDS, allow_redirects=False
        )
        cookie = answer.headers["Set-Cookie"]
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
        assert '"event": "request"' in node.log()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SECRET_KEY": "development-only-secret-key"}, ["SECRET_KEY", "32 characters", "token_urlsafe"]),
        ({"SECRET_KEY": "sixteen-characters"}, ["SECRET_KEY", "32 characters"]),
        ({"CORS_ORIGINS": "*"}, ["CORS_ORIGINS=*", "https://example.org"]),
        ({"WEB_CONCURRENCY": "2"}, ["WEB_CONCURRENCY='2'", "only 1"]),
        ({"MESSAGE_QUEUE": "redis://localhost"}, ["CHANNEL_SECRET", "token_urlsafe"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_production_refuses(settings: dict[str, str], expected: list[str]) -> None:
    log = refusal(**{**PRODUCTION, **settings})
    assert [word for word in expected if word not in log] == [], log
    if "SECRET_KEY" in settings:
        assert settings["SECRET_KEY"] not in log


QUEUE = [
    ({"MESSAGE_QUEUE": "redsi://localhost"}, ["no broker speaks redsi", "redis://"]),
    ({"MESSAGE_QUEUE": "localhost:6379"}, ["an address has no scheme"]),
    ({"STOCK_CHANNEL": "old"}, ["stock_channel needs a message_queue"]),
    ({"MESSAGE_QUEUE": "memory://a", "QUEUE_SPOOL": "/proc/nowhere"}, ["spool=", "name a folder"]),
]


@pytest.mark.parametrize(
    ("settings", "expected"), QUEUE, ids=lambda v: "-".join(v) if type(v) is dict else ""
)
@pytest.mark.parametrize("profile", ["testing", "production"])
def test_a_queue_that_makes_no_sense_stops_the_start(
    profile: str, settings: dict[str, str], expected: list[str]
) -> None:
    common = {**PRODUCTION, "CHANNEL_SECRET": SECRET_KEY} if profile == "production" else {}
    log = refusal(**{**common, **settings})
    assert [words for words in expected if words not in log] == [], log


def test_a_second_worker_is_refused_on_the_command_line() -> None:
    log = refusal(arguments=("--workers", "2"))
    assert "2 workers, and only 1 works" in log


WRONG = [
    ({"PORT": "http"}, ["PORT='http'", "whole number, 1 to 65535"]),
    ({"PORT": "70000"}, ["PORT='70000'", "1 to 65535"]),
    ({"LOG_LEVEL": "loud"}, ["LOG_LEVEL='loud'", "debug, info, warning, error"]),
    ({"DATABASE_URL": "mysql://x/y"}, ["DATABASE_URL=(hidden)", "sqlite:///", "postgresql://"]),
    ({"RATE_SEND": "often"}, ["RATE_SEND='often'", "5/second"]),
    ({"CORS_ORIGINS": "example.org"}, ["CORS_ORIGINS=", "https://example.org"]),
    ({"API_TOKEN": "short"}, ["API_TOKEN=(hidden)", "at least 32 characters"]),
    ({"APP_ENV": "staging"}, ["APP_ENV='staging'", "development, testing, production"]),
]


def test_a_wrong_value_is_named() -> None:
    """In a child that only reads the settings, as gunicorn's configuration does first."""
    script = """
import json, os, sys
from config import SettingsError, load_settings
answers = []
for settings in json.loads(sys.argv[1]):
    os.environ.update(settings)
    try:
        load_settings()
        answers.append("accepted")
    except SettingsError as error:
        answers.append(str(error))
    os.environ["APP_ENV"] = "testing"
    for name in settings.keys() - {"APP_ENV"}:
        del os.environ[name]
print(json.dumps(answers))
"""
    printed = run_python(script, json.dumps([settings for settings, _ in WRONG]))
    for answer, (settings, expected) in zip(json.loads(printed), WRONG, strict=True):
        assert [word for word in expected if word not in answer] == [], (settings, answer)
        # One thing is wrong, and one is named.
        assert answer.count("\n") <= 2, answer


def test_several_wrong_values_are_named_at_once() -> None:
    log = refusal(LOG_LEVEL="loud", CHAT_NAME_MAX_CHARS="1")
    assert "LOG_LEVEL='loud'" in log
    assert "CHAT_NAME_MAX_CHARS='1'" in log


def test_a_taken_port_is_one_readable_line() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        # As many lines as whatever else is logged; the reason is the last one.
        last = refusal(PORT=str(port)).strip().splitlines()[-1]
    assert last == f"Cannot listen on {HOST}:{port}: Address already in use. Try: PORT={port + 1} make run"


def test_production_refuses_sockets_that_are_not_patched() -> None:
    script = """
from config import SettingsError, load_settings
try:
    load_settings()
except SettingsError as error:
    print(error)
"""
    child = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=child_environment(PRODUCTION),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "not monkey-patched" in child.stdout
    assert "gunicorn wsgi:app" in child.stdout
