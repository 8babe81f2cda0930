"""Users of one's own: tokens of another site, and sessions that end on all nodes. The seam is app/auth.py."""

from __future__ import annotations

from flask import Flask

from app.realtime import SocketIO
from app.users import cli, sessions, tokens
from app.users.sessions import Sessions
from config import Settings


def init_app(app: Flask, socketio: SocketIO, settings: Settings) -> Sessions:
    """Let app/auth.py read tokens and know which sessions are over; add `flask users`.

    :returns: the sessions, to be started and stopped.
    """
    cli.init_app(app)
    tokens.init_app(app, settings)
    return sessions.init_app(app, socketio, settings)
