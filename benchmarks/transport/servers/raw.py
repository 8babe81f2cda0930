"""The raw limit: a plain loop of socket.send of the finished frame to every socket, event by event.

No library, no queue, no timers: just enough of a handshake for the generator's clients to come in.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import select
import socket
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.transport import events
from benchmarks.transport.servers.work import Order, describe, settle

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
RECEIVE_BYTES = 65_536
PING_MS = 3_600_000


class Connection:
    """A client, or somebody who asks over HTTP."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.send: Callable[[bytes], int] = sock.send
        self.received = b""
        self.upgraded = False


class Raw:
    """The server."""

    def __init__(self, host: str, port: int) -> None:
        self._listener = socket.create_server((host, port), backlog=4096)
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        # None: everybody.
        self._rooms: dict[str | None, dict[int, Connection]] = {None: {}}

    def run(self) -> None:
        """Serve until killed."""
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._connections:
                    self._read(fd, self._connections[fd])

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[sock.fileno()] = Connection(sock)
                self._epoll.register(sock, select.EPOLLIN)

    def _read(self, fd: int, connection: Connection) -> None:
        try:
            data = connection.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget(fd)
            return
        connection.received += data
        if connection.upgraded:
            self._take_frames(fd, connection)
        else:
            self._take_request(connection)

    def _forget(self, fd: int) -> None:
        connection = self._connections.pop(fd)
        for room in self._rooms.values():
            room.pop(fd, None)
        connection.sock.close()

    def _take_request(self, connection: Connection) -> None:
        head, end, body = connection.received.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.split(b"\r\n")
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        if len(body) < int(fields.get(b"content-length", b"0")):
            return
        connection.received = b""
        if b"sec-websocket-key" in fields:
            digest = hashlib.sha1(fields[b"sec-websocket-key"] + GUID, usedforsecurity=False).digest()
            connection.send(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
            )
            greeting = {"sid": "raw", "upgrades": [], "pingInterval": PING_MS, "pingTimeout": PING_MS}
            connection.send(events.frame(b"0" + json.dumps(greeting).encode()))
            connection.upgraded = True
            return
        path = lines[0].split()[1].decode()
        order, answer = self._answer(path, body)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        if order is not None:
            order.run(self._emit, lambda seconds: None)

    def _answer(self, path: str, body: bytes) -> tuple[Order | None, bytes]:
        order = None
        answer: dict[str, Any] = {}
        if path == "/emit":
            order = Order(**json.loads(body))
            answer = {"started": events.stamp()}
        elif path == "/status":
            answer = {**describe(), "clients": len(self._rooms[None]), "gc": {}, "transport": {}}
        elif path == "/settle":
            answer = dict(settle())
        return order, b"pong" if path == "/ping" else json.dumps(answer).encode()

    def _take_frames(self, fd: int, connection: Connection) -> None:
        # The generator masks with zeros, and never sends long frames.
        while len(connection.received) >= 2:
            length, head = connection.received[1] & 127, 6
            if length == 126:
                length, head = int.from_bytes(connection.received[2:4], "big"), 8
            if len(connection.received) < head + length:
                return
            payload = connection.received[head : head + length]
            connection.received = connection.received[head + length :]
            self._take(fd, connection, payload)

    def _take(self, fd: int, connection: Connection, payload: bytes) -> None:
        if payload.startswith(b"40"):
            rooms = json.loads(payload[2:])["rooms"] if len(payload) > 2 else []
            for room in (None, *rooms):
                self._rooms.setdefault(room, {})[fd] = connection
            connection.send(events.frame(b'40{"sid":"raw"}'))
        elif payload.startswith(b'42["publish",'):
            self._send(self._rooms[None], events.frame(b'42["tick",' + payload[len(b'42["publish",') :]))
        else:
            connection.send(events.frame(payload))

    def _emit(self, data: dict[str, Any], room: str | None, namespace: str) -> None:
        self._send(
            self._rooms[room],
            events.frame(b'42["tick",%b]' % json.dumps(data, separators=(",", ":")).encode()),
        )

    def _send(self, room: dict[int, Connection], frame: bytes) -> None:
        length = len(frame)
        for connection in room.values():
            try:
                sent = connection.send(frame)
            except BlockingIOError:
                sent = 0
            if sent < length:
                _send_rest(connection.sock, frame[sent:])


def _send_rest(sock: socket.socket, rest: bytes) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    while rest:
        poll.poll()
        rest = rest[sock.send(rest) :]


if __name__ == "__main__":
    Raw(sys.argv[1], int(sys.argv[2])).run()
