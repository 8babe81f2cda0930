"""What a node does, in counts and percentiles, cheap enough for every event. Pure: time is passed in.

Durations go into buckets whose bounds grow by 2 ** (1/4), so a percentile is right to within a tenth of its
value, and recording one costs a logarithm and an addition, below 1 us. A `Histogram` keeps the last 50 to 60
seconds in slices: the oldest one is forgotten as a whole.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass

# The first bucket ends here: a quicker event is as good.
SMALLEST_SECONDS = 10e-6
BUCKETS_PER_DOUBLING = 4
# The last one begins at two minutes: whoever waits longer has left.
BUCKETS = 96
LARGEST_SECONDS = SMALLEST_SECONDS * 2 ** ((BUCKETS - 2) / BUCKETS_PER_DOUBLING)
# Where the logarithm's scale begins; above 0 for every time that is longer than the smallest.
FIRST_BUCKET = 1 - math.log2(SMALLEST_SECONDS) * BUCKETS_PER_DOUBLING
SLICE_SECONDS = 10.0
SLICES = 6
# The codes of errors are few; a defect that invents more may not take memory.
CODES_MAX = 64


@dataclass(frozen=True, slots=True)
class Percentiles:
    """How long something took, in milliseconds; None when there was nothing.

    :param count: how often, within the window.
    """

    count: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class PerSecond:
    """How much happened, per second."""

    events: float
    emits: float
    sent: float


class Histogram:
    """Durations of the last minute.

    :param now: seconds on a clock that never goes back, as in `advance`.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._slices: deque[list[int]] = deque([[0] * BUCKETS], maxlen=SLICES)
        self._current = self._slices[-1]
        self._ends_at = now + SLICE_SECONDS

    def record(self, seconds: float) -> None:
        """Note one duration; less than nothing, after a step of a clock, counts as nothing."""
        if seconds <= SMALLEST_SECONDS:
            self._current[0] += 1
        elif seconds < LARGEST_SECONDS:
            self._current[int(math.log2(seconds) * BUCKETS_PER_DOUBLING + FIRST_BUCKET)] += 1
        else:
            self._current[-1] += 1

    def advance(self, now: float) -> None:
        """Let time pass: slices that are too old are forgotten. To be called every few seconds."""
        for _ in range(SLICES):
            if now < self._ends_at:
                return
            self._slices.append([0] * BUCKETS)
            self._ends_at += SLICE_SECONDS
            self._current = self._slices[-1]
        self._ends_at = max(self._ends_at, now + SLICE_SECONDS)

    def percentiles(self) -> Percentiles:
        """What the window holds."""
        sums = [sum(counts) for counts in zip(*self._slices, strict=True)]
        count = sum(sums)
        return Percentiles(count, *(_percentile_ms(sums, count, share) for share in (0.5, 0.95, 0.99)))


def _percentile_ms(sums: list[int], count: int, share: float) -> float | None:
    """The middle of the bucket in which a share of all ends, on its logarithmic scale."""
    if not count:
        return None
    rank, seen = math.ceil(count * share), 0
    for bucket, number in enumerate(sums):
        seen += number
        if seen >= rank:
            middle = SMALLEST_SECONDS * 2 ** ((bucket - 0.5) / BUCKETS_PER_DOUBLING)
            return round(middle * 1000, 4)
    raise AssertionError("the counts of the buckets do not add up")


class Meters:
    """What one node has done since its start."""

    def __init__(self, now: float = 0.0) -> None:
        self.events = 0  # from clients, answered or refused
        self.emits = 0  # `emit` was called on this node
        self.sent = 0  # events handed to clients, one for each client
        self.refused: Counter[str] = Counter()  # by code: events and connections
        self.rates = PerSecond(0.0, 0.0, 0.0)
        self._before = (now, 0, 0, 0)
        self.handling = Histogram(now)  # from a client's event to its answer
        # How late a timer fires: what keeps the hub busy keeps everybody waiting.
        self.lateness = Histogram(now)
        self.delivery = Histogram(now)  # from node to node

    def event(self, seconds: float, code: str | None) -> None:
        """An event of a client was answered.

        :param seconds: how long it took.
        :param code: why it was refused; None: it was not.
        """
        self.events += 1
        self.handling.record(seconds)
        if code is not None:
            self.refuse(code)

    def refuse(self, code: str) -> None:
        """A client was refused something."""
        if code in self.refused or len(self.refused) < CODES_MAX:
            self.refused[code] += 1

    def advance(self, now: float) -> None:
        """Let time pass. To be called once a second: the rates are those since the last call."""
        for histogram in (self.handling, self.lateness, self.delivery):
            histogram.advance(now)
        before, self._before = self._before, (now, self.events, self.emits, self.sent)
        seconds = now - before[0]
        if seconds > 0:
            counts = zip(self._before[1:], before[1:], strict=True)
            self.rates = PerSecond(*((count - earlier) / seconds for count, earlier in counts))
