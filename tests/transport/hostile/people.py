"""Who is on the other side: clients that behave, one that is served all along, one that sends without end."""

from __future__ import annotations

import socket
import threading
import time
from typing import Self
from urllib.parse import urlsplit

from tests.support.waiting import WAIT_SECONDS, wait_until
from tests.support.wire_socketio import Polling, SocketIO
from tests.support.wire_websocket import WebSocket

NAMESPACE = "/bench"  # greets nobody
# The smallest that the kernel gives.
SMALL_RECEIVE_BYTES = 2304
# The server's kernel keeps some 50 KB for a connection with small segments, and up to 4 MB for a usual one.
SMALL_SEGMENT_BYTES = 1000


class Thin(WebSocket):
    """A connection for which the kernels of both sides keep next to nothing while it does not read."""

    def __init__(self, url: str, *, seconds: float = WAIT_SECONDS) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.host = f"{parts.hostname}:{parts.port}"
        self.seconds = seconds
        self.received = b""
        self.sock = socket.socket()
        try:
            # Both are told to the other side when it connects.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_RECEIVE_BYTES)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT_BYTES)
            self.sock.settimeout(seconds)
            self.sock.connect((parts.hostname, parts.port))
        except BaseException:
            self.sock.close()
            raise


def join(url: str, *rooms: str, thin: bool = False) -> SocketIO:
    """Connect a client by WebSocket."""
    client = SocketIO(Thin(url) if thin else WebSocket(url))
    try:
        client.connect(NAMESPACE, {"rooms": list(rooms)})
    except BaseException:
        client.engine.close()
        raise
    return client


def join_polling(url: str, *rooms: str) -> SocketIO:
    """Connect a client by long polling."""
    client = SocketIO(Polling(url))
    client.connect(NAMESPACE, {"rooms": list(rooms)})
    return client


def wire_of(client: SocketIO) -> WebSocket:
    """The WebSocket below."""
    assert isinstance(client.engine, WebSocket)
    return client.engine


class Witness:
    """Somebody who asks the server something again and again, and insists on the answers."""

    def __init__(self, url: str) -> None:
        self.answers = 0
        self.longest_seconds = 0.0
        self._client = join(url)
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                answer = self._client.call("message-with-ack", self.answers, namespace=NAMESPACE)
                assert answer == [self.answers]
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
                self.answers += 1
                time.sleep(0.002)
        except BaseException as error:
            self._error = error

    def wait_for_answers(self, more: int) -> None:
        """Wait until so many further questions were answered."""
        enough = self.answers + more
        wait_until(lambda: self.answers >= enough or self._error, f"{more} answers to the witness")
        if self._error is not None:
            raise self._error

    def leave(self) -> None:
        """Stop, and close."""
        self._stopping.set()
        self._thread.join(WAIT_SECONDS)
        self._client.engine.close()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def pour(wire: WebSocket, data: bytes, *, most_bytes: int, quiet_seconds: float = 1.0) -> tuple[str, int]:
    """Send the same bytes again and again without reading, as fast as they are taken.

    :param most_bytes: when to stop by itself.
    :param quiet_seconds: for how long nothing more must be taken for the other side to have stopped to read.
    :returns: why it ended ("stopped reading", "closed", "all sent"), and how many bytes were taken.
    """
    wire.sock.setblocking(False)
    view = memoryview(data)
    sent, at, last = 0, 0, time.monotonic()
    try:
        while sent < most_bytes:
            try:
                taken = wire.sock.send(view[at:])
            except BlockingIOError:
                if time.monotonic() - last > quiet_seconds:
                    return "stopped reading", sent
                time.sleep(0.005)
                continue
            sent += taken
            at = (at + taken) % len(data)
            last = time.monotonic()
    except (BrokenPipeError, ConnectionResetError):
        return "closed", sent
    finally:
        wire.sock.settimeout(wire.seconds)
    return "all sent", sent
