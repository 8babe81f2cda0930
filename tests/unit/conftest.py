"""Fixtures of the unit tests. They run patched, as the application does under gunicorn."""

from gevent import monkey

monkey.patch_all()

from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import structlog  # noqa: E402
from flask import Flask  # noqa: E402
from flask.testing import FlaskClient  # noqa: E402

from app import create_app  # noqa: E402
from app.extensions import db, socketio  # noqa: E402
from app.schema import upgrade  # noqa: E402
from config import Settings, load_settings  # noqa: E402

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


MakeApp = Callable[..., Flask]


@pytest.fixture(autouse=True)
def loggers_without_a_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log to the standard library without an application too, and keep no logger of one before.

    A logger is kept from its first use on in production, of which a process has one. Here there are many.
    """
    configure = structlog.configure

    def configure_anew(**options: Any) -> None:
        configure(**{**options, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_anew)
    configure_anew(
        processors=[structlog.stdlib.filter_by_level, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def make_settings(tmp_path: Path, **overrides: Any) -> Settings:
    """Settings for one test, on a database of its own."""
    values: dict[str, Any] = {
        "app_env": "testing",
        "database_url": f"sqlite:///{tmp_path}/test.db",
        # Tests are faster than people.
        "rate_send": "1000/second",
        "rate_default": "1000/second",
    }
    return load_settings(**values | overrides)


def close_database(app: Flask) -> None:
    """End the connections and threads of an application's database."""
    db.disconnect(app)
    for lane in app.extensions["database_lanes"]:
        if lane.thread:
            lane.thread.kill()


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """Make an application with an up-to-date database; settings by keyword."""
    made: list[Flask] = []

    def make(**overrides: Any) -> Flask:
        app = create_app(make_settings(tmp_path, **overrides))
        upgrade(app)
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["lifecycle"].stop()
        close_database(app)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """The application."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser without a session."""
    return app.test_client()


class Person:
    """A signed-in browser with a socket on /chat."""

    def __init__(self, app: Flask, name: str) -> None:
        self.app = app
        self.name = name
        self.http = app.test_client()
        response = self.http.post("/sign-in", data={"name": name})
        assert response.status_code == 303, response.text
        self.socket = self.open()

    def open(self) -> Any:
        """One more connection, as of another tab."""
        return socketio.test_client(self.app, namespace="/chat", flask_test_client=self.http)

    def ask(self, event: str, payload: object = None, socket: Any = None) -> dict[str, Any]:
        """Emit with an acknowledgement, and return it."""
        args = [] if payload is None else [payload]
        answer = (socket or self.socket).emit(event, *args, namespace="/chat", callback=True)
        assert isinstance(answer, dict)
        return answer

    def heard(self, *names: str, socket: Any = None) -> list[Any]:
        """The payloads received since the last call, of the events named (of all, when none is)."""
        # The library's test client unpacks the arguments of two names, and only of these.
        received = (socket or self.socket).get_received("/chat")
        for packet in received:
            if packet["name"] in ("message", "json"):
                packet["args"] = [packet["args"]]
        return [
            packet["args"][0] if packet["args"] else None
            for packet in received
            if not names or packet["name"] in names
        ]


@pytest.fixture
def person(app: Flask) -> Iterator[Callable[[str], Person]]:
    """Sign somebody in and connect them."""
    people: list[Person] = []

    def sign_in(name: str) -> Person:
        people.append(Person(app, name))
        return people[-1]

    yield sign_in
    for somebody in people:
        if somebody.socket.is_connected("/chat"):
            somebody.socket.disconnect("/chat")


@pytest.fixture
def ada(person: Callable[[str], Person]) -> Person:
    """Somebody."""
    return person("Ada")


@pytest.fixture
def bob(person: Callable[[str], Person]) -> Person:
    """Somebody else."""
    return person("Bob")
