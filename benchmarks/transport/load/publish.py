"""One client publishes at a steady rate, the server tells everybody, and some of them look at the clock."""

from __future__ import annotations

import select
import time
from typing import Any

from benchmarks.transport import events
from benchmarks.transport.load.client import ClientError
from benchmarks.transport.load.fleet import Fleet
from benchmarks.transport.load.probe import Probe

BUFFER_BYTES = 1 << 20
READY_AT_ONCE = 1024
# A server that is this late cannot keep up.
LATE_SECONDS = 5.0


class Publisher:
    """The last client of the fleet publishes; it hears everything too.

    :param rate: events a second.
    :param every: each so manieth client looks at the clock for every event.
    """

    def __init__(self, fleet: Fleet, rate: float, seconds: float, size: int, every: int) -> None:
        self._fleet = fleet
        self._rate = rate
        self._count = int(rate * seconds)
        self._text = events.filling(size)
        sample = events.frame(events.packet(events.FIRST_NUMBER, self._text))
        self._frame_bytes = len(sample)
        self._number_at = sample.index(b'"n":') + 4
        self._stamp_at = sample.index(b'"at":') + 5
        self._looking = {
            client.sock.fileno(): bytearray() for client in fleet.clients[:-1] if client.index % every == 0
        }
        self._heard = dict.fromkeys(self._looking, events.FIRST_NUMBER)
        self.took_us: list[int] = []

    def run(self, probe: Probe | None) -> dict[str, Any]:
        """Publish, and receive until everybody has everything.

        :return: how many microseconds each event that was looked at took, sorted; `late` says that the server
            could not keep up.
        :raises ClientError: when an event comes twice, or not in its turn.
        """
        fleet, poll, looking = self._fleet, self._fleet.epoll.poll, self._looking
        receive = {fd: client.sock.recv_into for fd, client in fleet.by_fd.items()}
        buffer = bytearray(BUFFER_BYTES)
        publish = fleet.clients[-1].sock.send
        left = self._count * self._frame_bytes * len(fleet.clients)
        begun = time.perf_counter()
        sent = 0
        end = begun + self._count / self._rate + LATE_SECONDS
        if probe is not None:
            fleet.epoll.register(probe.fd, select.EPOLLIN)
        while left > 0:
            now = time.perf_counter()
            if now > end:
                break
            while sent < self._count and begun + sent / self._rate <= now:
                publish(self._packet(sent))
                sent += 1
            due = begun + sent / self._rate - now if sent < self._count else LATE_SECONDS
            if probe is not None:
                probe_fd = probe.fd
                probe.work()
                if probe.fd != probe_fd:
                    fleet.epoll.register(probe.fd, select.EPOLLIN)
                due = min(due, probe.seconds_left)
            for fd, _ in poll(max(0.0, due), READY_AT_ONCE):
                if fd not in receive:
                    continue
                length = receive[fd](buffer)
                if not length:
                    raise ClientError(f"the server closed client {fleet.by_fd[fd].index}")
                left -= length
                if fd in looking:
                    self._look(fd, buffer[:length])
        took = time.perf_counter() - begun
        self.took_us.sort()
        return {"took_us": self.took_us, "late": left > 0, "seconds": took, "published": sent}

    def _packet(self, number: int) -> bytes:
        return events.masked_frame(
            events.packet(events.FIRST_NUMBER + number, self._text, events.stamp(), event="publish")
        )

    def _look(self, fd: int, received: bytearray) -> None:
        now = events.stamp()
        data = self._looking[fd]
        data += received
        size = self._frame_bytes
        for at in range(0, len(data) - size + 1, size):
            number = int(data[at + self._number_at : at + self._number_at + 7])
            if number != self._heard[fd]:
                raise ClientError(f"a client got event {number} instead of {self._heard[fd]}")
            self._heard[fd] += 1
            self.took_us.append(now - int(data[at + self._stamp_at : at + self._stamp_at + 16]))
        del data[: len(data) // size * size]
