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
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from app.realtime.brokers import BrokerOptions, name_brokers
from app.realtime.brokers.stock import Pipe, stock_pipe
from app.realtime.queue import envelope
from app.realtime.queue.envelope import AnyMessage, Room
from app.realtime.queue.options import QueueOptions
from app.realtime.queue.routing import backoff_seconds
from app.realtime.stock import messages as stock_messages
from app.realtime.stock.copies import Copies, Copy, Reports
from app.realtime.stock.messages import HOST, MARK, Callback, Emit

logger = logging.getLogger(__name__)

# What Base64 and JSON make of the largest message.
SIZE_FACTOR = 2
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


class _Link:
    """One broker: what goes out by it, and how it is to hear."""

    def __init__(self, name: str, pipe: Pipe, options: QueueOptions, reports: Reports) -> None:
        self.name = name
        self.pipe = pipe
        self.out = Copies(name, pipe, options, reports)
        self.listening = False
        self.error: str | None = None
        self.received = 0

    def status(self) -> dict[str, Any]:
        error = self.out.error or self.error
        return {"listening": self.listening, "error": error, "received": self.received, **self.out.status()}


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
        self._reports = Reports()
        self.rejected: Counter[str] = Counter()
        limits = BrokerOptions(
            connect_timeout_seconds=self._options.timeout_seconds,
            answer_timeout_seconds=self._options.timeout_seconds,
        )
        self._links: list[_Link] = []
        for name, url in self._urls.items():
            pipe = stock_pipe(url, self.channel, limits)
            if pipe is not None:
                self._links.append(_Link(name, pipe, self._options, self._reports))

    # Life.

    def start(self) -> None:
        """Connect; a second call changes nothing. Publishing does it too."""
        with self._lock:
            if self._started:
                return
            self._started = True
        for link in self._links:
            _run(link.out.run, f"stock publisher {link.name}")
            if self._listen:
                _run(functools.partial(self._listener, link), f"stock listener {link.name}")

    def flush(self, timeout_seconds: float) -> None:
        """Wait until everything is published on the brokers that work."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline and any(
            link.out.error is None and link.out.waiting for link in self._links
        ):
            time.sleep(FLUSH_LOOK_SECONDS)

    def close(self, timeout_seconds: float = EXIT_FLUSH_SECONDS) -> None:
        """Flush, and disconnect."""
        if self._started and not self._closing:
            self.flush(timeout_seconds)
        self._closing = True
        for link in self._links:
            link.out.close()
            link.pipe.close()

    def status(self) -> dict[str, Any]:
        """How it is, as a plain dict."""
        return {"channel": self.channel, "brokers": {link.name: link.status() for link in self._links}}

    # Out.

    def publish(self, message: AnyMessage) -> None:
        """Let the neighbours know of something too; never waits."""
        size = memoryview(message.frames).nbytes if isinstance(message, envelope.Emit) else 0
        host = HOST + self._here.origin()
        copy = Copy(functools.partial(stock_messages.encode_copy, message, host), size)
        for link in self._links:
            self._put(link, copy)

    def _put(self, link: _Link, copy: Copy) -> None:
        if not self._started:
            self.start()
        link.out.put(copy)

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
                        self._take_in(link, body)
                        if time.monotonic() >= turn_ends:
                            time.sleep(REST_SECONDS)
                            turn_ends = time.monotonic() + TURN_SECONDS
            except Exception as error:
                link.error = str(error) or repr(error)
                if not self._closing:
                    self._reports.failed(link.name, error)
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
                self._put(link, Copy(functools.partial(stock_messages.encode, answer)))

        self._here.emit(
            message.event,
            message.arguments,
            namespace=namespace,
            room=message.room,
            skip_sid=message.skip_sid,
            callback=acknowledged if message.answer(()) is not None else None,
            ignore_queue=True,
        )

    def _reject(self, link: _Link, reason: str, detail: str, defect: Exception | None = None) -> None:
        self.rejected[reason] += 1
        text = f"{reason} on {link.name}: {detail:.200}; {self.rejected[reason]} so far"
        self._reports.tell(reason, text, defect)


def _run(loop: Callable[[], None], name: str) -> None:
    threading.Thread(target=loop, daemon=True, name=name).start()


def _reset_after_fork(reference: weakref.ref[Neighbours]) -> None:
    neighbours = reference()
    if neighbours is not None:
        neighbours._reset()


def _close_at_exit(reference: weakref.ref[Neighbours]) -> None:
    neighbours = reference()
    if neighbours is not None:
        neighbours.close()
