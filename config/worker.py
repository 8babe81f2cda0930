"""gunicorn's gevent worker: it stops as a node of a cluster should, and survives bad code under --reload."""

from __future__ import annotations

import os
import traceback
from typing import Any

import gevent
from gunicorn.util import make_fail_app

from app.realtime.transport.worker import TransportWorker


class Worker(TransportWorker):
    """Drains before it stops to listen, and lets go quickly when its master was killed.

    Once `alive` is False, gunicorn closes the listening socket. A client that polls needs it for its next
    request, so while the node drains, the worker lives on.
    """

    wsgi: Any
    reloader: Any
    alive: bool

    def handle_exit(self, sig: int, frame: object) -> None:
        """On SIGTERM, let the clients go in their turn, and stop then."""
        self._leave(hurry=False)

    def hurry(self, sig: int, frame: object) -> None:
        """On SIGINT and SIGQUIT, let them all go at once."""
        self._leave(hurry=True)

    def notify(self) -> None:
        """Tell the master that the worker lives; without a master, stop."""
        if self.ppid == os.getppid():
            super().notify()
            return
        # gunicorn would exit with the port still open and run the exit hooks then, while the next master
        # wants the port and the clients wait.
        if self.alive:
            self.log.warning("the master is gone: stopping")
            self._leave(hurry=True)
            self.alive = False
        self.tmp.notify()

    def _leave(self, *, hurry: bool) -> None:
        # A worker that did not boot has no application, and under --reload it may be a page.
        drain = getattr(getattr(self, "wsgi", None), "extensions", {}).get("drain")
        if drain is None:
            self.alive = False
            return
        drain.for_good = True
        if hurry:
            drain.hurry()
        else:
            drain.begin()
        # Signals may come again.
        if self._leaving is None:
            self._leaving = gevent.spawn(self._stop_after, drain)

    _leaving: gevent.Greenlet[..., Any] | None = None

    def _stop_after(self, drain: Any) -> None:
        drain.wait()
        self.alive = False

    def load_wsgi(self) -> None:
        """Load the application; with --reload, show what is wrong with it and wait for a change.

        gunicorn's own survives a SyntaxError; a wrong name or import is as common.
        """
        try:
            super().load_wsgi()
        except Exception as error:
            if self.reloader is None:
                raise
            self.log.exception("the application does not start: mend it, and it is loaded again")
            for frame in traceback.extract_tb(error.__traceback__):
                self.reloader.add_extra_file(frame.filename)
            self.wsgi = make_fail_app(traceback.format_exc())
