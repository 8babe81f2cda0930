"""Which broker to publish on: the health of each, and the choice. Pure; time is passed in.

A broker's state, from what was seen end to end:

    connecting  nothing has come back yet since it was connected (again)
    up          what was published came back within `patience_seconds`
    silent      it takes what is published, or answers nothing at all, and brings nothing back
    down        publishing failed; tried again after a backoff

- failover: publish on the active broker. It stays active until it is not up and another one is, or it is slow
  and another one is much quicker. The first in the order of preference takes over again after it was up, and
  not slow, for `failback_seconds` on end.
- dual-write: publish on every broker that is not down.
- Either way a broker is added when a node hears none of those chosen.

Patience counts the time in which this process ran, not in which it was starved or frozen itself.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from app.realtime.queue.options import QueueStrategy

State = Literal["connecting", "up", "silent", "down"]
EventKind = Literal["state", "active", "dropped", "lost", "rejected", "adopted", "failed"]

# The first retry comes at once, almost; the last ones soon enough that a broker that is back is used.
BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_LAST_SECONDS = 1.0
# More than that between two ticks is a stall of our own.
TICK_MAX_SECONDS = 0.1
OUTSTANDING_MAX = 10_000
# Of the newest round trip in the mean: a few late ones are noise.
RTT_WEIGHT = 0.25
# A broker whose round trip takes half of the patience is left for one that needs a third of its time.
SLOW_SHARE = 0.5
QUICKER_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class QueueEvent:
    """A change that an operator wants to know of.

    :param kind: "state" (of a broker), "active" (another broker is published on), "dropped" (from the
        outbox), "lost" (a gap that was passed over), "rejected" (what came was no parcel of ours), "adopted"
        (messages of an earlier process are published), or "failed" (a message could not be delivered here).
    :param broker: its name; None when it is not about one.
    :param state: the broker's new state.
    :param detail: what happened, in words.
    :param at: seconds since the epoch.
    :param count: how many, for what is counted.
    """

    kind: EventKind
    broker: str | None
    state: State | None
    detail: str
    at: float
    count: int = 0


@dataclass(slots=True)
class Link:
    """One broker, as this process sees it. Times ending in `_at` are the router's clock."""

    name: str
    state: State = "connecting"
    since: float = 0.0  # wall clock
    error: str | None = None
    hears: bool = False
    reaches: bool = False
    refused: bool = False
    rtt_seconds: float | None = None
    failures: int = 0
    retry_at: float = 0.0  # time as passed in
    up_at: float | None = None
    handed_at: float | None = None  # since then it was handed parcels, and has not answered
    outstanding: deque[tuple[int, float, float]] = field(default_factory=deque)  # parcel, sent at, time then
    published: int = 0
    received: int = 0
    parcels: int = 0

    @property
    def hearing(self) -> bool:
        """Whether what others publish on it reaches us, as far as we know."""
        return self.hears and self.state != "silent" and (self.state != "down" or self.refused)


def backoff_seconds(failures: int, chance: Callable[[], float] = random.random) -> float:
    """How long to wait after so many failures before this one: growing, capped, with jitter."""
    backoff = min(BACKOFF_LAST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(failures, 10))
    return float(backoff * (0.5 + chance() / 2))


class Router:
    """Decides, for each moment, which brokers to publish on.

    :param names: the brokers, best first.
    :param chance: a random number from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        names: list[str],
        strategy: QueueStrategy,
        *,
        patience_seconds: float,
        failback_seconds: float,
        now: float,
        wall: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.links = {name: Link(name, since=wall()) for name in names}
        self.strategy = strategy
        self.preference = list(names)
        self.active: str | None = None
        self.events: list[QueueEvent] = []  # since the owner last cleared it
        self._patience_seconds = patience_seconds
        self._failback_seconds = failback_seconds
        self._wall = wall
        self._chance = chance
        self._clock = 0.0
        self._ticked = now

    # What happens to a broker.

    def sending(self, name: str, number: int, now: float) -> None:
        """A parcel is handed to a broker now."""
        link = self.links[name]
        link.handed_at = self._clock if link.handed_at is None else link.handed_at
        outstanding = link.outstanding
        outstanding.append((number, self._clock, now))
        if len(outstanding) > OUTSTANDING_MAX:
            outstanding.popleft()

    def accepted(self, name: str, messages: int) -> bool:
        """The broker took what it was handed; returns whether it works again after a failure."""
        link = self.links[name]
        again = not link.reaches
        link.reaches = True
        link.handed_at = None
        link.failures = 0
        link.published += messages
        if link.state == "down":
            self._change(link, "connecting", None)
        return again

    def failed(self, name: str, reason: str, now: float, *, refused: bool) -> None:
        """The broker did not take what it was handed.

        :param refused: it answered, so it may go on bringing what others publish.
        """
        link = self.links[name]
        link.reaches = False
        link.refused = refused
        link.outstanding.clear()
        link.handed_at = None
        link.retry_at = now + backoff_seconds(link.failures, self._chance)
        link.failures += 1
        self._change(link, "down", reason)

    def hears(self, name: str) -> None:
        """We listen to the broker from now on."""
        self.links[name].hears = True

    def deaf(self, name: str, reason: str) -> None:
        """We do not hear the broker any more."""
        link = self.links[name]
        link.hears = False
        if link.error != reason:
            link.error = reason

    def came_back(self, name: str, number: int, now: float) -> None:
        """The broker brought one of our parcels back; what it was handed before has come or is lost."""
        link = self.links[name]
        while link.outstanding and link.outstanding[0][0] <= number:
            sent_number, _, sent_at = link.outstanding.popleft()
            if sent_number == number:
                # Longer silence was judged when it was, and says nothing of how quick it is now.
                rtt_seconds = min(now - sent_at, self._patience_seconds)
                before = rtt_seconds if link.rtt_seconds is None else link.rtt_seconds
                link.rtt_seconds = before + (rtt_seconds - before) * RTT_WEIGHT
                if self._slow(link) and link.up_at is not None:
                    link.up_at = self._clock
        if not link.reaches:
            return  # an old parcel; the broker does not take new ones
        if self.waited_seconds(name) <= self._patience_seconds:
            self._change(link, "up", None)

    def waited_seconds(self, name: str) -> float:
        """How long the oldest parcel has been on its way, or its acceptance."""
        link = self.links[name]
        since = self._clock if link.handed_at is None else link.handed_at
        return self._clock - min(since, link.outstanding[0][1] if link.outstanding else since)

    def tick(self, now: float) -> None:
        """Let time pass."""
        self._clock += min(max(0.0, now - self._ticked), TICK_MAX_SECONDS)
        self._ticked = now
        for link in self.links.values():
            if link.state in ("up", "connecting") and self.waited_seconds(link.name) > self._patience_seconds:
                self._change(link, "silent", f"nothing came back for {self._patience_seconds:g} s")
        self._choose()

    # The choice.

    @property
    def works(self) -> bool:
        """Whether any broker is up."""
        return any(link.state == "up" for link in self.links.values())

    def route(self, uncovered: Callable[[Collection[str]], list[frozenset[str]]]) -> list[str]:
        """The brokers to publish on.

        :param uncovered: what those nodes hear that hear none of some brokers (`Peers.uncovered`).
        """
        if self.strategy == "dual-write":
            return [name for name in self.preference if self.links[name].state != "down"]
        self._choose()
        route = [self.active] if self.active else []
        for hears in uncovered(route):
            if hears.isdisjoint(route):
                route += [n for n in self.preference if n in hears and self.links[n].state == "up"][:1]
        return route

    def switch(self, name: str | None) -> None:
        """Prefer a broker from now on; None is the configured order.

        :raises ValueError: for an unknown name.
        """
        if name is not None and name not in self.links:
            raise ValueError(f"there is no broker {name!r}: there are {', '.join(self.links)}")
        self.preference = list(self.links)
        if name is not None:
            self.preference.remove(name)
            self.preference.insert(0, name)
        best = self.links[self.preference[0]]
        if best.state == "up":
            self._activate(best.name, "switched by hand")

    def _choose(self) -> None:
        links = [self.links[name] for name in self.preference]
        active = self.links.get(self.active or "")
        if active is not None and active.state in ("up", "connecting"):
            better = links[: links.index(active)]
            if self._failback_seconds:
                for link in better:
                    healthy = link.up_at is not None and not self._slow(link)
                    if healthy and self._clock - (link.up_at or 0) >= self._failback_seconds:
                        reason = f"healthy again for {self._failback_seconds:g} s"
                        self._activate(link.name, reason)
                        return
            if (quicker := self._quicker(active, links)) is not active:
                self._activate(quicker.name, f"{active.name} is slow")
            return
        for state in ("up", "connecting", "silent"):
            if active is not None and active.state == state:
                return
            for link in links:
                if link.state == state and (active is None or link.reaches):
                    why = f"{active.name} is {active.state}" if active else "at start"
                    self._activate(self._quicker(link, links).name, why)
                    return

    def _quicker(self, link: Link, links: list[Link]) -> Link:
        """Itself, unless it is slow and another is much quicker; so that the next look changes nothing."""
        while self._slow(link):
            for other in links:
                if other.state == "up" and self._much_quicker(other, link):
                    link = other
                    break
            else:
                break
        return link

    def _slow(self, link: Link) -> bool:
        return (link.rtt_seconds or 0.0) > self._patience_seconds * SLOW_SHARE

    def _much_quicker(self, link: Link, than: Link) -> bool:
        return link.rtt_seconds is not None and link.rtt_seconds < (than.rtt_seconds or 0) * QUICKER_SHARE

    def _activate(self, name: str, why: str) -> None:
        if name != self.active:
            self.active = name
            self._tell("active", self.links[name], why)

    def _change(self, link: Link, state: State, reason: str | None) -> None:
        if reason is not None:
            link.error = reason
        if state == link.state:
            return
        link.state = state
        link.since = self._wall()
        link.up_at = self._clock if state == "up" else None
        self._tell("state", link, reason or state)

    def _tell(self, kind: Literal["state", "active"], link: Link, detail: str) -> None:
        self.events.append(QueueEvent(kind, link.name, link.state, detail, self._wall()))
