"""What starts with a worker and what must be done before it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from app.realtime.drain import refuse

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.1
# gunicorn looks once a second whether it should stop to listen.
LISTENING_SECONDS = 3.0


class UnderWay:
    """Counts the requests in hand, so that a stop takes nothing from under them.

    With the library's transport a WebSocket is one request from its handshake to its end, and its events are
    handled within. With our own it is none after its handshake; `Drain.finish` waits for its handlers.
    """

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app
        self._greenlets: list[Any] = []
        self._over = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if self._over:
            # On a connection that was kept open.
            return refuse(environ, start_response)
        greenlet = gevent.getcurrent()
        self._greenlets.append(greenlet)
        try:
            return self._wsgi_app(environ, start_response)
        finally:
            self._greenlets.remove(greenlet)

    def wait(self, timeout_seconds: float) -> int:
        """Wait until none is left, end those that take longer, and take no more.

        A WebSocket whose other side has vanished does not end by itself, and would hold up the process.

        :returns: how many were ended.
        """
        deadline = time.monotonic() + timeout_seconds
        while self._greenlets and time.monotonic() < deadline:
            gevent.sleep(WATCH_SECONDS)
        self._over = True
        left = [greenlet for greenlet in self._greenlets if isinstance(greenlet, gevent.Greenlet)]
        if left:
            logger.warning("%d requests took too long, and were ended", len(left))
            gevent.killall(left, block=False)
        return len(left)


class Lifecycle:
    """Two lists of functions: run in order at the start, and in reverse order at the end, once each."""

    def __init__(self) -> None:
        self._starts: list[Callable[[], object]] = []
        self._stops: list[Callable[[], object]] = []
        self.started = False
        self.stopping = False
        self._stopped = Event()

    def add(
        self, start: Callable[[], object] | None = None, stop: Callable[[], object] | None = None
    ) -> None:
        """Add a part of the application."""
        if start:
            self._starts.append(start)
        if stop:
            self._stops.append(stop)

    def start(self) -> None:
        """Start all parts; again, nothing."""
        if self.started:
            return
        self.started = True
        for start in self._starts:
            start()

    def stop(self) -> None:
        """Stop all parts, also when one fails; again, only wait until that is done."""
        if not self.started:
            return
        if self.stopping:
            # Whoever comes second must not end the process under the first.
            self._stopped.wait()
            return
        self.stopping = True
        for stop in reversed(self._stops):
            try:
                stop()
            except Exception:
                logger.exception("a part did not stop cleanly")
        logger.info("stopped")
        self._stopped.set()

    def follow(self, worker: Any) -> None:
        """Start with a gunicorn worker, and stop as soon as it is told to.

        gunicorn waits for open connections before it ends, and a WebSocket never ends by itself: without
        this, each stop would take the whole graceful time and end in a SIGKILL, with no exit hook run.
        """
        self.start()

        def watch() -> None:
            while worker.alive:
                gevent.sleep(WATCH_SECONDS)
            # Whoever is let in now must find everything at work.
            deadline = time.monotonic() + LISTENING_SECONDS
            while _listens(worker) and time.monotonic() < deadline:
                gevent.sleep(WATCH_SECONDS)
            self.stop()

        gevent.spawn(watch)


def _listens(worker: Any) -> bool:
    return any(sock.fileno() >= 0 for sock in getattr(worker, "sockets", ()))
