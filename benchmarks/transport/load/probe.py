"""Ask over HTTP on a schedule, and note how long each answer takes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque

REQUEST = b"GET /ping HTTP/1.1\r\nHost: benchmark\r\n\r\n"
ANSWER = b"pong"


class Probe:
    """One connection that is kept. A request counts from the time at which it was due, so a server that
    stands still for a second is charged for all requests of that second.

    :param interval_seconds: between two requests.
    """

    def __init__(self, host: str, port: int, interval_seconds: float) -> None:
        self._address = (host, port)
        self._interval = interval_seconds
        self._waiting: deque[float] = deque()
        self._received = b""
        self._due = time.perf_counter()
        self.took_ms: list[float] = []
        self._sock = self._connected()

    @property
    def fd(self) -> int:
        """The socket's descriptor, for the generator's loop."""
        return self._sock.fileno()

    @property
    def seconds_left(self) -> float:
        """Until the next request is due."""
        return self._due - time.perf_counter()

    def work(self) -> None:
        """Send what is due, and take what has come."""
        while self._due <= time.perf_counter():
            self._waiting.append(self._due)
            self._due += self._interval
            if len(self._waiting) == 1:
                self._sock.send(REQUEST)
        with contextlib.suppress(BlockingIOError):
            received = self._sock.recv(65_536)
            if not received:
                self._sock.close()
                self._sock = self._connected()
                return
            self._received += received
            if self._received.endswith(ANSWER):
                self._received = b""
                self.took_ms.append((time.perf_counter() - self._waiting.popleft()) * 1000)
                if self._waiting:
                    self._sock.send(REQUEST)

    def close(self) -> None:
        """End."""
        self._sock.close()

    def _connected(self) -> socket.socket:
        """Connect; to the loopback device that returns at once."""
        sock = socket.create_connection(self._address, timeout=10)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._waiting:
            sock.send(REQUEST)
        return sock
