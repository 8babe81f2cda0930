"""Decide what was lost, doubled or out of order, and how long it took: pure functions of the records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.faults.records import ACCEPTED, Emitted, Received

# What a caller may wait for a broker.
WAIT_SECONDS = 0.001
_SHOWN = 10  # so many lost or doubled numbers are named in a report


@dataclass(frozen=True, slots=True)
class Life:
    """What one client got between a start of its node and the end of it."""

    node: str
    received: Sequence[Received]
    whole: bool = True  # from before the first event until after the last one
    joined_late: bool = (
        False  # then what was emitted before the first event that it heard is not its business
    )
    killed: bool = False  # then what comes after the last event that it heard is not its business


@dataclass(frozen=True, slots=True)
class Pair:
    """One emitter as one other node heard it."""

    emitter: str
    node: str
    sent: int
    received: int
    lost: list[int]
    doubled: list[int]
    disordered: list[int]
    delays: list[float] = field(repr=False)

    @property
    def clean(self) -> bool:
        """Whether everything came, once, in order."""
        return not (self.lost or self.doubled or self.disordered)

    def __str__(self) -> str:
        parts = [f"{self.emitter} -> {self.node}: sent {self.sent}, received {self.received}"]
        for what, numbers in (
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("disordered", self.disordered),
        ):
            if numbers:
                parts.append(f"{what} {len(numbers)} ({runs(numbers)})")
        if self.delays:
            p50, p99 = (percentile(self.delays, percent) * 1000 for percent in (50, 99))
            parts.append(f"delay p50 {p50:.1f} p99 {p99:.1f} max {max(self.delays) * 1000:.1f} ms")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Calls:
    """How long the emit() calls of one emitter took."""

    emitter: str
    count: int
    refused: int
    longest_seconds: float
    longest_wait_seconds: float
    waits: int  # so many waited for more than WAIT_SECONDS
    idle_waits: int  # and so many of as many idle calls beside them: the noise of this machine

    def __str__(self) -> str:
        return (
            f"{self.emitter}: {self.count} calls, {self.refused} refused, longest "
            f"{self.longest_seconds * 1000:.2f} ms, longest wait {self.longest_wait_seconds * 1000:.2f} ms, "
            f"{self.waits} waited over {WAIT_SECONDS * 1000:g} ms, and {self.idle_waits} idle calls"
        )


def judge_pair(emitter: str, label: int, emitted: Iterable[Emitted], life: Life) -> Pair:
    """Compare what an emitter emitted with what one client got.

    Number 0 is for warming up and counts nowhere. A number whose emit() was refused must not arrive; if it
    does, it counts as doubled. An event that arrived although its emitter was killed before it could write it
    down is no fault.
    """
    accepted = {
        record.number: record.at for record in emitted if record.outcome == ACCEPTED and record.number
    }
    refused = {record.number for record in emitted if record.outcome != ACCEPTED}
    heard = [record for record in life.received if record.label == label and record.number]
    first_heard: dict[int, float] = {}
    doubled, disordered = [], []
    highest = 0
    for record in heard:
        if record.number in first_heard or record.number in refused:
            doubled.append(record.number)
            continue
        if record.number < highest:
            disordered.append(record.number)
        highest = max(highest, record.number)
        first_heard[record.number] = record.at
    begin = min(first_heard, default=math.inf) if life.joined_late else 0
    end = highest if life.killed else math.inf
    expected = [number for number in accepted if begin <= number <= end]
    lost = [number for number in expected if number not in first_heard]
    delays = [first_heard[number] - accepted[number] for number in expected if number in first_heard]
    return Pair(emitter, life.node, len(expected), len(heard), lost, doubled, disordered, delays)


def judge_calls(emitter: str, emitted: Sequence[Emitted]) -> Calls:
    """Find the longest emit() of an emitter."""
    return Calls(
        emitter,
        count=len(emitted),
        refused=sum(record.outcome != ACCEPTED for record in emitted),
        longest_seconds=max((record.duration_seconds for record in emitted), default=0.0),
        longest_wait_seconds=max((record.wait_seconds for record in emitted), default=0.0),
        waits=sum(record.wait_seconds > WAIT_SECONDS for record in emitted),
        idle_waits=sum(record.idle_wait_seconds > WAIT_SECONDS for record in emitted),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed; 0 of nothing."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def runs(numbers: Iterable[int]) -> str:
    """Write numbers as runs: 3-7, 12, ..."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    shown = [f"{a}-{b}" if a != b else str(a) for a, b in found[:_SHOWN]]
    return ", ".join(shown + ["..."] * (len(found) > _SHOWN))
