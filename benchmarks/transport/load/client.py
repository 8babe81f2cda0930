"""One WebSocket client of the load generator, from its first packet until it is in its namespaces."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from typing import Any

from benchmarks.transport import events

# Linux: choose the source port when the destination is known; so each address has all ports for each server.
IP_BIND_ADDRESS_NO_PORT = 24
RECEIVE_BYTES = 65_536
PING = b"2"
PING_FRAME = events.frame(PING)
PONG = events.masked_frame(b"3")


class ClientError(Exception):
    """The server did not do what it should; the message says what."""


def source(index: int) -> str:
    """Spread clients over the addresses of the loopback device: each has about 28,000 ports."""
    return f"127.0.0.{2 + index % 8}"


def handshake(host: str, port: int, key: str) -> bytes:
    """Make the request for a WebSocket."""
    return (
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


class Client:
    """A client that connects, step by step, as its socket gets ready.

    :param index: its number, from 0.
    :param blocks: it joins one room for each: of those that seat so many clients, the one with its number.
    :param namespaces: how many namespaces it enters.
    """

    __slots__ = (
        "_blocks",
        "_namespaces",
        "_requested",
        "_upgraded",
        "begun",
        "index",
        "ready",
        "rest",
        "sock",
        "took",
    )

    def __init__(self, index: int, blocks: list[int], namespaces: int) -> None:
        self.index = index
        self.rest = b""
        self.ready = False
        self.took = 0.0
        self._blocks = blocks
        self._namespaces = namespaces
        self._requested = self._upgraded = False

    def connect(self, host: str, port: int) -> None:
        """Begin."""
        self.begun = time.perf_counter()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        self.sock.bind((source(self.index), 0))
        self.sock.connect_ex((host, port))

    def request(self, host: str, port: int) -> None:
        """Ask for a WebSocket: the connection has come about."""
        if not self._requested:
            self._requested = True
            self.sock.send(handshake(host, port, base64.b64encode(os.urandom(16)).decode()))

    def advance(self) -> bool:
        """Take what has come, and answer.

        :return: whether it is in all its namespaces now.
        :raises ClientError: when the server refuses, or closes.
        """
        received = self.sock.recv(RECEIVE_BYTES)
        if not received:
            raise ClientError(f"closed after {self.rest[:200]!r}")
        self.rest += received
        if not self._upgraded and not self._take_answer():
            return False
        found, self.rest = events.payloads(self.rest)
        for payload in found:
            self._take(payload)
        self.ready = self._upgraded and self._namespaces == 0
        if self.ready:
            self.took = time.perf_counter() - self.begun
        return self.ready

    def _take_answer(self) -> bool:
        head, end, rest = self.rest.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            raise ClientError(f"answered {head[:200]!r}")
        self._upgraded = True
        self.rest = rest
        return True

    def _take(self, payload: bytes) -> None:
        if payload.startswith(b"0"):
            packets = [
                b"40" + (b"" if name == "/" else f"{name},".encode()) + self._auth()
                for name in events.namespaces(self._namespaces)
            ]
            self.sock.send(b"".join(map(events.masked_frame, packets)))
        elif payload.startswith(b"40"):
            self._namespaces -= 1
        elif payload == PING:
            self.sock.send(PONG)
        else:
            raise ClientError(f"sent {payload[:200]!r}")

    def _auth(self) -> bytes:
        if not self._blocks:
            return b""
        auth: dict[str, Any] = {"rooms": [events.room(block, self.index // block) for block in self._blocks]}
        return json.dumps(auth, separators=(",", ":")).encode()
