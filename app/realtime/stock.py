"""Neighbours that use python-socketio's own managers: emitters, and old nodes while a cluster moves.

    what they publish       -> listener of the broker -> clients of this node
    what this node publishes -> copy, bounded queue   -> publisher of the broker -> their clients

Every node of the engine hears them itself, so nothing is passed on, and copies that nodes of the engine made
for them are known by their first bytes and ignored. This is as good as the stock managers are: what is
published while somebody does not listen is lost, here or there. Their messages are JSON, and become checked
structs; the pickle of releases before 5.14 is refused. docs/migration.md has the whole picture.
"""

from __future__ import annotations

import atexit
import base64
import functools
import json
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from socketio.packet import Packet

from app.realtime import envelope, frames
from app.realtime.brokers import BrokerError, BrokerOptions, name_brokers
from app.realtime.brokers.stock import Pipe, stock_pipe
from app.realtime.envelope import AnyMessage, Room, Scalar
from app.realtime.errors import QueueError
from app.realtime.options import QueueOptions
from app.realtime.routing import backoff_seconds

logger = logging.getLogger(__name__)

# A host id of the engine's; and how each of its copies begins, because json.dumps keeps the order of keys.
HOST = "hybrid-"
MARK = b'{"host_id": "' + HOST.encode()
# Copies that wait for one broker. Much more would be too old when it is back.
WAITING_MAX = 10_000
WAITING_MAX_BYTES = 16 * 1024 * 1024
BATCH = 200
# Base64 and JSON make of a message at most about so much.
SIZE_FACTOR = 2
REPORT_SECONDS = 10.0  # between two log lines about the same
# A listener with much to take in rests now and then: sleep(0) would not let sockets be served.
TURN_SECONDS = 0.005
REST_SECONDS = 0.0005
FLUSH_LOOK_SECONDS = 0.005
CLOSE_SECONDS = 5.0
TRIPLE = 3  # of a callback: room, namespace, id


class Here(NamedTuple):
    """What messages of neighbours can do on this node, all without publishing anything."""

    origin: Callable[[], str]
    concerns: Callable[[str, Room], bool]
    emit: Callable[..., None]
    apply: Callable[[str, AnyMessage], None]
    acknowledge: Callable[[str, int, Iterable[Any]], None]


class _Link:
    """One broker: what waits for it, and how it is."""

    def __init__(self, name: str, pipe: Pipe) -> None:
        self.name = name
        self.pipe = pipe
        self.wake = threading.Event()
        self.waiting: deque[_Copy] = deque()
        self.waiting_bytes = 0
        self.flying = 0
        self.listening = False
        self.error: str | None = None
        self.received = self.published = self.dropped = 0

    def status(self) -> dict[str, Any]:
        return {
            "listening": self.listening,
            "error": self.error,
            "received": self.received,
            "published": self.published,
            "waiting": len(self.waiting) + self.flying,
            "dropped": self.dropped,
        }


class _Copy:
    """What is to be published; encoded when it first is, so that an emit need not wait for that."""

    __slots__ = ("_body", "_encode", "at", "size")

    def __init__(self, encode: Callable[[], dict[str, Any]], size: int) -> None:
        self._encode = encode
        self._body: bytes | None = None
        self.at = time.monotonic()
        self.size = size

    @property
    def body(self) -> bytes:
        if self._body is None:
            self._body = json.dumps(self._encode()).encode()
        return self._body


class Neighbours:
    """Hears the stock managers' channel on every broker, and publishes there what they need to know.

    :param urls: the brokers' addresses.
    :param channel: the stock managers' channel.
    :param listen: False: this process has no clients.
    """

    def __init__(
        self, urls: list[str], channel: str, options: QueueOptions, here: Here, *, listen: bool
    ) -> None:
        self.channel = channel
        self._urls = name_brokers(urls)
        self._options = options
        self._here = here
        self._listen = listen
        self.rejected: Counter[str] = Counter()
        self._reset()
        reference = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _reset_after_fork(reference))
        if not listen:
            atexit.register(_close_at_exit, reference)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._started = self._closing = False
        self._report_at: dict[str, float] = {}
        limits = BrokerOptions(
            connect_timeout_seconds=self._options.timeout_seconds,
            answer_timeout_seconds=self._options.timeout_seconds,
        )
        self._links = [
            _Link(name, pipe)
            for name, url in self._urls.items()
            if (pipe := stock_pipe(url, self.channel, limits)) is not None
        ]

    # Life.

    def start(self) -> None:
        """Connect; a second call changes nothing."""
        with self._lock:
            if self._started:
                return
            self._started = True
        for link in self._links:
            for loop in [self._publisher, *([self._listener] if self._listen else [])]:
                name = f"stock {loop.__name__.strip('_')} {link.name}"
                threading.Thread(target=loop, args=(link,), daemon=True, name=name).start()

    def flush(self, timeout_seconds: float) -> None:
        """Wait until everything is published at the brokers that work."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline and any(
            (link.waiting or link.flying) and link.error is None for link in self._links
        ):
            time.sleep(FLUSH_LOOK_SECONDS)

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Flush, and disconnect."""
        if self._started and not self._closing:
            self.flush(timeout_seconds)
        self._closing = True
        for link in self._links:
            link.wake.set()
            link.pipe.close()

    def status(self) -> dict[str, Any]:
        """How it is, as a plain dict."""
        return {"channel": self.channel, "brokers": {link.name: link.status() for link in self._links}}

    # Out.

    def publish(self, message: AnyMessage) -> None:
        """Let the neighbours know of something too; never waits."""
        size = memoryview(message.frames).nbytes if isinstance(message, envelope.Emit) else 0
        copy = _Copy(functools.partial(_stock_form, message, HOST + self._here.origin()), size)
        for link in self._links:
            self._put(link, copy)

    def _put(self, link: _Link, copy: _Copy) -> None:
        if not self._started:
            self.start()
        dropped = 0
        with self._lock:
            link.waiting.append(copy)
            link.waiting_bytes += copy.size
            while len(link.waiting) > WAITING_MAX or link.waiting_bytes > WAITING_MAX_BYTES:
                link.waiting_bytes -= link.waiting.popleft().size
                dropped += 1
        if dropped:
            self._drop(link, dropped, "too many wait")
        if not link.wake.is_set():
            link.wake.set()

    def _publisher(self, link: _Link) -> None:
        failures = 0
        while not self._closing:
            link.wake.clear()
            copies = self._take(link)
            if not copies:
                link.wake.wait()
                continue
            bodies = self._encode(link, copies)
            while bodies and not self._closing:
                try:
                    link.pipe.publish(bodies)
                except Exception as error:
                    if not isinstance(error, BrokerError):
                        logger.exception("a defect while publishing to the neighbours over %s", link.name)
                    if not self._closing:
                        self._failed(link, str(error) or repr(error))
                        # A connection that was cut while nothing was published costs no more than this.
                        time.sleep(backoff_seconds(failures))
                        failures += 1
                        if time.monotonic() - copies[0].at > self._options.max_age_seconds:
                            self._drop(link, len(bodies), "too old")
                            break
                else:
                    failures = 0
                    link.published += len(bodies)
                    link.error = None
                    break
            link.flying = 0

    def _take(self, link: _Link) -> list[_Copy]:
        oldest = time.monotonic() - self._options.max_age_seconds
        copies: list[_Copy] = []
        old = 0
        with self._lock:
            while link.waiting and len(copies) < BATCH:
                copy = link.waiting.popleft()
                link.waiting_bytes -= copy.size
                if copy.at < oldest:
                    old += 1
                else:
                    copies.append(copy)
            link.flying = len(copies)
        if old:
            self._drop(link, old, "too old")
        return copies

    def _encode(self, link: _Link, copies: Sequence[_Copy]) -> list[bytes]:
        bodies = []
        for copy in copies:
            try:
                bodies.append(copy.body)
            except Exception as error:
                # An acknowledgement with bytes, for example, which the stock managers cannot carry.
                self._drop(link, 1, f"not JSON: {error}")
        return bodies

    def _drop(self, link: _Link, count: int, why: str) -> None:
        link.dropped += count
        self._log(f"dropped {link.name}", "%s: %d copies for neighbours dropped (%s)", link.name, count, why)

    # In.

    def _listener(self, link: _Link) -> None:
        failures = 0
        while not self._closing:
            reason = "the listener ended"
            try:
                turn_ends = time.monotonic() + TURN_SECONDS
                for batch in link.pipe.listen():
                    if not link.listening:
                        link.listening, link.error = True, None
                        failures = 0
                        logger.info("neighbours: listening to %s on %s", self.channel, link.name)
                    for body in batch:
                        self._take_in(link, body)
                        if time.monotonic() >= turn_ends:
                            time.sleep(REST_SECONDS)
                            turn_ends = time.monotonic() + TURN_SECONDS
            except BrokerError as error:
                reason = str(error)
            except Exception as error:
                logger.exception("a defect while listening to the neighbours on %s", link.name)
                reason = repr(error)
            link.listening = False
            if not self._closing:
                self._failed(link, reason)
                time.sleep(backoff_seconds(failures))
                failures += 1

    def _failed(self, link: _Link, reason: str) -> None:
        link.error = reason
        self._log(f"failed {link.name}", "neighbours: %s does not work: %s", link.name, reason)

    def _take_in(self, link: _Link, body: bytes) -> None:
        if body.startswith(MARK):
            return
        link.received += 1
        try:
            if len(body) > SIZE_FACTOR * self._options.max_message_bytes:
                self._reject(link, "stock oversized", f"{len(body)} bytes")
            else:
                self._do(link, _decoder.decode(body))
        except (msgspec.MsgspecError, QueueError, ValueError, LookupError, RecursionError) as error:
            self._reject(link, "stock malformed", str(error))
        except Exception:
            self.rejected["stock failed"] += 1
            logger.exception("a neighbour's message could not be handled")

    def _reject(self, link: _Link, reason: str, detail: str) -> None:
        self.rejected[reason] += 1
        count = self.rejected[reason]
        self._log(reason, "neighbours: %s: %s (%s; %d so far)", link.name, reason, detail[:200], count)

    def _log(self, about: str, text: str, *arguments: object) -> None:
        now = time.monotonic()
        if now >= self._report_at.get(about, 0.0):
            self._report_at[about] = now + REPORT_SECONDS
            logger.warning(text, *arguments)

    def _do(self, link: _Link, message: Any) -> None:
        host = message.host_id or ""
        if isinstance(message, _Callback):
            if host == HOST + self._here.origin():
                self._here.acknowledge("", message.id, message.args)
            return
        if host.startswith(HOST):
            return
        namespace = message.namespace or "/"
        apply = functools.partial(self._here.apply, host)
        match message:
            case _Emit():
                self._emit(link, message, namespace)
            case _Disconnect():
                apply(envelope.Disconnect(message.sid, namespace))
            case _EnterRoom():
                apply(envelope.EnterRoom(message.sid, namespace, message.room))
            case _LeaveRoom():
                apply(envelope.LeaveRoom(message.sid, namespace, message.room))
            case _CloseRoom():
                apply(envelope.CloseRoom(message.room, namespace))

    def _emit(self, link: _Link, message: _Emit, namespace: str) -> None:
        if not self._here.concerns(namespace, message.room):
            return
        data = message.data
        if message.binary:
            structure, *attachments = data
            data = Packet.reconstruct_binary(
                structure, [base64.b64decode(attachment, validate=True) for attachment in attachments]
            )
        if isinstance(data, list):
            data = data[0] if len(data) == 1 else tuple(data)
        callback = None
        if message.callback is not None and len(message.callback) == TRIPLE:
            callback = functools.partial(self._answer, link, message.host_id, message.callback)
        self._here.emit(
            message.event,
            data,
            namespace=namespace,
            room=message.room,
            skip_sid=message.skip_sid,
            callback=callback,
            ignore_queue=True,
        )

    def _answer(self, link: _Link, host: str | None, triple: Sequence[Any], *values: Any) -> None:
        """A client acknowledges what a neighbour emitted: tell him, over the broker that he is on."""
        sid, namespace, number = triple
        answer = {"method": "callback", "host_id": host, "sid": sid, "namespace": namespace, "id": number}
        self._put(link, _Copy(lambda: answer | {"args": values}, 0))


def _reset_after_fork(reference: weakref.ref[Neighbours]) -> None:
    neighbours = reference()
    if neighbours is not None:
        neighbours._reset()


def _close_at_exit(reference: weakref.ref[Neighbours]) -> None:
    neighbours = reference()
    if neighbours is not None:
        neighbours.close()
