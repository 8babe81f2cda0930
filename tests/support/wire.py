"""A client that sends whatever it is told, byte by byte if need be: TCP, HTTP, and Engine.IO's payloads.

Frames of WebSockets are in wire_websocket.py, Engine.IO by polling and Socket.IO in wire_socketio.py. Nothing
here answers, checks or repairs anything by itself.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from tests.support.waiting import WAIT_SECONDS

PATH = "/socket.io/"
KEY_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
SEPARATOR = "\x1e"
# Opcodes (RFC 6455, 5.2).
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
READ_BYTES = 65_536

# A packet of Engine.IO: text with its type in front, or the bytes of a binary message.
Packet = str | bytes


class Closed(Exception):
    """The server has closed the connection. `rest` is what had come of the next thing."""

    def __init__(self, rest: bytes = b"") -> None:
        super().__init__(f"closed by the server after {rest[:200]!r}")
        self.rest = rest


@dataclass
class Answer:
    """An HTTP answer. The names of `headers` are lower case; of several of a name there is the last."""

    status: int
    reason: str
    headers: dict[str, str]
    raw_headers: list[tuple[str, str]]
    body: bytes = b""

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)

    @property
    def packets(self) -> list[Packet]:
        """The Engine.IO packets of a payload; binary ones as bytes."""
        return decode_payload(self.text)


def encode_payload(packets: Iterable[Packet]) -> str:
    """A payload of the polling transport."""
    return SEPARATOR.join(
        packet if isinstance(packet, str) else "b" + base64.b64encode(packet).decode() for packet in packets
    )


def decode_payload(text: str) -> list[Packet]:
    """The packets of a payload."""
    return [
        base64.b64decode(part[1:], validate=True) if part.startswith("b") else part
        for part in text.split(SEPARATOR)
    ]


def query(**parameters: Any) -> str:
    """The target of a request for Engine.IO, revision 4; None leaves a parameter out."""
    every = {"EIO": "4", **parameters}
    return f"{PATH}?{urlencode({name: value for name, value in every.items() if value is not None})}"


class Connection:
    """A TCP connection.

    :param url: "http://host:port"; what follows is ignored.
    :param seconds: how long each thing that is read may take.
    :param receive_bytes: size of the kernel's buffer for what is received.
    """

    def __init__(self, url: str, *, seconds: float = WAIT_SECONDS, receive_bytes: int | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.url = url
        self.host = f"{parts.hostname}:{parts.port}"
        self.seconds = seconds
        self.received = b""  # read, and not yet consumed
        self.sock = socket.socket()
        try:
            if receive_bytes is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.settimeout(seconds)
            self.sock.connect((parts.hostname, parts.port))
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close, with whatever TCP says of what was not read."""
        self.sock.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> None:
        """Send the end of what is sent; still read."""
        self.sock.shutdown(socket.SHUT_WR)

    # Bytes.

    def send(self, data: bytes, *, piece: int | None = None, pause_seconds: float = 0.0) -> None:
        """Send bytes; at once, or in pieces with a pause after each.

        :raises Closed: when the server has closed.
        """
        try:
            if piece is None:
                self.sock.settimeout(self.seconds)
                self.sock.sendall(data)
                return
            for start in range(0, len(data), piece):
                self.sock.sendall(data[start : start + piece])
                time.sleep(pause_seconds)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def read(self, size: int) -> bytes:
        """Read exactly so many bytes.

        :raises Closed: when there are no more. :raises TimeoutError: when they do not come in time.
        """
        deadline = time.monotonic() + self.seconds
        pieces, have = [self.received], len(self.received)
        while have < size:
            piece = self._receive(deadline, b"".join(pieces[:1]))
            pieces.append(piece)
            have += len(piece)
        whole = b"".join(pieces)
        self.received = whole[size:]
        return whole[:size]

    def read_until(self, end: bytes) -> bytes:
        """Read up to and with some bytes; raises as `read` does."""
        deadline = time.monotonic() + self.seconds
        while end not in self.received:
            self.received += self._receive(deadline, self.received)
        found, _, self.received = self.received.partition(end)
        return found + end

    def read_all(self) -> bytes:
        """Read until the server closes.

        :raises TimeoutError: when it does not.
        """
        deadline = time.monotonic() + self.seconds
        pieces = [self.received]
        self.received = b""
        with contextlib.suppress(Closed):
            while True:
                pieces.append(self._receive(deadline, b""))
        return b"".join(pieces)

    def _receive(self, deadline: float, rest: bytes) -> bytes:
        self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            piece = self.sock.recv(READ_BYTES)
        except ConnectionResetError:
            piece = b""
        if not piece:
            raise Closed(rest)
        return piece

    # HTTP.

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | str | None = None,
    ) -> Answer:
        """Send a request and read the answer."""
        self.send_request(method, target, headers, body)
        return self.read_answer(head=method == "HEAD")

    def send_request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | str | None = None,
    ) -> None:
        """Send a request; Host and Content-Length are added unless they are among the headers."""
        given = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in given}
        if isinstance(body, str):
            body = body.encode()
        if "host" not in names:
            given.insert(0, ("Host", self.host))
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            given.append(("Content-Length", str(len(body))))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given)]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    def read_answer(self, *, head: bool = False) -> Answer:
        """Read an HTTP answer with its body.

        :raises Closed: when there is none.
        """
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        _, status, *reason = lines[0].split(" ", 2)
        pairs = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        ]
        answer = Answer(int(status), "".join(reason), dict(pairs), pairs)
        if head or answer.status in (101, 204, 304):
            return answer
        if "chunked" in answer.headers.get("transfer-encoding", ""):
            while size := int(self.read_until(b"\r\n").split(b";")[0], 16):
                answer.body += self.read(size)
                self.read(2)
            self.read_until(b"\r\n")
        elif "content-length" in answer.headers:
            answer.body = self.read(int(answer.headers["content-length"]))
        else:
            answer.body = self.read_all()
        return answer


def fetch(
    url: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes | str | None = None,
    seconds: float = WAIT_SECONDS,
) -> Answer:
    """One request on a connection of its own."""
    with Connection(url, seconds=seconds) as connection:
        given = list(headers.items() if isinstance(headers, Mapping) else headers)
        return connection.request(method, target, [("Connection", "close"), *given], body)
