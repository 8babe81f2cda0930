"""What one node hears of the others' numbers: what came, doubled, late, and what is missing. Pure.

Each sender counts 1, 2, 3, ... from its start, under an origin of its own: a node that was started again is
another sender. Of each one:

    a number above all others         received; those skipped are missing
    the same again                    doubled
    one that was missing              received after all, and late: it was not lost
    one that took more than LATE_MS   late
    "I have sent so many"             what is not here of them is missing
    from before this ledger listened  not counted: nobody has promised it

Numbers may come in any order, any number of times, or never.
"""

from __future__ import annotations

from bisect import bisect_left
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

# What a person in a chat begins to feel.
LATE_MS = 1_000
# Delays are counted between these bounds; above the last one there is one more class.
DELAY_BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
CLASSES = len(DELAY_BOUNDS_MS) + 1
# How many of a sender's last numbers can be drawn: five seconds of them.
RECENT_NUMBERS = 50
# Far more than a tour has (tour.py); a larger one is a mistake, and would fill the memory with missing ones.
NUMBER_MAX = 50_000
# Nodes of a machine, and all their starts during a tour.
SENDERS_MAX = 256
# Delays in a line's `recent`: it has not come, and it was never promised.
MISSING, UNKNOWN = -1, -2

Count = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(max_length=64)]


class Number(Struct, frozen=True):
    """One numbered event.

    :param tour: which tour it belongs to.
    :param node: who sends it.
    :param number: 1 to NUMBER_MAX.
    :param step: what is tried out at the moment, by its id.
    :param since: when the sender began to count, in seconds since the epoch.
    :param at: when it was sent, likewise.
    """

    tour: Name
    node: Name
    number: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
    step: Name
    since: float
    at: float


class Counts(Struct):
    """How many numbers came, and how.

    :param delays: how many came within each of DELAY_BOUNDS_MS, and how many later.
    """

    received: Count = 0
    doubled: Count = 0
    missing: Count = 0
    late: Count = 0
    worst_ms: Count = 0
    delays: Annotated[list[Count], Meta(min_length=CLASSES, max_length=CLASSES)] = msgspec.field(
        default_factory=lambda: [0] * CLASSES
    )

    def came(self, delay_ms: int, late: bool) -> None:
        """Count a number that came for the first time."""
        self.received += 1
        self.late += late
        self.worst_ms = max(self.worst_ms, delay_ms)
        self.delays[bisect_left(DELAY_BOUNDS_MS, delay_ms)] += 1

    def add(self, other: Counts) -> None:
        """Add what somebody else counted."""
        self.received += other.received
        self.doubled += other.doubled
        self.missing += other.missing
        self.late += other.late
        self.worst_ms = max(self.worst_ms, other.worst_ms)
        self.delays = [mine + its for mine, its in zip(self.delays, other.delays, strict=True)]

    def within_ms(self, share: float) -> int:
        """Within how many milliseconds a share of the numbers came, rounded up to one of DELAY_BOUNDS_MS.

        :param share: 0 to 1.
        :returns: 0 when nothing came.
        """
        wanted = share * self.received
        reached = 0
        for bound_ms, count in zip((*DELAY_BOUNDS_MS, self.worst_ms), self.delays, strict=True):
            reached += count
            if count and reached >= wanted:
                return min(bound_ms, self.worst_ms)
        return 0


class Heard(Struct):
    """What was heard of one sender.

    :param recent: the delays of its last numbers in milliseconds, the newest last; MISSING or UNKNOWN.
    """

    origin: Name
    node: Name
    counts: Counts
    recent: list[int]


@dataclass(slots=True)
class _Sender:
    node: str
    # What counts from here on; the highest number that was heard or promised.
    first: int
    highest: int
    # The step in which each was missed.
    missing: dict[int, str] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    delays: dict[int, int] = field(default_factory=dict)


class Ledger:
    """The account of one receiver.

    :param since: when it began to listen, in seconds since the epoch.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        self.steps: dict[str, Counts] = {}
        # Senders that were not counted, for there were too many.
        self.ignored: set[str] = set()
        self._senders: dict[str, _Sender] = {}

    def receive(self, origin: str, number: Number, now: float) -> None:
        """Count a number.

        :param now: when it came, in seconds since the epoch.
        """
        before = 0 if number.since > self.since else number.number - 1
        sender = self._sender(origin, number.node, before)
        if sender is None or number.number < sender.first:
            return
        counts = self._step(number.step)
        delay_ms = max(0, round((now - number.at) * 1000))
        missed_in = sender.missing.pop(number.number, None)
        if missed_in is None and number.number <= sender.highest:
            counts.doubled += 1
            sender.counts.doubled += 1
            return
        if missed_in is not None:
            self._step(missed_in).missing -= 1
            sender.counts.missing -= 1
        self._promise(sender, number.number - 1, number.step)
        sender.highest = max(sender.highest, number.number)
        late = missed_in is not None or delay_ms > LATE_MS
        counts.came(delay_ms, late)
        sender.counts.came(delay_ms, late)
        sender.delays[number.number] = delay_ms
        for old in [n for n in sender.delays if n <= sender.highest - RECENT_NUMBERS]:
            del sender.delays[old]

    def promise(self, origin: str, node: str, sent: int, step: str, since: float) -> None:
        """Hear how many numbers somebody has sent.

        :param sent: 0 to NUMBER_MAX.
        :param since: when it began to count.
        """
        sender = self._sender(origin, node, 0 if since > self.since else sent)
        if sender is not None:
            self._promise(sender, sent, step)

    def heard(self) -> list[Heard]:
        """The account of each sender, as it is now."""
        return [
            Heard(
                origin,
                sender.node,
                deepcopy(sender.counts),
                [
                    sender.delays.get(number, MISSING if number in sender.missing else UNKNOWN)
                    for number in range(sender.highest - RECENT_NUMBERS + 1, sender.highest + 1)
                ],
            )
            for origin, sender in self._senders.items()
        ]

    def _sender(self, origin: str, node: str, before: int) -> _Sender | None:
        """Find a sender; of a new one, what it has sent `before` is not ours to count."""
        if origin not in self._senders:
            if len(self._senders) >= SENDERS_MAX:
                self.ignored.add(origin)
                return None
            self._senders[origin] = _Sender(node, first=before + 1, highest=before)
        return self._senders[origin]

    def _promise(self, sender: _Sender, sent: int, step: str) -> None:
        new = range(sender.highest + 1, sent + 1)
        if new:
            sender.missing.update(dict.fromkeys(new, step))
            sender.counts.missing += len(new)
            self._step(step).missing += len(new)
            sender.highest = sent

    def _step(self, step: str) -> Counts:
        return self.steps.setdefault(step, Counts())
