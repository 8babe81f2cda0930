"""Clients that compare every byte that comes with what must come, and tell when the last has come."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.transport import events
from benchmarks.transport.load.client import PING_FRAME, PONG, ClientError
from benchmarks.transport.load.fleet import Fleet

BUFFER_BYTES = 1 << 20
READY_AT_ONCE = 1024
# While only few have something, more may gather: it takes half the processor time, and keeps nobody waiting.
FEW, GATHER_SECONDS = 200, 0.0005
# Nothing more may come after the last: how long to look.
SURPLUS_SECONDS = 0.02


class Receiver:
    """Prepared to get the events of an order (see servers/work.py).

    :param members: how many clients, from the first, get events.
    """

    def __init__(
        self, fleet: Fleet, members: int, count: int, size: int, block: int, rooms: int, namespaces: int
    ) -> None:
        self._fleet = fleet
        text = events.filling(size)
        spaces = events.namespaces(namespaces)
        frames = [
            events.frame(events.packet(events.FIRST_NUMBER + i, text, namespace=spaces[i % namespaces]))
            for i in range(count)
        ]
        self._frame_bytes = len(frames[0])
        streams = [b"".join(frames[room::rooms]) for room in range(rooms)]
        self._streams: dict[int, bytes] = {}
        self.deliveries = 0
        for client in fleet.clients[:members]:
            room = client.index // block if block else 0
            if room < rooms and streams[room]:
                self._streams[client.sock.fileno()] = streams[room]
                self.deliveries += len(streams[room]) // self._frame_bytes

    def run(self, timeout_seconds: float) -> dict[str, Any]:
        """Receive until everybody has everything.

        :param timeout_seconds: how long nothing may come.
        :raises ClientError: when something does not come, comes twice, or is something else.
        """
        by_fd, poll = self._fleet.by_fd, self._fleet.epoll.poll
        # By descriptor; a list is quicker than a dict.
        size = max(by_fd) + 1
        streams = [self._streams.get(fd, b"") for fd in range(size)]
        receive = [by_fd[fd].sock.recv_into if fd in by_fd else None for fd in range(size)]
        got = [0] * size
        buffer = bytearray(BUFFER_BYTES)
        view = memoryview(buffer)
        left = len(self._streams)
        reads = first = 0
        more: list[int] = []
        while left:
            ready = poll(0 if more else timeout_seconds, READY_AT_ONCE)
            if not ready and not more:
                raise ClientError(self._missing(got))
            if not first:
                first = events.stamp()
            if len(ready) < FEW:
                time.sleep(GATHER_SECONDS)
            fds = [fd for fd, _ in ready] + more
            more = []
            reads += len(fds)
            for fd in fds:
                try:
                    length = receive[fd](buffer)  # type: ignore[misc]
                except BlockingIOError:
                    continue
                at = got[fd]
                stream = streams[fd]
                if length and stream.startswith(view[:length], at):
                    got[fd] = at = at + length
                    if at == len(stream):
                        left -= 1
                else:
                    got[fd] = self._take_slowly(fd, stream, at, bytes(view[:length]))
                    left -= at < got[fd] == len(stream)
                if length == BUFFER_BYTES and got[fd] < len(stream):
                    # The kernel tells only of what comes from now on.
                    more.append(fd)
        last = events.stamp()
        self._expect_silence()
        return {"first": first, "last": last, "deliveries": self.deliveries, "reads": reads}

    def _take_slowly(self, fd: int, stream: bytes, at: int, received: bytes) -> int:
        """Take pings out of what came."""
        index = self._fleet.by_fd[fd].index
        if not received:
            raise ClientError(f"the server closed client {index}")
        here = 0
        while here < len(received):
            inside = -at % self._frame_bytes
            length = min(inside or self._frame_bytes, len(received) - here)
            if not inside and received[here : here + len(PING_FRAME)] == PING_FRAME:
                here += len(PING_FRAME)
                self._fleet.by_fd[fd].sock.send(PONG)
            elif stream.startswith(received[here : here + length], at):
                here, at = here + length, at + length
            else:
                raise ClientError(
                    f"client {index}: instead of {stream[at : at + 60]!r} came "
                    f"{received[here : here + 60]!r} after {at // self._frame_bytes} events"
                )
        return at

    def _expect_silence(self) -> None:
        deadline = time.perf_counter() + SURPLUS_SECONDS
        while (left := deadline - time.perf_counter()) > 0:
            for fd, _ in self._fleet.epoll.poll(left):
                client = self._fleet.by_fd[fd]
                surplus = client.sock.recv(BUFFER_BYTES)
                if surplus != PING_FRAME:
                    raise ClientError(f"client {client.index} got more than everything: {surplus[:60]!r}")
                client.sock.send(PONG)

    def _missing(self, got: list[int]) -> str:
        missing = sum(len(stream) - got[fd] for fd, stream in self._streams.items()) // self._frame_bytes
        return f"{missing} of {self.deliveries} events did not come"
