"""The log of what this process emitted, against a model that keeps everything in plain dicts and sets."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.realtime.queue.outbox import Full, Limits, Outbox, Run

LIMITS = Limits(max_messages=6, max_bytes=60, max_age_seconds=10.0, retention_messages=5, retention_bytes=50)


def make(**limits: float) -> Outbox:
    """An outbox; bounds by keyword."""
    values = {name: getattr(LIMITS, name) for name in Limits.__slots__} | limits
    return Outbox("a", Limits(**values))


def seqs(runs: Iterable[Run]) -> tuple[list[int], list[int]]:
    """The seqs of messages and of holes; checks that runs follow each other."""
    there: list[int] = []
    gone: list[int] = []
    upto = None
    for run in runs:
        assert upto is None or run.first == upto + 1
        assert run.bodies is None or len(run.bodies) == run.last - run.first + 1
        upto = run.last
        (gone if run.bodies is None else there).extend(range(run.first, run.last + 1))
    return there, gone


class OutboxMachine(RuleBasedStateMachine):
    """Two brokers publish, refuse, and bring back; time passes; the model knows what must be."""

    @initialize(attempts=st.sampled_from([0, 2]))
    def begin(self, attempts: int) -> None:
        self.now = 100.0
        self.outbox = make()
        self.attempts = attempts
        self.bodies: dict[int, bytes | None] = {}  # None: dropped
        self.at: dict[int, float] = {}
        self.forgotten = 0  # up to here
        self.accepted = 0
        self.back: set[int] = set()
        self.cursors: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self.dropped = 0
        self.holes: set[int] = set()  # dropped, and not back
        self.handed: dict[str, int] = {}

    # What the model knows.

    def pending(self) -> list[int]:
        return [seq for seq, body in self.bodies.items() if seq > self.accepted and body is not None]

    def returned(self) -> int:
        return next(seq for seq in range(1, len(self.bodies) + 2) if seq not in self.back) - 1

    def accept(self, upto: int) -> None:
        self.accepted = max(self.accepted, upto)
        while self.accepted < len(self.bodies) and self.bodies[self.accepted + 1] is None:
            self.accepted += 1

    def drop(self, seq: int) -> None:
        self.bodies[seq] = None
        self.dropped += 1
        self.holes.add(seq)
        self.accept(self.accepted)

    def bring(self, seqs: Iterable[int]) -> None:
        self.back.update(seqs)
        self.holes = {seq for seq in self.holes if seq > self.returned()}

    # What happens.

    @rule(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4))
    def append(self, sizes: list[int]) -> None:
        for size in sizes:
            self.append_one(size)

    def append_one(self, size: int) -> None:
        pending = self.pending()
        waiting_bytes = sum(len(self.bodies[seq] or b"") for seq in pending)
        full = pending and (len(pending) >= 6 or waiting_bytes + size > 60)
        body = bytes(size)
        assert self.outbox.full(size) == bool(full)
        if full:
            with pytest.raises(Full):
                self.outbox.append(body, self.now)
            return
        seq = self.outbox.append(body, self.now)
        assert seq == len(self.bodies) + 1
        self.bodies[seq], self.at[seq] = body, self.now

    @rule()
    def drop_oldest(self) -> None:
        pending = self.pending()
        if not pending:
            with pytest.raises(LookupError):
                self.outbox.drop_oldest()
            return
        assert self.outbox.drop_oldest() == pending[0]
        self.drop(pending[0])

    @rule(broker=st.sampled_from("xy"))
    def join(self, broker: str) -> None:
        self.outbox.join(broker)
        self.cursors[broker] = max(self.returned(), self.forgotten) + 1
        self.failures[broker] = 0
        assert self.outbox.cursor(broker) == self.cursors[broker]

    @rule(broker=st.sampled_from("xy"))
    def leave(self, broker: str) -> None:
        self.outbox.leave(broker)
        self.cursors.pop(broker, None)
        assert self.outbox.take(broker, 9, 99) is None

    @rule(broker=st.sampled_from("xy"), count=st.integers(1, 5), size=st.integers(1, 60))
    def take(self, broker: str, count: int, size: int) -> None:
        run = self.outbox.take(broker, count, size)
        first = self.cursors.get(broker)
        if first is None or first > len(self.bodies):
            assert run is None
            return
        assert run is not None
        assert run.first == first
        if run.bodies is None:
            wanted = range(first, run.last + 1)
            assert all(seq <= self.forgotten or self.bodies[seq] is None for seq in wanted)
        else:
            assert run.bodies == [self.bodies[seq] for seq in range(first, run.last + 1)]
            assert 1 <= len(run.bodies) <= count
            assert len(run.bodies) == 1 or sum(map(len, run.bodies)) <= size
        self.handed[broker] = run.last

    @precondition(lambda self: self.handed)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        broker = data.draw(st.sampled_from(sorted(self.handed)))
        upto = self.handed.pop(broker)
        self.outbox.confirm(broker, upto)
        if broker in self.cursors and self.cursors[broker] <= upto:
            self.cursors[broker] = upto + 1
            self.failures[broker] = 0
        self.accept(upto)

    @precondition(lambda self: self.handed)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        broker = data.draw(st.sampled_from(sorted(self.handed)))
        upto = self.handed.pop(broker)
        expected: list[int] = []
        if broker in self.cursors:
            self.failures[broker] += 1
            if self.attempts and self.failures[broker] >= self.attempts:
                expected = [seq for seq in self.pending() if self.cursors[broker] <= seq <= upto]
                self.failures[broker] = 0
        assert self.outbox.refuse(broker, upto, self.attempts) == expected
        for seq in expected:
            self.drop(seq)

    @rule(data=st.data(), gone=st.booleans())
    def came_back(self, data: st.DataObject, gone: bool) -> None:
        first = data.draw(st.integers(1, len(self.bodies) + 1))
        last = data.draw(st.integers(first, first + 4))
        self.outbox.came_back(first, last, gone=gone)
        last = min(last, len(self.bodies))
        if first <= self.accepted + 1:
            self.accept(last)
        if not gone:
            after_all = {seq for seq in self.holes if first <= seq <= last}
            self.dropped -= len(after_all)
            self.holes -= after_all
        self.bring(range(first, last + 1))

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.outbox.trim(self.now)
        for seq in self.pending():
            if self.at[seq] >= self.now - 10:
                break
            self.drop(seq)
        while self.forgotten < self.accepted:
            kept = range(self.forgotten + 1, self.accepted + 1)
            size = sum(len(self.bodies[seq] or b"") for seq in kept)
            if self.at[self.forgotten + 1] >= self.now - 10 and len(kept) <= 5 and size <= 50:
                break
            self.forgotten += 1
        self.bring(range(1, self.forgotten + 1))

    # What must be, always.

    @invariant()
    def the_figures_are_right(self) -> None:
        if not hasattr(self, "outbox"):
            return
        outbox, pending = self.outbox, self.pending()
        kept = range(self.forgotten + 1, self.accepted + 1)
        assert outbox.last == len(self.bodies)
        assert outbox.first == self.forgotten + 1
        assert outbox.accepted == self.accepted
        assert outbox.returned == self.returned()
        assert outbox.pending == len(pending)
        assert outbox.pending_bytes == sum(len(self.bodies[seq] or b"") for seq in pending)
        assert outbox.retained == len(kept)
        assert outbox.retained_bytes == sum(len(self.bodies[seq] or b"") for seq in kept)
        assert sum(outbox.dropped.values()) == self.dropped
        assert set(outbox.dropped_seqs) == {seq for seq, body in self.bodies.items() if body is None}
        assert outbox.oldest_age_seconds(self.now) == (self.now - self.at[pending[0]] if pending else 0.0)
        assert outbox.unreturned == len(self.bodies) - self.returned() - len(self.holes)
        assert outbox.returned <= outbox.accepted <= outbox.last

    @invariant()
    def whatever_is_asked_for_is_answered(self) -> None:
        if not hasattr(self, "outbox"):
            return
        last = len(self.bodies)
        there, gone = seqs(self.outbox.read(1, last + 5, 3, 40))
        kept = [seq for seq in range(self.forgotten + 1, last + 1) if self.bodies[seq] is not None]
        assert there == kept
        assert sorted(there + gone) == list(range(1, last + 1))


OutboxMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
TestOutbox = OutboxMachine.TestCase


def test_the_log_is_cut_now_and_then() -> None:
    outbox = make(max_messages=10_000, max_bytes=10**9, retention_messages=10, retention_bytes=10**9)
    outbox.join("x")
    for number in range(1, 5_001):
        outbox.append(b"%d" % number, number / 1_000)
        if number % 100 == 0:
            outbox.confirm("x", number)
            outbox.came_back(number - 99, number)
            outbox.trim(number / 1_000)
    assert len(outbox._log) < 2_200
    assert (outbox.first, outbox.last, outbox.retained) == (4_991, 5_000, 10)
    (run,) = outbox.read(4_991, 5_000, 100, 10_000)
    assert run.bodies == [b"%d" % number for number in range(4_991, 5_001)]


def test_a_broker_that_begins_is_handed_what_did_not_come_back() -> None:
    outbox = make()
    outbox.join("x")
    for number in range(5):
        outbox.append(b"%d" % number, 1.0)
    outbox.confirm("x", 5)
    outbox.came_back(1, 2)
    outbox.join("y")
    assert outbox.take("y", 10, 100) == Run(3, 5, [b"2", b"3", b"4"])
    assert outbox.take("x", 10, 100) is None


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_what_came_back_in_any_order(sizes: list[int], random: Random) -> None:
    outbox = make(max_messages=100)
    outbox.join("x")
    ranges: list[tuple[int, int]] = []
    for size in sizes:
        ranges.append((outbox.last + 1, outbox.last + size))
        for _ in range(size):
            outbox.append(b"", 1.0)
    outbox.confirm("x", outbox.last)
    random.shuffle(ranges)
    for number, (first, last) in enumerate(ranges, 1):
        assert outbox.unreturned > 0
        outbox.came_back(first, last)
        outbox.came_back(*random.choice(ranges[:number]))
    assert outbox.returned == outbox.last
    assert outbox.unreturned == 0
    assert not outbox._later


def test_when_to_send_again() -> None:
    outbox = make()
    outbox.join("x")
    for _ in range(3):
        outbox.append(b"", 0.0)
    assert not outbox.stuck(50.0, 2.0), "nothing is on its way"
    outbox.confirm("x", 3)
    assert [at for at in range(51, 80) if outbox.stuck(at, 2.0)] == [52, 56, 61, 66, 71, 76]
    outbox.came_back(1, 1)
    assert not outbox.stuck(80.0, 2.0), "it moved"
    outbox.came_back(3, 3)
    assert not outbox.stuck(80.1, 2.0)
    assert outbox.stuck(80.3, 2.0), "a later one came back already"
    outbox.came_back(2, 2)
    assert not outbox.stuck(200.0, 2.0)


def test_what_an_earlier_process_left() -> None:
    outbox = make()
    outbox.restore([(7, 1.0, b"g"), (8, 2.0, b"h"), (11, 3.0, b"k")])
    outbox.join("x")
    assert (outbox.first, outbox.last, outbox.pending, outbox.returned) == (7, 11, 3, 6)
    assert list(outbox.read(1, 11, 10, 100)) == [
        Run(1, 6, None),
        Run(7, 8, [b"g", b"h"]),
        Run(9, 10, None),
        Run(11, 11, [b"k"]),
    ]
    outbox.confirm("x", 11)
    assert (outbox.pending, outbox.accepted, outbox.retained_bytes) == (0, 11, 3)
    outbox.came_back(7, 11)
    assert outbox.unreturned == 0


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from([0.0, 0.0, 0.5, 3.0]), max_size=12), st.floats(90, 130))
def test_the_first_since(pauses: list[float], since: float) -> None:
    outbox = make(max_messages=100, retention_messages=4)
    outbox.join("x")
    now, at = 100.0, []
    for pause in pauses:
        now += pause
        at.append(now)
        outbox.append(b"", now)
    outbox.confirm("x", len(pauses) - 2)
    outbox.trim(now)
    expected = next((seq for seq, time in enumerate(at, 1) if time >= since), len(at) + 1)
    assert outbox.first_since(since) == max(expected, outbox.first)


def test_what_was_on_its_way_when_it_was_dropped() -> None:
    outbox = make(max_messages=2)
    outbox.join("x")
    outbox.append(b"1", 1.0)
    outbox.append(b"2", 1.0)
    assert outbox.take("x", 10, 100) == Run(1, 2, [b"1", b"2"])
    assert outbox.drop_oldest() == 1
    assert outbox.dropped["overflow"] == 1
    assert outbox.unreturned == 1
    outbox.came_back(1, 2)
    assert outbox.dropped["overflow"] == 0, "it arrived after all"
    assert (outbox.unreturned, outbox.pending) == (0, 0)
