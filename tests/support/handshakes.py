"""WebSocket handshakes as a client sends them, and gunicorn's configuration, for tests of the worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gunicorn.config import Config

from app.realtime.transport.sockets import HEAD

PATH = "/socket.io/"
PEER = ("127.0.0.1", 40123)
SERVER = ("0.0.0.0", 5000)
LINE = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1"
HEADERS = [
    "Host: example.test:5000",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]
# Objects of a request's own.
OWN = ("wsgi.input", "wsgi.errors", "wsgi.early_hints", "gunicorn.socket", HEAD)


def head(*more: str, line: str = LINE, headers: Iterable[str] = HEADERS, end: str = "\r\n\r\n") -> bytes:
    """A request's head."""
    return ("\r\n".join((line, *headers, *more)) + end).encode("latin-1")


def config(**settings: Any) -> Config:
    """gunicorn's configuration."""
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


def shared(environ: dict[str, Any]) -> dict[str, Any]:
    """What does not differ from one request to the next."""
    return {key: value for key, value in environ.items() if key not in OWN}
