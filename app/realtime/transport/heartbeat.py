"""Pings, and patience for their answers (Engine.IO protocol, revision 4: the server pings)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.realtime.transport.session import Session

logger = logging.getLogger(__name__)


class Heartbeat:
    """Pings a session some time after it last answered, and ends it when it does not.

    :param session: whom to ping.
    :param now: as of `time.monotonic`; the first ping comes an interval later.
    """

    __slots__ = ("_deadline", "_next", "_session")

    def __init__(self, session: Session, now: float) -> None:
        self._session: Session | None = session
        self._next = now + session.server.ping_interval
        self._deadline: float | None = None  # while an answer is waited for
        session.server.clock.add(self._next, self._due)

    def answered(self, now: float) -> None:
        """The client has answered; unasked, it does not count."""
        if self._deadline is not None and self._session is not None:
            self._deadline = None
            self._next = now + self._session.server.ping_interval
            self._session.server.clock.add(self._next, self._due)

    def stop(self) -> None:
        """The session is over; the clock, which still knows this, keeps it from nothing."""
        self._session = None

    def _due(self, now: float) -> None:
        session = self._session
        if session is None or session.closing:
            return
        server = session.server
        if self._deadline is None:
            if now >= self._next:
                self._deadline = now + server.ping_timeout
                server.ping(session)
                server.clock.add(self._deadline, self._due)
        elif now >= self._deadline:
            logger.info("%s did not answer a ping", session.sid)
            session.close_soon(server.reason.PING_TIMEOUT)
