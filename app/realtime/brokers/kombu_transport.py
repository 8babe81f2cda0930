"""Any transport of kombu's that can publish to everybody, by kombu's own means.

One message after the other, and nothing is confirmed. What is remembered for a listener that was cut off, and
how long an answer may take, is the transport's: kombu+redis remembers nothing, and is bounded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import kombu as untyped_kombu
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, get_transport_cls
from kombu.utils.url import url_to_parts

from app.realtime.brokers.base import BrokerError, BrokerOptions, BrokerRefused
from app.realtime.brokers.rabbitmq_address import shown

# It says that it has types, and has none.
kombu: Any = untyped_kombu
# How often a listener asks for an answer, so that it notices a server that gives none.
CHECK_SECONDS = 1.0
# How long a transport that polls (memory, filesystem) sleeps between two looks; kombu's own is 1 s.
POLLING_SECONDS = 0.02
# How often a listener looks whether it shall end.
LOOK_SECONDS = 0.1
PARCEL = "application/octet-stream"
# What a listener says to itself, and hears when it is subscribed.
HELLO = "application/x-hello"


def find_transport(url: str) -> Any:
    """Find kombu's class for an address.

    :raises ValueError: when there is none, or it cannot publish to everybody.
    """
    scheme = url.partition("://")[0].partition("+")[0] if "://" in url else ""
    if scheme in {"amqp", "amqps", "pyamqp"}:
        raise ValueError(f"kombu+{scheme}://...: write {scheme.removeprefix('py')}://... without kombu+")
    if scheme not in TRANSPORT_ALIASES:
        known = ", ".join(sorted(TRANSPORT_ALIASES))
        raise ValueError(f"kombu+{shown(url)}: kombu has no transport {scheme!r}; it has {known}")
    try:
        transport: Any = get_transport_cls(scheme)
        kombu.Connection(url)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"kombu+{scheme}://...: the library of this transport is missing: {error}") from None
    except ValueError:
        raise ValueError(
            f"kombu+{scheme}://...: kombu cannot read it; percent-encode / @ : ? # in a password"
        ) from None
    channel = getattr(transport, "Channel", None)
    fanout = getattr(channel, "supports_fanout", "fanout" in transport.implements.exchange_type)
    if not fanout:
        raise ValueError(
            f"kombu+{scheme}://...: kombu cannot publish to everybody there (no fanout); use redis://, "
            "amqp:// or another transport with fanout"
        )
    return transport


class _End:
    """One of the two connections, and the lock that whoever uses it holds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Any = None

    def release(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            # It is of no use any more, whatever it says about that.
            with suppress(Exception):
                connection.release()


class AnyTransport:
    """Publish to and listen at an exchange of any transport, as `Broker` wants it."""

    def __init__(self, url: str, exchange: str, queue: str, options: BrokerOptions) -> None:
        transport = find_transport(url)
        self._url = url
        self._options = options
        self._exchange = kombu.Exchange(exchange, "fanout", durable=True)
        self._queue = kombu.Queue(queue, self._exchange, durable=True, expires=options.keep_seconds)
        self._settings: dict[str, Any] = {}
        if getattr(transport, "polling_interval", None):
            self._settings["polling_interval"] = POLLING_SECONDS
        if transport.driver_type == "redis":
            self._settings["socket_connect_timeout"] = options.connect_timeout_seconds
            self._settings["socket_timeout"] = options.answer_timeout_seconds
        self._publisher = _End()
        self._listener = _End()
        self._heard: list[bytes] = []
        self._hears_itself = False
        self._declared = False
        self._closed = False

    def publish(self, parcels: Sequence[bytes]) -> None:
        """See `Broker.publish`."""
        end = self._publisher
        with self._using(end):
            producer = kombu.Producer(end.connection or self._connect(end), self._exchange)
            for parcel in parcels:
                producer.publish(parcel, content_type=PARCEL, content_encoding="binary", retry=False)

    def listen(self) -> Iterator[list[bytes]]:
        """See `Broker.listen`."""
        end = self._listener
        with self._using(end):
            end.release()
            self._subscribe(self._connect(end))
        checked = monotonic()
        batch: list[bytes] = []
        while True:
            try:
                yield batch
            except GeneratorExit:
                with end.lock:
                    end.release()
                raise
            with self._using(end):
                if end.connection is None:
                    raise BrokerError("closed")
                del self._heard[: len(batch)]
                self._collect(end)
                if monotonic() - checked >= CHECK_SECONDS:
                    # Redis, for one, answers with the length of a list.
                    self._queue(end.connection.default_channel).queue_declare()
                    checked = monotonic()
                batch = self._heard[: self._options.batch_parcels]

    def _collect(self, end: _End) -> None:
        """Take in what is there, waiting for the first one."""
        until = monotonic() + self._options.poll_seconds
        while not self._heard and (left := until - monotonic()) > 0:
            self._drain(end, min(left, LOOK_SECONDS))
            if self._closed:
                raise BrokerError("closed")
        while len(self._heard) < self._options.batch_parcels and self._drain(end, 0):
            pass

    def close(self, *, forget: bool = False) -> None:
        """See `Broker.close`. Who waits for an answer is waited for; then the connection is left to him."""
        self._closed = True
        for end in (self._publisher, self._listener):
            if end.lock.acquire(timeout=self._options.answer_timeout_seconds / 2):
                try:
                    if forget and self._declared and end is self._listener:
                        self._forget(end)
                    end.release()
                finally:
                    end.lock.release()

    def _forget(self, end: _End) -> None:
        # Best effort, of any library: what fails now expires, or is swept by hand.
        with suppress(Exception):
            connection = end.connection or self._connect(end)
            queue = self._queue(connection.default_channel)
            queue.declare()  # kombu deletes only the bindings that it knows of
            queue.delete()

    def _connect(self, end: _End) -> Any:
        seconds = self._options.connect_timeout_seconds
        end.connection = kombu.Connection(
            self._url, connect_timeout=seconds, transport_options=dict(self._settings)
        )
        end.connection.ensure_connection(
            max_retries=1, interval_start=0, interval_step=0, interval_max=0, timeout=seconds
        )
        return end.connection

    def _subscribe(self, connection: Any) -> None:
        """Bind, consume, and wait until we hear ourselves: only then nothing is missed any more."""
        self._declared = True
        channel = connection.default_channel
        kombu.Consumer(
            channel,
            [self._queue],
            on_message=self._take_in,
            no_ack=True,
        ).consume()
        hello = self._queue.name.encode()
        producer = kombu.Producer(connection.channel(), self._exchange)
        until = monotonic() + self._options.answer_timeout_seconds
        self._hears_itself = False
        while not self._hears_itself:
            if monotonic() >= until:
                raise BrokerError(f"{shown(self._url)}: we do not hear what we publish")
            # Again and again: the first ones may leave before we are subscribed.
            producer.publish(hello, content_type=HELLO, content_encoding="binary", retry=False)
            self._drain(self._listener, POLLING_SECONDS)

    def _take_in(self, message: Any) -> None:
        body = bytes(message.body)
        if message.content_type == PARCEL:
            self._heard.append(body)
        elif body == self._queue.name.encode():
            self._hears_itself = True

    def _drain(self, end: _End, seconds: float) -> bool:
        """Take in one message; tell whether there was one."""
        try:
            end.connection.drain_events(timeout=seconds)
        except TimeoutError:
            return False
        return True

    @contextmanager
    def _using(self, end: _End) -> Iterator[None]:
        """Hold a connection, and tell all errors in our own words; the connection is released then."""
        with end.lock:
            try:
                if self._closed:
                    raise BrokerError("closed")
                yield
            except BrokerError:
                end.release()
                raise
            # Every transport raises what its library does, and KeyError and AttributeError when it is cut.
            except Exception as error:
                refusals = end.connection.channel_errors if end.connection is not None else ()
                end.release()
                cause = error.__cause__ if isinstance(error, OperationalError) and error.__cause__ else error
                refused = isinstance(cause, refusals) or "Authentication" in type(cause).__name__
                text = f"{shown(self._url)}: {str(cause) or type(cause).__name__}"
                raise (BrokerRefused if refused else BrokerError)(self._without_password(text)) from error
            except BaseException:
                # A greenlet was killed: whose answers are still to come?
                end.release()
                raise

    def _without_password(self, text: str) -> str:
        password = url_to_parts(self._url).password
        return " ".join((text.replace(password, "***") if password else text).split())
