"""One connection to RabbitMQ: py-amqp makes it and declares things on it, and parcels pass py-amqp by.

py-amqp reads a message by nine system calls and three generations of objects, and looks at the socket before
each message that it writes. Here one system call takes in as many frames as have arrived, and one hands over
a whole batch. Frames that carry no parcels still go to py-amqp's own dispatcher.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic

import amqp

from app.realtime.brokers.base import BrokerError, BrokerRefused
from app.realtime.brokers.rabbitmq_address import Address

# RabbitMQ ends a connection that says nothing for two of these; so does `Connection.alive`.
HEARTBEAT_SECONDS = 10
# Nobody sends heartbeats for a publisher that rests, so a connection that rested is not trusted.
REST_SECONDS = 8.0
# How often whoever waits looks whether he shall end. Data wakes him at once.
LOOK_SECONDS = 0.1
# How long we wait for RabbitMQ's goodbye; it needs a few milliseconds.
GOODBYE_SECONDS = 0.2
# Much more per system call gains nothing.
READ_BYTES = 64 * 1024
WRITE_BYTES = 64 * 1024
# How fast a broker that works is at least: a big batch has so much longer to be confirmed.
SLOWEST_BYTES_PER_SECOND = 4 * 1024 * 1024
# What the broker will say again to the same request. 311 too large, 403 and 530 not allowed, 405 locked, 406
# exists with other properties, 506 out of something.
REFUSALS = frozenset({311, 403, 405, 406, 506, 530})
NOT_FOUND = 404

_METHOD, _HEADER, _BODY = 1, 2, 3
_FRAME_END = 0xCE
_PERSISTENT = 2  # delivery_mode, the one property that parcels have
_ONLY_DELIVERY_MODE = 0x1000


def _number(method: tuple[int, int]) -> int:
    return method[0] << 16 | method[1]


_DELIVER = _number(amqp.spec.Basic.Deliver)
_ACK = _number(amqp.spec.Basic.Ack)
_NACK = _number(amqp.spec.Basic.Nack)
_CANCEL = _number(amqp.spec.Basic.Cancel)
_CHANNEL_CLOSE = _number(amqp.spec.Channel.Close)
_BLOCKED = _number(amqp.spec.Connection.Blocked)
_UNBLOCKED = _number(amqp.spec.Connection.Unblocked)

_frame_start = struct.Struct(">BHI")
_frame_start_at = _frame_start.unpack_from
_int_at = struct.Struct(">I").unpack_from
_short_at = struct.Struct(">H").unpack_from
_long_at = struct.Struct(">Q").unpack_from
# A whole content header frame: the frame's start, class, weight, size of the body, flags, delivery mode, end.
_content_header = struct.Struct(">BHIHHQHBB")


class NotFound(BrokerError):
    """RabbitMQ has not what was named, or cannot reach it now."""


class Blocked(BrokerRefused):
    """RabbitMQ reads nothing from publishers now: its memory or its disk is full. The connection is good."""


class Connection(amqp.Connection):  # type: ignore[misc]  # py-amqp has no types
    """A connection with one channel. Whoever uses it does so within `used`; `end` is for everybody.

    :param connect_timeout_seconds: for the TCP connection, and for each answer until we are logged in.
    :param answer_timeout_seconds: for each answer from then on, and for each write.
    """

    def __init__(
        self, address: Address, *, connect_timeout_seconds: float, answer_timeout_seconds: float
    ) -> None:
        host = f"[{address.host}]" if ":" in address.host else address.host
        # py-amqp's own is one second, less than a route may need to heal. Not every system has it.
        unanswered = getattr(socket, "TCP_USER_TIMEOUT", None)
        super().__init__(
            f"{host}:{address.port}",
            userid=address.user,
            password=address.password,
            login_method="PLAIN",
            virtual_host=address.vhost,
            ssl=address.tls or False,
            connect_timeout=connect_timeout_seconds,
            heartbeat=HEARTBEAT_SECONDS,
            socket_settings={unanswered: int(answer_timeout_seconds * 1000)} if unanswered else None,
        )
        self.address = address
        self.blocked: str | None = None  # the reason
        self._answer_timeout_seconds = answer_timeout_seconds
        self._using = threading.Lock()
        self._ended = False
        self._broken = False  # by an error; half a frame may have left
        self._rest = b""  # the beginning of a frame whose end has not arrived
        self._heard = self._wrote = monotonic()
        # What was published: its numbers on this connection begin with 1.
        self._sent = 0
        self._confirmed = 0  # all up to this one
        self._confirmed_early: set[int] = set()
        self._refused = False
        # What was delivered.
        self._parcels: list[bytes] = []
        self._pieces: list[bytes] = []
        self._missing_bytes = 0
        self._taken = self._acknowledged = 0

    # Who uses it, and its end.

    @contextmanager
    def used(self) -> Iterator[None]:
        """Hold the connection while using it, and tell all errors in our own words.

        :raises BrokerError: for whatever went wrong; also when somebody calls `end` meanwhile.
        """
        with self._using:
            try:
                self._raise_if_ended()
                with self._in_our_words():
                    yield
            except Blocked:
                raise
            except BaseException:
                # Also when a greenlet is killed.
                self._broken = self._broken or not self._ended
                raise
            finally:
                if self._ended:
                    self._hang_up()

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except amqp.AMQPError as error:
            raise self._refusal(error.reply_code or 0, str(error.reply_text or error)) from error
        except TimeoutError as error:
            raise BrokerError(f"{self.address}: no answer in time") from error
        except OSError as error:
            raise BrokerError(f"{self.address}: {error.strerror or error}") from error
        except (struct.error, LookupError, UnicodeError, AttributeError) as error:
            # What frames that make no sense bring about, in py-amqp and here.
            raise BrokerError(f"{self.address}: what answers is no RabbitMQ: check host and port") from error

    def _refusal(self, code: int, text: str) -> BrokerError:
        kind = NotFound if code == NOT_FOUND else BrokerRefused if code in REFUSALS else BrokerError
        return kind(f"{self.address}: {' '.join(text.split())}")

    def _raise_if_ended(self) -> None:
        if self._ended:
            raise BrokerError("closed")

    def end(self) -> None:
        """Close it, from any thread. Whoever uses it meanwhile notices soon, and gets a BrokerError."""
        self._ended = True
        if self._using.acquire(timeout=3 * LOOK_SECONDS):
            try:
                self._hang_up()
            finally:
                self._using.release()

    def _hang_up(self) -> None:
        if self._handshake_complete and not self._broken:
            # RabbitMQ writes a warning into its log about everybody who does not wait for its goodbye.
            with suppress(OSError, amqp.AMQPError, BrokerError):
                self._socket(GOODBYE_SECONDS)
                self.send_method(amqp.spec.Connection.Close, "BsBB", (0, "", 0, 0))
                until = monotonic() + GOODBYE_SECONDS
                while self._transport is not None:
                    self.drain_events(max(0.001, until - monotonic()))
        self.collect()

    def collect(self) -> None:
        """Let everything go; py-amqp, too, ends by this, but would wait for the other side's end of TLS."""
        transport = self._transport
        if transport is not None and transport.sock is not None:
            transport.sock.close()
            transport.sock = None
        super().collect()

    def _socket(self, timeout_seconds: float) -> socket.socket:
        transport = self._transport
        if transport is None or transport.sock is None:
            raise ConnectionResetError("closed")
        sock: socket.socket = transport.sock
        sock.settimeout(timeout_seconds)
        return sock

    # Reading.

    def drain_events(self, timeout: float | None = None) -> None:
        """Take in what has arrived, waiting for the first of it; py-amqp, too, reads by this.

        :param timeout: seconds; None: as long as an answer may take.
        :raises TimeoutError: nothing arrived.
        """
        arrived = self._socket(self._answer_timeout_seconds if timeout is None else timeout).recv(READ_BYTES)
        if not arrived:
            raise ConnectionResetError("RabbitMQ closed the connection")
        self._heard = monotonic()
        self._take_in(self._rest + arrived if self._rest else arrived)

    def look(self) -> None:
        """Take in what has arrived, without waiting."""
        with suppress(TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            self.drain_events(0)

    def _wait(self, until: float) -> None:
        """Wait until something has arrived, and take it in.

        :raises TimeoutError: nothing arrived.
        """
        while (left := until - monotonic()) > 0:
            with suppress(TimeoutError):
                self.drain_events(min(left, LOOK_SECONDS))
                return
            self._raise_if_ended()
        raise TimeoutError

    def _take_in(self, arrived: bytes) -> None:
        start, size = 0, len(arrived)
        while size - start > _frame_start.size:
            kind, channel, length = _frame_start_at(arrived, start)
            if length > self.frame_max:
                raise amqp.UnexpectedFrame("what answers is no RabbitMQ: check host and port")
            payload = start + _frame_start.size
            end = payload + length
            if end >= size:
                break
            if arrived[end] != _FRAME_END:
                raise amqp.UnexpectedFrame("a frame without an end")
            start = end + 1
            if kind == _METHOD:
                (method,) = _int_at(arrived, payload)
                if method != _DELIVER:  # of which we need nothing: deliveries are numbered 1, 2, 3
                    self._method(method, channel, arrived, payload, end)
            elif kind == _HEADER:
                (self._missing_bytes,) = _long_at(arrived, payload + 4)
                if not self._missing_bytes:
                    self._parcels.append(b"")
            elif kind == _BODY:
                if length == self._missing_bytes and not self._pieces:
                    self._missing_bytes = 0
                    self._parcels.append(arrived[payload:end])
                    continue
                self._pieces.append(arrived[payload:end])
                self._missing_bytes -= length
                if not self._missing_bytes:
                    self._parcels.append(b"".join(self._pieces))
                    self._pieces.clear()
        self._rest = arrived[start:]

    def _method(self, method: int, channel: int, arrived: bytes, payload: int, end: int) -> None:
        if method in {_ACK, _NACK}:
            (number,) = _long_at(arrived, payload + 4)
            self._confirm(number, multiple=bool(arrived[payload + 12] & 1))
            self._refused = self._refused or method == _NACK
        elif method == _BLOCKED:
            self.blocked = str(arrived[payload + 5 : payload + 5 + arrived[payload + 4]], "utf-8", "replace")
        elif method == _UNBLOCKED:
            self.blocked = None
        elif method == _CANCEL:
            raise BrokerError(f"{self.address}: our queue was deleted, or its node went away")
        elif method == _CHANNEL_CLOSE:
            # py-amqp would open the channel again, without confirms and without our consumer.
            (code,) = _short_at(arrived, payload + 4)
            text = arrived[payload + 7 : payload + 7 + arrived[payload + 6]]
            raise self._refusal(code, str(text, "utf-8", "replace"))
        else:
            self.on_inbound_frame((_METHOD, channel, arrived[payload:end]))

    # Publishing.

    def alive(self) -> bool:
        """Take in what has arrived, and tell whether the connection can still be trusted."""
        if self._broken:
            return False
        try:
            with self.used():
                self.look()
        except BrokerError:
            return False
        silent, resting = monotonic() - self._heard, monotonic() - self._wrote
        # Whoever is blocked may not write, but hears heartbeats.
        return silent < 2 * HEARTBEAT_SECONDS if self.blocked is not None else resting < REST_SECONDS

    def publish(self, exchange: str, parcels: Sequence[bytes]) -> None:
        """Hand parcels over, and wait until all are confirmed.

        :raises Blocked: RabbitMQ takes nothing now; it may have taken some.
        """
        if self.blocked is not None:
            raise Blocked(f"blocked: {self.blocked}")
        self._refused = False
        size = sum(map(len, parcels))
        deadline = monotonic() + self._answer_timeout_seconds + size / SLOWEST_BYTES_PER_SECOND
        for piece in self._frames(exchange, parcels):
            self._write(piece, deadline)
            self.look()
            self._raise_if_blocked()
        while self._confirmed < self._sent:
            self._wait(deadline)
            self._raise_if_blocked()
        if self._refused:
            raise BrokerRefused(f"{self.address}: refused by basic.nack")

    def _frames(self, exchange: str, parcels: Sequence[bytes]) -> Iterator[bytes]:
        """Make the frames of all parcels, in pieces of about WRITE_BYTES; none begins within a parcel."""
        name = exchange.encode()
        arguments = struct.pack(">IHB", _number(amqp.spec.Basic.Publish), 0, len(name)) + name + b"\0\0"
        method = _frame_start.pack(_METHOD, 1, len(arguments)) + arguments + bytes([_FRAME_END])
        end, most = bytes([_FRAME_END]), self.frame_max - 8
        frames: list[bytes] = []
        size = 0
        for parcel in parcels:
            frames += (
                method,
                _content_header.pack(
                    _HEADER, 1, 15, 60, 0, len(parcel), _ONLY_DELIVERY_MODE, _PERSISTENT, _FRAME_END
                ),
            )
            for start in range(0, len(parcel), most):
                body = parcel[start : start + most]
                frames += (_frame_start.pack(_BODY, 1, len(body)), body, end)
            self._sent += 1
            size += len(parcel) + len(method)
            if size >= WRITE_BYTES:
                yield b"".join(frames)
                frames.clear()
                size = 0
        if frames:
            yield b"".join(frames)

    def _write(self, piece: bytes, deadline: float) -> None:
        try:
            self._socket(max(0.001, deadline - monotonic())).sendall(piece)
        except OSError:
            # Because it is blocked, perhaps, and said so.
            with suppress(OSError):
                self.look()
            if self.blocked is not None:
                raise BrokerRefused(f"blocked: {self.blocked}") from None
            raise
        self._wrote = monotonic()

    def _raise_if_blocked(self) -> None:
        if self.blocked is not None:
            raise Blocked(f"blocked: {self.blocked}")

    def _confirm(self, number: int, *, multiple: bool) -> None:
        if multiple:
            self._confirmed = max(self._confirmed, number)
            self._confirmed_early = {other for other in self._confirmed_early if other > number}
        else:
            self._confirmed_early.add(number)
        while self._confirmed + 1 in self._confirmed_early:
            self._confirmed += 1
            self._confirmed_early.remove(self._confirmed)

    # Listening.

    def take(self, most: int, wait_seconds: float) -> list[bytes]:
        """Acknowledge what was taken before, and take what is there, waiting for the first parcel."""
        if self._taken > self._acknowledged:
            self._socket(self._answer_timeout_seconds)
            self.channel(1).basic_ack(self._taken, multiple=True)
            self._acknowledged = self._taken
        until = monotonic() + wait_seconds
        with suppress(TimeoutError):
            while not self._parcels:
                self._wait(until)
        batch = self._parcels[:most]
        del self._parcels[:most]
        self._taken += len(batch)
        return batch
