"""What KombuManager speaks: a fanout exchange, on RabbitMQ or on any other transport of kombu's."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import amqp
import kombu as untyped_kombu

from app.realtime.brokers.base import BrokerError, BrokerOptions
from app.realtime.brokers.rabbitmq import Connection
from app.realtime.brokers.rabbitmq_address import read_addresses, shown

# It says that it has types, and has none.
kombu: Any = untyped_kombu
# How often a listener makes sure that it is bound, and that there is an answer.
CHECK_SECONDS = 1.0
# What KombuManager's str becomes.
CONTENT_TYPE, CONTENT_ENCODING = "text/plain", "utf-8"
TRANSIENT = 1  # AMQP's delivery mode; the queues are no more durable


class StockRabbitMQ:
    """A fanout exchange that is not durable, as KombuManager declares it, and a queue for each listener."""

    def __init__(self, url: str, channel: str, options: BrokerOptions) -> None:
        self._addresses = read_addresses(url)
        self._turn = 0
        self._exchange = channel
        self._options = options
        self._connections: dict[str, Connection] = {}
        self._closed = False

    def publish(self, bodies: Sequence[bytes]) -> None:
        """See `Pipe`."""
        connection = self._connections.get("publish")
        if connection is None or not connection.alive():
            connection = self._connect("publish")
        try:
            with connection.used():
                if connection.blocked is not None:
                    raise BrokerError(f"blocked: {connection.blocked}")
                connection.sock.settimeout(self._options.answer_timeout_seconds)
                for body in bodies:
                    message = amqp.Message(
                        body,
                        content_type=CONTENT_TYPE,
                        content_encoding=CONTENT_ENCODING,
                        delivery_mode=TRANSIENT,
                    )
                    # Not basic_publish, which looks at the socket before each message.
                    connection.channel(1).send_method(
                        amqp.spec.Basic.Publish, "Bssbb", (0, self._exchange, "", False, False), message
                    )
                # RabbitMQ does one after the other: what it answers now, it answers after those.
                self._declare(connection)
        except BaseException:
            connection.end()
            raise

    def listen(self) -> Iterator[list[bytes]]:
        """See `Pipe`."""
        connection = self._connect("listen")
        try:
            with connection.used():
                # KombuManager's queues stay for 5 minutes; this one goes with its connection.
                queue = f"python-socketio.{uuid.uuid4()}"
                channel = connection.channel(1)
                channel.queue_declare(queue, durable=False, exclusive=True, auto_delete=True)
                channel.queue_bind(queue, self._exchange)
                channel.basic_qos(0, 2 * self._options.batch_parcels, False)
                channel.basic_consume(queue)
            yield []
            checked = monotonic()
            while True:
                with connection.used():
                    batch = connection.take(self._options.batch_parcels, self._options.poll_seconds)
                    if monotonic() - checked >= CHECK_SECONDS:
                        self._declare(connection)
                        connection.channel(1).queue_bind(queue, self._exchange)
                        checked = monotonic()
                yield batch
        finally:
            connection.end()

    def close(self) -> None:
        """See `Pipe`."""
        self._closed = True
        for connection in list(self._connections.values()):
            connection.end()

    def _connect(self, purpose: str) -> Connection:
        if stale := self._connections.pop(purpose, None):
            stale.end()
        connection = Connection(
            self._addresses[self._turn % len(self._addresses)],
            connect_timeout_seconds=self._options.connect_timeout_seconds,
            answer_timeout_seconds=self._options.answer_timeout_seconds,
        )
        # Before anything else happens, where `close` finds it.
        self._connections[purpose] = connection
        if self._closed:
            raise BrokerError("closed")
        try:
            with connection.used():
                connection.connect()
                self._declare(connection)
        except BaseException:
            connection.end()
            self._turn += 1
            raise
        return connection

    def _declare(self, connection: Connection) -> None:
        connection.channel(1).exchange_declare(self._exchange, "fanout", durable=False, auto_delete=False)


class StockKombu:
    """KombuManager on any other transport of kombu's, which decides how long an answer may take."""

    def __init__(self, url: str, channel: str, options: BrokerOptions) -> None:
        self._url = url
        self._exchange = kombu.Exchange(channel, "fanout", durable=False)
        self._options = options
        self._ends: dict[str, Any] = {}
        self._locks = {"publish": threading.Lock(), "listen": threading.Lock()}
        self._closed = False

    def publish(self, bodies: Sequence[bytes]) -> None:
        """See `Pipe`."""
        with self._using("publish"):
            producer = kombu.Producer(self._connection("publish"), self._exchange)
            for body in bodies:
                producer.publish(
                    body, content_type=CONTENT_TYPE, content_encoding=CONTENT_ENCODING, retry=False
                )

    def listen(self) -> Iterator[list[bytes]]:
        """See `Pipe`."""
        heard: list[Any] = []
        queue = kombu.Queue(
            f"python-socketio.{uuid.uuid4()}", self._exchange, durable=False, auto_delete=True
        )
        with self._using("listen"):
            self._release("listen")
            channel = self._connection("listen").default_channel
            # Never message.payload: its sender would choose what decodes it.
            kombu.Consumer(
                channel, [queue], on_message=lambda message: heard.append(message.body), no_ack=True
            ).consume()
        checked = monotonic()
        while True:
            yield [body.encode() if isinstance(body, str) else bytes(body) for body in heard]
            with self._using("listen"):
                heard.clear()
                self._drain(self._options.poll_seconds)
                while heard and len(heard) < self._options.batch_parcels and self._drain(0):
                    pass
                if monotonic() - checked >= CHECK_SECONDS:
                    queue(self._connection("listen").default_channel).queue_declare()
                    checked = monotonic()

    def close(self) -> None:
        """See `Pipe`."""
        self._closed = True
        for purpose, lock in self._locks.items():
            if lock.acquire(timeout=self._options.answer_timeout_seconds / 2):
                try:
                    self._release(purpose)
                finally:
                    lock.release()

    def _connection(self, purpose: str) -> Any:
        if purpose not in self._ends:
            seconds = self._options.connect_timeout_seconds
            connection = self._ends[purpose] = kombu.Connection(self._url, connect_timeout=seconds)
            connection.ensure_connection(timeout=seconds, max_retries=1)
        return self._ends[purpose]

    def _release(self, purpose: str) -> None:
        connection = self._ends.pop(purpose, None)
        if connection is not None:
            # It is of no use any more, whatever it says about that.
            with suppress(Exception):
                connection.release()

    def _drain(self, seconds: float) -> bool:
        try:
            self._connection("listen").drain_events(timeout=seconds)
        except TimeoutError:
            return False
        return True

    @contextmanager
    def _using(self, purpose: str) -> Iterator[None]:
        with self._locks[purpose]:
            try:
                if self._closed:
                    raise BrokerError("closed")
                yield
            # Every transport raises what its library does, and KeyError and AttributeError when it is cut.
            except Exception as error:
                self._release(purpose)
                # Its text may be made of the address, password and all.
                raise BrokerError(f"{shown(self._url)}: {type(error).__name__}") from error
