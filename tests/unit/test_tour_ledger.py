"""The ledger of numbered events: whatever comes, in whatever order, it counts as the plainest model does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.tour.ledger import (
    DELAY_BOUNDS_MS,
    LATE_MS,
    MISSING,
    RECENT_NUMBERS,
    SENDERS_MAX,
    UNKNOWN,
    Counts,
    Ledger,
    Number,
)

BEGAN = 1_000.0


def number(count: int, step: str = "s", since: float = BEGAN + 1, at: float = 2_000.0) -> Number:
    return Number("t", "n1", count, step, since, at)


def counts(ledger: Ledger) -> Counts:
    total = Counts()
    for each in ledger.steps.values():
        total.add(each)
    return total


def tell(counts: Counts) -> tuple[int, int, int, int]:
    return counts.received, counts.doubled, counts.missing, counts.late


class LedgerMachine(RuleBasedStateMachine):
    """Two senders, one of which was there before: anything is lost, repeated, overtaken, promised."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(BEGAN)
        self.first: dict[str, int] = {}
        self.came: dict[str, list[int]] = {"old": [], "new": []}
        self.highest: dict[str, int] = {}
        self.late: dict[str, set[int]] = {"old": set(), "new": set()}
        self.worst_ms = 0

    def since(self, origin: str) -> float:
        return BEGAN + 1 if origin == "new" else BEGAN - 1

    @rule(
        origin=st.sampled_from(["old", "new"]),
        count=st.integers(1, 80),
        step=st.sampled_from(["a", "b"]),
        delay_ms=st.sampled_from([0, 7, LATE_MS, LATE_MS + 1, 60_000]),
    )
    def receive(self, origin: str, count: int, step: str, delay_ms: int) -> None:
        self.ledger.receive(
            origin, number(count, step, self.since(origin), at=2_000.0), 2_000.0 + delay_ms / 1000
        )
        first = self.first.setdefault(origin, 1 if origin == "new" else count)
        if count < first:
            return
        if count not in self.came[origin]:
            self.worst_ms = max(self.worst_ms, delay_ms)
            if delay_ms > LATE_MS or count <= self.highest.get(origin, 0):
                self.late[origin].add(count)
        self.came[origin].append(count)
        self.highest[origin] = max(count, self.highest.get(origin, 0))

    @rule(origin=st.sampled_from(["old", "new"]), sent=st.integers(0, 80))
    def promise(self, origin: str, sent: int) -> None:
        self.ledger.promise(origin, "n1", sent, "a", self.since(origin))
        self.first.setdefault(origin, 1 if origin == "new" else sent + 1)
        self.highest[origin] = max(sent, self.highest.get(origin, 0))

    @invariant()
    def counts_are_right(self) -> None:
        received = doubled = missing = late = 0
        for origin, came in self.came.items():
            received += len(set(came))
            doubled += len(came) - len(set(came))
            late += len(self.late[origin])
            promised = range(self.first.get(origin, 1), self.highest.get(origin, 0) + 1)
            missing += len(set(promised) - set(came))
        assert tell(counts(self.ledger)) == (received, doubled, missing, late)
        by_sender = Counts()
        for heard in self.ledger.heard():
            by_sender.add(heard.counts)
        assert tell(by_sender) == (received, doubled, missing, late)
        assert by_sender.worst_ms == self.worst_ms
        assert sum(by_sender.delays) == received
        assert all(min(tell(each)) >= 0 for each in self.ledger.steps.values())

    @invariant()
    def the_last_numbers_are_drawn(self) -> None:
        for heard in self.ledger.heard():
            highest = self.highest.get(heard.origin, 0)
            assert len(heard.recent) == RECENT_NUMBERS
            for drawn, count in zip(
                heard.recent[::-1], range(highest, highest - RECENT_NUMBERS, -1), strict=True
            ):
                if count in self.came[heard.origin] and count >= self.first[heard.origin]:
                    assert drawn >= 0
                elif count >= self.first[heard.origin]:
                    assert drawn == MISSING
                else:
                    assert drawn == UNKNOWN


TestLedgerMachine = LedgerMachine.TestCase


def test_what_was_missing_and_comes_is_late_and_not_lost() -> None:
    ledger = Ledger(BEGAN)
    ledger.receive("o", number(1, "quiet"), 2_000.0)
    ledger.receive("o", number(3, "storm"), 2_000.0)
    assert ledger.steps["storm"].missing == 1
    ledger.receive("o", number(2, "storm"), 2_000.1)
    assert tell(ledger.steps["storm"]) == (2, 0, 0, 1)
    ledger.receive("o", number(2, "storm"), 2_000.1)
    assert tell(ledger.steps["storm"]) == (2, 1, 0, 1)
    assert tell(ledger.steps["quiet"]) == (1, 0, 0, 0)


def test_a_node_that_is_started_again_is_another_sender() -> None:
    ledger = Ledger(BEGAN)
    for count in (1, 2, 3):
        ledger.receive("before", number(count), 2_000.0)
    for count in (1, 2):
        ledger.receive("after", number(count), 2_010.0)
    # What the first had on its disk comes at last.
    ledger.receive("before", number(4, at=2_000.0), 2_006.0)
    assert [(heard.origin, tell(heard.counts)) for heard in ledger.heard()] == [
        ("before", (4, 0, 0, 1)),
        ("after", (2, 0, 0, 2)),
    ]
    assert counts(ledger).worst_ms == 10_000


def test_who_joins_counts_from_what_it_hears_first_and_of_newer_senders_from_their_start() -> None:
    ledger = Ledger(BEGAN)
    ledger.receive("older", number(50, since=BEGAN - 5), 2_000.0)
    ledger.receive("newer", number(3, since=BEGAN + 5), 2_000.0)
    assert [heard.counts.missing for heard in ledger.heard()] == [0, 2]


def test_too_many_senders_are_ignored_and_named() -> None:
    ledger = Ledger(BEGAN)
    for origin in range(SENDERS_MAX + 1):
        ledger.receive(str(origin), number(1), 2_000.0)
    assert ledger.ignored == {str(SENDERS_MAX)}
    assert counts(ledger).received == SENDERS_MAX


@given(st.lists(st.integers(0, 20_000), min_size=1), st.floats(0, 1))
def test_a_share_of_the_numbers_came_within_what_is_said(delays_ms: list[int], share: float) -> None:
    counts = Counts()
    for delay_ms in delays_ms:
        counts.came(delay_ms, late=False)
    within_ms = counts.within_ms(share)
    assert sum(delay_ms <= within_ms for delay_ms in delays_ms) >= share * len(delays_ms)
    assert within_ms in (*DELAY_BOUNDS_MS, max(delays_ms))


def test_nothing_came_within_no_time() -> None:
    assert Counts().within_ms(0.5) == 0


@pytest.mark.parametrize("ahead", [0.0, 0.3])
def test_a_clock_that_is_behind_makes_no_negative_delay(ahead: float) -> None:
    ledger = Ledger(BEGAN)
    ledger.receive("o", number(1, at=2_000.0 + ahead), 2_000.0)
    assert counts(ledger).worst_ms == 0
