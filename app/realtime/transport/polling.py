"""The half of a session that only a client has which polls: packets that wait until it comes for them."""

from __future__ import annotations

import _socket
import os

import gevent
from gevent.event import Event

from app.realtime.transport.outgoing import NOOP_PACKET, Packet

READ = 1


class Polling:
    """Packets for a client that polls, and its requests under way."""

    __slots__ = ("_packets", "_released", "_waiter", "posting", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes that wait
        self.posting = False  # a request brings packets
        self._packets: list[Packet] = []
        self._waiter: Event | None = None
        self._released = False

    @property
    def waiting(self) -> bool:
        """Whether a request waits for packets."""
        return self._waiter is not None

    @property
    def empty(self) -> bool:
        """Whether no packet waits for a request."""
        return not self._packets

    def put(self, packets: list[Packet]) -> None:
        """Append packets; `release` lets the request have them that waits."""
        self._packets += packets
        self.size += sum(map(len, packets))

    def wait(self, descriptor: int | None) -> bool:
        """Wait for `release`.

        :param descriptor: of the connection that waits; None: unknown.
        :returns: False when the connection is closed first, and what is fetched would be lost.
        """
        waiter = self._waiter = Event()
        watcher = gevent.get_hub().loop.io(descriptor, READ) if descriptor is not None else None
        try:
            if watcher is not None:
                watcher.start(waiter.set)
            waiter.wait()
            if watcher is None or descriptor is None or self._released:
                return True
            if _is_at_end(descriptor):
                return False
            # Something follows the request before its answer; who does that is not watched over.
            watcher.stop()
            waiter.clear()
            waiter.wait()
            return True
        finally:
            self._waiter = None
            self._released = False
            if watcher is not None:
                watcher.stop()
                watcher.close()

    def release(self) -> None:
        """Answer the request that waits."""
        if self._waiter is not None:
            self._released = True
            self._waiter.set()

    def take(self, at_most: int | None = None) -> list[Packet]:
        """Take packets out.

        :param at_most: how many; None: all.
        """
        packets, self._packets = self._packets[:at_most], [] if at_most is None else self._packets[at_most:]
        self.size = sum(map(len, self._packets))
        return packets

    def fetch(self, at_most: int | None) -> list[Packet]:
        """What a request is answered with; it is never nothing."""
        return self.take(at_most) or [NOOP_PACKET]

    def clear(self) -> None:
        """Forget what waits."""
        self._packets, self.size = [], 0


def _is_at_end(descriptor: int) -> bool:
    """Whether the other side of a connection has closed it."""
    sock = _socket.socket(fileno=os.dup(descriptor))
    try:
        return not sock.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.close()
