"""The messages of others: once, in order, and what is missing is asked for until it comes or is counted."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.realtime.queue import inbox as rules
from app.realtime.queue.inbox import Inbox, Lost, Wanted

Body = tuple[str, int]


def make(**bounds: float) -> Inbox[Body]:
    """An inbox; bounds by keyword."""
    values: dict[str, float] = {"repair_seconds": 5.0, "forget_seconds": 300.0} | bounds
    return Inbox(**values)  # type: ignore[arg-type]


def bodies(origin: str, first: int, last: int) -> list[Body]:
    """Messages that say which they are."""
    return [(origin, seq) for seq in range(first, last + 1)]


def begun(last: int = 0, **bounds: float) -> Inbox[Body]:
    """An inbox that has the first messages of "a"."""
    inbox = make(**bounds)
    inbox.pulse("a", 0, 0.0)
    assert list(inbox.receive("a", 1, bodies("a", 1, last), 0.0)) == bodies("a", 1, last)
    return inbox


class InboxMachine(RuleBasedStateMachine):
    """Anything comes in any order; the model knows only what came, was told gone, and was delivered."""

    @initialize(max_waiting=st.sampled_from([3, 1_000]))
    def begin(self, max_waiting: int) -> None:
        self.now = 100.0
        self.inbox = make(max_waiting=max_waiting)
        self.max_waiting = max_waiting
        self.came: dict[str, set[int]] = {"a": set(), "b": set()}
        self.delivered: dict[str, list[int]] = {"a": [], "b": []}
        self.lost: dict[str, set[int]] = {"a": set(), "b": set()}
        self.messages = 0

    def deliver(self, freed: object) -> None:
        for origin, seq in freed:  # type: ignore[attr-defined]
            assert seq in self.came[origin], "it came"
            assert seq > max(self.delivered[origin], default=0), "once, and in order"
            self.delivered[origin].append(seq)
        for lost in self.inbox.passed_over:
            passed = set(range(lost.first, lost.last + 1))
            assert not passed & set(self.delivered[lost.origin])
            assert not passed & self.lost[lost.origin], "counted once"
            self.lost[lost.origin] |= passed
        self.inbox.passed_over.clear()

    origins = st.sampled_from("ab")

    @rule(origin=origins, first=st.integers(1, 15), count=st.integers(1, 5), again=st.booleans())
    def receive(self, origin: str, first: int, count: int, again: bool) -> None:
        seqs = range(first, first + count)
        self.came[origin].update(seqs)
        self.messages += count
        self.deliver(
            self.inbox.receive(origin, first, bodies(origin, first, seqs[-1]), self.now, again=again)
        )

    @rule(origin=origins, last=st.integers(0, 20))
    def pulse(self, origin: str, last: int) -> None:
        self.inbox.pulse(origin, last, self.now)

    @rule(origin=origins, first=st.integers(0, 12))
    def start(self, origin: str, first: int) -> None:
        self.deliver(self.inbox.start(origin, first, self.now))

    @rule(origin=origins, first=st.integers(1, 18), count=st.integers(0, 4))
    def gone(self, origin: str, first: int, count: int) -> None:
        self.deliver(self.inbox.gone(origin, first, first + count - 1, self.now))

    @rule(seconds=st.sampled_from([0.01, 0.2, 1.5]), works=st.booleans())
    def time_passes(self, seconds: float, works: bool) -> None:
        self.now += seconds
        wanted, released = self.inbox.due(self.now, seconds if works else 0.0)
        for origin, freed in released:
            assert {origin} == {body[0] for body in freed}
            self.deliver(freed)
        self.deliver(())
        for each in wanted:
            have = set(self.delivered[each.origin])
            for first, last in each.ranges:
                assert first <= last
                assert not have & set(range(first, last + 1)), "nobody asks for what was delivered"

    @invariant()
    def the_figures_are_right(self) -> None:
        if not hasattr(self, "inbox"):
            return
        inbox = self.inbox
        assert inbox.lost == sum(len(passed) for passed in self.lost.values())
        waiting = 0
        for origin, source in inbox._sources.items():
            waiting += len(source.waiting)
            assert source.next not in source.waiting, "nothing waits that can be delivered"
            settled = sorted({*self.delivered[origin], *self.lost[origin]})
            if settled:
                assert settled == list(range(settled[0], source.next)), "no gap is passed over in silence"
            missing = bool(source.waiting) or (source.next and source.known >= source.next)
            asked_for = origin in inbox._incomplete
            assert asked_for or not missing, "what is missing is asked for"
            assert not asked_for or missing or not source.next, "and nothing else"
        assert inbox.waiting == waiting <= self.max_waiting
        delivered = sum(map(len, self.delivered.values()))
        if not inbox.deferred:
            assert self.messages >= delivered + waiting + inbox.duplicates

    def teardown(self) -> None:
        """Whatever happened: what can be settled is, and nobody asks for ever."""
        if not hasattr(self, "inbox"):
            return
        for _ in range(600):
            self.now += 0.1
            _, released = self.inbox.due(self.now, 0.1)
            for _, freed in released:
                self.deliver(freed)
            if not self.inbox.incomplete:
                break
        assert not self.inbox.incomplete
        assert self.inbox.waiting == 0


InboxMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
TestInbox = InboxMachine.TestCase


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    total=st.integers(1, 60),
    gone=st.sets(st.integers(1, 60), max_size=6),
    chaos=st.randoms(use_true_random=False),
    loss=st.sampled_from([0.0, 0.3, 0.8]),
    max_waiting=st.sampled_from([4, 1_000]),
)
def test_over_a_bad_pipe(total: int, gone: set[int], chaos: object, loss: float, max_waiting: int) -> None:
    """Parcels are lost, doubled and shuffled, and so are answers; each is asked for until it comes."""
    random = chaos.random  # type: ignore[attr-defined]
    inbox = make(repair_seconds=3_600.0, max_waiting=max_waiting)
    inbox.pulse("a", 0, 0.0)
    now, heard, sent = 0.0, [], 0
    pipe: list[tuple[int, int, bool]] = []
    gone = {seq for seq in gone if seq <= total}
    for _ in range(3_000):
        now += 0.05
        if sent < total:
            pipe.append((sent + 1, min(total, sent + 1 + int(random() * 5)), False))
            sent = pipe[-1][1]
        chaos.shuffle(pipe)  # type: ignore[attr-defined]
        for first, last, again in pipe:
            if random() < loss:
                continue
            low = first
            for seq in range(first, last + 1):
                if seq in gone:
                    if low < seq:
                        heard += inbox.receive("a", low, bodies("a", low, seq - 1), now, again=again)
                    heard += inbox.gone("a", seq, seq, now)
                    low = seq + 1
            if low <= last:
                heard += inbox.receive("a", low, bodies("a", low, last), now, again=again)
        pipe = [parcel for parcel in pipe if random() < 0.1]
        inbox.pulse("a", sent, now)
        wanted, _ = inbox.due(now, 0.05)
        pipe += [(first, last, True) for each in wanted for first, last in each.ranges]
        if sent == total and not inbox.incomplete:
            break
    assert heard == [("a", seq) for seq in range(1, total + 1) if seq not in gone]
    assert inbox.lost == len(gone)
    assert not inbox.waiting


def test_a_new_origin_begins_at_its_first_message() -> None:
    inbox = make()
    assert list(inbox.receive("a", 1, bodies("a", 1, 2), 0.0)) == bodies("a", 1, 2)
    assert not inbox.incomplete
    assert inbox.knows("a")
    assert not inbox.knows("b")


def test_an_old_origin_is_asked_where_to_begin() -> None:
    inbox = make()
    inbox.pulse("a", 7, 0.0)
    assert list(inbox.receive("a", 1, bodies("a", 1, 3), 0.1, again=True)) == [], "for others"
    assert list(inbox.receive("a", 9, bodies("a", 9, 9), 0.1)) == []
    wanted, _ = inbox.due(0.2, 0.1)
    assert wanted == [Wanted("a", [], 1)]
    assert list(inbox.start("a", 8, 0.3)) == []
    assert inbox.waiting == 1
    assert list(inbox.receive("a", 8, bodies("a", 8, 8), 0.4)) == bodies("a", 8, 9)
    assert list(inbox.start("a", 1, 0.5)) == [], "only the first answer counts"


def test_what_came_is_not_given_up_for_a_late_answer() -> None:
    inbox = make()
    inbox.receive("a", 2, bodies("a", 2, 3), 0.0, again=True)
    inbox.receive("a", 5, bodies("a", 5, 6), 0.0)
    assert list(inbox.start("a", 7, 1.5)) == bodies("a", 5, 6)
    assert not inbox.incomplete


def test_a_gap_behind_the_beginning_has_its_own_time() -> None:
    inbox = make()
    inbox.receive("a", 9, bodies("a", 9, 9), 0.0)
    for step in range(1, 19):
        inbox.due(step / 10, 0.1)
    inbox.start("a", 7, 1.9)
    for step in range(19, 60):
        wanted, _ = inbox.due(step / 10, 0.1)
        assert not any(not each.ranges for each in wanted), "that is known now"
    assert inbox.lost == 0
    assert inbox.receive("a", 7, bodies("a", 7, 8), 6.0, again=True) == bodies("a", 7, 9)


def test_an_origin_that_does_not_say_where_it_begins() -> None:
    inbox = make()
    inbox.receive("a", 5, bodies("a", 5, 6), 0.0)
    freed = []
    for step in range(1, 50):
        freed += [body for _, released in inbox.due(step / 10, 0.1)[1] for body in released]
    assert freed == bodies("a", 5, 6)
    assert inbox.lost == 0


def test_a_gap_is_asked_for_less_and_less_often_then_counted() -> None:
    inbox = begun(2)
    assert list(inbox.receive("a", 5, bodies("a", 5, 5), 1.0)) == []
    asked, freed = [], []
    for step in range(1, 80):
        now = 1 + step / 10
        wanted, released = inbox.due(now, 0.1)
        asked += [(now, each) for each in wanted]
        freed += [body for _, some in released for body in some]
    assert freed == [("a", 5)]
    assert {tuple(each.ranges) for _, each in asked} == {((3, 4),)}
    pauses = [after - before for (before, _), (after, _) in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(rules.LAST_RETRY_SECONDS, abs=0.1)
    assert [each.attempt for _, each in asked] == list(range(1, len(asked) + 1))
    assert 7 <= len(asked) <= 9
    assert inbox.lost == 2
    assert inbox.passed_over == [Lost("a", 3, 4, 2, "never came")]


def test_what_was_announced_just_now_has_its_own_time() -> None:
    inbox = begun(2)
    inbox.pulse("a", 3, 1.0)
    for step in range(1, 50):
        inbox.due(1 + step / 10, 0.1)
    inbox.pulse("a", 9, 5.9)
    for step in range(50, 55):
        inbox.due(1 + step / 10, 0.1)
    assert inbox.passed_over == [Lost("a", 3, 3, 1, "never came")]
    assert inbox.receive("a", 4, bodies("a", 4, 9), 6.5) == bodies("a", 4, 9)
    assert inbox.lost == 1


def test_no_patience_is_lost_while_no_broker_works() -> None:
    inbox = begun(2)
    inbox.receive("a", 5, bodies("a", 5, 5), 1.0)
    for step in range(1_000):
        inbox.due(1 + step / 10, 0.0)
    assert inbox.lost == 0
    assert list(inbox.receive("a", 3, bodies("a", 3, 4), 101.0, again=True)) == bodies("a", 3, 5)
    assert inbox.repaired == 2


def test_what_waits_is_bounded_and_a_repair_still_gets_through() -> None:
    """A full waiting room must not slow a repair down to one message per question."""
    inbox = begun(1, max_waiting=50)
    for first in range(1_001, 1_101, 10):
        inbox.receive("a", first, bodies("a", first, first + 9), 1.0)
    assert (inbox.waiting, inbox.deferred) == (50, 50)
    heard, now, asked = [], 1.0, 0
    while inbox.incomplete:
        now += 0.05
        for each in inbox.due(now, 0.05)[0]:
            asked += 1
            for first, last in each.ranges:
                for low in range(first, last + 1, 100):
                    part = bodies("a", low, min(last, low + 99))
                    heard += inbox.receive("a", low, part, now, again=True)
    assert heard == bodies("a", 2, 1_100)
    assert asked < 5
    assert inbox.waiting == 0


def test_what_waits_is_bounded_by_bytes_too() -> None:
    inbox = begun(1, max_waiting_bytes=20)  # a body has a length of 2
    inbox.receive("a", 3, bodies("a", 3, 50), 1.0)
    assert (inbox.waiting, inbox.waiting_bytes) == (10, 20)
    assert inbox.receive("a", 2, bodies("a", 2, 30), 1.0, again=True) == bodies("a", 2, 30)
    assert (inbox.waiting, inbox.waiting_bytes) == (0, 0)
    assert inbox.receive("a", 31, bodies("a", 31, 50), 1.0, again=True) == bodies("a", 31, 50)
    assert not inbox.incomplete


def test_what_is_gone_is_counted_and_what_came_of_it_is_not() -> None:
    inbox = begun(1)
    inbox.receive("a", 4, bodies("a", 4, 4), 1.0)
    assert list(inbox.gone("a", 2, 6, 1.0)) == [("a", 4)]
    assert inbox.lost == 4
    assert inbox.passed_over == [Lost("a", 2, 6, 4, "gone at its origin")]
    assert list(inbox.gone("a", 2, 6, 1.1)) == [], "told twice"
    assert inbox.lost == 4


def test_questions_are_bounded() -> None:
    inbox = begun(1)
    for seq in range(3, 103, 2):
        inbox.receive("a", seq, bodies("a", seq, seq), 1.0)
    inbox.pulse("a", 10**9, 1.0)
    (wanted,) = inbox.due(2.0, 1.0)[0]
    assert len(wanted.ranges) == rules.RANGES_MAX
    (wanted,) = begun_with_pulse(10**9).due(2.0, 1.0)[0]
    assert wanted.ranges == [(2, 1 + rules.RANGE_MESSAGES_MAX)]


def begun_with_pulse(last: int) -> Inbox[Body]:
    """An inbox that knows that something is missing."""
    inbox = begun(1)
    inbox.pulse("a", last, 1.0)
    return inbox


def test_the_silent_are_forgotten_and_then_the_longest_silent() -> None:
    inbox = make(max_origins=3)
    for number, origin in enumerate("abc"):
        inbox.pulse(origin, 0, number)
    inbox.pulse("a", 0, 3.0)
    inbox.receive("d", 5, bodies("d", 5, 6), 4.0)
    assert (inbox.origins, inbox.knows("b")) == (3, False)
    assert inbox.forget(303.5) == ["c", "a"]
    assert inbox.waiting == 2
    assert inbox.forget(400.0) == ["d"]
    assert (inbox.waiting, inbox.lost) == (0, 2)
    assert not inbox.incomplete
    assert inbox.due(500.0, 1.0) == ([], [])


@pytest.mark.parametrize("first", [-5, 0])
def test_nonsense_does_no_harm(first: int) -> None:
    inbox = begun(2)
    assert list(inbox.gone("a", first, first + 1, 1.0)) == []
    assert list(inbox.gone("a", 9, 3, 1.0)) == []
    assert list(inbox.start("b", first, 1.0)) == []
    assert not inbox.lost
    assert list(inbox.receive("a", 3, bodies("a", 3, 3), 1.0)) == bodies("a", 3, 3)
