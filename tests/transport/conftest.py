"""Which transport the tests talk to, and the servers that they share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.small import SmallServer, Transport, Worker


def pytest_sessionstart() -> None:
    """A runner that gives up sends SIGTERM: let the fixtures end their servers then, as at a Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("transport")
    group.addoption(
        "--transport",
        choices=("native", "stock", "library"),
        default="native",
        help="our own transport, our SocketIO on the library's, or Flask-SocketIO itself",
    )
    group.addoption(
        "--worker",
        choices=("transport", "gevent", "pywsgi"),
        help="gunicorn with our worker or its own, or gevent's web server (by default: as is usual)",
    )


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest) -> Transport:
    """The transport that is tested."""
    kind: Transport = request.config.getoption("--transport", "native")
    return kind


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> Worker | None:
    """What serves it; None: the usual."""
    worker: Worker | None = request.config.getoption("--worker", None)
    return worker


@pytest.fixture(scope="session")
def server(kind: Transport, worker: Worker | None) -> Iterator[SmallServer]:
    """A server as it is by default."""
    with SmallServer(kind, worker=worker) as server:
        yield server
