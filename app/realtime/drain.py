"""Leaving the cluster without losing anybody: no new clients, and the others go elsewhere in their turn.

    serving --begin()--> draining --all are gone--> drained
       ^-----------------resume()------'---------------'

Clients are let go in small, random batches, so that they do not come to the other nodes all at once. How they
are let go matters: a CLOSE packet would tell a client that it is unwanted, and it would never reconnect; a
connection that merely ends is taken for a network fault, and it does.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import parse_qs

import gevent
from gevent.event import Event
from gevent.pool import Pool

from app.realtime.socketio import SocketIO
from app.realtime.transport import Engine, Session

logger = logging.getLogger(__name__)

State = Literal["serving", "draining", "drained"]

# Between two batches, on average.
BATCH_SECONDS = 0.1
# Letting a client go runs its disconnect handlers, which may wait for the database.
AT_ONCE = 50
# Whoever has not gone so long after the end, because a disconnect handler hangs, is left to `finish`.
LAST_SECONDS = 2.0
# How often it is said that the node is full.
FULL_LOG_SECONDS = 10.0
# How long a client that polls may take to fetch what waits for it.
FETCH_SECONDS = 1.0
FETCH_POLL_SECONDS = 0.02
# At the very end: a client that is in the middle of its handshake appears only after a pass.
PASS_SECONDS = 0.1


def batch_size(clients: int, seconds_left: float) -> int:
    """How many of the clients to let go now, to be done in time at an even pace.

    :param seconds_left: until the last one should be gone; 0 or less: all of them, now.
    """
    if seconds_left <= BATCH_SECONDS:
        return clients
    return math.ceil(clients * BATCH_SECONDS / seconds_left)


class Drain:
    """Lets the clients of this node go.

    :param socketio: bound to its application.
    :param seconds: over how long the clients are let go, 0 or more; 0: all at once.
    :param wait_seconds: how long to serve on before that, 0 or more, while `/readyz` fails already: for load
        balancers that ask now and then.
    :param max_clients: how many connections there may be; whoever comes then is refused, too.
    """

    def __init__(
        self,
        socketio: SocketIO,
        seconds: float = 0.0,
        wait_seconds: float = 0.0,
        max_clients: int = 1_000_000,
    ) -> None:
        self.state: State = "serving"
        self.refused = 0  # because the node was full
        self.for_good = False  # the process ends, so there is nothing to resume
        self._max_clients = max_clients
        self._full_said_at = -math.inf
        self._engine = socketio.server.eio
        self._seconds = seconds
        self._wait_seconds = wait_seconds
        self._hurried = Event()
        self._task: gevent.Greenlet[..., Any] | None = None
        self._serve = self._engine.handle_request
        self._engine.handle_request = self._handle_request
        socketio.on_drain(self._told, lambda: {"state": self.state, "clients": self.clients})

    @property
    def clients(self) -> int:
        """How many connections are open now."""
        return len(self._open())

    def begin(self) -> None:
        """Take no new clients, and let the others go; again, nothing. Returns at once."""
        if self.state == "serving":
            self.state = "draining"
            self._hurried.clear()
            logger.info("draining: no new clients, and %d are let go over %g s", self.clients, self._seconds)
            self._task = gevent.spawn(self._run)

    def resume(self) -> None:
        """Take clients again, unless the process ends."""
        if self.state != "serving" and not self.for_good:
            self.state = "serving"
            if self._task is not None:
                self._task.kill(block=False)
            logger.info("serving again")

    def hurry(self) -> None:
        """Begin, and let all that are left go at once."""
        self.begin()
        self._hurried.set()

    def wait(self) -> None:
        """Wait until it is over."""
        if self._task is not None:
            self._task.join()

    def finish(self, timeout_seconds: float) -> int:
        """End what is left, for good, and let nobody in for as long as the process lives.

        :param timeout_seconds: how long to wait until no connection is left.
        :returns: the number of connections that are still open then.
        """
        if self._task is not None:
            self._task.kill()
        self.state = "drained"
        # gunicorn goes on accepting for up to a second, and clients come back at once.
        self._engine.handle_request = refuse
        gevent.spawn(self._sweep)
        deadline = time.monotonic() + timeout_seconds
        gevent.sleep(0)
        while (self._engine.sockets or self._working()) and time.monotonic() < deadline:
            gevent.sleep(PASS_SECONDS)
        return len(self._engine.sockets)

    def _working(self) -> bool:
        # With the library's transport, events are handled within requests, which are waited for anyway.
        return isinstance(self._engine, Engine) and self._engine.busy > 0

    def _told(self, drain: bool) -> None:
        """An operator, from elsewhere."""
        if drain:
            self.begin()
        else:
            self.resume()

    def _handle_request(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Any:
        """Stand before the engine: who has a session is served to the end."""
        if self.state == "serving" and len(self._engine.sockets) < self._max_clients:
            return self._serve(environ, start_response)
        if "sid" in parse_qs(environ.get("QUERY_STRING", "")):
            return self._serve(environ, start_response)
        if self.state == "serving":
            self._say_full()
        return refuse(environ, start_response)

    def _say_full(self) -> None:
        self.refused += 1
        if time.monotonic() - self._full_said_at >= FULL_LOG_SECONDS:
            self._full_said_at = time.monotonic()
            logger.warning("full: %d clients, and %d were refused so far", self._max_clients, self.refused)

    def _open(self) -> list[Any]:
        return [socket for socket in self._engine.sockets.values() if not socket.closed]

    def _run(self) -> None:
        self._hurried.wait(self._wait_seconds)
        deadline = time.monotonic() + self._seconds
        pool = Pool(AT_ONCE)
        leaving: set[str] = set()
        # Also those whose handshake was under way when it began.
        while (open_sockets := self._open()) and time.monotonic() < deadline + LAST_SECONDS:
            left = [socket for socket in open_sockets if socket.sid not in leaving]
            random.shuffle(left)
            seconds_left = 0.0 if self._hurried.is_set() else deadline - time.monotonic()
            # No more than fit: to wait for a place would be to wait for a handler that hangs.
            for socket in left[: min(batch_size(len(left), seconds_left), pool.free_count())]:
                leaving.add(socket.sid)
                pool.spawn(self._let_go, socket)
            pause = BATCH_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            if self._hurried.is_set():
                deadline = min(deadline, time.monotonic())
                gevent.sleep(pause)
            else:
                self._hurried.wait(pause)
        self.state = "drained"
        if open_sockets:
            logger.warning("drained, but for %d clients that could not be let go", len(open_sockets))
        else:
            logger.info("drained: no client is left")

    def _let_go(self, socket: Any) -> None:
        # What waits for a WebSocket is written before it ends; who polls must come for it.
        deadline = time.monotonic() + FETCH_SECONDS
        while not socket.upgraded and _unfetched(socket) and not socket.closed:
            if self._hurried.is_set() or time.monotonic() > deadline:
                break
            gevent.sleep(FETCH_POLL_SECONDS)
        _end(socket)

    def _sweep(self) -> None:
        # For as long as the process lives: a handshake may be under way.
        pool = Pool(AT_ONCE)
        ending: set[str] = set()

        def end(sid: str, socket: Any) -> None:
            _end(socket)
            # One that is being closed elsewhere goes when its handlers are done.
            if socket.closed:
                self._engine.sockets.pop(sid, None)

        while True:
            for sid, socket in list(self._engine.sockets.items()):
                if sid not in ending and pool.free_count():
                    ending.add(sid)
                    pool.spawn(end, sid, socket)
            gevent.sleep(PASS_SECONDS)


def _unfetched(socket: Any) -> bool:
    """Whether a client that polls has yet to come for something; on either transport."""
    return bool(socket.unfetched) if isinstance(socket, Session) else not socket.queue.empty()


def _end(socket: Any) -> None:
    try:
        # `abort`: without a goodbye.
        socket.close(wait=False, abort=True)
    except Exception:
        logger.exception("could not close a connection")


def refuse(_environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer a request that comes too late: whoever sent it tries again, or a proxy sends it elsewhere."""
    start_response(
        "503 Service Unavailable",
        [("Content-Type", "text/plain"), ("Retry-After", "1"), ("Connection", "close")],
    )
    return [b"This node takes nobody now."]
