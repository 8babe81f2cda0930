"""What a request says that opens a session, and what it is told."""

from __future__ import annotations

import io
from functools import lru_cache
from sys import intern
from typing import Any
from urllib.parse import parse_qs

import engineio
from engineio.payload import Payload

from app.realtime.event_context import EVENT

# What a handler may want to read of the request that opened its session, which had no body.
NOTHING = io.BytesIO()

OF_WEB_SERVERS = ("wsgi.", "gunicorn.", "werkzeug.", "transport.")
KEPT = frozenset(
    f"wsgi.{name}" for name in ("url_scheme", "version", "multithread", "multiprocess", "run_once")
)


@lru_cache(maxsize=64)
def parse_query(text: str) -> dict[str, list[str]]:
    """The parts of a query, not to be changed; it is the same for all who begin with a WebSocket."""
    return parse_qs(text)


def most_packets(environ: dict[str, Any]) -> int | None:
    """How many packets a client takes in one answer; None: any number.

    python-socketio's clients close the connection above what the library's server takes, too.
    """
    agent = environ.get("HTTP_USER_AGENT", "").lower()
    return Payload.max_decode_packets if agent.startswith("python") else None


def kept_environ(environ: dict[str, Any]) -> dict[str, Any]:
    """What of a request is kept as long as its session: none of the web server's objects."""
    kept: dict[str, Any] = {EVENT: True}
    for key, value in environ.items():
        if "." not in key:
            # Most of it is the same for many clients.
            kept[intern(key)] = intern(value) if type(value) is str else value
        elif key in KEPT or not key.startswith(OF_WEB_SERVERS):
            kept[key] = value
    kept["wsgi.input"] = NOTHING
    kept["wsgi.errors"] = environ.get("wsgi.errors")
    return kept


def opening_data(server: engineio.Server, sid: str, websocket: bool) -> dict[str, Any]:
    """What the OPEN packet of a session says.

    :param websocket: it begins with one, so there is nothing to change to.
    """
    changes = server.allow_upgrades and not websocket and "websocket" in server.transports
    return {
        "sid": sid,
        "upgrades": ["websocket"] if changes else [],
        "pingTimeout": round(server.ping_timeout * 1000),
        "pingInterval": round((server.ping_interval + server.ping_interval_grace_period) * 1000),
        "maxPayload": server.max_http_buffer_size,
    }
