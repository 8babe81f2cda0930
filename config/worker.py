"""gunicorn's gevent worker, which under --reload survives any mistake until it is mended."""

from __future__ import annotations

import traceback
from typing import Any

from gunicorn.util import make_fail_app
from gunicorn.workers.ggevent import GeventWorker


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's own survives a SyntaxError; a wrong name or import is as common."""

    wsgi: Any
    reloader: Any

    def load_wsgi(self) -> None:
        """Load the application; with --reload, show what is wrong with it and wait for a change."""
        try:
            super().load_wsgi()
        except Exception as error:
            if self.reloader is None:
                raise
            self.log.exception("the application does not start: mend it, and it is loaded again")
            for frame in traceback.extract_tb(error.__traceback__):
                self.reloader.add_extra_file(frame.filename)
            self.wsgi = make_fail_app(traceback.format_exc())
