"""Deletes messages that became older than CHAT_KEEP_DAYS, on every node, now and then."""

from __future__ import annotations

import random
import time

import gevent
import structlog
from flask import Flask
from gevent import sleep

from app.chat.service import ChatService
from app.errors import EventError

log = structlog.get_logger(__name__)

DAY_MS = 86_400_000
EVERY_SECONDS = 3_600


class Retention:
    """The clock of the trimming. Nodes may come at once: each room is trimmed by one of them at a time.

    :param app: whose database it is.
    :param keep_days: how long a message is kept, in days; 1 or more.
    """

    def __init__(self, app: Flask, service: ChatService, keep_days: int) -> None:
        self._app = app
        self._service = service
        self._keep_ms = keep_days * DAY_MS
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        """Trim now, and about every hour from then on."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """End; what is half done is rolled back."""
        if self._greenlet:
            self._greenlet.kill()

    def trim(self, now_ms: int) -> int:
        """Delete what is too old.

        :param now_ms: milliseconds since 1970.
        :returns: how many messages.
        """
        with self._app.app_context():
            return self._service.trim(now_ms - self._keep_ms)

    def _run(self) -> None:
        while True:
            try:
                deleted = self.trim(time.time_ns() // 1_000_000)
            except EventError as error:
                log.warning("old messages are not deleted yet", reason=error.message)
            except Exception:
                log.exception("a defect in the retention")
            else:
                if deleted:
                    log.info("old messages deleted", messages=deleted)
            # Not every node at the same moment, although they were started together.
            sleep(EVERY_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
