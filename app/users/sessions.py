"""Ends sessions: of who signs out or is sent away, at once and on all nodes; and of whose time is up.

    end --> this node: its clients are disconnected
        --> the other nodes: told over whichever broker works
        --> the table `ended_sessions`, which every node reads every SESSION_CHECK_SECONDS

The message is quick, the table is certain: it works without a broker, and for nodes that start later. What
cannot be written now is kept, and written when the database answers again.

Each read takes in what was written since the last read that went well, and a little before. By when it was
written, not by when the session ended: after an outage that may be long ago, and it is news all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import structlog
from flask import Flask
from gevent.event import Event

from app.errors import EventError
from app.extensions import db
from app.realtime import QueueError, SocketIO
from app.transactions import Transactions
from app.user import User
from app.users import store
from app.users.endings import Endings, began_at_ms, by_id, by_name
from app.users.namespace import Reason, UserNamespace
from config import Settings

log = structlog.get_logger(__name__)

TOPIC = "sessions"
# A session that expires is ended within this time.
TICK_SECONDS = 0.5
# So much of what was written before the last read is read again: the clocks of the nodes that wrote it
# differ, and a transaction is seen later than it began.
OVERLAP_MS = 60_000
CLEAN_SECONDS = 3_600.0
DAY_MS = 86_400_000


class Sessions:
    """The sessions of this node's clients, and which ones are over.

    :param transactions: the database.
    :param socketio: its `UserNamespace`s have the clients; its queue reaches the other nodes.
    :param settings: `session_*`.
    :param clock: seconds since 1970.
    """

    def __init__(
        self,
        app: Flask,
        transactions: Transactions,
        socketio: SocketIO,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._db = transactions
        self._socketio = socketio
        self._clock = clock
        self._check_seconds = settings.session_check_seconds
        # Tokens are taken from clocks that are ahead, and until a moment after they expire.
        slack_ms = 2 * settings.auth_jwt_leeway_seconds * 1000
        self._keep_ms = settings.session_lifetime_days * DAY_MS + slack_ms
        self._endings = Endings()
        self._unwritten: dict[str, int] = {}
        # When the table was read last, as far as this node's clock knows.
        self._read_at_ms = 0
        self._next_check = self._next_clean = 0.0
        self._failing = False
        self._stopped = Event()

    def ended(self, user: User) -> bool:
        """Whether a user's session was ended before its time."""
        return self._endings.ended(user)

    def end(self, user: User) -> None:
        """End a user's sessions that began until now; whoever signs in again is welcome."""
        self._end(by_id(user.id), began_at_ms(user))

    def end_id(self, user_id: str) -> None:
        """Likewise, of whoever has this id."""
        self._end(by_id(user_id))

    def end_named(self, name: str) -> None:
        """Likewise, of everybody who is called so, as the chat compares names."""
        self._end(by_name(name))

    def start(self) -> None:
        """Read what was ended before, and begin to watch."""
        self.check()
        gevent.spawn(self._every_tick, self.expire)
        # Beside it: a database that is slow to answer keeps nobody in.
        gevent.spawn(self._every_tick, self.check)

    def stop(self) -> None:
        """Stop to watch."""
        self._stopped.set()

    def expire(self) -> None:
        """End the sessions whose time is up."""
        now = self._clock()
        try:
            self._close(lambda user: user.expires_at <= now, "expired")
        except Exception:
            # Nobody would end sessions any more if the watcher ended.
            log.exception("sessions whose time is up could not be ended")

    def check(self) -> None:
        """Write and read the table, if it is time to, and drop its oldest rows."""
        now = self._clock()
        if now < self._next_check:
            return
        self._next_check = now + self._check_seconds
        try:
            with self._app.app_context():
                self._check(now)
        except Exception as error:
            # A node without its database goes on, and asks again. The database's own warning says why.
            if not self._failing:
                defect = not isinstance(error, EventError)
                log.warning("ends of sessions cannot be written or read", exc_info=defect)
            self._failing = True
        else:
            if self._failing:
                log.info("ends of sessions can be written and read again")
            self._failing = False

    def _every_tick(self, work: Callable[[], None]) -> None:
        while not self._stopped.wait(TICK_SECONDS):
            work()

    def _check(self, now: float) -> None:
        try:
            self._write()
        finally:
            # A database that takes nothing may still tell.
            if self._read(now):
                self._close(self.ended, "ended")
        if now >= self._next_clean:
            self._clean(now)
            self._next_clean = now + CLEAN_SECONDS

    def _end(self, who: str, not_before_ms: int = 0) -> None:
        # A session may have begun on a node whose clock is ahead.
        ended_at_ms = max(round(self._clock() * 1000), not_before_ms)
        self._endings.note(who, ended_at_ms)
        self._unwritten[who] = ended_at_ms
        closed = self._close(self._endings.ended_by(who), "ended")
        log.info("sessions ended", who=who, connections=closed)
        try:
            self._socketio.tell_nodes(TOPIC, [who, ended_at_ms])
        except QueueError as error:
            log.warning("the other nodes find an end of sessions in the database", who=who, reason=str(error))
        try:
            with self._app.app_context():
                self._write()
        except EventError:
            log.warning("an end of sessions is not stored yet", who=who)

    def take(self, origin: str, told: Any) -> None:
        """Another node, or a command, has ended sessions."""
        match told:
            case [str(who), int(ended_at_ms)]:
                if self._endings.note(who, ended_at_ms):
                    # Others' messages wait meanwhile.
                    self._socketio.start_background_task(self._close, self._endings.ended_by(who), "ended")
            case _:
                log.warning("an end of sessions is not understood: another version?", origin=origin)

    def _close(self, whose: Callable[[User], bool], reason: Reason) -> int:
        handlers = self._socketio.server.namespace_handlers.values()
        namespaces = [handler for handler in handlers if isinstance(handler, UserNamespace)]
        return sum(namespace.end_sessions(whose, reason) for namespace in namespaces)

    def _write(self) -> None:
        ends = dict(self._unwritten)
        if ends:
            self._db.write(store.record, ends, round(self._clock() * 1000))
            for who, ended_at_ms in ends.items():
                if self._unwritten.get(who) == ended_at_ms:
                    del self._unwritten[who]

    def _read(self, now: float) -> bool:
        """Take in what is new; whether anything was."""
        now_ms = round(now * 1000)
        # The clock may have been put back meanwhile.
        rows = self._db.read(store.since, min(self._read_at_ms, now_ms) - OVERLAP_MS)
        self._read_at_ms = now_ms
        new = [who for who, ended_at_ms in rows if self._endings.note(who, ended_at_ms)]
        return bool(new)

    def _clean(self, now: float) -> None:
        before_ms = round(now * 1000) - self._keep_ms
        self._endings.forget(before_ms)
        self._db.write(store.forget, before_ms)


def init_app(app: Flask, socketio: SocketIO, settings: Settings) -> Sessions:
    """Put the sessions at `app.extensions["sessions"]`; the caller starts and stops them."""
    sessions = Sessions(app, db, socketio, settings)
    socketio.on_nodes(TOPIC, sessions.take)
    app.extensions["sessions"] = sessions
    return sessions
