"""Processes and brokers without IO, for the tests of `app.realtime.queue.exchange`: time is a number.

A `Process` does around an Exchange what `Channel` does, step by step. A `Log` is a broker: parcels in order,
a position for each listener, and faults to be switched on and off.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from app.realtime.queue import envelope
from app.realtime.queue.exchange import Exchange
from app.realtime.queue.journal import Journal
from app.realtime.queue.lanes import Work
from app.realtime.queue.options import QueueOptions, QueueStrategy
from app.realtime.queue.outbox import Full

STEP_SECONDS = 0.025
TICK_STEPS = 2
FORGET_STEPS = 20
WALL = 1_700_000_000.0

Fault = Literal["refuse", "down", "lose", "repeat", "silent", "frozen", "half"]


@dataclass
class Log:
    """A broker.

    Its `fault` is None or

        refuse  publishing is answered with an error, listening works
        down    neither works
        lose    takes what is published, and forgets it
        repeat  has everything twice
        silent  takes everything, delivers nothing until it is well again
        frozen  answers nothing until the publisher gives up, and has taken half of it
        half    takes half of what is published, and fails
    """

    name: str
    parcels: list[bytes] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    fault: Fault | None = None
    cut: Counter[str] = field(default_factory=Counter)  # whose listeners are
    barred: Counter[str] = field(default_factory=Counter)  # who cannot publish
    delay_steps: int = 0  # how long an answer takes
    lag_steps: int = 0  # how long a parcel takes, beyond one step
    arrived: int = 0  # so many parcels can be delivered
    _lengths: deque[int] = field(default_factory=deque)

    def step(self) -> None:
        """Let parcels arrive."""
        self._lengths.append(len(self.parcels))
        while len(self._lengths) > self.lag_steps + 1:
            self._lengths.popleft()
        self.arrived = max(self.arrived, self._lengths[0])

    def forget(self, *origins: str) -> None:
        """Lose what was not delivered yet, to some or to all."""
        for origin in origins or list(self.positions):
            self.positions[origin] = len(self.parcels)


@dataclass
class _Flight:
    """What is being published."""

    work: Work
    ends_at: float
    error: str | None
    refused: bool


@dataclass
class _Publisher:
    wake: bool = True
    due_at: float = 0.0
    flight: _Flight | None = None


class Process:
    """One process on the channel: what Channel does, without threads."""

    def __init__(self, world: World, origin: str, *, is_node: bool = True, reaches: list[str] | None = None):
        self.world = world
        self.exchange = Exchange(
            [name for name in world.logs if reaches is None or name in reaches],
            strategy=world.strategy,
            channel="test",
            secret=world.secret,
            options=world.options,
            is_node=is_node,
            now=world.now,
            wall=world.wall,
            origin=origin,
        )
        self.journal = Journal()
        self.origin = origin
        self.delivered: dict[str, list[Any]] = {}
        self.sent: list[int] = []
        self.sent_at: list[float] = []
        self.joined_at = world.now
        self._publishers = {name: _Publisher() for name in self.exchange.router.links}
        self.listening_since: float | None = None  # some broker is heard

    def send(self, count: int = 1) -> None:
        """Emit the next numbers; the oldest are dropped when there is no room."""
        for _ in range(count):
            number = len(self.sent) + 1
            body = envelope.encode_body(number)
            try:
                self.exchange.send(body, self.world.now)
            except Full:
                self.exchange.outbox.drop_oldest()
                self.exchange.send(body, self.world.now)
            self.sent.append(number)
            self.sent_at.append(self.world.now)
        self._wake(self.exchange.used)

    def step(self, number: int) -> None:
        """What happens in one step of time."""
        for name, publisher in self._publishers.items():
            self._publish(name, publisher)
        for name in self._publishers:
            self._listen(name)
        if number % TICK_STEPS == 0:
            since = self.listening_since
            self.exchange.tick(self.world.now, self.world.now - since if since is not None else 0.0)
            self._wake(self.exchange.urgent())
            events = self.journal.take(self.exchange, self.world.now)
            self.world.events += [(self.origin, event) for event in events]
            self._deliver()
        if number % FORGET_STEPS == 0:
            self.exchange.forget(self.world.now)

    def _wake(self, names: Iterable[str]) -> None:
        for name in names:
            self._publishers[name].wake = True

    def _publish(self, name: str, publisher: _Publisher) -> None:
        now, flight = self.world.now, publisher.flight
        if flight is not None:
            if now < flight.ends_at:
                return
            publisher.flight = None
            if flight.error is None:
                self.exchange.done(name, flight.work)
            else:
                self.exchange.failed(name, flight.work, flight.error, now, refused=flight.refused)
                self._wake([other for other in self._publishers if other != name])
            publisher.wake = True
        if not publisher.wake and now < publisher.due_at:
            return
        publisher.wake = False
        work = self.exchange.collect(name, now)
        if work is None:
            publisher.due_at = now + max(0.001, self.exchange.wait_seconds(name, now))
            return
        publisher.flight = self._hand_over(self.world.logs[name], work)

    def _hand_over(self, log: Log, work: Work) -> _Flight:
        now = self.world.now
        answer_at = now + log.delay_steps * STEP_SECONDS
        self.world.handed[log.name] += len(work.parcels)
        if log.barred[self.origin]:
            return _Flight(work, answer_at, "no way", refused=False)
        half = work.parcels[: (len(work.parcels) + 1) // 2]
        match log.fault:
            case "refuse":
                return _Flight(work, answer_at, "no", refused=True)
            case "down":
                return _Flight(work, answer_at, "connection refused", refused=False)
            case "frozen":
                log.parcels += half
                return _Flight(work, now + self.world.options.timeout_seconds, "timeout", refused=False)
            case "half":
                log.parcels += half
                return _Flight(work, answer_at, "connection lost", refused=False)
            case "repeat":
                log.parcels += work.parcels * 2
            case "lose":
                pass
            case _:
                log.parcels += work.parcels
        return _Flight(work, answer_at, None, refused=False)

    def _listen(self, name: str) -> None:
        log, link = self.world.logs[name], self.exchange.router.links[name]
        if log.cut[self.origin] or log.fault == "down":
            if link.hears:
                self.exchange.router.deaf(name, "cut")
            return
        if log.fault == "frozen" and not link.hears:
            return
        if not link.hears:
            self.exchange.hears(name)
            if self.listening_since is None:
                self.listening_since = self.world.now
            log.positions.setdefault(self.origin, len(log.parcels))
        if log.fault in ("silent", "frozen"):
            return
        start = log.positions[self.origin]
        log.positions[self.origin] = max(start, log.arrived)
        for parcel in log.parcels[start : log.arrived]:
            self.exchange.take_in(name, parcel, self.world.now)
        self._wake(self.exchange.urgent())
        self._deliver()

    def _deliver(self) -> None:
        while self.exchange.ready:
            origin, body = self.exchange.ready.popleft()
            self.delivered.setdefault(origin, []).append(msgspec.msgpack.decode(body))

    @property
    def quiet(self) -> bool:
        """Whether nothing of ours is on its way, and nothing of others is missing."""
        return not self.exchange.unreturned and not self.exchange.inbox.incomplete


class World:
    """Everything there is, and time."""

    def __init__(
        self,
        brokers: int = 2,
        *,
        strategy: QueueStrategy = "failover",
        secret: str | None = None,
        **options: Any,
    ) -> None:
        self.logs = {name: Log(name) for name in ("one", "two", "three")[:brokers]}
        self.strategy: QueueStrategy = strategy
        self.secret = secret
        self.options = QueueOptions(**{"failback_seconds": 1.0, "repair_seconds": 60.0, **options})
        self.now = 100.0
        self.processes: dict[str, Process] = {}
        self.events: list[tuple[str, Any]] = []
        self.handed: Counter[str] = Counter()
        self._steps = 0
        self._later: list[tuple[int, Callable[[], None]]] = []

    def wall(self) -> float:
        """The time of day."""
        return WALL + self.now

    def process(self, origin: str, *, is_node: bool = True, reaches: list[str] | None = None) -> Process:
        """Start a process."""
        process = self.processes[origin] = Process(self, origin, is_node=is_node, reaches=reaches)
        return process

    def kill(self, origin: str) -> Process:
        """End a process without a goodbye."""
        return self.processes.pop(origin)

    def delay(self, steps: list[int]) -> None:
        """Let answers and parcels take longer: first the brokers' `delay_steps`, then their `lag_steps`."""
        for log, delay_steps, lag_steps in zip(
            self.logs.values(), steps, steps[len(self.logs) :], strict=False
        ):
            log.delay_steps, log.lag_steps = delay_steps, lag_steps

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something after a while."""
        self._later.append((self._steps + round(seconds / STEP_SECONDS), what))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / STEP_SECONDS)):
            self.step()

    def run_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until a condition holds; False: it did not within the time."""
        for _ in range(round(seconds / STEP_SECONDS)):
            if condition():
                return True
            self.step()
        return condition()

    def step(self) -> None:
        """The smallest piece of time."""
        for due, what in self._later:
            if due <= self._steps:
                what()
        self._later = [(due, what) for due, what in self._later if due > self._steps]
        for log in self.logs.values():
            log.step()
        for process in list(self.processes.values()):
            process.step(self._steps)
        self._steps += 1
        self.now += STEP_SECONDS

    @property
    def nodes(self) -> list[Process]:
        """The processes with clients."""
        return [process for process in self.processes.values() if process.exchange.is_node]

    def complete(self) -> bool:
        """Whether every node has everything of all others."""
        return all(
            len(node.delivered.get(other.origin, ())) == len(other.sent)
            for node in self.nodes
            for other in self.processes.values()
            if other is not node
        )

    def settled(self) -> bool:
        """Whether every node has everything, and everybody knows it."""
        return all(process.quiet for process in self.processes.values()) and self.complete()

    @property
    def parcels(self) -> int:
        """What was handed to all brokers so far."""
        return sum(self.handed.values())
