"""The broker on Redis: one stream per channel, which everybody reads from where he stopped.

The stream is the key `socketio:CHANNEL`; each entry is one parcel, in the field `p`. Publishing is XADD, many
in one go; listening is XREAD with BLOCK. Nobody reads through Redis's consumer groups: everybody takes in
everything, and knows himself how far he is. So a listener that was cut off goes on where it was, and nothing
is to be removed when a process goes for ever.

What is kept is bounded three times: by count at each XADD, and about once a second, by whoever publishes, by
age and by bytes (XTRIM MINID; everybody sees ids and sizes, so knows from which id on the newest fit). The
key expires when nobody publishes any more. Redis 6.2 or newer is needed.

Set `maxmemory` with the policy `noeviction`: the other policies may delete the stream whole when memory is
short. Listeners survive that, but miss what they had not read yet. With Sentinel set `min-replicas-to-write`
to 1: a master that is cut off refuses then, instead of taking what nobody will see.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from redis import exceptions

from app.realtime.brokers.base import Broker, BrokerError, BrokerOptions, BrokerRefused
from app.realtime.brokers.redis_address import Place, find_place

Id = tuple[int, int]  # of an entry: milliseconds, and a number within them

START: Id = (0, 0)
# One round trip carries at most so much: each gets answer_timeout_seconds, and must be able to make it.
RUN_PARCELS = 500
RUN_BYTES = 1024 * 1024
TRIM_SECONDS = 1.0
# A burst is trimmed when it has filled this share of keep_bytes.
TRIM_SHARE = 1 / 8
# How much longer than keep_seconds a stream stays to which nobody publishes.
IDLE_SECONDS = 60.0
# A replica that became master may have missed the last entries, and its clock may be behind: so much is
# read again then.
REWIND_MS = 1000

# What passes by itself, although the server answered.
PASSING = (
    exceptions.ClusterDownError,
    exceptions.AskError,  # and MovedError: the next connection asks for the master again
    exceptions.TryAgainError,
)
REFUSALS = (
    exceptions.ResponseError,
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
)
HINTS: dict[type[Exception], str] = {
    exceptions.OutOfMemoryError: "its memory is full: raise maxmemory, or lower what is kept",
    exceptions.ReadOnlyError: "it is a read-only replica: write the address of the master",
    exceptions.AuthenticationError: "write the right user and password into the address",
    exceptions.NoPermissionError: (
        "its user needs ~socketio:* +@read +@write +@connection; "
        "also +role with Sentinel, +cluster|slots in a cluster"
    ),
    exceptions.InvalidResponse: "what answers there is no Redis: check host and port",
}


def _pack(*command: object) -> bytes:
    """Write a command in Redis's protocol."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _read_id(text: bytes) -> Id:
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds), int(number)


def _write_id(entry: Id) -> str:
    return f"{entry[0]}-{entry[1]}"


def _explained(error: Exception, place: Place) -> BrokerError:
    """Say in one line what happened."""
    hint = next((f" ({hint})" for kind, hint in HINTS.items() if isinstance(error, kind)), "")
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, REFUSALS) and not isinstance(error, PASSING):
        return BrokerRefused(f"{place.name} refused: {text}{hint}")
    return BrokerError(f"{place.name} failed: {text}{hint}")


class _Window:
    """Knows from which entry on the newest fit what may be kept. One thread feeds it, in order."""

    def __init__(self, options: BrokerOptions) -> None:
        self._keep_bytes = options.keep_bytes
        self._keep_ms = int(options.keep_seconds * 1000)
        self._runs: deque[tuple[Id, int]] = deque()
        self._bytes = 0
        self.start = START
        self.last = START

    def add(self, last: Id, size: int) -> None:
        """Count a run of entries that ends with `last`."""
        if last < self.last:
            # The stream began anew, with a clock that went back.
            self._runs.clear()
            self._bytes = 0
            self.start = START
        self.last = last
        self._runs.append((last, size))
        self._bytes += size
        oldest = last[0] - self._keep_ms
        while self._bytes > self._keep_bytes or self._runs[0][0][0] < oldest:
            self.start, gone = self._runs.popleft()
            self._bytes -= gone


class _Line:
    """One connection, used by one thread. Any other may cut it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._using = threading.Lock()
        self.address: object = getattr(connection, "host", None), getattr(connection, "port", None)

    def ask(self, commands: bytes, answers: int = 1) -> list[Any]:
        """Send packed commands, and return their answers; the first error is raised when all have come."""
        with self._using:
            self._connection.send_packed_command([commands], check_health=False)
            read = self._connection.read_response
            replies: list[Any] = []
            refusal: exceptions.ResponseError | None = None
            for _ in range(answers):
                try:
                    replies.append(read())
                except exceptions.ResponseError as error:
                    refusal = refusal or error
            if refusal is not None:
                raise refusal
            return replies

    def cut(self) -> None:
        """Let whoever waits for an answer fail at once."""
        sock = self._connection._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket, which takes away what the other thread is using.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self, wait_seconds: float = 0) -> None:
        """Cut it, and close it as soon as nobody uses it; whoever uses it after `wait_seconds` must do it."""
        self.cut()
        if self._using.acquire(timeout=wait_seconds):
            try:
                self._connection.disconnect()
            finally:
                self._using.release()


class RedisBroker(Broker):
    """`redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`: see redis_address."""

    kind = "redis"

    def __init__(self, url: str, channel: str, origin: str, options: BrokerOptions) -> None:
        super().__init__(url, channel, origin, options)
        self.key = f"socketio:{channel}"
        self._place = find_place(url, options)
        self._writer: _Line | None = None
        self._reader: _Line | None = None
        self._closed = False
        self._position: Id | None = None  # the last entry that was taken
        self._address: object = None  # where it was read
        self._published = _Window(options)
        self._heard = _Window(options)
        self._untrimmed_bytes = 0
        self._trim_at = 0.0
        self._add = _pack("XADD", self.key, "MAXLEN", "~", options.keep_parcels, "*", "p", "")[
            : -len("$0\r\n\r\n")
        ]
        self._newest_command = _pack("XREVRANGE", self.key, "+", "-", "COUNT", 1)

    def publish(self, parcels: Sequence[bytes]) -> None:
        """Add to the stream, in one round trip per RUN_PARCELS or RUN_BYTES."""
        try:
            line = self._writer
            if line is None:
                line = self._writer = self._connect(self.options.answer_timeout_seconds, self._reader)
            start = 0
            while start < len(parcels):
                start = self._publish_run(line, parcels, start)
            if self._untrimmed_bytes and time.monotonic() >= self._trim_at:
                self._trim(line)
        except BaseException as error:
            # Also when a greenlet is killed: answers that are still to come belong to nobody.
            line, self._writer = self._writer, None
            if line is not None:
                if isinstance(error, exceptions.OutOfMemoryError):
                    self._make_room(line)
                line.close()
            self._raise_explained(error)
            raise

    def listen(self) -> Iterator[list[bytes]]:
        """Read on after the last entry taken; the first time, after the last there is."""
        line = None
        try:
            if self._reader is not None:
                self._reader.close()
            # A poll that hears nothing is answered after poll_seconds.
            patience = self.options.poll_seconds + self.options.answer_timeout_seconds
            line = self._reader = self._connect(patience, self._writer)
            if self._position is None:
                self._position = self._newest(line)
            else:
                if line.address != self._address:
                    self._position = (max(self._position[0] - REWIND_MS, 0), 0)
                self._look_back(line)
            self._address = line.address
            yield []
            while True:
                batch, last = self._read(line)
                yield batch
                self._position = last
        except Exception as error:
            self._raise_explained(error)
            raise
        finally:
            if line is not None:
                line.close()

    def close(self, *, forget: bool = False) -> None:
        """Close both connections. There is nothing to forget: Redis knows nothing of an origin."""
        self._closed = True
        lines = [line for line in (self._writer, self._reader) if line is not None]
        for line in lines:
            line.cut()
        for line in lines:
            line.close(self.options.answer_timeout_seconds)

    def _connect(self, read_seconds: float, other: _Line | None) -> _Line:
        if self._closed:
            raise BrokerError("closed")
        line = _Line(self._place.connect(self.key.encode(), read_seconds))
        if other is not None and other.address != line.address:
            # The master moved, and this process heard of it on one of its two connections.
            other.cut()
        return line

    def _raise_explained(self, error: BaseException) -> None:
        if isinstance(error, exceptions.RedisError | OSError | BrokerError):
            if self._closed:
                raise BrokerError("closed") from error
            if not isinstance(error, BrokerError):
                raise _explained(error, self._place) from error

    def _publish_run(self, line: _Line, parcels: Sequence[bytes], start: int) -> int:
        """Publish as many as make one round trip, and return where the next one starts."""
        if self._closed:
            raise BrokerError("closed")
        add = self._add
        pieces: list[bytes] = []
        size = 0
        end = start
        while end < len(parcels) and end - start < RUN_PARCELS and size < RUN_BYTES:
            parcel = parcels[end]
            length = len(parcel)
            pieces += (add, b"$%d\r\n" % length, parcel, b"\r\n")
            size += length
            end += 1
        last = _read_id(line.ask(b"".join(pieces), end - start)[-1])
        self._published.add(last, size)
        self._untrimmed_bytes += size
        if self._untrimmed_bytes > self.options.keep_bytes * TRIM_SHARE:
            self._trim(line)
        return end

    def _trim(self, line: _Line) -> None:
        """Delete what is too old or too much, and let the key expire if nobody comes again."""
        own, heard = self._published, self._heard
        keep_from = max(own.start, heard.start)
        # A stream that began anew, with a clock that went back, has only lower ids.
        if keep_from < own.last:
            expiry_ms = int((self.options.keep_seconds + IDLE_SECONDS) * 1000)
            trim = _pack("XTRIM", self.key, "MINID", "~", _write_id(keep_from))
            line.ask(trim + _pack("PEXPIRE", self.key, expiry_ms), 2)
        self._untrimmed_bytes = 0
        self._trim_at = time.monotonic() + TRIM_SECONDS

    def _make_room(self, line: _Line) -> None:
        """Give up the older half, so that it is not this stream which fills the memory."""
        with contextlib.suppress(exceptions.RedisError, OSError):
            [length] = line.ask(_pack("XLEN", self.key))
            line.ask(_pack("XTRIM", self.key, "MAXLEN", "~", length // 2))

    def _newest(self, line: _Line) -> Id:
        [entries] = line.ask(self._newest_command)
        return _read_id(entries[0][0]) if entries else START

    def _look_back(self, line: _Line) -> None:
        """Begin anew when the stream did: it was deleted, or its new master knows less."""
        assert self._position is not None
        if self._newest(line) < self._position:
            self._position = START

    def _read(self, line: _Line) -> tuple[list[bytes], Id]:
        """Wait for what comes next; return it, and where it ends."""
        assert self._position is not None
        if self._closed:
            raise BrokerError("closed")
        options = self.options
        # 0 would be for ever.
        block = ("BLOCK", max(1, int(options.poll_seconds * 1000)))
        where = ("STREAMS", self.key, _write_id(self._position))
        [streams] = line.ask(_pack("XREAD", "COUNT", options.batch_parcels, *block, *where))
        if not streams:
            self._look_back(line)
            return [], self._position
        entries = streams[0][1]
        batch = [fields[1] for _, fields in entries]
        last = _read_id(entries[-1][0])
        self._heard.add(last, sum(map(len, batch)))
        return batch, last
