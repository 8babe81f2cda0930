"""Copies for stock neighbours, on their way to one broker: a bounded queue, and who drains it.

The stock managers promise nothing, and neither does this: what does not get out in time is dropped, counted,
and logged. But nobody waits who emits, and what a connection that was cut did not take is published again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from app.realtime.brokers import BrokerError
from app.realtime.brokers.stock import Pipe
from app.realtime.queue.options import QueueOptions
from app.realtime.queue.routing import backoff_seconds

logger = logging.getLogger(__name__)

# What waits for one broker. Much more would be too old when it is back.
WAITING_MAX = 10_000
WAITING_MAX_BYTES = 16 * 1024 * 1024
# Encoded in one go: 2 ms or so.
BATCH = 100
REPORT_SECONDS = 10.0  # between two log lines about the same


class Reports:
    """Logs what goes wrong, each kind once per REPORT_SECONDS."""

    def __init__(self) -> None:
        self._next_at: dict[str, float] = {}

    def tell(self, about: str, text: str, defect: Exception | None = None) -> None:
        """Log a text, with a stack trace if there is a defect, unless `about` was logged a moment ago."""
        now = time.monotonic()
        if now >= self._next_at.get(about, 0.0):
            self._next_at[about] = now + REPORT_SECONDS
            logger.warning("stock neighbours: %s", text, exc_info=defect)

    def failed(self, name: str, error: Exception) -> None:
        """A broker did not do what it should; what is no BrokerError is a defect."""
        defect = None if isinstance(error, BrokerError) else error
        self.tell(f"failed {name}", f"{name} does not work: {error}", defect)


class Copy:
    """What is to be published; encoded when it first is, so that no emit waits for that.

    :param size: about how many bytes it keeps in memory.
    """

    __slots__ = ("_body", "_encode", "at", "size")

    def __init__(self, encode: Callable[[], bytes], size: int = 0) -> None:
        self._encode = encode
        self._body: bytes | None = None
        self.size = size
        self.at = time.monotonic()

    @property
    def body(self) -> bytes:
        """The same for all brokers."""
        if self._body is None:
            self._body = self._encode()
        return self._body


class Copies:
    """What waits for one broker; `run` publishes it, in a thread or greenlet of its own."""

    def __init__(self, name: str, pipe: Pipe, options: QueueOptions, reports: Reports) -> None:
        self.error: str | None = None
        self._name = name
        self._pipe = pipe
        self._max_age_seconds = options.max_age_seconds
        self._reports = reports
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._waiting: deque[Copy] = deque()
        self._bytes = 0
        self._flying = 0
        self._published = self._dropped = 0
        self._closed = threading.Event()

    @property
    def waiting(self) -> int:
        """How many are not published yet."""
        return len(self._waiting) + self._flying

    def status(self) -> dict[str, int]:
        """The counts."""
        return {"published": self._published, "waiting": self.waiting, "dropped": self._dropped}

    def put(self, copy: Copy) -> None:
        """Publish it soon, for every listener of the channel; if too many wait, the oldest are dropped."""
        dropped = 0
        with self._lock:
            self._waiting.append(copy)
            self._bytes += copy.size
            while len(self._waiting) > WAITING_MAX or self._bytes > WAITING_MAX_BYTES:
                self._bytes -= self._waiting.popleft().size
                dropped += 1
        if dropped:
            self._drop(dropped, "too many wait")
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Let `run` return."""
        self._closed.set()
        self._wake.set()

    def run(self) -> None:
        """Publish, until it is closed."""
        while not self._closed.is_set():
            self._wake.clear()
            oldest, bodies = self._take()
            if bodies:
                self._publish(bodies, oldest + self._max_age_seconds)
            with self._lock:
                self._flying = 0
                idle = not self._waiting
            if idle and not self._closed.is_set():
                self._wake.wait()

    def _take(self) -> tuple[float, list[bytes]]:
        """Take and encode the next batch; tell also when its first was emitted."""
        now = time.monotonic()
        with self._lock:
            copies = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._bytes -= sum(copy.size for copy in copies)
            fresh = [copy for copy in copies if now - copy.at <= self._max_age_seconds]
            self._flying = len(fresh)
        if len(fresh) < len(copies):
            self._drop(len(copies) - len(fresh), "too old")
        bodies = []
        for copy in fresh:
            try:
                bodies.append(copy.body)
            except Exception as error:
                # An acknowledgement with bytes, for example, which the stock managers cannot carry either.
                self._drop(1, f"no JSON: {error}")
        return (fresh[0].at if fresh else now), bodies

    def _publish(self, bodies: list[Any], deadline: float) -> None:
        """Publish a batch; try again until it is too old, for a connection may have been cut meanwhile."""
        failures = 0
        while not self._closed.is_set():
            try:
                self._pipe.publish(bodies)
            except Exception as error:
                if self._closed.is_set():
                    return
                self.error = str(error) or repr(error)
                self._reports.failed(self._name, error)
            else:
                self._published += len(bodies)
                self.error = None
                return
            if time.monotonic() > deadline:
                self._drop(len(bodies), "too old")
                return
            self._closed.wait(backoff_seconds(failures))
            failures += 1

    def _drop(self, count: int, why: str) -> None:
        self._dropped += count
        self._reports.tell(f"dropped {self._name}", f"{count} copies dropped on {self._name} ({why})")
