"""The tour: break a cluster of one machine, and watch that nothing is lost (see docs/tour.md)."""

from __future__ import annotations

from flask import Flask

from app.realtime import SocketIO
from config import Settings


def init_app(app: Flask, socketio: SocketIO, settings: Settings) -> None:
    """Register `/tour`, where there is a cluster to be broken and an operator to do it."""
    if settings.cluster_control and settings.admin_token:
        # It brings supervisor's client along.
        from app.tour import namespace

        namespace.init_app(app, socketio, settings)
