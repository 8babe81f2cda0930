"""The drop-in SocketIO: flask_socketio's, plus what the library does not tell a handler."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, Literal

import flask_socketio
import redis
import socketio as pysocketio
from flask import Flask
from kombu.connection import Connection

from app.realtime.protocol import BadPacketError, harden

logger = logging.getLogger(__name__)

QueueStrategy = Literal["failover", "dual-write"]
STRATEGIES = ("failover", "dual-write")
# A broker on the same network answers within milliseconds; a readiness check must not hang.
PING_TIMEOUT_SECONDS = 1.0

# Names that only the server itself may trigger.
RESERVED_EVENTS = frozenset({"connect", "disconnect"})

_ack_wanted: ContextVar[bool] = ContextVar("ack_wanted", default=False)


def client_wants_ack() -> bool:
    """Whether the client whose event is in hand waits for an acknowledgement."""
    return _ack_wanted.get()


class Server(pysocketio.Server):  # type: ignore[misc]
    """python-socketio's server that remembers whether a client asked for an acknowledgement."""

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        environ = self.environ.get(eio_sid)
        if environ is None:
            # The connection was closed while its first packet waited to be handled.
            return
        super()._handle_connect(eio_sid, namespace, data)
        if eio_sid not in self.environ:
            # It was closed while the connect handler waited, and the library runs no disconnect handler then.
            self.environ[eio_sid] = environ
            try:
                self._handle_disconnect(eio_sid, namespace, self.reason.TRANSPORT_CLOSE)
            finally:
                del self.environ[eio_sid]

    def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            super()._handle_eio_message(eio_sid, data)
        except (BadPacketError, ValueError) as error:
            # The one ValueError of the library's own here; any other comes from a handler and is a defect.
            if isinstance(error, ValueError) and error.args != ("Unexpected binary packet",):
                raise
            logger.info("a client sent a packet that makes no sense: %s", error)
            self._binary_packet.pop(eio_sid, None)
            if eio_sid in self.eio.sockets:
                self.eio.sockets[eio_sid].close(wait=False)

    def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:
        # The library trusts a packet: a number in the place of the name ends in a stack trace there, and an
        # event called "disconnect" runs the handler of a real one. Without a name nothing handles them.
        named = isinstance(data, list) and data and isinstance(data[0], str)
        if not named or data[0] in RESERVED_EVENTS:
            logger.info("a client sent an event without a name of its own")
            data = ["", *(data[1:] if isinstance(data, list) else [])]
        super()._handle_event(eio_sid, namespace, id, data)

    def _handle_event_internal(
        self, server: Any, sid: str, eio_sid: str, data: list[Any], namespace: str, id: int | None
    ) -> None:
        token = _ack_wanted.set(id is not None)
        try:
            super()._handle_event_internal(server, sid, eio_sid, data, namespace, id)
        finally:
            _ack_wanted.reset(token)


def parse_message_queue(value: str | list[str] | None) -> list[str]:
    """Turn the `message_queue` argument into a list of addresses, best first; empty means in process."""
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else list(value)
    return [part.strip() for part in parts if part.strip()]


class SocketIO(flask_socketio.SocketIO):  # type: ignore[misc]
    """Drop-in replacement of `flask_socketio.SocketIO`.

    Every argument, decorator and method of the base class keeps its meaning. Further arguments, here or in
    `init_app`:

    :param message_queue: `None` (in process), or the address of one broker.
    :param queue_strategy: `"failover"` or `"dual-write"`; decides what several brokers are for.
    :param channel: the name that the nodes of one application share on the queue.
    :raises ValueError: for an unknown strategy, or more brokers than are supported.
    """

    def __init__(self, app: Flask | None = None, **kwargs: Any) -> None:
        self.queue_urls: list[str] = []
        self.queue_strategy: QueueStrategy = "failover"
        super().__init__(app, **kwargs)

    def init_app(self, app: Flask | None, **kwargs: Any) -> None:
        """Bind to an application; see `flask_socketio.SocketIO.init_app`."""
        options = {**self.server_options, **kwargs}
        self.queue_strategy = options.get("queue_strategy", "failover")
        if self.queue_strategy not in STRATEGIES:
            raise ValueError(f"queue_strategy={self.queue_strategy!r}: allowed are {', '.join(STRATEGIES)}")
        self.queue_urls = parse_message_queue(options.get("message_queue"))
        if len(self.queue_urls) > 1:
            raise ValueError(
                f"message_queue names {len(self.queue_urls)} brokers, and one is supported: keep the one "
                "that all nodes reach"
            )
        self.server_options.pop("queue_strategy", None)
        kwargs.pop("queue_strategy", None)
        kwargs["message_queue"] = self.queue_urls[0] if self.queue_urls else None
        super().init_app(app, **kwargs)
        # Flask-SocketIO builds the server itself and offers no hook; the subclass only adds to a few methods.
        self.server.__class__ = Server
        harden(self.server)
        # The library has handed over the method of before.
        self.server.eio.on("message", self.server._handle_eio_message)

    def queue_status(self) -> dict[str, Any]:
        """Tell how the message queue is, after asking it: this may take a second when it does not answer.

        :returns: `strategy`, `active` (a broker's name, None when none answers), and `brokers`, by name, each
            with `state` ("up" or "down") and `error`.
        """
        if not self.queue_urls:
            return {
                "strategy": self.queue_strategy,
                "active": "memory",
                "brokers": {"memory": {"state": "up", "error": None}},
            }
        url = self.queue_urls[0]
        name = "redis" if url.startswith(("redis", "unix")) else "rabbitmq"
        error = _ping(url)
        return {
            "strategy": self.queue_strategy,
            "active": None if error else name,
            "brokers": {name: {"state": "down" if error else "up", "error": error}},
        }


def _ping(url: str) -> str | None:
    """Ask a broker for a sign of life; the reason when there is none."""
    try:
        if url.startswith(("redis", "unix")):
            with redis.Redis.from_url(
                url, socket_connect_timeout=PING_TIMEOUT_SECONDS, socket_timeout=PING_TIMEOUT_SECONDS
            ) as client:
                client.ping()
        else:
            with Connection(url, connect_timeout=PING_TIMEOUT_SECONDS) as connection:  # type: ignore[no-untyped-call]
                connection.ensure_connection(max_retries=1, timeout=PING_TIMEOUT_SECONDS)
    except Exception as error:
        # Brokers' libraries raise trees of their own, and for a status every failure is an answer.
        return f"{type(error).__name__}: {error}"
    return None
