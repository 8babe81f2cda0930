"""Which broker is published on: health from echoes, patience, fail-over and fail-back, with a fake clock."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.realtime.queue.routing import BACKOFF_LAST_SECONDS, OUTSTANDING_MAX, Router, backoff_seconds

NAMES = ["one", "two", "three"]
TICK_SECONDS = 0.05


def nobody(brokers: Collection[str]) -> list[frozenset[str]]:
    """All nodes hear whatever is chosen."""
    return []


class Drive:
    """A router and its clock; parcels get numbers."""

    def __init__(self, names: list[str] = NAMES[:2], strategy: Any = "failover", **bounds: float) -> None:
        self.now = 50.0
        self.number = 0
        self.router = Router(
            names,
            strategy,
            **{"patience_seconds": 0.3, "failback_seconds": 2.0} | bounds,
            now=self.now,
            wall=lambda: 1_000 + self.now,
            chance=lambda: 1.0,
        )
        for name in names:
            self.router.hears(name)

    def publish(self, name: str) -> int:
        """Hand over a parcel that is accepted."""
        self.number += 1
        self.router.sending(name, self.number, self.now)
        self.router.accepted(name, 1)
        return self.number

    def echo(self, *names: str) -> None:
        """Publish, and hear it at once."""
        for name in names:
            self.router.came_back(name, self.publish(name), self.now)

    def wait(self, seconds: float, *healthy: str) -> None:
        """Let time pass, while some brokers bring everything back."""
        for _ in range(round(seconds / TICK_SECONDS)):
            self.now += TICK_SECONDS
            self.echo(*healthy)
            self.router.tick(self.now)

    def fail(self, name: str, *, refused: bool = False) -> None:
        """Hand over a parcel that is not accepted."""
        self.number += 1
        self.router.sending(name, self.number, self.now)
        self.router.failed(name, "no", self.now, refused=refused)

    def states(self) -> list[str]:
        """The brokers' states."""
        return [link.state for link in self.router.links.values()]

    def route(self) -> list[str]:
        """What is published on."""
        return self.router.route(nobody)


def test_at_start_the_first_then_whichever_is_up() -> None:
    drive = Drive()
    assert drive.states() == ["connecting", "connecting"]
    assert drive.route() == ["one"]
    drive.fail("one")
    assert drive.route() == ["one"], "nothing else is known to work"
    drive.echo("two")
    assert drive.states() == ["down", "up"]
    assert drive.route() == ["two"]
    drive.wait(0.1, "two")
    drive.echo("one")
    assert drive.route() == ["two"], "not before it was up for a while"
    drive.wait(1.9, "one", "two")
    assert drive.route() == ["two"]
    drive.wait(0.2, "one", "two")
    assert drive.route() == ["one"]


def test_a_broker_that_brings_nothing_back_is_silent() -> None:
    drive = Drive()
    drive.echo("one", "two")
    drive.router.tick(drive.now)
    drive.publish("one")
    drive.wait(0.3, "two")
    assert drive.states() == ["up", "up"], "patience"
    drive.wait(0.1, "two")
    assert drive.states() == ["silent", "up"]
    assert drive.route() == ["two"]
    assert not drive.router.links["one"].hearing
    number = drive.publish("one")
    drive.router.came_back("one", number - 1, drive.now)
    drive.router.came_back("one", number, drive.now)
    assert drive.states() == ["up", "up"]


def test_an_unanswered_call_is_silence_too() -> None:
    drive = Drive()
    drive.echo("one", "two")
    drive.number += 1
    drive.router.sending("one", drive.number, drive.now)
    drive.wait(0.4, "two")
    assert drive.states() == ["silent", "up"]


def test_time_in_which_we_were_frozen_does_not_count() -> None:
    drive = Drive()
    drive.echo("one", "two")
    drive.router.tick(drive.now)
    drive.publish("one")
    drive.now += 60
    drive.router.tick(drive.now)
    assert drive.states() == ["up", "up"]
    drive.now -= 70
    drive.router.tick(drive.now)
    assert drive.states() == ["up", "up"], "a clock that goes back"
    drive.wait(0.35)
    assert drive.states() == ["silent", "up"]


def test_an_old_parcel_proves_nothing() -> None:
    drive = Drive()
    number = drive.publish("one")
    drive.fail("one")
    drive.router.came_back("one", number, drive.now)
    assert drive.states()[0] == "down"
    drive.publish("one")
    assert drive.states()[0] == "connecting", "it takes parcels again"


def test_what_was_handed_over_long_ago_keeps_a_broker_silent() -> None:
    drive = Drive()
    drive.echo("one", "two")
    first = drive.publish("one")
    drive.wait(0.2)
    drive.publish("one")
    drive.wait(0.4)
    assert drive.states()[0] == "silent"
    drive.router.came_back("one", first, drive.now)
    assert drive.states()[0] == "silent", "it is still behind"
    drive.router.came_back("one", first + 1, drive.now)
    assert drive.states()[0] == "up"


def test_a_broker_that_is_slow_is_left_for_a_quick_one_and_found_again() -> None:
    drive = Drive(failback_seconds=0.5)
    drive.echo("one", "two")
    drive.wait(0.5, "one", "two")
    for _ in range(20):
        number = drive.publish("one")
        drive.wait(0.25, "two")
        drive.router.came_back("one", number, drive.now)
    drive.router.events.clear()
    drive.wait(0.3, "two")
    assert drive.route() == ["two"]
    drive.wait(2, "two")
    assert drive.route() == ["two"], "it does not become quick by itself"
    assert len([event for event in drive.router.events if event.kind == "active"]) <= 1
    drive.wait(5, "one", "two")
    assert drive.route() == ["one"]


def test_without_failback_the_active_one_stays() -> None:
    drive = Drive(failback_seconds=0)
    drive.echo("one", "two")
    drive.fail("one")
    assert drive.route() == ["two"]
    drive.wait(10, "one", "two")
    assert drive.route() == ["two"]
    drive.router.switch("one")
    assert drive.route() == ["one"]


def test_a_broker_that_flaps_is_not_trusted() -> None:
    drive = Drive()
    drive.echo("one", "two")
    for _ in range(5):
        drive.fail("one")
        assert drive.route() == ["two"]
        drive.wait(1.8, "one", "two")
        assert drive.route() == ["two"]


def test_by_hand() -> None:
    drive = Drive(NAMES)
    drive.echo(*NAMES)
    drive.route()
    drive.router.switch("three")
    assert drive.router.preference == ["three", "one", "two"]
    assert drive.route() == ["three"]
    drive.fail("three")
    drive.router.tick(drive.now)
    assert drive.route() == ["one"], "a preferred broker that is down helps nobody"
    drive.wait(3, *NAMES)
    assert drive.route() == ["three"]
    drive.router.switch(None)
    assert drive.route() == ["one"]
    drive.fail("two")
    drive.router.switch("two")
    assert drive.route() == ["one"], "not up yet"
    with pytest.raises(ValueError, match="no broker 'four': there are one, two, three"):
        drive.router.switch("four")


def test_dual_write_uses_all_that_are_not_down() -> None:
    drive = Drive(NAMES, "dual-write")
    drive.router.tick(drive.now)
    assert drive.route() == NAMES
    drive.echo(*NAMES)
    drive.fail("two")
    assert drive.route() == ["one", "three"]
    drive.publish("three")
    drive.wait(0.5, "one")
    assert drive.states() == ["up", "down", "silent"]
    assert drive.route() == ["one", "three"], "what it took may still come"
    for name in NAMES:
        drive.fail(name)
    assert drive.route() == []


def test_a_broker_is_added_for_whoever_hears_no_other() -> None:
    drive = Drive(NAMES)
    drive.echo(*NAMES)
    deaf = [frozenset({"two", "three"}), frozenset({"three"})]

    def uncovered(brokers: Collection[str]) -> list[frozenset[str]]:
        return [hears for hears in deaf if hears.isdisjoint(brokers)]

    assert drive.router.route(uncovered) == ["one", "two", "three"]
    drive.fail("two")
    assert drive.router.route(uncovered) == ["one", "three"]
    drive.fail("three")
    assert drive.router.route(uncovered) == ["one"]


def test_hearing() -> None:
    drive = Drive()
    link = drive.router.links["one"]
    drive.echo("one")
    assert link.hearing
    drive.fail("one", refused=True)
    assert link.hearing, "it answers, so it may bring what others publish"
    drive.fail("one")
    assert not link.hearing
    drive.echo("one")
    drive.router.deaf("one", "connection lost")
    assert not link.hearing
    assert link.error == "connection lost"


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_backoff_is_bounded(failures: int, chance: float) -> None:
    seconds = backoff_seconds(failures, lambda: chance)
    assert 0.025 <= seconds <= BACKOFF_LAST_SECONDS
    assert seconds >= min(BACKOFF_LAST_SECONDS, 0.05 * 2 ** min(failures, 6)) / 2


def test_failures_are_tried_again_later_and_later() -> None:
    drive = Drive()
    pauses = []
    for _ in range(9):
        drive.fail("one")
        pauses.append(drive.router.links["one"].retry_at - drive.now)
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0])
    drive.echo("one")
    drive.fail("one")
    assert drive.router.links["one"].retry_at - drive.now == pytest.approx(0.05)


def test_a_broker_that_froze_before_it_accepted_is_silent_too() -> None:
    """RabbitMQ may deliver before it confirms: nothing is on its way then, and it still owes an answer."""
    drive = Drive()
    drive.echo("one")
    router = drive.router
    router.sending("one", 1_000, drive.now)
    router.came_back("one", 1_000, drive.now)
    assert router.waited_seconds("one") == 0.0
    for _ in range(10):
        drive.now += 0.05
        router.tick(drive.now)
    assert router.links["one"].state == "silent"
    router.accepted("one", 1)
    assert router.waited_seconds("one") == 0.0


def test_what_is_outstanding_is_bounded() -> None:
    drive = Drive()
    for _ in range(OUTSTANDING_MAX + 100):
        drive.publish("one")
    assert len(drive.router.links["one"].outstanding) == OUTSTANDING_MAX


def test_a_slow_broker_is_not_chosen_only_to_be_left_again() -> None:
    """Its successor is found in one look, and told once."""
    drive = Drive(NAMES, failback_seconds=0.0)
    drive.router.tick(drive.now)
    assert drive.router.active == "one"
    late = drive.publish("two")
    drive.echo("three")
    drive.wait(0.3)
    drive.router.came_back("two", late, drive.now)
    drive.fail("one")
    drive.router.tick(drive.now)
    assert drive.router.active == "three"
    drive.router.tick(drive.now)
    assert drive.router.active == "three"


class RouterMachine(RuleBasedStateMachine):
    """Anything may happen to three brokers; the choice stays reasonable and does not dither."""

    @initialize(strategy=st.sampled_from(["failover", "dual-write"]), failback=st.sampled_from([0, 0.2, 2.0]))
    def begin(self, strategy: str, failback: float) -> None:
        self.drive = Drive(NAMES, strategy, failback_seconds=failback)
        self.numbers: dict[str, list[int]] = {name: [] for name in NAMES}

    brokers = st.sampled_from(NAMES)

    @rule(name=brokers)
    def publish(self, name: str) -> None:
        self.numbers[name].append(self.drive.publish(name))

    @rule(name=brokers, refused=st.booleans())
    def fail(self, name: str, refused: bool) -> None:
        self.drive.fail(name, refused=refused)

    @rule(name=brokers, data=st.data())
    def come_back(self, name: str, data: st.DataObject) -> None:
        numbers = self.numbers[name] or [self.drive.publish(name)]
        self.drive.router.came_back(name, data.draw(st.sampled_from(numbers)), self.drive.now)

    @rule(name=brokers)
    def go_deaf(self, name: str) -> None:
        self.drive.router.deaf(name, "cut")

    @rule(name=brokers)
    def hear(self, name: str) -> None:
        self.drive.router.hears(name)

    @rule(name=st.none() | brokers)
    def switch(self, name: str | None) -> None:
        self.drive.router.switch(name)

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0]), healthy=st.sets(brokers))
    def time_passes(self, seconds: float, healthy: set[str]) -> None:
        self.drive.wait(seconds, *sorted(healthy))

    @invariant()
    def the_choice_is_reasonable(self) -> None:
        if not hasattr(self, "drive"):
            return
        router = self.drive.router
        router.tick(self.drive.now)
        before = router.active
        route = self.drive.route()
        states = {name: link.state for name, link in router.links.items()}
        assert len(route) == len(set(route))
        if router.strategy == "dual-write":
            assert set(route) == {name for name in NAMES if states[name] != "down"}
        else:
            assert route == [router.active]
            if "up" in states.values():
                assert states[router.active] in ("up", "connecting")
        for _ in range(3):
            router.tick(self.drive.now)
            self.drive.route()
        assert router.active == before, "it does not change its mind while nothing happens"

    @invariant()
    def what_is_told_is_what_is(self) -> None:
        if not hasattr(self, "drive"):
            return
        router = self.drive.router
        for name, link in router.links.items():
            told = [event.state for event in router.events if event.kind == "state" and event.broker == name]
            assert ["connecting", *told][-1] == link.state
            assert all(one != other for one, other in pairwise(["connecting", *told]))
            assert link.rtt_seconds is None or link.rtt_seconds >= 0
            numbers = [number for number, _, _ in link.outstanding]
            assert numbers == sorted(numbers)
        chosen = [event.broker for event in router.events if event.kind == "active"]
        assert [None, *chosen][-1] == router.active
        assert all(one != other for one, other in pairwise(chosen))


RouterMachine.TestCase.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
TestRouter = RouterMachine.TestCase
