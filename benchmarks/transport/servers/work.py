"""What a server in Python is told to emit, and what it can tell of itself."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.transport import events


@dataclass(frozen=True)
class Order:
    """Emit so many events.

    :param count: how many.
    :param size: bytes of a packet.
    :param per_turn: how many at a time, until the loop has its turn.
    :param block: the event with number i goes to room i % rooms of those that seat so many clients; 0: to
        everybody.
    :param rooms: how many rooms.
    :param namespaces: the event with number i goes to namespace i % namespaces.
    :param rate: events a second; 0: as fast as the server can.
    :param alone: what is emitted in a turn must be written before the next: otherwise a server that joins
        what waits would look faster than its writes are.
    """

    count: int
    size: int = events.SMALL_BYTES
    per_turn: int = 1
    block: int = 0
    rooms: int = 1
    namespaces: int = 1
    rate: float = 0.0
    alone: bool = False

    def turns(self) -> Iterator[list[tuple[dict[str, Any], str | None, str]]]:
        """List the events of each turn: data, room (None: everybody) and namespace."""
        text = events.filling(self.size)
        spaces = events.namespaces(self.namespaces)
        rooms = [events.room(self.block, number) if self.block else None for number in range(self.rooms)]
        first = events.FIRST_NUMBER
        for begin in range(0, self.count, self.per_turn):
            yield [
                (events.data(first + i, text), rooms[i % self.rooms], spaces[i % self.namespaces])
                for i in range(begin, min(begin + self.per_turn, self.count))
            ]

    def run(
        self, emit: Callable[[dict[str, Any], str | None, str], Any], pause: Callable[[float], Any]
    ) -> None:
        """Emit them.

        :param pause: lets the loop have its turn, and at least so many seconds pass.
        """
        due = time.monotonic()
        for turn in self.turns():
            for data, room, namespace in turn:
                emit(data, room, namespace)
            if self.rate:
                due += self.per_turn / self.rate
            pause(max(0.0, due - time.monotonic()))


@dataclass
class Collector:
    """Notes how long the garbage collector stops everything."""

    pauses_ms: list[float] = field(default_factory=list)
    _begun: float = 0.0

    def watch(self) -> None:
        """Begin."""
        gc.callbacks.append(self._note)

    def status(self) -> dict[str, Any]:
        """How often, how long at most and altogether, since the last time that somebody asked."""
        pauses, self.pauses_ms = self.pauses_ms, []
        return {"count": len(pauses), "longest_ms": max(pauses, default=0.0), "all_ms": sum(pauses)}

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = time.perf_counter()
        else:
            self.pauses_ms.append((time.perf_counter() - self._begun) * 1000)


def settle() -> dict[str, float]:
    """Drop what is garbage, and tell how long a full collection takes."""
    gc.collect()
    begun = time.perf_counter()
    gc.collect()
    return {"collect_ms": (time.perf_counter() - begun) * 1000}


def describe() -> dict[str, Any]:
    """What is the same for all."""
    return {"pid": os.getpid(), "version": f"Python {sys.version.split()[0]}"}
