"""One timer for everything that is due at some time: pings, their answers, and patience that ends.

Sans-IO: the time is passed in. What was added is told once, not before its time and at most a tick later;
whoever does not want to be told any more says so itself.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

TICK_SECONDS = 0.02

Due = Callable[[float], None]


class Wheel:
    """Callbacks by the tick at which they are due."""

    def __init__(self) -> None:
        self._slots: dict[int, list[Due]] = {}
        self._order: list[int] = []

    def add(self, at: float, callback: Due) -> None:
        """Call back at a time."""
        slot = math.ceil(at / TICK_SECONDS)
        callbacks = self._slots.get(slot)
        if callbacks is None:
            self._slots[slot] = [callback]
            heapq.heappush(self._order, slot)
        else:
            callbacks.append(callback)

    def next(self) -> float | None:
        """When something is due next; None: never."""
        return self._order[0] * TICK_SECONDS if self._order else None

    def take(self, now: float) -> list[Due]:
        """Take out what is due, earliest first."""
        due: list[Due] = []
        while self._order and self._order[0] * TICK_SECONDS <= now:
            due += self._slots.pop(heapq.heappop(self._order))
        return due
