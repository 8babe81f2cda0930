"""What other processes emitted: each origin's messages once and in order. Pure; time is passed in.

For each origin, `next` is the seq that is delivered next.

    older than next     a duplicate: dropped
    next                delivered, and with it whatever waits behind it
    later               waits; what is missing is asked for, from the origin, until it comes

1. An origin that is new begins at 1, if 1 is what came. Otherwise it was there before us, or its first
   messages were lost: it is asked which is the first since we listen (*locating*), and meanwhile all waits.
   It begins no later than with the first that came: the question may have been long on its way.
2. A pulse says how far its origin has published, so that the loss of the newest messages is noticed too.
3. What does not come is asked for again, in growing intervals. After `repair_seconds` in which a broker
   worked it is lost: counted, told, and passed over. So is what the origin says is gone.
4. What waits is bounded. What finds no room is dropped and asked for again later.
5. An origin that was not heard of for `forget_seconds` is forgotten, and so is the one longest not heard of
   when there are too many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence, Sized
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

Body = TypeVar("Body", bound=Sized)

# Parcels over two brokers, or from two publishers, overtake each other by so much.
GAP_GRACE_SECONDS = 0.03
# A pulse on an idle broker overtakes messages on a busy one by more.
PULSE_GRACE_SECONDS = 0.15
FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 1.0
LOCATE_SECONDS = 2.0  # an origin that answers does so within milliseconds
RANGES_MAX = 16  # asked for at once
RANGE_MESSAGES_MAX = 2_000  # of each range; the rest is asked for next


class Wanted(NamedTuple):
    """What to ask an origin for: to be located (`ranges` empty), or for messages."""

    origin: str
    ranges: list[tuple[int, int]]
    attempt: int


class Lost(NamedTuple):
    """Messages that were passed over."""

    origin: str
    first: int
    last: int
    messages: int  # so many; what lies between came
    why: str


@dataclass(slots=True)
class _Source(Generic[Body]):
    next: int = 0  # 0: locating
    came: int = 0  # while locating, the lowest seq that was not sent again for others
    waiting: dict[int, Body] = field(default_factory=dict)
    holes: list[tuple[int, int]] = field(default_factory=list)  # gone, above next
    known: int = 0  # the newest seq that is known to exist
    heard_at: float = 0.0
    missed: int = 0  # the newest that was known when something began to be missing
    ask_at: float = 0.0  # 0: nothing is missing
    attempt: int = 0
    patience: float = 0.0  # seconds left until what is missing is passed over


@dataclass(slots=True)
class Inbox(Generic[Body]):
    """The messages of all other origins.

    :param repair_seconds: how long to ask for a message.
    :param forget_seconds: how long to remember an origin that is silent.
    :param max_waiting: messages that may wait, of all origins together.
    :param max_waiting_bytes: how large they may be together.
    :param max_origins: origins to remember.
    """

    repair_seconds: float
    forget_seconds: float
    max_waiting: int = 20_000
    max_waiting_bytes: int = 64 * 1024 * 1024
    max_origins: int = 10_000
    duplicates: int = 0
    repaired: int = 0  # asked for, and came
    lost: int = 0
    deferred: int = 0  # found no room to wait
    waiting: int = 0
    waiting_bytes: int = 0
    passed_over: list[Lost] = field(default_factory=list)  # since the owner last cleared it
    _sources: OrderedDict[str, _Source[Body]] = field(default_factory=OrderedDict)
    _incomplete: set[str] = field(default_factory=set)

    # What comes in. Each returns the messages that may be delivered now.

    def receive(
        self, origin: str, first: int, bodies: Sequence[Body], now: float, *, again: bool = False
    ) -> Sequence[Body]:
        """Take consecutive messages, the first of which has the seq `first`.

        :param again: they were sent again for somebody who missed them, perhaps not for us.
        """
        source = self._source(origin, now)
        last = first + len(bodies) - 1
        if not source.next and first == 1 and not again:
            source.next = 1
        if source.next == first and not source.waiting and not source.holes:
            source.next = last + 1
            self.repaired += len(bodies) if again else 0
            if origin in self._incomplete:
                self._settle(origin, source, now, progress=True)
            return bodies
        if source.next and last < source.next:
            self.duplicates += len(bodies)
            return ()
        source.known = max(source.known, last)
        if not source.next and not again:
            source.came = min(source.came or first, first)
        upto = source.next  # what need not wait finds room
        for seq, body in enumerate(bodies, first):
            if seq < source.next or seq in source.waiting:
                self.duplicates += 1
            elif seq == upto or self._has_room:
                source.waiting[seq] = body
                self._count(1, [body])
                self.repaired += again
            else:
                self.deferred += 1
                continue
            upto += seq == upto
        return self._release(origin, source, now)

    def pulse(self, origin: str, last: int, now: float) -> None:
        """An origin says how far it has published."""
        source = self._source(origin, now)
        source.known = max(source.known, last)
        if not source.next and not last:
            source.next = 1  # it has said nothing yet, so its first message is for us
        if not source.next or source.known >= source.next:
            self._miss(origin, source, now, PULSE_GRACE_SECONDS)

    def start(self, origin: str, first: int, now: float) -> Sequence[Body]:
        """An origin answers which of its messages is the first for us."""
        source = self._source(origin, now)
        if source.next or first < 1:
            return ()
        return self._begin(origin, source, min(first, source.came or first), now)

    def gone(self, origin: str, first: int, last: int, now: float) -> Sequence[Body]:
        """An origin says that messages exist no more."""
        source = self._source(origin, now)
        if not source.next or first > last or last < source.next:
            return ()
        source.known = max(source.known, last)
        if (first, last) not in source.holes and len(source.holes) < RANGES_MAX:
            source.holes.append((first, last))
        return self._release(origin, source, now)

    def knows(self, origin: str) -> bool:
        """Whether an origin was heard of."""
        return origin in self._sources

    # What time brings.

    def due(self, now: float, elapsed: float) -> tuple[list[Wanted], list[tuple[str, Sequence[Body]]]]:
        """What to ask for now, and what is released because something was passed over, by origin.

        :param elapsed: seconds since the last call in which some broker worked: only they count against
            patience.
        """
        wanted: list[Wanted] = []
        released: list[tuple[str, Sequence[Body]]] = []
        for origin in list(self._incomplete):
            source = self._sources[origin]
            source.patience -= elapsed
            if source.patience <= 0 and source.attempt:
                freed = self._give_up(origin, source, now)
                if freed:
                    released.append((origin, freed))
            elif now >= source.ask_at:
                source.attempt += 1
                retry = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (source.attempt - 1))
                source.ask_at = now + retry
                wanted.append(Wanted(origin, self._missing(source), source.attempt))
        return wanted, released

    def forget(self, now: float) -> list[str]:
        """Forget who was not heard of for long; returns them."""
        forgotten: list[str] = []
        while self._sources:
            origin, source = next(iter(self._sources.items()))
            if source.heard_at > now - self.forget_seconds and len(self._sources) <= self.max_origins:
                break
            self._remove(origin)
            forgotten.append(origin)
        return forgotten

    @property
    def incomplete(self) -> bool:
        """Whether anything is missing."""
        return bool(self._incomplete)

    @property
    def origins(self) -> int:
        """How many origins are remembered."""
        return len(self._sources)

    # Inside.

    @property
    def _has_room(self) -> bool:
        return self.waiting < self.max_waiting and self.waiting_bytes < self.max_waiting_bytes

    def _count(self, sign: int, bodies: Collection[Body]) -> None:
        self.waiting += sign * len(bodies)
        self.waiting_bytes += sign * sum(map(len, bodies))

    def _source(self, origin: str, now: float) -> _Source[Body]:
        source = self._sources.get(origin)
        if source is None:
            source = self._sources[origin] = _Source()
            if len(self._sources) > self.max_origins:
                self._remove(next(iter(self._sources)))
        if source.heard_at != now:
            source.heard_at = now
            self._sources.move_to_end(origin)
        return source

    def _remove(self, origin: str) -> None:
        source = self._sources.pop(origin)
        self._count(-1, source.waiting.values())
        if source.waiting:
            self._tell_lost(
                origin, min(source.waiting), max(source.waiting), len(source.waiting), "forgotten"
            )
        self._incomplete.discard(origin)

    def _begin(self, origin: str, source: _Source[Body], first: int, now: float) -> Sequence[Body]:
        source.next = first
        self._count(-1, [source.waiting.pop(seq) for seq in list(source.waiting) if seq < first])
        self._incomplete.discard(origin)
        return self._release(origin, source, now)

    def _release(self, origin: str, source: _Source[Body], now: float) -> Sequence[Body]:
        """Deliver what is complete."""
        freed: list[Body] = []
        before = source.next
        if source.next:
            while True:
                if source.next in source.waiting:
                    freed.append(source.waiting.pop(source.next))
                    source.next += 1
                    continue
                hole = next((hole for hole in source.holes if hole[0] <= source.next <= hole[1]), None)
                if hole is None:
                    break
                self._pass_hole(origin, source, hole[1], freed)
            self._count(-1, freed)
            source.holes = [hole for hole in source.holes if hole[1] >= source.next]
        self._settle(origin, source, now, progress=source.next > before)
        return freed

    def _pass_hole(self, origin: str, source: _Source[Body], last: int, freed: list[Body]) -> None:
        """Pass over what is gone, up to a seq; some of it may have come before it was."""
        first, count = source.next, 0
        for seq in sorted(seq for seq in source.waiting if seq <= last):
            count += seq - source.next
            freed.append(source.waiting.pop(seq))
            source.next = seq + 1
        count += last + 1 - source.next
        source.next = last + 1
        if count:
            self._tell_lost(origin, first, last, count, "gone at its origin")

    def _settle(self, origin: str, source: _Source[Body], now: float, *, progress: bool) -> None:
        """Note whether something is missing now. After progress, the next gap has its own patience."""
        complete = source.next and not source.waiting and source.known < source.next
        if complete or progress:
            self._incomplete.discard(origin)
        if not complete:
            self._miss(origin, source, now, GAP_GRACE_SECONDS if source.next else 0.0)

    def _miss(self, origin: str, source: _Source[Body], now: float, grace: float) -> None:
        if origin not in self._incomplete:
            self._incomplete.add(origin)
            source.missed = source.known
            source.attempt = 0
            source.ask_at = now + grace
            source.patience = self.repair_seconds if source.next else LOCATE_SECONDS

    def _missing(self, source: _Source[Body]) -> list[tuple[int, int]]:
        """The first ranges that are missing; none while locating."""
        if not source.next:
            return []
        ranges: list[tuple[int, int]] = []
        low = source.next
        for seq in [*sorted(source.waiting), source.known + 1]:
            if seq > low:
                ranges.append((low, min(seq - 1, low + RANGE_MESSAGES_MAX - 1)))
                if len(ranges) == RANGES_MAX:
                    break
            low = seq + 1
        return ranges

    def _give_up(self, origin: str, source: _Source[Body], now: float) -> Sequence[Body]:
        """Pass over what never came."""
        upto = min(source.waiting, default=source.known + 1)
        if not source.next:
            # It did not tell where it begins: with what is here.
            return self._begin(origin, source, upto, now)
        upto = min(upto, source.missed + 1)  # what is known only since then may still be on its way
        self._tell_lost(origin, source.next, upto - 1, upto - source.next, "never came")
        source.next = upto
        self._incomplete.discard(origin)
        return self._release(origin, source, now)

    def _tell_lost(self, origin: str, first: int, last: int, count: int, why: str) -> None:
        self.lost += count
        self.passed_over.append(Lost(origin, first, last, count, why))
