"""Acknowledgements across nodes: who waits for which, until when. Time is passed in.

An event that is to be acknowledged has one id, the same for all its recipients on all nodes, and unlike any
other. The process that emits it keeps the callback; each node that hands it to a client notes, for that
client and id, whom to tell. Each client's answer counts once. What is not answered in time is forgotten.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

Callback = Callable[..., Any]

# JavaScript reads ids as numbers, which are exact up to 2**53.
_PROCESS_BITS, _COUNT_BITS = 28, 24


class _Expected(NamedTuple):
    callback: Callback
    room: object
    deadline: float


class _Owed(NamedTuple):
    origin: str
    deadline: float


class Acks:
    """The acknowledgements that one process waits for, and those that its clients owe. Safe among threads.

    :param timeout_seconds: how long to wait.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._count = itertools.count(1)
        self._base = self._base_pid = 0
        # Both in the order of their deadlines, for the timeout is the same for all.
        self._expected: OrderedDict[int, _Expected] = OrderedDict()
        self._owed: OrderedDict[tuple[str, int], _Owed] = OrderedDict()
        self._owed_by: dict[str, set[int]] = {}
        self.expired = 0

    def __len__(self) -> int:
        return len(self._expected) + len(self._owed)

    def expect(self, callback: Callback, room: object, now: float) -> int:
        """Wait for acknowledgements of an event to a room or sid; returns the id."""
        with self._lock:
            if self._base_pid != os.getpid():
                # A fork must not go on with its parent's ids.
                self._base_pid = os.getpid()
                self._base = (1 + secrets.randbelow((1 << _PROCESS_BITS) - 1)) << _COUNT_BITS
            ack = self._base + next(self._count) % (1 << _COUNT_BITS)
            self._expected[ack] = _Expected(callback, room, now + self.timeout_seconds)
            return ack

    def owe(self, sid: str, ack: int, origin: str, now: float) -> None:
        """A client was handed an event that it is to acknowledge."""
        with self._lock:
            self._owed[sid, ack] = _Owed(origin, now + self.timeout_seconds)
            self._owed_by.setdefault(sid, set()).add(ack)

    def answered(self, sid: str, ack: int, now: float) -> str | None:
        """A client acknowledges; returns the origin to tell, or None when nobody waits (any more)."""
        with self._lock:
            owed = self._pay(sid, ack)
        return owed.origin if owed and owed.deadline > now else None

    def callback(self, sid: str, ack: int, now: float) -> Callback | None:
        """The callback for a client's acknowledgement; None when its time is over."""
        with self._lock:
            expected = self._expected.get(ack)
            if expected is None or expected.deadline <= now:
                return None
            if expected.room == sid:
                # It was for this client alone.
                del self._expected[ack]
            return expected.callback

    def cancel(self, ack: int) -> None:
        """The event was not sent after all."""
        with self._lock:
            self._expected.pop(ack, None)

    def forget(self, sid: str) -> None:
        """A client has gone, and will answer nothing."""
        with self._lock:
            for ack in list(self._owed_by.get(sid, ())):
                self._pay(sid, ack)

    def expire(self, now: float) -> None:
        """Forget what was not answered in time."""
        with self._lock:
            for ack in _overdue(self._expected, now):
                del self._expected[ack]
                self.expired += 1
            for sid, ack in _overdue(self._owed, now):
                self._pay(sid, ack)
                self.expired += 1

    def _pay(self, sid: str, ack: int) -> _Owed | None:
        owed = self._owed.pop((sid, ack), None)
        acks = self._owed_by.get(sid)
        if acks is not None:
            acks.discard(ack)
            if not acks:
                del self._owed_by[sid]
        return owed


def _overdue(table: OrderedDict[Any, Any], now: float) -> list[Any]:
    """The keys of the entries whose deadline is over."""
    return [key for key, _ in itertools.takewhile(lambda item: item[1].deadline <= now, table.items())]
