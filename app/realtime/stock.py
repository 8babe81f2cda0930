"""Neighbours that use python-socketio's own managers: emitters, and old nodes while a cluster moves.

    what they publish       -> listener of the broker -> clients of this node
    what this node publishes -> copy, bounded queue   -> publisher of the broker -> their clients

Every node of the engine hears them itself, so nothing is passed on, and copies that nodes of the engine made
for them are known by their first bytes and ignored. This is as good as the stock managers are: what is
published while somebody does not listen is lost, here or there. docs/migration.md has the whole picture.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from app.realtime import envelope, stock_messages
from app.realtime.brokers import BrokerError, BrokerOptions, name_brokers
from app.realtime.brokers.stock import Pipe, stock_pipe
from app.realtime.envelope import AnyMessage, Room
from app.realtime.options import QueueOptions
from app.realtime.routing import backoff_seconds
from app.realtime.stock_messages import HOST, MARK, Callback, Emit

logger = logging.getLogger(__name__)

# Copies that wait for one broker. Much more would be too old when it is back.
WAITING_MAX = 10_000
WAITING_MAX_BYTES = 16 * 1024 * 1024
# Encoded in one go: 2 ms or so.
BATCH = 100
# What Base64 and JSON make of the largest message.
SIZE_FACTOR = 2
REPORT_SECONDS = 10.0  # between two log lines about the same
# A listener with much to take in rests now and then: sleep(0) would not let sockets be served.
TURN_SECONDS = 0.005
REST_SECONDS = 0.0005
FLUSH_LOOK_SECONDS = 0.005
EXIT_FLUSH_SECONDS = 5.0


class Here(NamedTuple):
    """What a message of neighbours can do on this node, all without publishing anything."""

    origin: Callable[[], str]
    concerns: Callable[[str, Room], bool]
    emit: Callable[..., None]
    apply: Callable[[str, AnyMessage], None]
    acknowledge: Callable[[str, int, Iterable[Any]], None]


class _Copy:
    """What is to be published; encoded when it first is, so that no emit waits for that."""

    __slots__ = ("at", "encode", "size")

    def __init__(self, encode: Callable[[], bytes], size: int = 0) -> None:
        self.encode = functools.cache(encode)
        self.size = size
        self.at = time.monotonic()


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


class Neighbours:
    """Hears the stock managers' channel on every broker, and publishes there what they need to know.

    :param urls: the brokers' addresses.
    :param channel: the stock managers' channel.
    :param listen: False: this process has no clients.
    :raises ValueError: for an address that makes no sense.
    """

    def __init__(
        self, urls: list[str], channel: str, options: QueueOptions, here: Here, *, listen: bool
    ) -> None:
        self.channel = channel
        self._urls = name_brokers(urls)
        self._options = options
        self._here = here
        self._listen = listen
        self._reset()
        # A fork copies no threads.
        reference = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _reset_after_fork(reference))
        if not listen:
            atexit.register(_close_at_exit, reference)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._started = self._closing = False
        self._report_at: dict[str, float] = {}
        self.rejected: Counter[str] = Counter()
        limits = BrokerOptions(
            connect_timeout_seconds=self._options.timeout_seconds,
            answer_timeout_seconds=self._options.timeout_seconds,
        )
        self._links: list[_Link] = []
        for name, url in self._urls.items():
            pipe = stock_pipe(url, self.channel, limits)
            if pipe is not None:
                self._links.append(_Link(name, pipe))

    # Life.

    def start(self) -> None:
        """Connect; a second call changes nothing. Publishing does it too."""
        with self._lock:
            if self._started:
                return
            self._started = True
        for link in self._links:
            self._run(self._publisher, link)
            if self._listen:
                self._run(self._listener, link)

    def _run(self, loop: Callable[[_Link], None], link: _Link) -> None:
        name = f"stock {loop.__name__.strip('_')} {link.name}"
        threading.Thread(target=loop, args=(link,), daemon=True, name=name).start()

    def flush(self, timeout_seconds: float) -> None:
        """Wait until everything is published on the brokers that work."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline and any(
            link.error is None and (link.waiting or link.flying) for link in self._links
        ):
            time.sleep(FLUSH_LOOK_SECONDS)

    def close(self, timeout_seconds: float = EXIT_FLUSH_SECONDS) -> None:
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
        host = HOST + self._here.origin()
        copy = _Copy(functools.partial(stock_messages.encode_copy, message, host), size)
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
        while not self._closing:
            link.wake.clear()
            oldest, bodies = self._take(link)
            if bodies:
                self._deliver(link, bodies, oldest + self._options.max_age_seconds)
                link.flying = 0
            elif not link.waiting:
                link.wake.wait()

    def _take(self, link: _Link) -> tuple[float, list[bytes]]:
        """Take and encode the next batch; returns also when its first was emitted."""
        now = time.monotonic()
        with self._lock:
            copies = [link.waiting.popleft() for _ in range(min(BATCH, len(link.waiting)))]
            link.waiting_bytes -= sum(copy.size for copy in copies)
            fresh = [copy for copy in copies if now - copy.at <= self._options.max_age_seconds]
            link.flying = len(fresh)
        if len(fresh) < len(copies):
            self._drop(link, len(copies) - len(fresh), "too old")
        bodies = []
        for copy in fresh:
            try:
                bodies.append(copy.encode())
            except Exception as error:
                # An acknowledgement with bytes, for example, which the stock managers cannot carry either.
                self._drop(link, 1, f"no JSON: {error}")
        return (fresh[0].at if fresh else now), bodies

    def _deliver(self, link: _Link, bodies: list[bytes], deadline: float) -> None:
        """Publish a batch; try again until it is too old, for a connection may have been cut meanwhile."""
        failures = 0
        while not self._closing:
            try:
                link.pipe.publish(bodies)
            except Exception as error:
                self._failed(link, error)
            else:
                link.published += len(bodies)
                link.error = None
                return
            if time.monotonic() > deadline:
                self._drop(link, len(bodies), "too old")
                return
            time.sleep(backoff_seconds(failures))
            failures += 1

    def _drop(self, link: _Link, count: int, why: str) -> None:
        link.dropped += count
        self._log(
            f"drop {link.name}", f"{count} copies dropped on {link.name} ({why}), {link.dropped} so far"
        )

    # In.

    def _listener(self, link: _Link) -> None:
        failures = 0
        while not self._closing:
            try:
                turn_ends = 0.0
                for batch in link.pipe.listen():
                    if not link.listening:
                        link.listening, link.error = True, None
                        failures = 0
                        logger.info("stock neighbours: listening to %s on %s", self.channel, link.name)
                    for body in batch:
                        if time.monotonic() >= turn_ends:
                            time.sleep(REST_SECONDS)
                            turn_ends = time.monotonic() + TURN_SECONDS
                        self._take_in(link, body)
            except Exception as error:
                self._failed(link, error)
            link.listening = False
            if not self._closing:
                time.sleep(backoff_seconds(failures))
                failures += 1

    def _take_in(self, link: _Link, body: bytes) -> None:
        """Do what a neighbour wants. Whatever it is, the listener goes on."""
        if body.startswith(MARK):
            return
        link.received += 1
        try:
            if len(body) > SIZE_FACTOR * self._options.max_message_bytes:
                self._reject(link, "stock oversized", f"{len(body)} bytes")
                return
            message = stock_messages.decode(body)
            host = message.host_id or ""
            if isinstance(message, Callback):
                if host == HOST + self._here.origin():
                    self._here.acknowledge("", message.id, message.args)
            elif isinstance(message, Emit):
                self._emit(link, message)
            elif not host.startswith(HOST):
                self._here.apply(host, stock_messages.as_envelope(message))
        except ValueError as error:
            self._reject(link, "stock malformed", str(error))
        except Exception as error:
            self._reject(link, "stock failed", repr(error), error)

    def _emit(self, link: _Link, message: Emit) -> None:
        namespace = message.namespace or "/"
        if (message.host_id or "").startswith(HOST) or not self._here.concerns(namespace, message.room):
            return

        def acknowledged(*values: Any) -> None:
            answer = message.answer(values)
            if answer is not None:
                self._put(link, _Copy(functools.partial(stock_messages.encode, answer)))

        self._here.emit(
            message.event,
            message.arguments,
            namespace=namespace,
            room=message.room,
            skip_sid=message.skip_sid,
            callback=acknowledged if message.answer(()) is not None else None,
            ignore_queue=True,
        )

    # What goes wrong.

    def _failed(self, link: _Link, error: Exception) -> None:
        if not self._closing:
            link.error = str(error) or repr(error)
            defect = None if isinstance(error, BrokerError) else error
            self._log(f"fail {link.name}", f"{link.name} does not work: {link.error}", defect)

    def _reject(self, link: _Link, reason: str, detail: str, defect: Exception | None = None) -> None:
        self.rejected[reason] += 1
        self._log(reason, f"{reason} on {link.name}: {detail:.200}; {self.rejected[reason]} so far", defect)

    def _log(self, about: str, text: str, defect: Exception | None = None) -> None:
        now = time.monotonic()
        if now >= self._report_at.get(about, 0.0):
            self._report_at[about] = now + REPORT_SECONDS
            logger.warning("stock neighbours: %s", text, exc_info=defect)


def _reset_after_fork(reference: weakref.ref[Neighbours]) -> None:
    neighbours = reference()
    if neighbours is not None:
        neighbours._reset()


def _close_at_exit(reference: weakref.ref[Neighbours]) -> None:
    neighbours = reference()
    if neighbours is not None:
        neighbours.close()
