"""The engine: Socket.IO for several nodes. It knows no chat, no page, no database."""

from app.realtime.async_emitter import AsyncEmitter
from app.realtime.emitter import Emitter
from app.realtime.errors import (
    EventError,
    MessageTooLarge,
    NotSerializable,
    OutboxFull,
    QueueClosed,
    QueueError,
)
from app.realtime.manager import HybridManager
from app.realtime.namespace import Client, EventNamespace, Nothing, event
from app.realtime.presence import Member, Moved, User
from app.realtime.queue.options import QueueOptions
from app.realtime.queue.routing import QueueEvent
from app.realtime.rates import Rates
from app.realtime.socketio import SocketIO
from app.realtime.transport import TransportOptions

__all__ = [
    "AsyncEmitter",
    "Client",
    "Emitter",
    "EventError",
    "EventNamespace",
    "HybridManager",
    "Member",
    "MessageTooLarge",
    "Moved",
    "NotSerializable",
    "Nothing",
    "OutboxFull",
    "QueueClosed",
    "QueueError",
    "QueueEvent",
    "QueueOptions",
    "Rates",
    "SocketIO",
    "TransportOptions",
    "User",
    "event",
]
