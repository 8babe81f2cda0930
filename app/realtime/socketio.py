"""The drop-in SocketIO: flask_socketio's, plus what the library does not tell a handler."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Self

import flask_socketio
from flask import Flask
from socketio.packet import Packet

from app.realtime.event_context import use_event_contexts
from app.realtime.manager import DEFAULT_CHANNEL, HybridManager
from app.realtime.meters import Meters
from app.realtime.presence import Member, Moved, Room, User
from app.realtime.protocol import harden
from app.realtime.queue.routing import QueueEvent
from app.realtime.queue.spool import check_folder
from app.realtime.server import Server
from app.realtime.transport import Engine, TransportOptions
from app.realtime.transport.entrance import Entrance

logger = logging.getLogger(__name__)

# The arguments of SocketIO that Flask-SocketIO does not know, or must not act on.
OWN_OPTIONS = (
    "message_queue",
    "queue_strategy",
    "channel",
    "channel_secret",
    "stock_channel",
    "queue_options",
    "node_id",
    "transport",
    "transport_options",
)

TRANSPORTS = ("native", "stock")


class SocketIO(flask_socketio.SocketIO):  # type: ignore[misc]
    """Drop-in replacement of `flask_socketio.SocketIO`.

    Every argument, decorator and method of the base class keeps its meaning. Further arguments, here or in
    `init_app`:

    :param message_queue: `None` (in process), or the brokers' addresses, best first: one, a comma-separated
        string, or a list. See docs/failover.md for the schemes.
    :param queue_strategy: `"failover"` (publish on the first healthy broker) or `"dual-write"` (on all).
    :param channel: the name that the processes of one application share on the brokers.
    :param channel_secret: signs what is published; what comes unsigned is refused then.
    :param stock_channel: also hear emitters that use python-socketio's own managers on this channel.
    :param queue_options: bounds and patience of the queue, a `QueueOptions`.
    :param node_id: this node's name in a cluster, letters, digits, - and _. The ids of sessions begin with it
        and a dot, so that a load balancer finds the node of a client without cookies.
    :param transport: `"native"` (our own, for gevent: see docs/transport.md) or `"stock"` (the library's). By
        default the first one under gevent, and the other one elsewhere.
    :param transport_options: bounds of every connection, a `TransportOptions`; for the native transport.
    :raises ValueError: for an unknown strategy, an address or an option that makes no sense.

    Without an app, and with a message_queue, it is the external emitter: it emits from any process and any
    thread, is a context manager, and flushes when it is closed or the process exits.
    """

    def __init__(self, app: Flask | None = None, **kwargs: Any) -> None:
        self.manager: HybridManager | None = None
        self.meters = Meters()
        self.server_options: dict[str, Any] = {}
        self._queue: dict[str, Any] = {}
        self._queue_handlers: list[Callable[[QueueEvent], Any]] = []
        super().__init__(app, **kwargs)

    def init_app(self, app: Flask | None, **kwargs: Any) -> None:
        """Bind to an application; see `flask_socketio.SocketIO.init_app`.

        A second call binds to another application, with a manager of its own and what was given before.
        """
        options = {**self.server_options, **kwargs}
        self._queue |= {name: options.pop(name) for name in OWN_OPTIONS if name in options}
        given = options.get("client_manager")
        if given is None:
            options["client_manager"] = HybridManager(
                self._queue.get("message_queue"),
                strategy=self._queue.get("queue_strategy") or "failover",
                channel=self._queue.get("channel") or DEFAULT_CHANNEL,
                secret=self._queue.get("channel_secret"),
                stock_channel=self._queue.get("stock_channel"),
                options=self._queue.get("queue_options"),
                write_only=app is None,
            )
        if app is None:
            # Nothing is served here, and nothing of gevent may start in a process that is not patched.
            options.setdefault("async_mode", "threading")
        kept = {**self.server_options, **kwargs}
        self.server_options = {}
        super().init_app(app, **options)
        # For the next application; whoever reads them sees what was given.
        self.server_options = {name: kept[name] for name in kept if name not in OWN_OPTIONS}
        self.manager = self.server.manager if isinstance(self.server.manager, HybridManager) else None
        self.meters = self.manager.meters if self.manager else Meters()
        self._name_node(self._queue.get("node_id"))
        # Flask-SocketIO builds the server itself and offers no hook; the subclass only adds to a few methods.
        self.server.__class__ = Server
        packet_class = self.server.packet_class
        bounds = self._queue.get("transport_options") or TransportOptions()
        harden(self.server, bounds, native=self._is_native())
        if app is not None and self._is_native():
            app.wsgi_app = Entrance(  # type: ignore[method-assign]
                app, self.server.handle_request, self.sockio_mw.engineio_path, self.sockio_mw
            )
            use_event_contexts(app)
        if packet_class is not Packet:
            # A serializer of the application's choice, which is not hardened.
            self.server.packet_class = packet_class
        # The library has handed over the method of before.
        self.server.eio.on("message", self.server._handle_eio_message)
        for handler in self._queue_handlers:
            self._subscribe(handler)

    def _name_node(self, node_id: str | None) -> None:
        if self.manager is not None:
            self.manager.node_id = node_id
        if node_id:
            engine = self.server.eio
            generate = engine.generate_id
            # Both kinds of sid come from here, the connection's and, in each namespace, the client's.
            engine.generate_id = lambda: f"{node_id}.{generate()}"

    def _is_native(self) -> bool:
        transport = self._queue.get("transport")
        under_gevent = self.server.async_mode == "gevent"
        if transport not in (None, *TRANSPORTS):
            raise ValueError(f"transport={transport!r}: allowed are {', '.join(TRANSPORTS)}")
        if transport == "native" and not under_gevent:
            raise ValueError(
                f'transport="native" is for async_mode="gevent", and this is {self.server.async_mode!r}: '
                'leave it out, or write transport="stock"'
            )
        return bool(under_gevent and transport != "stock")

    def transport_status(self) -> dict[str, Any]:
        """Tell how the connections are.

        :returns: `kind` ("native" or "stock"), `connections`, `websocket`, `polling`; and of the native
            transport `buffered_bytes` (what waits for clients), `slow_disconnects` (clients that were
            disconnected because too much waited), `volatile_dropped` (events that clients did not get because
            they were behind).
        """
        engine = self.server.eio
        if isinstance(engine, Engine):
            return {"kind": "native", **engine.status()}
        sessions = list(engine.sockets.values())
        websockets = sum(session.upgraded for session in sessions)
        return {
            "kind": "stock",
            "connections": len(sessions),
            "websocket": websockets,
            "polling": len(sessions) - websockets,
        }

    # The queue.

    def start_queue(self) -> None:
        """Connect to the brokers now, rather than before the first request or at the first emit."""
        self._hybrid().start()

    def check_queue(self) -> None:
        """See whether the queue could start.

        :raises ValueError: when the folder of the spool cannot be written to.
        """
        options = self._hybrid().options
        if options.spool:
            check_folder(options.spool)

    def queue_status(self) -> dict[str, Any]:
        """Tell how the message queue is, from what was seen; asks nobody.

        :returns: `strategy`, `active` (the broker in use, None while it is not healthy), `brokers` by name,
            each with `state`, `since`, `error`, `rtt_ms`, `published`, `received`; `outbox`, `inbox`,
            `rejected`, `nodes`. docs/failover.md explains every field.
        """
        return self._hybrid().status()

    def switch_queue(self, name: str | None, *, everywhere: bool = False) -> None:
        """Prefer a broker from now on; it is used as soon as it is healthy.

        :param name: as in `queue_status()["brokers"]`; None is the configured order.
        :param everywhere: on all nodes, not only on this one.
        :raises ValueError: for an unknown name.
        """
        self._hybrid().switch(name, everywhere=everywhere)

    def drain_node(self, node_id: str, drain: bool = True) -> None:
        """Let a node of the cluster, this one or another, send its clients to the other nodes.

        :param node_id: its name.
        :param drain: False: let it take clients again.
        :raises ValueError: when there is no message queue to reach it by.
        """
        self._hybrid().drain_node(node_id, drain)

    # The other nodes.

    def tell_nodes(self, topic: str, data: Any) -> None:
        """Tell the application on all other nodes something: once, in order, over whichever broker works.

        Returns at once; without a message queue there is nobody to tell.

        :param topic: what `on_nodes` on the other nodes knows it by.
        :param data: what msgpack can carry.
        :raises NotSerializable: when it cannot.
        :raises MessageTooLarge: when it is too much.
        """
        self._hybrid().nodes.tell(topic, data)

    def on_nodes(self, topic: str, handler: Callable[[str, Any], None]) -> None:
        """Say what to do with what other nodes tell.

        :param topic: 1 to 64 characters.
        :param handler: called with (origin, data); must not wait, for all other messages wait meanwhile.
        :raises ValueError: when the topic has a handler.
        """
        self._hybrid().nodes.on(topic, handler)

    def members(self, room: Room, namespace: str) -> list[Member]:
        """The users in a room, by name, on all nodes; without asking anybody.

        :param room: None: everybody in the namespace. Those count who were announced with `announce`.
        """
        return self._hybrid().presence.members(room, namespace)

    def announce(self, sid: str, namespace: str, user: User) -> None:
        """Say who a client of this node is; all nodes know then where it is, until it disconnects."""
        self._hybrid().presence.announce(sid, namespace, user)

    def withdraw(self, sid: str, namespace: str) -> None:
        """Take back what `announce` said; a client that has disconnected needs no more."""
        if self.manager is not None:
            self.manager.presence.left(sid, namespace, None)

    def on_moved(self, handler: Callable[[list[Moved]], None]) -> None:
        """Call a function when users come into rooms or leave them, on any node; it must not wait."""
        self._hybrid().presence.listen(handler)

    def on_drain(self, handler: Callable[[bool], None], describe: Callable[[], dict[str, Any]]) -> None:
        """Say who drains this node; see `app.realtime.drain.Drain`.

        :param handler: called with what `drain_node` wants, from a greenlet that must not wait.
        :param describe: what the node says of itself when it is asked, beside its `id`.
        """
        if self.manager is not None:
            self.manager.on_drain = handler
            self.manager.describe = describe

    def on_queue_event(self, handler: Callable[[QueueEvent], Any]) -> Callable[[QueueEvent], Any]:
        """Decorator: call a function with each change of the queue, for metrics and alerts."""
        self._queue_handlers.append(handler)
        if self.server is not None:
            self._subscribe(handler)
        return handler

    def _subscribe(self, handler: Callable[[QueueEvent], Any]) -> None:
        if self.manager is not None:
            self.manager.subscribe(handler)

    def flush(self, timeout_seconds: float = 5.0) -> int:
        """Wait until everything emitted has gone through a broker; returns how many messages have not."""
        return self._hybrid().flush(timeout_seconds)

    def close(self, timeout_seconds: float = 5.0) -> int:
        """Flush and leave the channel; returns how many messages could not be delivered."""
        return self._hybrid().close(timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hybrid(self) -> HybridManager:
        if self.server is None:
            raise RuntimeError("call init_app first")
        if self.manager is None:
            raise RuntimeError("this SocketIO has a client_manager of its own, which has no such thing")
        return self.manager
