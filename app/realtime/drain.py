"""Lets the clients of a stopping node go, so that they come back to another one by themselves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent

from app.realtime.socketio import SocketIO

logger = logging.getLogger(__name__)

# A client that is in the middle of its handshake appears only after a pass, so there are several.
PASS_SECONDS = 0.1


def close_sockets(socketio: SocketIO, timeout_seconds: float) -> int:
    """Close every Engine.IO socket without saying goodbye, and let no new one in.

    A CLOSE packet would tell the client that it is unwanted, and it would never reconnect; a connection
    that merely ends is taken for a network fault, and it does.

    :param timeout_seconds: how long to wait until none is left.
    :returns: the number of sockets that are still open then.
    """
    engine = socketio.server.eio

    def sweep() -> None:
        # For as long as the process lives: a handshake may be under way.
        while True:
            for sid, socket in list(engine.sockets.items()):
                try:
                    socket.close(wait=False, abort=True)
                except Exception:
                    logger.exception("could not close a socket")
                engine.sockets.pop(sid, None)
            gevent.sleep(PASS_SECONDS)

    # gunicorn goes on accepting for up to a second, and clients come back at once.
    engine.handle_request = _refuse
    gevent.spawn(sweep)
    deadline = time.monotonic() + timeout_seconds
    gevent.sleep(0)
    while engine.sockets and time.monotonic() < deadline:
        gevent.sleep(PASS_SECONDS)
    return len(engine.sockets)


def _refuse(_environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer a client that comes too late; it tries again, and a proxy sends it elsewhere."""
    start_response(
        "503 Service Unavailable",
        [("Content-Type", "text/plain"), ("Retry-After", "1"), ("Connection", "close")],
    )
    return [b"This node is stopping."]
