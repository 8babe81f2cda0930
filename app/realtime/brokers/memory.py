"""The broker for one process: a bus by name, for tests and for several servers in one process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar

from app.realtime.brokers.base import Broker, BrokerError, BrokerOptions


class _Bus:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.parcels: deque[bytes] = deque()
        self.first = 0  # the number of the oldest parcel that is kept
        self.bytes = 0


class MemoryBroker(Broker):
    """`memory://NAME`: everybody in this process who names the same bus and channel shares it."""

    kind = "memory"
    _buses: ClassVar[dict[tuple[str, str], _Bus]] = {}
    _buses_lock = threading.Lock()

    def __init__(self, url: str, channel: str, origin: str, options: BrokerOptions) -> None:
        super().__init__(url, channel, origin, options)
        with self._buses_lock:
            self._bus = self._buses.setdefault((url, channel), _Bus())
        self._position: int | None = None
        self._closed = False

    def publish(self, parcels: Sequence[bytes]) -> None:
        """Append to the bus, and forget what is too much to keep."""
        if self._closed:
            raise BrokerError("closed")
        bus = self._bus
        with bus.changed:
            for parcel in parcels:
                bus.parcels.append(parcel)
                bus.bytes += len(parcel)
            while len(bus.parcels) > self.options.keep_parcels or bus.bytes > self.options.keep_bytes:
                bus.bytes -= len(bus.parcels.popleft())
                bus.first += 1
            bus.changed.notify_all()

    def listen(self) -> Iterator[list[bytes]]:
        """Yield what comes after the last parcel taken."""
        bus = self._bus
        with bus.changed:
            if self._position is None:
                self._position = bus.first + len(bus.parcels)
        yield []
        while True:
            with bus.changed:
                if self._position >= bus.first + len(bus.parcels) and not self._closed:
                    bus.changed.wait(self.options.poll_seconds)
                if self._closed:
                    raise BrokerError("closed")
                start = max(self._position, bus.first)
                # From the end, where the newest are: a deque is slow to reach into.
                newer = bus.first + len(bus.parcels) - start
                batch = list(islice(reversed(bus.parcels), newer))[::-1][: self.options.batch_parcels]
            yield batch
            self._position = start + len(batch)

    def close(self, *, forget: bool = False) -> None:
        """Let the listener end."""
        self._closed = True
        with self._bus.changed:
            self._bus.changed.notify_all()
