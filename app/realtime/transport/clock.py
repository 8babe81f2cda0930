"""The wheel on gevent's loop: one timer for all sessions."""

from __future__ import annotations

import logging
import time
from typing import Any

import gevent

from app.realtime.transport.wheel import Due, Wheel

logger = logging.getLogger(__name__)


class Clock:
    """Calls back, in the hub: what is called must not wait."""

    def __init__(self) -> None:
        self._wheel = Wheel()
        self._timer: Any = None
        self._armed_for = 0.0

    def add(self, at: float, callback: Due) -> None:
        """Call back at a time of `time.monotonic`."""
        self._wheel.add(at, callback)
        if self._timer is None or at < self._armed_for:
            self._arm()

    def after(self, seconds: float, callback: Due) -> None:
        """Call back after some time."""
        self.add(time.monotonic() + seconds, callback)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
        at = self._wheel.next()
        if at is not None:
            self._armed_for = at
            self._timer = gevent.get_hub().loop.timer(max(at - time.monotonic(), 0.0))
            self._timer.start(self._on_time, update=True)

    def _on_time(self) -> None:
        now = time.monotonic()
        for callback in self._wheel.take(now):
            try:
                callback(now)
            except Exception:
                logger.exception("what was due failed")
        self._arm()
