"""Lets the clients of a stopping node go, so that they come back to another one by themselves."""

from __future__ import annotations

import logging
import time

import gevent

from app.realtime.socketio import SocketIO

logger = logging.getLogger(__name__)

# A client that is in the middle of its handshake appears only after a pass, so there are several.
PASS_SECONDS = 0.1


def close_sockets(socketio: SocketIO, timeout_seconds: float) -> int:
    """Close every Engine.IO socket without saying goodbye.

    A CLOSE packet would tell the client that it is unwanted, and it would never reconnect; a connection
    that merely ends is taken for a network fault, and it does.

    :param timeout_seconds: how long to go on closing what still appears.
    :returns: the number of sockets that are still open.
    """
    engine = socketio.server.eio
    deadline = time.monotonic() + timeout_seconds
    while engine.sockets and time.monotonic() < deadline:
        for sid, socket in list(engine.sockets.items()):
            try:
                socket.close(wait=False, abort=True)
            except Exception:
                logger.exception("could not close a socket")
            # A long-polling client has no connection of its own that would end and clean up.
            if socket.closed and not socket.upgraded:
                engine.sockets.pop(sid, None)
        gevent.sleep(PASS_SECONDS)
    return len(engine.sockets)
