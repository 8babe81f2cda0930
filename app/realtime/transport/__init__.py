"""The transport: Engine.IO over long polling and WebSockets, on gevent's loop; see docs/transport.md."""

from app.realtime.transport.engine import Engine
from app.realtime.transport.options import TransportOptions
from app.realtime.transport.session import SLOW_CLIENT, Session

__all__ = ["SLOW_CLIENT", "Engine", "Session", "TransportOptions"]
