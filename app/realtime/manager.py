"""The client manager: what it does to clients of this node, it lets all other nodes do to theirs.

    emit()   encode once -> clients of this node -> the channel
    _apply() what another node emitted -> clients of this node

Without brokers there is no channel, and it is the manager of a single process.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from gevent import monkey

from app.realtime import frames
from app.realtime.brokers import parse_message_queue
from app.realtime.errors import NotSerializable, QueueError
from app.realtime.local import LocalManager, room_name, room_names, sids
from app.realtime.node_messages import NodeMessages
from app.realtime.presence_keeper import TOPIC, PresenceKeeper
from app.realtime.queue import envelope
from app.realtime.queue.channel import Channel
from app.realtime.queue.envelope import AnyMessage
from app.realtime.queue.exchange import Exchange
from app.realtime.queue.journal import status_of
from app.realtime.queue.options import QueueOptions, QueueStrategy
from app.realtime.queue.routing import QueueEvent

if TYPE_CHECKING:
    from app.realtime.stock.neighbours import Neighbours

logger = logging.getLogger(__name__)

DEFAULT_CHANNEL = "flask-socketio"
STRATEGIES = ("failover", "dual-write")


class HybridManager(LocalManager):
    """A client manager over several brokers, for `client_manager=` of a Socket.IO server.

    :param urls: the brokers' addresses, best first: a list, or a comma-separated string. None: no broker.
    :param strategy: "failover" (publish on the first healthy broker) or "dual-write" (on every healthy one).
    :param channel: what the processes of one application share on the brokers.
    :param secret: signs what is published, and what is not signed by it is refused.
    :param stock_channel: the channel of emitters and nodes that use python-socketio's own managers, to hear
        them and be heard; see docs/migration.md.
    :param options: bounds and patience.
    :param write_only: this process emits and has no clients.
    :raises ValueError: for an address, a strategy or an option that makes no sense.
    """

    name = "hybrid"

    def __init__(
        self,
        urls: str | list[str] | None = None,
        *,
        strategy: QueueStrategy = "failover",
        channel: str = DEFAULT_CHANNEL,
        secret: str | None = None,
        stock_channel: str | None = None,
        options: QueueOptions | None = None,
        write_only: bool = False,
    ) -> None:
        self.options = options or QueueOptions()
        super().__init__(self.options.ack_seconds)
        if strategy not in STRATEGIES:
            raise ValueError(f"queue_strategy={strategy!r}: allowed are {', '.join(STRATEGIES)}")
        self.strategy = strategy
        self.write_only = write_only
        self._made_at = time.time()
        # Called when an operator wants this node to drain (True), or to serve again.
        self.on_drain: Callable[[bool], None] | None = None
        self.describe: Callable[[], dict[str, Any]] = dict
        self.node_id: str | None = None
        self.nodes = NodeMessages(self._publish)
        self.channel: Channel | None = None
        addresses = parse_message_queue(urls)
        if addresses:
            self.channel = Channel(
                addresses,
                strategy=strategy,
                name=channel,
                secret=secret,
                options=self.options,
                deliver=None if write_only else self._apply,
            )
            self.channel.describe = self._node
            self.presence = PresenceKeeper(self, functools.partial(self.nodes.tell, TOPIC), self._alive)
            self.nodes.on(TOPIC, self.presence.take)
        self._neighbours = self._make_neighbours(addresses, stock_channel)

    def _make_neighbours(self, addresses: list[str], stock_channel: str | None) -> Neighbours | None:
        if not stock_channel:
            return None
        if not addresses:
            raise ValueError("stock_channel needs a message_queue: name the broker that the others use")
        # Nobody else needs it.
        from app.realtime.stock.neighbours import Here, Neighbours

        here = Here(lambda: self.origin, self.concerns, self.emit, self._apply, self.acknowledged)
        return Neighbours(addresses, stock_channel, self.options, here, listen=not self.write_only)

    # The queue.

    def start(self) -> None:
        """Connect to the brokers now."""
        if self.channel is not None:
            self.channel.start()
        if self._neighbours is not None:
            self._neighbours.start()
        if not self.write_only:
            self.presence.start(self.origin)

    def _alive(self) -> tuple[list[str], bool]:
        """The other nodes that live, and whether any broker works."""
        assert self.channel is not None
        exchange = self.channel.exchange
        return exchange.peers.nodes, any(link.state == "up" for link in exchange.router.links.values())

    def status(self) -> dict[str, Any]:
        """The state of the queue; see `SocketIO.queue_status`."""
        if self.channel is not None:
            status = self.channel.status()
            if self._neighbours is not None:
                status["stock"] = self._neighbours.status()
                status["rejected"] |= self._neighbours.rejected
            return status
        return self._status_in_process()

    def _status_in_process(self) -> dict[str, Any]:
        """In the same form, so that nobody needs to ask whether there is a queue."""
        exchange = Exchange(
            ["memory"],
            strategy=self.strategy,
            channel="",
            secret=None,
            options=self.options,
            is_node=not self.write_only,
            now=0.0,
            wall=lambda: self._made_at,
            origin=self.origin,
        )
        exchange.router.active = "memory"
        link = exchange.router.links["memory"]
        link.state, link.hears = "up", True
        return {"node": self._node(), **status_of(exchange, 0.0), "events": []}

    def _node(self) -> dict[str, Any]:
        return {"id": self.node_id, **self.describe()}

    def switch(self, name: str | None, *, everywhere: bool = False) -> None:
        """Prefer a broker; see `SocketIO.switch_queue`."""
        if self.channel is None:
            raise ValueError("there is no message queue to switch")
        self.channel.switch(name)
        if everywhere:
            self.channel.send(envelope.Switch(name))

    def drain_node(self, node_id: str, drain: bool) -> None:
        """Let a node drain, or serve again; see `SocketIO.drain_node`."""
        if self.channel is None:
            raise ValueError("there is no message queue to reach other nodes by")
        message = envelope.DrainNode(node_id, drain)
        self._drain(message)
        self.channel.send(message)

    def _drain(self, message: envelope.DrainNode) -> None:
        if message.node == self.node_id and self.on_drain is not None:
            self.on_drain(message.drain)

    def subscribe(self, handler: Callable[[QueueEvent], Any]) -> None:
        """Call a function with each change of the queue."""
        if self.channel is not None:
            self.channel.journal.subscribe(handler)

    def flush(self, timeout_seconds: float) -> int:
        """Wait until everything went through a broker; returns how many messages have not."""
        deadline = time.monotonic() + timeout_seconds
        left = self.channel.flush(timeout_seconds) if self.channel else 0
        if self._neighbours is not None:
            self._neighbours.flush(deadline - time.monotonic())
        return left

    def close(self, timeout_seconds: float) -> int:
        """Flush and leave the channel; returns how many messages could not be delivered."""
        deadline = time.monotonic() + timeout_seconds
        self.presence.stop()
        left = self.channel.close(timeout_seconds) if self.channel else 0
        if self._neighbours is not None:
            self._neighbours.close(deadline - time.monotonic())
        return left

    @property
    def origin(self) -> str:
        """Who this process is on the channel."""
        return self.channel.origin if self.channel else ""

    def initialize(self) -> None:
        """Start to listen; the server calls it before the first request.

        :raises RuntimeError: when the server runs on greenlets and the standard library does not.
        """
        super().initialize()
        if self.channel is None:
            return
        if "gevent" in self.server.async_mode and not monkey.is_module_patched("socket"):
            raise RuntimeError(
                "a message queue under gevent needs patched sockets: before all other imports, write "
                "`from gevent import monkey; monkey.patch_all()`"
            )
        self.start()

    # What the server asks for.

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: Any = None,
        skip_sid: Any = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        **kwargs: Any,
    ) -> None:
        """Emit to a client, a room, or everybody in a namespace, on all nodes.

        The parameters are those of `socketio.Server.emit`; `ignore_queue=True` stays on this node, and
        `volatile=True` need not reach a client that is behind (see `TransportOptions`), nor other nodes while
        no broker works. A callback is called for each client that acknowledges within
        `QueueOptions.ack_seconds`.

        :raises NotSerializable: when the data cannot travel; nobody has got anything then.
        :raises MessageTooLarge: when it is too much.
        :raises OutboxFull: when no broker takes anything and the overflow policy is "reject" or "block".
        """
        if self.write_only and self.channel is None:
            raise RuntimeError("there is no message_queue: nobody would hear it")
        self.meters.emits += 1
        room = to or room
        namespace = namespace or "/"
        everywhere = self.channel is not None and not kwargs.get("ignore_queue")
        if callback is not None and everywhere:
            if self.write_only:
                raise RuntimeError("Callbacks can only be issued from the context of a server.")
            if room is None:
                raise ValueError("Cannot use callback without a room set.")
        skip = sids(skip_sid)
        volatile = bool(kwargs.get("volatile"))
        if not everywhere:
            encoded = frames.encode_event(event, data, namespace)
            if callback is None:
                self.deliver(namespace, room, skip, 0, encoded, self.origin, volatile)
            else:
                self.ask_here(event, data, namespace, room, skip, callback)
            return
        room = room_names(room)
        ack = self.acks.expect(callback, room, time.monotonic()) if callback else 0
        try:
            encoded = frames.encode_event(event, data, namespace, ack or None)
            raw = msgspec.Raw(envelope.encode_body(encoded))
            self._publish(envelope.Emit, namespace, room, skip, ack, raw, volatile)
        except BaseException:
            self.acks.cancel(ack)
            raise
        if ack:
            self.expire_acks()
        self.deliver(namespace, room, skip, ack, encoded, self.origin, volatile)

    def can_disconnect(self, sid: str, namespace: str) -> bool:
        """Whether a client is here to be disconnected; asks the other nodes to do it if it is not."""
        if self.is_connected(sid, namespace) or self.channel is None:
            return bool(super().can_disconnect(sid, namespace))
        if self.is_here(sid, namespace):
            # It comes or goes right now.
            return False
        self._publish(envelope.Disconnect, sid, namespace)
        return False

    def disconnect(self, sid: str, namespace: str, **kwargs: Any) -> Any:
        """Forget a client of this node that is disconnected."""
        self.acks.forget(sid)
        return super().disconnect(sid, namespace)

    def enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> Any:
        """Put a client into a room, on whichever node it is."""
        if self.is_here(sid, namespace) or self.channel is None:
            return super().enter_room(sid, namespace, room, eio_sid=eio_sid)
        return self._publish(envelope.EnterRoom, sid, namespace, room_name(room))

    def leave_room(self, sid: str, namespace: str, room: Any) -> Any:
        """Take a client out of a room, on whichever node it is."""
        if self.is_here(sid, namespace) or self.channel is None:
            return super().leave_room(sid, namespace, room)
        return self._publish(envelope.LeaveRoom, sid, namespace, room_name(room))

    def close_room(self, room: Any, namespace: str | None = None) -> None:
        """Take everybody out of a room, on all nodes."""
        namespace = namespace or "/"
        if self.channel is not None:
            room = room_name(room)
        super().close_room(room, namespace)
        if self.channel is not None:
            self._publish(envelope.CloseRoom, room, namespace)

    def trigger_callback(self, sid: str, id: int, data: Iterable[Any]) -> None:
        """A client of this node acknowledges an event."""
        if not isinstance(data, list | tuple):
            logger.info("%s acknowledged an event without a list of arguments", sid)
            return
        if id and id in self.callbacks.get(sid, ()):
            super().trigger_callback(sid, id, data)
            return
        origin = self.acks.answered(sid, id, time.monotonic())
        if origin is None:
            logger.debug("an acknowledgement that nobody waits for, or not any more")
        elif origin == self.origin:
            callback = self.acks.callback(sid, id, time.monotonic())
            if callback is not None:
                callback(*data)
        else:
            try:
                encoded = frames.encode_arguments(data, "acknowledgement")
                self._publish(envelope.Ack, origin, sid, id, msgspec.Raw(envelope.encode_body(encoded)))
            except QueueError as error:
                # Nobody here could do anything about it.
                logger.warning("an acknowledgement of %s was not handed on: %s", sid, error)

    # To and from other nodes.

    def _publish(self, kind: type[AnyMessage], *values: Any) -> None:
        if self.channel is None:
            return
        try:
            message = kind(*values)
            self.channel.send(message)
            if self._neighbours is not None and not isinstance(message, envelope.Ack | envelope.Told):
                self._neighbours.publish(message)
        except (TypeError, UnicodeEncodeError, OverflowError) as error:
            if isinstance(error, NotSerializable):
                raise
            raise NotSerializable(f"{kind.__name__}{values[:2]!r} cannot travel: {error}") from None

    def _apply(self, origin: str, message: AnyMessage) -> None:
        """Do what another process wants; what concerns no client of this node costs next to nothing."""
        match message:
            case envelope.Emit():
                if self.concerns(message.namespace, message.room):
                    encoded = frames.decode(message.frames)
                    self.deliver(
                        message.namespace,
                        message.room,
                        message.skip,
                        message.ack,
                        encoded,
                        origin,
                        message.volatile,
                    )
            case envelope.Disconnect():
                self.end(message.sid, message.namespace)
            case envelope.EnterRoom():
                if self.is_here(message.sid, message.namespace):
                    super().enter_room(message.sid, message.namespace, message.room)
            case envelope.LeaveRoom():
                if self.is_here(message.sid, message.namespace):
                    super().leave_room(message.sid, message.namespace, message.room)
            case envelope.CloseRoom():
                super().close_room(message.room, message.namespace)
            case envelope.Ack():
                if message.to == self.origin:
                    values = frames.decode_arguments(frames.decode(message.frames))
                    self.acknowledged(message.sid, message.ack, values)
            case envelope.Told():
                self.nodes.take(origin, message)
            case envelope.Switch():
                assert self.channel is not None
                self.channel.switch(message.broker)
            case envelope.DrainNode():
                self._drain(message)
