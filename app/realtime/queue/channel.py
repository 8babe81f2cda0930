"""One process on the channel between nodes: the threads, clocks and files around an Exchange.

    send() -> exchange -> publisher of the broker in use -> broker
    broker -> listener -> exchange -> deliver()

Each broker has a publisher and a listener, and one keeper lets time pass. In a node, where the standard
library is patched, they are greenlets; in an unpatched process they are native threads. Everything that is
shared is shared under one lock, which is never held while waiting for IO, but for a spool's writing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from app.realtime.brokers import Broker, BrokerError, BrokerOptions, BrokerRefused, broker_class, name_brokers
from app.realtime.errors import MessageTooLarge, OutboxFull, QueueClosed
from app.realtime.queue import ending, envelope
from app.realtime.queue.delivery import Deliver, Delivery
from app.realtime.queue.envelope import AnyMessage
from app.realtime.queue.exchange import Exchange
from app.realtime.queue.journal import Journal, status_of
from app.realtime.queue.lanes import Work
from app.realtime.queue.options import QueueOptions, QueueStrategy
from app.realtime.queue.routing import backoff_seconds
from app.realtime.queue.spool import Spools, inherit, open_spools

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.05
# A process without clients that has nothing on its way need not hurry.
IDLE_TICK_SECONDS = 0.1
HOUSEKEEPING_SECONDS = 0.5
# A listener with much to take in rests now and then: sleep(0) would not let sockets be served.
TURN_SECONDS = 0.005
REST_SECONDS = 0.0005
EXIT_FLUSH_SECONDS = 5.0
CLOSE_SECONDS = 1.0
READY_MAX = 10_000  # messages; a listener waits until they are handed out
EVENTS_SHOWN = 20  # of the last, in a status
FLUSH_LOOK_SECONDS = 0.005


class Channel:
    """Publishes messages and takes in everybody else's.

    :param urls: the brokers' addresses, best first.
    :param name: what the processes of one application share on the brokers.
    :param secret: signs what is published; what is not signed by it is refused. None: nothing is signed.
    :param deliver: called with (origin, message) for each message of others, once and in the order of each
        origin; must not wait for long. None: this process only emits.
    :raises ValueError: for an address or option that makes no sense.
    """

    def __init__(
        self,
        urls: list[str],
        *,
        strategy: QueueStrategy,
        name: str,
        secret: str | None = None,
        options: QueueOptions | None = None,
        deliver: Deliver | None = None,
    ) -> None:
        self.name = name
        self.options = options or QueueOptions()
        self._urls = name_brokers(urls)
        self._strategy = strategy
        self._secret = secret
        self._deliver = deliver
        self.journal = Journal()
        # What this process says of itself when it is asked, beside the state of the queue.
        self.describe: Callable[[], dict[str, Any]] = dict
        self.reset()
        ending.watch(self, closes=deliver is None)

    def reset(self) -> None:
        """Begin anew; a fork copies neither threads nor the right to an origin."""
        self._lock = threading.Lock()
        self._room = threading.Event()
        self.exchange = Exchange(
            list(self._urls),
            strategy=self._strategy,
            channel=self.name,
            secret=self._secret,
            options=self.options,
            is_node=self._deliver is not None,
            now=time.monotonic(),
        )
        self.origin = self.exchange.origin
        self._delivery = Delivery(self.exchange, self._lock, self._deliver)
        broker_options = BrokerOptions(
            connect_timeout_seconds=self.options.timeout_seconds,
            answer_timeout_seconds=self.options.timeout_seconds,
        )
        self._brokers: dict[str, Broker] = {
            name: broker_class(url)(url, self.name, self.origin, broker_options)
            for name, url in self._urls.items()
        }
        self._wakes = {name: threading.Event() for name in self._brokers}
        self._publishers: list[threading.Thread] = []
        self._started = self._closing = False
        self._listening_since: float | None = None
        self._dropped = 0
        self._housekeeping_at = 0.0
        inherit(getattr(self, "_spools", None))
        self._spools: Spools | None = None

    # Out.

    def send(self, message: AnyMessage) -> None:
        """Publish a message; returns as soon as it is in the outbox.

        What is volatile is dropped, and counted, while no broker works.
        :raises MessageTooLarge: when it has more than `max_message_bytes`.
        :raises OutboxFull: as the overflow policy says.
        :raises QueueClosed: after close().
        """
        body = envelope.encode_body(message)
        if len(body) > self.options.max_message_bytes:
            limit = f"{len(body)} bytes are more than max_message_bytes={self.options.max_message_bytes}"
            raise MessageTooLarge(
                f"{limit}: send less, or an address to fetch it from, or raise it everywhere"
            )
        if not self._started and not self._closing:
            self.start()
        with self._lock:
            if self._closing:
                ending.end_daemon()
                raise QueueClosed("the queue is closed")
            if isinstance(message, envelope.Emit) and message.volatile and not self.exchange.router.works:
                self.exchange.failures["volatile"] += 1
                return
            if self.exchange.outbox.full(len(body)):
                self._make_room(len(body))
            seq = self.exchange.send(body, time.monotonic())
            if self._spools:
                self._spools.keep(seq, body)
            self._wake(self.exchange.used)

    def _make_room(self, size: int) -> None:
        """Apply the overflow policy; the lock is held."""
        overflow = self.options.overflow
        deadline = time.monotonic() + (self.options.block_seconds if overflow == "block" else 0)
        while self.exchange.outbox.full(size):
            if overflow == "drop_oldest":
                self.exchange.outbox.drop_oldest()
            elif not self._wait_for_room(deadline - time.monotonic()):
                waiting = self.exchange.outbox.pending
                raise OutboxFull(
                    f"{waiting} messages wait and no broker takes them: see queue_status(), or raise "
                    "max_messages and max_bytes"
                )
            if self._closing:
                raise QueueClosed("the queue is closed")

    def _wait_for_room(self, seconds: float) -> bool:
        """Wait, without the lock, until a broker has taken something; returns whether one has in time."""
        self._room.clear()
        self._lock.release()
        try:
            return seconds > 0 and self._room.wait(seconds)
        finally:
            self._lock.acquire()

    def flush(self, timeout_seconds: float = 5.0) -> int:
        """Wait until everything that was emitted before has gone out and come back.

        :returns: how many messages have not, and how many were dropped since the last flush.
        """
        deadline = time.monotonic() + (0 if self._closing else timeout_seconds)
        last = self.exchange.outbox.last
        while self._started and self._unreturned(last) and time.monotonic() < deadline:
            # What comes back wakes nobody: that would cost each emit something.
            time.sleep(FLUSH_LOOK_SECONDS)
        with self._lock:
            dropped = sum(self.exchange.dropped().values())
            new, self._dropped = dropped - self._dropped, dropped
            return self._unreturned(last) + max(0, new)

    def _unreturned(self, last: int) -> int:
        """How many of the messages up to one of ours have not come back."""
        return max(0, self.exchange.unreturned - (self.exchange.outbox.last - last))

    # Life.
    def start(self) -> None:
        """Connect and listen; a second call changes nothing. Emitting does it too."""
        with self._lock:
            if self._started:
                return
            if self.options.spool:
                self._spools = open_spools(self.options.spool, self.exchange)
            self._started = True
        ending.started(self)
        self._publishers = [self._run(self._publisher, name) for name in self._brokers]
        for name in self._brokers:
            self._run(self._listener, name)
        self._run(self._keeper)

    def _run(self, loop: Callable[..., None], *arguments: str) -> threading.Thread:
        name = " ".join(["queue", loop.__name__.strip("_"), *arguments])
        thread = threading.Thread(target=loop, args=arguments, daemon=True, name=name)
        thread.start()
        return thread

    def close(self, timeout_seconds: float = EXIT_FLUSH_SECONDS) -> int:
        """Flush, say goodbye, and disconnect; returns how many messages could not be delivered."""
        left = self.flush(timeout_seconds)
        with self._lock:
            if self._closing:
                return left
            self._closing = True
            self.exchange.note(envelope.Goodbye(self.origin))
            self._room.set()
        self._wake(self._wakes)
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in self._publishers:
            thread.join(max(0.0, deadline - time.monotonic()))
        for broker in self._brokers.values():
            broker.close(forget=True)
        with self._lock:
            self._clean_spools()
            if self._spools:
                self._spools.close()
                self._spools = None
        if left:
            logger.warning("the queue was closed with %d messages not delivered", left)
        return left

    def close_at_exit(self) -> None:
        """Flush at the end of the process, if anything was ever emitted."""
        if self._started:
            self.close()

    # The loops.

    def _publisher(self, name: str) -> None:
        broker, wake = self._brokers[name], self._wakes[name]
        while True:
            # Before the look, never between the look and the wait: no wake-up is lost.
            wake.clear()
            now = time.monotonic()
            with self._lock:
                work = self._collect(name, now)
                wait_seconds = self.exchange.wait_seconds(name, now)
            if work is None:
                if self._ends():
                    return
                wake.wait(max(0.001, wait_seconds))
                continue
            try:
                broker.publish(work.parcels)
            except BrokerError as error:
                with self._lock:
                    refused = isinstance(error, BrokerRefused)
                    self.exchange.failed(name, work, str(error), time.monotonic(), refused=refused)
                self._wake(self._wakes)
            except Exception as error:
                logger.exception("a defect while publishing over %s", name)
                with self._lock:
                    self.exchange.failed(name, work, repr(error), time.monotonic(), refused=False)
            else:
                with self._lock:
                    self.exchange.done(name, work)
                self._room.set()

    def _collect(self, name: str, now: float) -> Work | None:
        """What to publish; a defect costs what waits besides messages, and never ends the publisher."""
        try:
            return self.exchange.collect(name, now)
        except Exception as error:
            logger.exception("a defect while collecting for %s", name)
            self.exchange.failed(name, Work(), repr(error), now, refused=False)
            return None

    def _ends(self) -> bool:
        return self._closing

    def _wake(self, names: Iterable[str]) -> None:
        for name in names:
            wake = self._wakes[name]
            if not wake.is_set():
                wake.set()

    def _listener(self, name: str) -> None:
        broker = self._brokers[name]
        failures = 0
        while not self._ends():
            try:
                turn_ends = time.monotonic() + TURN_SECONDS
                for batch in broker.listen():
                    while len(self.exchange.ready) > READY_MAX and not self._ends():
                        time.sleep(REST_SECONDS)
                    if self._ends():
                        return
                    now = time.monotonic()
                    with self._lock:
                        if not self.exchange.router.links[name].hears:
                            self.exchange.hears(name)
                            self._listening_since = self._listening_since or now
                            failures = 0
                        for parcel in batch:
                            self.exchange.take_in(name, parcel, now)
                        urgent = self.exchange.urgent()
                    self._wake(urgent)
                    self._delivery.run()
                    if not batch or now >= turn_ends:
                        if batch:
                            time.sleep(REST_SECONDS)
                        turn_ends = time.monotonic() + TURN_SECONDS
            except BrokerError as error:
                reason = str(error)
            except Exception as error:
                logger.exception("a defect while listening to %s", name)
                reason = repr(error)
            else:
                reason = "the listener ended"
            with self._lock:
                self.exchange.router.deaf(name, reason)
            time.sleep(0 if self._ends() else backoff_seconds(failures))
            failures += 1

    def _keeper(self) -> None:
        while not self._closing:
            try:
                self._keep()
            except Exception:
                logger.exception("a defect while keeping the queue")
            busy = self._deliver is not None or self.exchange.unreturned
            time.sleep(TICK_SECONDS if busy else IDLE_TICK_SECONDS)

    def _keep(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        with self._lock:
            since = self._listening_since
            self.exchange.tick(now, now - since if since is not None else 0.0)
            urgent = self.exchange.urgent()
            asked, self.exchange.asked = self.exchange.asked, False
            if now >= self._housekeeping_at:
                self._housekeeping_at = now + HOUSEKEEPING_SECONDS
                self.exchange.forget(now)
                self._clean_spools()
            events = self.journal.take(self.exchange, now)
        if asked:
            report = envelope.Report(envelope.encode_body(self.status()))
            with self._lock:
                self.exchange.note(report)
        # Age makes room too.
        self._room.set()
        self._wake(self._wakes if asked else urgent)
        self.journal.tell(events)
        self._delivery.run()

    # What there is to know.

    def switch(self, name: str | None) -> None:
        """Prefer a broker, here; None is the configured order.

        :raises ValueError: for an unknown name.
        """
        with self._lock:
            self.exchange.router.switch(name)
        self._wake(self._wakes)

    def ask(self) -> None:
        """Ask all nodes for their status; the answers gather for `take_reports`."""
        self.start()
        with self._lock:
            self.exchange.ask(time.monotonic())
        self._wake(self._wakes)

    def take_reports(self) -> list[dict[str, Any]]:
        """The statuses that came since the last call."""
        with self._lock:
            bodies = list(self.exchange.reports)
            self.exchange.reports.clear()
        return [status for body in bodies if (status := envelope.decode_status(body))]

    def status(self) -> dict[str, Any]:
        """The state of everything, and the last events, as a plain dict; cheap."""
        about = self.describe()
        with self._lock:
            return {
                "node": about,
                **status_of(self.exchange, time.monotonic()),
                "events": [asdict(event) for event in list(self.journal.events)[-EVENTS_SHOWN:]],
            }

    def _clean_spools(self) -> None:
        """Take from the disk what has come back; the lock is held."""
        if self._spools:
            self._spools.clean(self.exchange.outboxes)
            self.exchange.failures["unspooled"] = self._spools.failed
        for outbox in self.exchange.outboxes.values():
            outbox.dropped_seqs.clear()
