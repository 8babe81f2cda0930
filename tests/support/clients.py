"""Clients for tests: people who use the chat, and raw connections that send what no client would."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import requests
import socketio
import websocket

from tests.support.waiting import WAIT_SECONDS, wait_until

Json = dict[str, Any]
Transport = Literal["websocket", "polling", "upgrade"]

_TRANSPORTS: dict[Transport, list[str]] = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
}
_client_ids = itertools.count(1)


def _cut(connection: websocket.WebSocket) -> None:
    """End a WebSocket without a goodbye."""
    connection.shutdown()  # type: ignore[no-untyped-call]


def new_client_id() -> str:
    """An id for a message, as the page would make one."""
    return f"test-{next(_client_ids)}-{secrets.token_hex(4)}"


def sign_in(url: str, name: str) -> requests.Session:
    """Sign a guest in; the session holds the cookie.

    :raises AssertionError: when the server does not want that name.
    """
    session = requests.Session()
    answer = session.post(f"{url}/sign-in", data={"name": name}, timeout=WAIT_SECONDS, allow_redirects=False)
    if answer.status_code != requests.codes.see_other:
        session.close()
        raise AssertionError(f"sign-in as {name!r} answered {answer.status_code}: {answer.text[:2000]}")
    return session


class Refused(Exception):
    """The server refused an event. `error` is what it said."""

    def __init__(self, event: str, error: Json) -> None:
        super().__init__(f"{event}: {error}")
        self.code: str = error["code"]
        self.error = error


class RefusedConnect(Exception):
    """The server refused a connection to a namespace. `code` is None when it gave none."""

    def __init__(self, data: object) -> None:
        super().__init__(str(data))
        details = data.get("data") if isinstance(data, dict) else None
        self.code: str | None = details.get("code") if isinstance(details, dict) else None


class Client:
    """One Socket.IO connection, as one browser tab has it. It remembers every event that it receives.

    :param session: carries the cookie of whoever is signed in; None: nobody.
    :param reconnect: whether it comes back by itself after the connection broke.
    :param auth: what goes along with each connection to the namespace.
    """

    def __init__(
        self,
        url: str,
        session: requests.Session | None = None,
        *,
        namespace: str = "/chat",
        transport: Transport = "websocket",
        reconnect: bool = False,
        auth: object = None,
    ) -> None:
        self.url = url
        self.auth = auth
        self.namespace = namespace
        self.transport = transport
        self.events: list[tuple[str, Json]] = []
        self.connects = 0
        self.disconnects: list[str] = []
        self._refusal: object = None
        self._own_session = session is None
        self._session = session or requests.Session()
        self._socket = socketio.Client(
            http_session=self._session,
            reconnection=reconnect,
            reconnection_delay=0.1,
            reconnection_delay_max=0.5,
            request_timeout=WAIT_SECONDS,
            websocket_extra_options={"class_": self._new_websocket},
        )
        self._websocket: websocket.WebSocket | None = None
        self._socket.on("*", self._received, namespace=namespace)
        self._socket.on("connect", self._connected, namespace=namespace)
        self._socket.on("disconnect", self._disconnected, namespace=namespace)
        self._socket.on("connect_error", self._connect_error, namespace=namespace)

    @property
    def connected(self) -> bool:
        """Whether the connection to the namespace stands."""
        return self.namespace in self._socket.namespaces

    @property
    def sid(self) -> str:
        """The connection's id in its namespace."""
        return str(self._socket.get_sid(self.namespace))

    def cookies(self) -> dict[str, str]:
        """The cookies of whoever is signed in here."""
        return {str(cookie.name): str(cookie.value) for cookie in self._session.cookies}

    @property
    def transport_now(self) -> str:
        """ "polling" or "websocket"."""
        return str(self._socket.transport())

    def connect(self) -> Self:
        """Connect and wait until the namespace has let the client in.

        :raises RefusedConnect: when it does not.
        """
        try:
            self._socket.connect(
                self.url,
                namespaces=[self.namespace],
                auth=self.auth,
                transports=_TRANSPORTS[self.transport],
                wait_timeout=WAIT_SECONDS,
            )
        except socketio.exceptions.ConnectionError as error:
            self._end()
            raise RefusedConnect(self._refusal or error) from None
        return self

    def close(self) -> None:
        """Leave, and end what runs in the background."""
        self._end()
        if self._own_session:
            self._session.close()

    def _end(self) -> None:
        self._socket.shutdown()
        self._drop_websocket()

    def _new_websocket(self, **options: Any) -> websocket.WebSocket:
        self._drop_websocket()
        self._websocket = websocket.WebSocket(**options)
        return self._websocket

    def _drop_websocket(self) -> None:
        # The library leaves the socket of a connection that broke, or that came to nothing, to the garbage
        # collector.
        if self._websocket is not None:
            _cut(self._websocket)

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, event: str, data: object = None, timeout_seconds: float = WAIT_SECONDS) -> Json:
        """Emit an event and return the whole acknowledgement."""
        answer = self._socket.call(event, data, namespace=self.namespace, timeout=timeout_seconds)
        assert isinstance(answer, dict), f"{event} was acknowledged by {answer!r}"
        return answer

    def call(self, event: str, data: object = None, timeout_seconds: float = WAIT_SECONDS) -> Json:
        """Emit an event and return its acknowledgement's fields.

        :raises Refused: when the server refused it.
        """
        answer = self.ask(event, data, timeout_seconds)
        if not answer.pop("ok"):
            raise Refused(event, answer["error"])
        return answer

    def emit(self, event: str, data: object = None) -> None:
        """Emit an event without asking for an acknowledgement."""
        self._socket.emit(event, data, namespace=self.namespace)

    def send(self, room: int, text: str, client_id: str | None = None) -> Json:
        """Post a message and return it."""
        payload = {"room": room, "client_id": client_id or new_client_id(), "text": text}
        message: Json = self.call("send", payload)["message"]
        return message

    def received(self, event: str) -> list[Json]:
        """What came under a name, in its order."""
        return [data for name, data in list(self.events) if name == event]

    def wait_for(self, event: str, matches: Callable[[Json], bool] = lambda _: True) -> Json:
        """Wait until an event has come, now or before, for which `matches` holds."""
        return wait_until(
            lambda: next(([data] for data in self.received(event) if matches(data)), []),
            lambda: f"{event} at {self.transport} client; it has {self.events}",
        )[0]

    def _received(self, event: str, data: Json) -> None:
        self.events.append((event, data))

    def _connected(self) -> None:
        self.connects += 1

    def _disconnected(self, reason: str = "") -> None:
        self.disconnects.append(reason)

    def _connect_error(self, data: object) -> None:
        self._refusal = data


class RawClient:
    """A WebSocket that speaks Engine.IO by hand, to send what a real client would not.

    :param origin: the header of this name; None: none at all, as a program that is no browser.
    """

    def __init__(self, url: str, *, cookie: str = "", origin: str | None = None) -> None:
        address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        self._socket = websocket.create_connection(
            address,
            timeout=WAIT_SECONDS,
            cookie=cookie or None,
            origin=origin,
            suppress_origin=origin is None,
        )
        try:
            self.open: Json = json.loads(self.receive()[1:])
        except BaseException:
            _cut(self._socket)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _cut(self._socket)

    def send(self, text: str) -> None:
        """Send one text frame."""
        self._socket.send(text)

    def send_binary(self, data: bytes) -> None:
        """Send one binary frame."""
        self._socket.send_binary(data)

    def receive(self) -> str:
        """Return the next packet as text.

        :raises websocket.WebSocketConnectionClosedException: when the server has closed.
        """
        packet = self._socket.recv()
        if packet == "" and not self._socket.connected:
            raise websocket.WebSocketConnectionClosedException("the server has closed the connection")
        return packet if isinstance(packet, str) else packet.decode("utf-8", "replace")

    def receive_until(self, beginning: str) -> str:
        """Return the next packet that begins so; drop those before, and answer pings."""
        while True:
            packet = self.receive()
            if packet.startswith(beginning):
                return packet
            if packet == "2":
                self.send("3")

    def join_namespace(self, namespace: str) -> str:
        """Connect to a namespace and return the packet that answers."""
        self.send(f"40{namespace},")
        return self.receive_until("4")

    def closed_by_server(self) -> bool:
        """Wait for the server to close the connection."""
        try:
            while True:
                self.receive()
        except websocket.WebSocketTimeoutException:
            return False
        except (websocket.WebSocketException, OSError):
            return True


def cookie_header(session: requests.Session) -> str:
    """The cookies of a session as one header's value."""
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)


class People:
    """Signs people in and connects them; closes them all in the end. Names are made unique.

    :param url: the node.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._open: list[Client | requests.Session] = []
        self._lock = threading.Lock()

    def name(self, base: str) -> str:
        """A name that nobody had before."""
        return f"{base} {secrets.token_hex(3)}"

    def sign_in(self, base: str) -> requests.Session:
        """Sign somebody new in."""
        session = sign_in(self.url, self.name(base))
        with self._lock:
            self._open.append(session)
        return session

    def tab(self, session: requests.Session | None, *, url: str | None = None, **options: Any) -> Client:
        """Connect a tab of somebody who is signed in, or of nobody."""
        client = Client(url or self.url, session, **options)
        with self._lock:
            self._open.append(client)
        return client.connect()

    def join(self, base: str, **options: Any) -> Client:
        """Sign somebody new in and connect them."""
        return self.tab(self.sign_in(base), **options)

    def close(self) -> None:
        """Everybody leaves."""
        for one in reversed(self._open):
            one.close()
        self._open.clear()


def general(client: Client) -> int:
    """The id of the room that everybody is in."""
    return int(room_named(client, "general")["id"])


def new_room(client: Client) -> int:
    """Make a room and return its id."""
    return int(client.call("create_room", {"name": f"room-{secrets.token_hex(4)}"})["room"]["id"])


def room_named(client: Client, name: str) -> Json:
    """A room by its name, as the client sees it."""
    rooms: Sequence[Json] = client.call("rooms")["rooms"]
    return next(room for room in rooms if room["name"] == name)
