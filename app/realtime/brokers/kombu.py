"""The broker for RabbitMQ, and for whatever else kombu can reach and publish to everybody with.

RabbitMQ gets what it is good at: a durable fanout exchange, one durable queue per process that outlives lost
connections, persistent parcels, and confirms for a whole batch at once. What kombu reaches otherwise
(`kombu+redis://...`) promises nothing of that; the nodes repair what it loses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from time import monotonic

from app.realtime.brokers.base import Broker, BrokerError, BrokerOptions
from app.realtime.brokers.kombu_transport import AnyTransport
from app.realtime.brokers.rabbitmq import Blocked, Connection, NotFound
from app.realtime.brokers.rabbitmq_address import read_addresses

PREFIX = "kombu+"
# How often a listener makes sure that it is bound: an exchange that somebody deleted is back so soon, and a
# broker that does not answer is noticed so soon, and `answer_timeout_seconds` later.
CHECK_SECONDS = 1.0
# AMQP's limit on the names of exchanges and queues.
NAME_BYTES = 255


class KombuBroker(Broker):
    """`amqp://`, `amqps://` (RabbitMQ), or `kombu+` before any address that kombu knows.

    `amqp://user:password@host:5672/vhost`; several nodes of one cluster with `;` between them, of which the
    first that answers is taken. `amqps` takes `?ssl_ca_certs=`, `ssl_certfile=`, `ssl_keyfile=`,
    `ssl_cert_reqs=required|none`, `ssl_check_hostname=true|false`.

    On RabbitMQ, the exchange is `socketio.CHANNEL`, which is not the one of python-socketio itself, and the
    queues are `socketio.CHANNEL.ORIGIN`; `BrokerOptions.keep_*` bound them.
    """

    def __init__(self, url: str, channel: str, origin: str, options: BrokerOptions) -> None:
        super().__init__(url, channel, origin, options)
        exchange = f"socketio.{channel}"
        queue = f"{exchange}.{origin}"
        if len(queue.encode()) > NAME_BYTES:
            raise ValueError(
                f"channel {channel!r} is too long: the queue {queue!r} exceeds {NAME_BYTES} bytes"
            )
        self._pipe: AnyTransport | _RabbitMQ
        if url.startswith(PREFIX):
            self.kind = "kombu"
            self._pipe = AnyTransport(url.removeprefix(PREFIX), exchange, queue, options)
        else:
            self.kind = "rabbitmq"
            self._pipe = _RabbitMQ(url, exchange, queue, options)

    def publish(self, parcels: Sequence[bytes]) -> None:
        """Publish to everybody; on RabbitMQ, until everything is confirmed.

        RabbitMQ that blocks publishers for want of memory or disk is a BrokerRefused, "blocked: ...". That
        connection stays open and is looked at by the next call: a new one would be blocked as well, and
        each would leave a copy of the parcels in front of RabbitMQ's door.
        """
        if parcels:
            self._pipe.publish(parcels)

    def listen(self) -> Iterator[list[bytes]]:
        """Yield what arrives in this origin's queue; the next batch acknowledges the one before."""
        return self._pipe.listen()

    def close(self, *, forget: bool = False) -> None:
        """Close both connections, and delete the queue if it is to be forgotten."""
        self._pipe.close(forget=forget)


class _RabbitMQ:
    def __init__(self, url: str, exchange: str, queue: str, options: BrokerOptions) -> None:
        self.exchange = exchange
        self.queue = self._first_queue = queue
        self.options = options
        self.closed = False
        self.declared = False  # there may be a queue to forget
        self._addresses = read_addresses(url)
        self._turn = 0  # which address to try first: the one that answered last
        self._connections: dict[str, Connection] = {}  # by what they are for
        self._attempts = count(1)

    def publish(self, parcels: Sequence[bytes]) -> None:
        connection = self._connections.get("publish")
        if connection is None or not connection.alive():
            connection = self._connect("publish", self._prepare_to_publish)
        try:
            with connection.used():
                connection.publish(self.exchange, parcels)
        except Blocked:
            raise
        except BaseException:
            connection.end()
            raise

    def listen(self) -> Iterator[list[bytes]]:
        connection = self._connect("listen", self._prepare_to_listen)
        try:
            yield []
            checked = monotonic()
            while True:
                with connection.used():
                    batch = connection.take(self.options.batch_parcels, self.options.poll_seconds)
                    if monotonic() - checked >= CHECK_SECONDS:
                        self._bind(connection)
                        checked = monotonic()
                yield batch
        finally:
            connection.end()

    def close(self, *, forget: bool = False) -> None:
        self.closed = True
        for connection in list(self._connections.values()):
            connection.end()
        if forget and self.declared:
            with suppress(BrokerError):
                half = self.options.answer_timeout_seconds / 2
                self._connect("forget", self._delete_queue, half, half).end()

    def _connect(
        self,
        purpose: str,
        prepare: Callable[[Connection], None],
        connect_seconds: float | None = None,
        answer_seconds: float | None = None,
    ) -> Connection:
        """Connect to the first address that answers, beginning with the one that did the last time."""
        if stale := self._connections.pop(purpose, None):
            stale.end()
        until = monotonic() + (connect_seconds or self.options.connect_timeout_seconds)
        tried = 0
        while True:
            connection = Connection(
                self._addresses[self._turn % len(self._addresses)],
                connect_timeout_seconds=max(0.1, until - monotonic()),
                answer_timeout_seconds=answer_seconds or self.options.answer_timeout_seconds,
            )
            # Before anything else happens, where `close` finds it; so one of us sees the other.
            self._connections[purpose] = connection
            if self.closed and purpose != "forget":
                raise BrokerError("closed")
            try:
                with connection.used():
                    connection.connect()
                    prepare(connection)
            except BrokerError:
                connection.end()
                self._turn += 1
                tried += 1
                if tried == len(self._addresses) or monotonic() >= until:
                    raise
            else:
                return connection

    def _prepare_to_publish(self, connection: Connection) -> None:
        self._declare_exchange(connection)
        connection.channel(1).confirm_select()

    def _prepare_to_listen(self, connection: Connection) -> None:
        channel = connection.channel(1)
        self.declared = True
        self._declare_exchange(connection)
        try:
            channel.queue_declare(
                self.queue, durable=True, auto_delete=False, arguments=self._queue_arguments()
            )
        except NotFound:
            # In a cluster: the queue lives on a node that is down, and nobody may have its name until that is
            # back. Under another one we hear again at the next attempt; what is missing is repaired.
            self.queue = f"{self._first_queue}.{next(self._attempts)}"
            raise
        self._bind(connection)
        channel.basic_qos(0, 2 * self.options.batch_parcels, False)
        # Of two consumers the newer is served: the older is the rest of a connection that was cut, which
        # RabbitMQ has not noticed yet.
        newer = {"x-priority": next(self._attempts)}
        channel.basic_consume(self.queue, arguments=newer)

    def _queue_arguments(self) -> dict[str, str | int]:
        return {
            "x-queue-type": "classic",
            "x-expires": max(1, int(self.options.keep_seconds * 1000)),
            "x-max-length": self.options.keep_parcels,
            "x-max-length-bytes": self.options.keep_bytes,
            "x-overflow": "drop-head",
        }

    def _declare_exchange(self, connection: Connection) -> None:
        connection.channel(1).exchange_declare(self.exchange, "fanout", durable=True, auto_delete=False)

    def _bind(self, connection: Connection) -> None:
        self._declare_exchange(connection)
        connection.channel(1).queue_bind(self.queue, self.exchange)

    def _delete_queue(self, connection: Connection) -> None:
        connection.channel(1).queue_delete(self.queue)
