"""What a client has sent, and its handlers have not seen yet.

It exists while there is something: a greenlet hands the messages on in their order, and ends.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import gevent
from gevent.lock import BoundedSemaphore

if TYPE_CHECKING:
    from app.realtime.transport.engine import Engine
    from app.realtime.transport.session import Session

# So long may one client's events run without letting others have a turn.
TURN_SECONDS = 0.002


class Inbox:
    """The messages of a session that wait for its handlers.

    :param session: whose they are.
    """

    __slots__ = ("_bytes", "_messages", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._messages: deque[str | bytes | None] = deque()
        self._bytes = 0
        session.server.busy += 1
        gevent.spawn_raw(self._work)

    def put(self, message: str | bytes | None) -> None:
        """Append a message; None: the client is gone."""
        self._messages.append(message)
        if message is not None:
            self._bytes += len(message)

    @property
    def full(self) -> bool:
        """Whether no more should come."""
        server = self._session.server
        return len(self._messages) > server.options.max_waiting or self._bytes > server.max_http_buffer_size

    def _work(self) -> None:
        session, server = self._session, self._session.server
        turn_ends = time.monotonic() + TURN_SECONDS
        try:
            while self._messages and not session.closing:
                message = self._messages.popleft()
                if message is None:
                    session.close(wait=False, abort=True, reason=server.ending.get(session))
                    break
                self._bytes -= len(message)
                server._trigger_event("message", session.sid, message, run_async=server.async_handlers)
                if not self.full:
                    session.resume()
                if time.monotonic() > turn_ends:
                    gevent.sleep(0)
                    turn_ends = time.monotonic() + TURN_SECONDS
        finally:
            server.busy -= 1
            session.handled(self)


class Handlers:
    """Handlers of one client with tasks of their own, no more of them than there may be at a time.

    :param server: whose bounds are kept.
    """

    __slots__ = ("_places", "_server")

    def __init__(self, server: Engine) -> None:
        self._server = server
        self._places = BoundedSemaphore(server.options.max_waiting)

    def begin(self) -> None:
        """Wait until another one may run."""
        self._places.acquire()
        self._server.busy += 1

    def end(self) -> None:
        """One has ended."""
        self._server.busy -= 1
        self._places.release()
