"""Hands out what the exchange has released: in order, one at a time, whoever comes first for all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from app.realtime.queue import envelope
from app.realtime.queue.envelope import AnyMessage
from app.realtime.queue.exchange import Exchange
from app.realtime.queue.journal import REPORT_SECONDS

logger = logging.getLogger(__name__)

Deliver = Callable[[str, AnyMessage], None]


class Delivery:
    """Calls a function with (origin, message) for each released message.

    :param lock: that of the exchange.
    :param deliver: must not wait for long, for all others wait meanwhile; None: nothing is delivered.
    """

    def __init__(self, exchange: Exchange, lock: Any, deliver: Deliver | None) -> None:
        self._exchange = exchange
        self._lock = lock
        self._deliver = deliver
        self._busy = False
        self._complain_at = 0.0

    def run(self) -> None:
        """Deliver what is ready, unless another greenlet or thread does so right now."""
        ready = self._exchange.ready
        while self._deliver is not None:
            with self._lock:
                if self._busy or not ready:
                    return
                self._busy = True
            try:
                while ready:
                    origin, body = ready.popleft()
                    try:
                        message = envelope.decode_message(body)
                    except envelope.UNDECODABLE:
                        self._exchange.rejected["malformed"] += 1
                        continue
                    try:
                        self._deliver(origin, message)
                    except Exception:
                        self._exchange.failures["undeliverable"] += 1
                        self._complain(origin)
            finally:
                self._busy = False

    def _complain(self, origin: str) -> None:
        """Log the exception in hand, once per interval: a flood of them would stop the node."""
        now = time.monotonic()
        if now >= self._complain_at:
            self._complain_at = now + REPORT_SECONDS
            logger.exception("a message of %s could not be delivered here", origin)
