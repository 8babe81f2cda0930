"""Ends sessions whose clients are in no namespace: at the beginning, or since they left the last one."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.realtime.transport.engine import Engine
    from app.realtime.transport.session import Session

logger = logging.getLogger(__name__)


class Homeless:
    """Looks after some time whether a client is anywhere.

    :param engine: whose sessions they are.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def expect(self, session: Session, now: float) -> None:
        """Give a session's client its time from now on."""
        session.homeless_since = now
        if not session.is_expected:
            session.is_expected = True
            # By its id: the clock keeps what it has until then, and many sessions end long before.
            due = now + self._engine.options.connect_seconds
            self._engine.clock.add(due, partial(self._check, session.sid))

    def _check(self, sid: str, now: float) -> None:
        session = self._engine.sockets.get(sid)
        if session is None or session.closing:
            return
        session.is_expected = False
        if self._engine.in_namespace(sid):
            return
        if now - session.homeless_since < self._engine.options.connect_seconds:
            self.expect(session, session.homeless_since)
        else:
            logger.info("%s is in no namespace, closing", sid)
            session.close_soon(self._engine.reason.SERVER_DISCONNECT, abort=False)
