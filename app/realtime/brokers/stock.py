"""The pipes of python-socketio's own managers: its pub/sub channel on a Redis, its exchange on a RabbitMQ.

Other than a `Broker` they remember nothing: who does not listen at the moment misses what is published. They
are spoken as RedisManager and KombuManager speak them, at the engine's addresses and within its time limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Protocol

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.realtime.brokers import kind_of
from app.realtime.brokers.base import BrokerError, BrokerOptions
from app.realtime.brokers.redis_address import find_place

# How often a listener asks for an answer, so that it notices a server that gives none.
CHECK_SECONDS = 1.0
KOMBU_PREFIX = "kombu+"


class Pipe(Protocol):
    """`publish` and `listen` are each called by one thread or greenlet; both connect when they must."""

    def publish(self, bodies: Sequence[bytes]) -> None:
        """Hand them over, in this order. When it raises BrokerError, some may have been taken."""

    def listen(self) -> Iterator[list[bytes]]:
        """Yield what is published from the first, empty batch on; an empty one is a sign of life.

        :raises BrokerError: when the connection is lost, or silent for too long.
        """

    def close(self) -> None:
        """Close both connections, from any thread."""


def stock_pipe(url: str, channel: str, options: BrokerOptions) -> Pipe | None:
    """The pipe of the stock managers at a broker's address; None in memory, where there are no others."""
    if url.startswith("memory:"):
        return None
    if kind_of(url) == "redis":
        return StockRedis(url, channel, options)
    from app.realtime.brokers.stock_kombu import StockKombu, StockRabbitMQ

    if url.startswith(KOMBU_PREFIX):
        return StockKombu(url.removeprefix(KOMBU_PREFIX), channel, options)
    return StockRabbitMQ(url, channel, options)


class StockRedis:
    """PUBLISH and SUBSCRIBE, as RedisManager does. On a cluster any node tells all others."""

    def __init__(self, url: str, channel: str, options: BrokerOptions) -> None:
        self._place = find_place(url, options)
        self._channel = channel
        self._options = options
        self._writer: Any = None
        self._reader: Any = None
        self._closed = False

    def publish(self, bodies: Sequence[bytes]) -> None:
        """See `Pipe`."""
        with self._in_our_words():
            try:
                if self._writer is None:
                    self._writer = self._connect()
                writer = self._writer
                commands = [("PUBLISH", self._channel, body) for body in bodies]
                writer.send_packed_command(writer.pack_commands(commands), check_health=False)
                for _ in bodies:
                    writer.read_response()
            except BaseException:
                # Answers that are still to come belong to nobody.
                writer, self._writer = self._writer, None
                if writer is not None:
                    writer.disconnect()
                raise

    def listen(self) -> Iterator[list[bytes]]:
        """See `Pipe`."""
        with self._in_our_words():
            self._reader = reader = self._connect()
            try:
                reader.send_command("SUBSCRIBE", self._channel, check_health=False)
                reader.read_response()
                yield []
                heard, asked = monotonic(), 0.0
                while not self._closed:
                    batch: list[bytes] = []
                    with suppress(RedisTimeoutError):
                        wait_seconds = self._options.poll_seconds
                        while len(batch) < self._options.batch_parcels:
                            answer = reader.read_response(timeout=wait_seconds, disconnect_on_error=False)
                            wait_seconds = 0
                            heard = monotonic()
                            if answer[0] == b"message":
                                batch.append(answer[2])
                    now = monotonic()
                    if asked > heard:
                        if now - asked > self._options.answer_timeout_seconds:
                            raise BrokerError(f"{self._place.name}: no answer in time")
                    elif now - heard >= CHECK_SECONDS:
                        reader.send_command("PING", check_health=False)
                        asked = now
                    yield batch
            finally:
                reader.disconnect()

    def close(self) -> None:
        """See `Pipe`."""
        self._closed = True
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.disconnect()

    def _connect(self) -> Any:
        if self._closed:
            raise BrokerError("closed")
        # A cluster wants a key, and any will do.
        return self._place.connect(b"", self._options.answer_timeout_seconds)

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            text = "closed" if self._closed else f"{self._place.name}: {error or type(error).__name__}"
            raise BrokerError(text) from error
