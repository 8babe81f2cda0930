"""The engine: Socket.IO for several nodes. It knows no chat, no page, no database."""

from app.realtime.emitter import Emitter
from app.realtime.errors import EventError
from app.realtime.namespace import Client, EventNamespace, Nothing, event
from app.realtime.presence import Presence, User
from app.realtime.rates import Rates
from app.realtime.socketio import SocketIO

__all__ = [
    "Client",
    "Emitter",
    "EventError",
    "EventNamespace",
    "Nothing",
    "Presence",
    "Rates",
    "SocketIO",
    "User",
    "event",
]
