"""The clock of the operations: measures how late timers fire, and lets time pass for everything else."""

from __future__ import annotations

import logging
import time

import gevent

from app.ops.operators import Operators
from app.ops.service import OpsService
from app.realtime.meters import Meters

logger = logging.getLogger(__name__)

# Often enough to meet what keeps the hub busy, and ten wake-ups a second cost nothing that could be seen.
BEAT_SECONDS = 0.1
TICK_SECONDS = 1.0


class Pulse:
    """One greenlet, for as long as the node lives."""

    def __init__(self, service: OpsService, operators: Operators, meters: Meters) -> None:
        self._service = service
        self._operators = operators
        self._meters = meters
        self._task: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        """Begin."""
        self._service.start(wall_ms())
        self._task = gevent.spawn(self._run)

    def stop(self) -> None:
        """End, and say so to the other nodes."""
        if self._task is not None:
            self._task.kill()
            self._service.stop(wall_ms())

    def _run(self) -> None:
        tick_at = 0.0
        while True:
            due = time.monotonic() + BEAT_SECONDS
            gevent.sleep(BEAT_SECONDS)
            now = time.monotonic()
            self._meters.lateness.record(now - due)
            try:
                self._service.flush()
                if now >= tick_at:
                    tick_at = next_tick(tick_at, now)
                    self._meters.advance(now)
                    self._operators.end_expired(time.time())
                    self._service.tick(now, wall_ms())
            except Exception:
                logger.exception("a defect in the operations")


def next_tick(tick_at: float, now: float) -> float:
    """When to tick next: by the second, whatever the beats add up to; after a stall a second after it.

    :param tick_at: when this one was due, by the clock of `now`.
    """
    return max(tick_at, now - BEAT_SECONDS) + TICK_SECONDS


def wall_ms() -> int:
    """Now, in milliseconds since 1970."""
    return int(time.time() * 1000)
