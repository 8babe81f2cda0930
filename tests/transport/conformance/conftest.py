"""Servers with short times and small limits; and connections that are closed when a test ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.small import SmallServer, Transport, Worker
from tests.support.waiting import wait_until
from tests.support.wire import Closed
from tests.support.wire_socketio import Polling, SocketIO, Upgraded, connect_engine
from tests.support.wire_websocket import WebSocket

ORIGIN = "https://allowed.example"
SMALL_BYTES = 10_000
PING_SECONDS = 0.3
CONNECT_SECONDS = 2.0


def ends_well(server: SmallServer, kind: Transport) -> None:
    """Nothing is kept for clients that have gone, and nothing that they sent is in the log as a defect.

    :raises AssertionError: when that is not so. The library is spared.
    """
    if kind == "native":
        server.wait_until_empty()
        assert "Traceback" not in server.log(), server.log()


@pytest.fixture(scope="session")
def server(kind: Transport, worker: Worker | None) -> Iterator[SmallServer]:
    """As it is by default."""
    with SmallServer(kind, worker=worker) as server:
        yield server
        ends_well(server, kind)


@pytest.fixture(scope="session")
def brisk(kind: Transport, worker: Worker | None) -> Iterator[SmallServer]:
    """Pings often, and waits long for the answer; waits neither for namespaces nor for upgrades."""
    options = {"connect_seconds": CONNECT_SECONDS, "upgrade_seconds": 1.0}
    with SmallServer(
        kind, worker=worker, options=options, ping_interval=PING_SECONDS, ping_timeout=20
    ) as server:
        yield server
        ends_well(server, kind)


@pytest.fixture(scope="session")
def impatient(kind: Transport, worker: Worker | None) -> Iterator[SmallServer]:
    """Ends what does not answer a ping at once."""
    with SmallServer(kind, worker=worker, ping_interval=PING_SECONDS, ping_timeout=0.2) as server:
        yield server
        ends_well(server, kind)


@pytest.fixture(scope="session")
def strict(kind: Transport, worker: Worker | None) -> Iterator[SmallServer]:
    """Takes only small messages, serves one origin, sets a cookie, offers no upgrades, compresses."""
    socketio: dict[str, Any] = {
        "cors_allowed_origins": [ORIGIN],
        "cookie": "io",
        "allow_upgrades": False,
        "max_http_buffer_size": SMALL_BYTES,
    }
    options = {
        "max_packets": 20,
        "max_attachments": 3,
        "volatile_bytes": 1024,
        "per_message_deflate": True,
    }
    with SmallServer(kind, worker=worker, options=options, **socketio) as server:
        yield server
        ends_well(server, kind)


class Open:
    """Opens connections, and closes them all in the end."""

    def __init__(self) -> None:
        self._exits = contextlib.ExitStack()

    def websocket(self, server: SmallServer, **options: Any) -> WebSocket:
        """A TCP connection for a WebSocket; nothing is sent yet."""
        return self._exits.enter_context(WebSocket(server.url, **options))

    def polling(self, server: SmallServer, **options: Any) -> Polling:
        """A new session by polling."""
        polling = self._exits.enter_context(Polling(server.url, **options))
        polling.open()
        return polling

    def upgraded(self, server: SmallServer, **options: Any) -> Upgraded:
        """A TCP connection for an upgrade; nothing is sent yet."""
        return self._exits.enter_context(Upgraded(server.url, **options))

    def keep(self, polling: Polling) -> None:
        """Close a session that was opened elsewhere."""
        self._exits.enter_context(polling)

    def connect(self, server: SmallServer, transport: str, **options: Any) -> SocketIO:
        """A new session that is in no namespace.

        :param transport: websocket, polling, or upgrade.
        """
        engine = connect_engine(server.url, transport, **options)
        return self._exits.enter_context(SocketIO(engine))

    def join(
        self, server: SmallServer, transport: str, namespace: str = "/bench", auth: Any = None, **options: Any
    ) -> SocketIO:
        """A new session in a namespace that greets nobody."""
        client = self.connect(server, transport, **options)
        client.connect(namespace, auth)
        return client

    def close(self) -> None:
        """Close them, newest first."""
        self._exits.close()


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens connections."""
    opened = Open()
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(params=["websocket", "polling", "upgrade"])
def transport(request: pytest.FixtureRequest) -> str:
    """Every transport; "upgrade" has begun with polling and goes on with a WebSocket."""
    return str(request.param)


Join = Callable[..., SocketIO]


@pytest.fixture
def join(opened: Open, server: SmallServer, transport: str) -> Join:
    """Open a new session on the server and join a namespace."""

    def join(namespace: str = "/bench", auth: Any = None) -> SocketIO:
        return opened.join(server, transport, namespace, auth)

    return join


def end(server: SmallServer, sid: str) -> str:
    """Why a client has gone, once it has."""
    reason: str | None = wait_until(lambda: dict(server.status()["ends"]).get(sid), f"the end of {sid}")
    return str(reason)


def send_nonsense(client: SocketIO, *packets: str | bytes) -> None:
    """Send packets, some of which may find the connection closed."""
    for packet in packets:
        with contextlib.suppress(Closed):
            client.send(packet)


def alive(client: SocketIO, namespace: str = "/bench") -> bool:
    """Whether the server still answers the client; what came before the answer is an error."""
    return client.call("message-with-ack", "alive?", namespace=namespace, ack=4711) == ["alive?"]
