"""Clients that use long polling: each has one connection, which is kept, and one request at a time."""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

from benchmarks.transport import events
from benchmarks.transport.load.client import ClientError, source

PATH = "/socket.io/?EIO=4&transport=polling"
RECEIVE_BYTES = 1 << 18
SEPARATOR = b"\x1e"


class PollingClient:
    """A client, whoever may be asked next."""

    __slots__ = ("_address", "_asked", "_index", "_received", "events", "path", "sock")

    def __init__(self, index: int, host: str, port: int) -> None:
        self._address = (host, port)
        self._index = index
        self._received = b""
        self._asked = b""
        self.path = PATH
        self.events = 0
        self._connect()

    def ask(self, body: bytes | None = None) -> None:
        """Send a request: a POST if there is something to say."""
        head = f"{'GET' if body is None else 'POST'} {self.path} HTTP/1.1\r\nHost: benchmark\r\n"
        if body is not None:
            head += f"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {len(body)}\r\n"
        self._asked = f"{head}\r\n".encode() + (body or b"")
        self.sock.send(self._asked)

    def hear(self) -> bytes | None:
        """Take what has come.

        :return: the answer's body, once there is all of it.
        :raises ClientError: when it is not 200.
        """
        received = self.sock.recv(RECEIVE_BYTES)
        if not received:
            raise ClientError(f"polling client {self._index}: closed after {self._received[:200]!r}")
        self._received += received
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        if not head.startswith(b"HTTP/1.1 200"):
            raise ClientError(f"polling client {self._index}: {self._received[:300]!r}")
        body = _body(head.lower(), rest)
        if body is not None:
            self._received = b""
        return body

    def _connect(self) -> None:
        self.sock = socket.create_connection(
            self._address, timeout=60, source_address=(source(self._index), 0)
        )
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _body(head: bytes, rest: bytes) -> bytes | None:
    if b"transfer-encoding: chunked" not in head:
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        return rest if len(rest) >= length else None
    body = b""
    while True:
        size, end, rest = rest.partition(b"\r\n")
        length = int(size, 16) if end else 0
        if not end or len(rest) < length + 2:
            return None
        if not length:
            return body
        body += rest[:length]
        rest = rest[length + 2 :]


class PollingFleet:
    """So many of them."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._clients: dict[int, PollingClient] = {}
        self._epoll = select.epoll()

    def connect(self, count: int) -> dict[str, Any]:
        """Let them come in, one after the other."""
        begun = time.perf_counter()
        for index in range(count):
            client = PollingClient(index, *self._address)
            greeting = _answer(client, None)
            client.path += f"&sid={json.loads(greeting[1:])['sid']}"
            _answer(client, b"40")
            joined = _answer(client, None)
            if not joined.startswith(b"40"):
                raise ClientError(f"joining was answered with {joined[:200]!r}")
            self._clients[client.sock.fileno()] = client
            self._epoll.register(client.sock, select.EPOLLIN)
        return {"seconds": time.perf_counter() - begun, "took_ms": [], "errors": 0}

    def poll(self) -> None:
        """Let everybody wait for the next event."""
        for client in self._clients.values():
            client.events = 0
            client.ask()

    def receive(self, count: int, size: int, timeout_seconds: float) -> dict[str, Any]:
        """Poll until everybody has so many events; `poll` has been called.

        :raises ClientError: when one does not come, comes twice, or is something else.
        """
        text = events.filling(size)
        packets = [events.packet(events.FIRST_NUMBER + number, text) for number in range(count)]
        left = len(self._clients)
        polls = 0
        while left:
            ready = self._epoll.poll(timeout_seconds)
            if not ready:
                raise ClientError(f"{left} polling clients did not get everything")
            for fd, _ in ready:
                client = self._clients[fd]
                body = client.hear()
                if body is None:
                    continue
                polls += 1
                came = body.split(SEPARATOR)
                if came != packets[client.events : client.events + len(came)]:
                    raise ClientError(f"a polling client got {body[:100]!r} after {client.events} events")
                client.events += len(came)
                if client.events < count:
                    client.ask()
                else:
                    left -= 1
        return {"last": events.stamp(), "deliveries": count * len(self._clients), "reads": polls}

    def echo(self, seconds: float, size: int) -> dict[str, Any]:
        """Post an event, get it back, and again, all clients at once.

        :raises ClientError: when something else comes back.
        """
        text = events.filling(size)
        question = events.packet(events.FIRST_NUMBER, text, event="echo")
        posting = set(self._clients)
        count = 0
        begun = time.perf_counter()
        for client in self._clients.values():
            client.ask(question)
        left = len(self._clients)
        while left:
            ready = self._epoll.poll(10)
            if not ready:
                raise ClientError(f"{left} polling clients got no answer")
            for fd, _ in ready:
                client = self._clients[fd]
                body = client.hear()
                if body is None:
                    continue
                if fd in posting:
                    posting.discard(fd)
                    client.ask()
                    continue
                if body != question:
                    raise ClientError(f"instead of {question[:60]!r} came {body[:60]!r}")
                count += 1
                if time.perf_counter() - begun < seconds:
                    posting.add(fd)
                    client.ask(question)
                else:
                    left -= 1
        return {"count": count, "seconds": time.perf_counter() - begun}

    def close(self) -> None:
        """Leave."""
        for client in self._clients.values():
            self._epoll.unregister(client.sock)
            client.sock.close()
        self._clients.clear()


def _answer(client: PollingClient, body: bytes | None) -> bytes:
    client.ask(body)
    while (answer := client.hear()) is None:
        pass
    return answer
