"""Acknowledgements across nodes: who waits for which, until when. Pure; time is passed in.

An event that is to be acknowledged has one id, the same for all its recipients on all nodes, and unlike any
other. The process that emits it keeps the callback; each node that hands it to a client notes, for that
client and id, whom to tell. Each client's answer counts once. What is not answered in time is forgotten.
"""

from __future__ import annotations

import itertools
import secrets
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
    """The acknowledgements that one process waits for, and those that its clients owe.

    :param timeout_seconds: how long to wait.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._count = itertools.count(1)
        self._base = (1 + secrets.randbelow((1 << _PROCESS_BITS) - 1)) << _COUNT_BITS
        # Both in the order of their deadlines, for the timeout is the same for all.
        self._expected: OrderedDict[int, _Expected] = OrderedDict()
        self._owed: OrderedDict[tuple[str, int], _Owed] = OrderedDict()
        self.expired = 0

    def __len__(self) -> int:
        return len(self._expected) + len(self._owed)

    def expect(self, callback: Callback, room: object, now: float) -> int:
        """Wait for acknowledgements of an event to a room or sid; returns the id."""
        self.expire(now)
        ack = self._base + next(self._count) % (1 << _COUNT_BITS)
        self._expected[ack] = _Expected(callback, room, now + self._timeout_seconds)
        return ack

    def owe(self, sid: str, ack: int, origin: str, now: float) -> None:
        """A client was handed an event that it is to acknowledge."""
        self.expire(now)
        self._owed[sid, ack] = _Owed(origin, now + self._timeout_seconds)

    def answered(self, sid: str, ack: int) -> str | None:
        """A client acknowledges; returns the origin to tell, or None when nobody waits (any more)."""
        owed = self._owed.pop((sid, ack), None)
        return owed.origin if owed else None

    def callback(self, sid: str, ack: int) -> Callback | None:
        """The callback for a client's acknowledgement; None when its time is over."""
        expected = self._expected.get(ack)
        if expected is None:
            return None
        if expected.room == sid:
            # It was for this client alone.
            del self._expected[ack]
        return expected.callback

    def cancel(self, ack: int) -> None:
        """The event was not sent after all."""
        self._expected.pop(ack, None)

    def forget(self, sid: str) -> None:
        """A client has gone, and will answer nothing."""
        for key in [key for key in self._owed if key[0] == sid]:
            del self._owed[key]

    def expire(self, now: float) -> None:
        """Forget what was not answered in time."""
        for table in (self._expected, self._owed):
            self.expired += _expire(table, now)


def _expire(table: OrderedDict[Any, Any], now: float) -> int:
    """Remove the entries whose deadline is over; returns how many."""
    count = 0
    while table:
        key, entry = next(iter(table.items()))
        if entry.deadline > now:
            break
        del table[key]
        count += 1
    return count
