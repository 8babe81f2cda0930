"""Engine.IO by long-polling, and Socket.IO over either transport, packet by packet.

Nothing is answered or repaired, but for pings, which `SocketIO` answers unless it is told not to.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from tests.support.waiting import WAIT_SECONDS
from tests.support.wire import Answer, Closed, Connection, Packet, encode_payload, fetch, query
from tests.support.wire_websocket import WebSocket


@dataclass
class Polling:
    """Engine.IO by long-polling; each request has a connection of its own.

    :param url: of the server.
    :param seconds: how long a request may take.
    :param headers: of every request.
    """

    url: str
    seconds: float = WAIT_SECONDS
    headers: dict[str, str] = field(default_factory=dict)
    sid: str = ""
    waiting: deque[Packet] = field(default_factory=deque)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, **parameters: Any) -> dict[str, Any]:
        """Make the handshake, and return what the server says of the session."""
        answer = fetch(self.url, "GET", query(transport="polling", **parameters), self.headers)
        opened = self.opening(answer)
        self.waiting.extend(answer.packets[1:])
        self.sid = opened["sid"]
        return opened

    @staticmethod
    def opening(answer: Answer) -> dict[str, Any]:
        """What the answer to a handshake says of the session.

        :raises AssertionError: when there is none.
        """
        assert answer.status == 200, f"{answer.status}: {answer.body!r}"
        packet = answer.packets[0]
        assert isinstance(packet, str)
        assert packet.startswith("0"), packet
        opened: dict[str, Any] = json.loads(packet[1:])
        return opened

    def target(self, **parameters: Any) -> str:
        """Where this session's requests go."""
        return query(transport="polling", sid=self.sid, **parameters)

    def poll(self, seconds: float | None = None) -> Answer:
        """One GET."""
        return fetch(self.url, "GET", self.target(), self.headers, seconds=seconds or self.seconds)

    def start_poll(self) -> Connection:
        """Send a GET and do not wait for its answer; whoever calls closes the connection."""
        connection = Connection(self.url, seconds=self.seconds)
        connection.send_request("GET", self.target(), {"Connection": "close", **self.headers})
        return connection

    def post_body(self, body: bytes | str, headers: Mapping[str, str] | None = None) -> Answer:
        """One POST."""
        usual = {"Content-Type": "text/plain;charset=UTF-8", **self.headers, **(headers or {})}
        return fetch(self.url, "POST", self.target(), usual, body, self.seconds)

    def post(self, *packets: Packet) -> None:
        """Send packets in one request.

        :raises Closed: when it is refused.
        """
        answer = self.post_body(encode_payload(packets))
        if answer.status != 200:
            raise Closed(answer.body)

    def receive(self) -> Packet:
        """Take the next packet, from a new request when there is none.

        :raises Closed: when there is no such session any more.
        """
        deadline = time.monotonic() + self.seconds
        while not self.waiting:
            answer = self.poll(max(deadline - time.monotonic(), 0.001))
            if answer.status != 200:
                raise Closed(answer.body)
            self.waiting.extend(answer.packets)
        packet = self.waiting.popleft()
        if packet == "1":
            raise Closed(b"1")
        return packet

    def close(self) -> None:
        """Say goodbye, whether or not there is somebody to hear it."""
        if self.sid:
            with contextlib.suppress(OSError, Closed):
                self.post_body("1")
            self.sid = ""


class Upgraded(WebSocket):
    """A WebSocket whose session began with polling."""

    def open(self, **parameters: Any) -> dict[str, Any]:
        """Make the handshake by polling, and change to the WebSocket."""
        opened = Polling(self.url, self.seconds).open(**parameters)
        self.upgrade(opened["sid"])
        return opened

    def upgrade(self, sid: str) -> None:
        """Change a session that polls to this WebSocket; its client has no request out.

        :raises AssertionError: when the server does not want it.
        """
        self.probe(sid)
        self.post("5")

    def probe(self, sid: str) -> None:
        """The first half of `upgrade`: to be followed by a "5"."""
        self.handshake(query(transport="websocket", sid=sid))
        self.post("2probe")
        packet = self.receive()
        assert packet == "3probe", packet


class Engine(Protocol):
    """An Engine.IO connection: a `WebSocket` or a `Polling`."""

    seconds: float

    def open(self, **parameters: Any) -> dict[str, Any]:
        """Make the handshake."""

    def post(self, *packets: Packet) -> None:
        """Send packets."""

    def receive(self) -> Packet:
        """Take the next packet."""

    def close(self) -> None:
        """Leave."""


def connect_engine(url: str, transport: str, **options: Any) -> Engine:
    """An Engine.IO connection that is not open yet.

    :param transport: "websocket", "polling", or "upgrade": from polling to a WebSocket.
    """
    kinds: dict[str, Any] = {"websocket": WebSocket, "polling": Polling, "upgrade": Upgraded}
    engine: Engine = kinds[transport](url, **options)
    return engine


class SocketIO:
    """Socket.IO over an Engine.IO connection, which it opens.

    :param pong: whether pings are answered.
    :param parameters: further ones of the request's query.
    """

    def __init__(self, engine: Engine, *, pong: bool = True, **parameters: Any) -> None:
        self.engine = engine
        self.pong = pong
        try:
            self.opened = engine.open(**parameters)
        except BaseException:
            engine.close()
            raise

    @property
    def eio_sid(self) -> str:
        """The connection's id."""
        return str(self.opened["sid"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def send(self, *packets: Packet) -> None:
        """Send packets of Socket.IO: text ones without Engine.IO's "4", bytes as they are."""
        self.engine.post(*("4" + packet if isinstance(packet, str) else packet for packet in packets))

    def receive(self) -> Packet:
        """Take the next packet of Socket.IO; pings are answered and dropped.

        :raises Closed: when the connection has ended. :raises TimeoutError: when there is none in time.
        """
        deadline = time.monotonic() + self.engine.seconds
        while True:
            packet = self.engine.receive()
            if isinstance(packet, bytes):
                return packet
            if packet[:1] == "4":
                return packet[1:]
            if packet == "2" and self.pong:
                self.engine.post("3")
            if packet[:1] == "1":
                raise Closed(packet.encode())
            if time.monotonic() > deadline:
                raise TimeoutError("nothing but pings")

    def expect(self, beginning: str) -> str:
        """Take the next packet.

        :raises AssertionError: when it does not begin so.
        """
        packet = self.receive()
        assert isinstance(packet, str), packet
        assert packet.startswith(beginning), packet
        return packet

    def connect(self, namespace: str = "/", auth: Any = None) -> str:
        """Join a namespace and return the sid there. Nothing else may come before the answer.

        :raises AssertionError: when it is refused.
        """
        prefix = "" if namespace == "/" else f"{namespace},"
        self.send("0" + prefix + ("" if auth is None else json.dumps(auth)))
        answer = self.expect("0" + prefix)
        sid: str = json.loads(answer[1 + len(prefix) :])["sid"]
        return sid

    def join(self, namespace: str = "/", auth: Any = None) -> str:
        """Join a namespace that greets with the event "auth", before or after it lets a client in."""
        prefix = "" if namespace == "/" else f"{namespace},"
        self.send("0" + prefix + ("" if auth is None else json.dumps(auth)))
        answers = sorted([str(self.receive()), str(self.receive())])
        assert answers[0].startswith("0" + prefix + "{"), answers
        assert answers[1].startswith("2" + prefix + '["auth",'), answers
        sid: str = json.loads(answers[0][1 + len(prefix) :])["sid"]
        return sid

    def emit(self, event: str, *data: Any, namespace: str = "/", ack: int | None = None) -> None:
        """Emit an event; bytes among the data, but not within them, go as attachments."""
        self._send("25", namespace, ack, (event, *data))

    def acknowledge(self, number: int, *data: Any, namespace: str = "/") -> None:
        """Answer to an event of the server."""
        self._send("36", namespace, number, data)

    def _send(self, kinds: str, namespace: str, number: int | None, data: Sequence[Any]) -> None:
        attachments = [value for value in data if isinstance(value, bytes)]
        numbers = iter(range(len(attachments)))
        plain = [
            {"_placeholder": True, "num": next(numbers)} if isinstance(value, bytes) else value
            for value in data
        ]
        kind = f"{kinds[1]}{len(attachments)}-" if attachments else kinds[0]
        prefix = "" if namespace == "/" else f"{namespace},"
        text = json.dumps(plain, separators=(",", ":"))
        self.send(f"{kind}{prefix}{'' if number is None else number}{text}", *attachments)

    def receive_event(self, namespace: str = "/") -> list[Any]:
        """Take the next packet, which must be an event of the namespace: its name and its arguments.

        :raises AssertionError: when it is none.
        """
        return self._values(self.receive(), "25", "" if namespace == "/" else f"{namespace},")

    def receive_ack(self, number: int, namespace: str = "/") -> list[Any]:
        """Take the next packet, which must be this acknowledgement: its arguments."""
        return self._values(self.receive(), "36", f"{'' if namespace == '/' else namespace + ','}{number}")

    def call(self, event: str, *data: Any, namespace: str = "/", ack: int = 1) -> list[Any]:
        """Emit an event and return its acknowledgement, which must be the next packet."""
        self.emit(event, *data, namespace=namespace, ack=ack)
        return self.receive_ack(ack, namespace)

    def closed(self) -> bool:
        """Whether the server ends the connection in time; what comes before that is dropped."""
        try:
            while True:
                self.receive()
        except Closed:
            return True
        except TimeoutError:
            return False

    def _values(self, packet: Packet, kinds: str, prefix: str) -> list[Any]:
        assert isinstance(packet, str), packet
        assert packet[0] in kinds, packet
        rest, attachments = packet[1:], 0
        if packet[0] in "56":
            number, _, rest = rest.partition("-")
            attachments = int(number)
        assert rest.startswith(prefix), packet
        parts = [self.receive() for _ in range(attachments)]
        return [_filled(value, parts) for value in json.loads(rest[len(prefix) :])]


def _filled(value: Any, parts: Sequence[Packet]) -> Any:
    """Put attachments in the places of their placeholders."""
    if isinstance(value, list):
        return [_filled(each, parts) for each in value]
    if isinstance(value, dict):
        if value.get("_placeholder"):
            return parts[value["num"]]
        return {key: _filled(each, parts) for key, each in value.items()}
    return value
