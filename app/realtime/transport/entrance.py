"""The way from the web server into the Engine.IO server, for requests of its path."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Entrance:
    """A WSGI application that does what Flask-SocketIO's middleware does, without a copy of the environ.

    That one is made for several web servers, and defines a class for each request under gunicorn.

    :param app: the application; handlers find it in the environ.
    :param answer: answers requests of Socket.IO clients.
    :param path: theirs, as a prefix.
    :param otherwise: answers all other requests.
    """

    def __init__(self, app: Flask, answer: Wsgi, path: str, otherwise: Wsgi) -> None:
        self.flask_app = app
        self.engineio_path = path
        self.wsgi_app = otherwise
        self._answer = answer

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        if not (environ.get("PATH_INFO") or "").startswith(self.engineio_path):
            return self.wsgi_app(environ, start_response)
        environ["flask.app"] = self.flask_app
        return self._answer(environ, start_response)
