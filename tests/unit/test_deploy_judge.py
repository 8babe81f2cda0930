"""Which node the health listener kills, and which never: its rules, without a clock or a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.judge import GAP_MAX_SECONDS, OVERTIME_MAX_SECONDS, TICK_SECONDS, Judge, Reply, Seen

FAILURES = 3
GRACE_SECONDS = 30.0
TIMEOUT_SECONDS = 3.0
LONG_AGO = 1000.0
NAMES = ("n1", "n2", "n3")


def seen(reply: Reply, pid: int = 1, uptime_seconds: float = LONG_AGO, address: str = "127.0.0.1:1") -> Seen:
    return Seen(pid, address, uptime_seconds, reply, "" if reply is Reply.ANSWERED else "the reason")


UP = seen(Reply.ANSWERED)
SILENT = seen(Reply.SILENT)
CLOSED = seen(Reply.CLOSED)


class Clock:
    """Lets ticks come, each when it is due unless the test says otherwise."""

    def __init__(self, failures: int = FAILURES, grace_seconds: float = GRACE_SECONDS) -> None:
        self.judge = Judge(failures, grace_seconds, TIMEOUT_SECONDS)
        self.now = 0.0
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def tick(self, took: float = 0.01, gap: float = TICK_SECONDS, **nodes: Seen) -> str | None:
        self.now += gap
        verdict = self.judge.judge(self.now, self.now + took, nodes)
        self.warnings += verdict.warnings
        self.notes += verdict.notes
        return verdict.kill

    def ticks(self, count: int, **nodes: Seen) -> list[str | None]:
        return [self.tick(**nodes) for _ in range(count)]


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.tick(n1=UP, n2=UP, n3=UP)
    return clock


def test_a_silent_node_is_killed_after_so_many_failures_and_said_so(clock: Clock) -> None:
    assert clock.ticks(3, n1=UP, n2=SILENT, n3=UP) == [None, None, "n2"]
    assert clock.warnings[:2] == [
        "n2: does not answer, 1 of 3 (the reason)",
        "n2: does not answer, 2 of 3 (the reason)",
    ]
    assert "killing its process group 1 (SIGKILL)" in clock.warnings[-1]
    # That its process is gone is no news then.
    notes = len(clock.notes)
    clock.tick(n1=UP, n3=UP)
    assert len(clock.notes) == notes


def test_an_answer_in_between_begins_the_count_anew(clock: Clock) -> None:
    assert clock.ticks(2, n1=UP, n2=SILENT) == [None, None]
    assert clock.tick(n1=UP, n2=UP) is None
    assert "n2: answers again, after 2 failures" in clock.notes
    assert clock.ticks(3, n1=UP, n2=SILENT) == [None, None, "n2"]


def test_a_booting_node_is_left_alone() -> None:
    clock = Clock()
    for uptime_seconds in (2.0, 7.0, 12.0, 17.0, 22.0, 27.0):
        assert clock.tick(n1=UP, n2=seen(Reply.SILENT, uptime_seconds=uptime_seconds)) is None
    # None of these counted.
    assert clock.ticks(3, n1=UP, n2=SILENT) == [None, None, "n2"]
    assert sum("booting" in note for note in clock.notes) == 1


def test_failures_of_one_process_are_not_held_against_the_next(clock: Clock) -> None:
    assert clock.ticks(2, n1=UP, n2=SILENT) == [None, None]
    assert clock.ticks(2, n1=UP, n2=replace(SILENT, pid=2)) == [None, None]
    assert clock.tick(n1=UP, n2=replace(SILENT, pid=2)) == "n2"


def test_a_node_that_does_not_run_for_a_while_begins_anew(clock: Clock) -> None:
    assert clock.ticks(2, n1=UP, n2=SILENT) == [None, None]
    # Stopping, or starting: supervisor does not say RUNNING.
    assert clock.tick(n1=UP) is None
    assert clock.ticks(2, n1=UP, n2=SILENT) == [None, None]


def test_nobody_listens_where_somebody_did_and_it_may_be_stopping(clock: Clock) -> None:
    killed = clock.ticks(8, n1=UP, n2=CLOSED)
    # The seventh failure is 30 s after the first one.
    assert killed == [None] * 6 + ["n2", None]
    assert sum("may be stopping" in warning for warning in clock.warnings) == 1


def test_a_wrong_address_kills_nobody(clock: Clock) -> None:
    assert set(clock.ticks(100, n1=UP, n2=replace(CLOSED, address="127.0.0.1:2"))) == {None}
    assert sum("the list of nodes" in warning for warning in clock.warnings) == 1


def test_two_frozen_nodes_are_restarted_one_after_the_other(clock: Clock) -> None:
    assert clock.ticks(3, n1=UP, n2=SILENT, n3=SILENT) == [None, None, "n2"]
    # Its successor boots, and does not answer yet.
    booting = seen(Reply.CLOSED, pid=2, uptime_seconds=3.0)
    assert clock.tick(n1=UP, n3=SILENT) is None
    assert clock.tick(n1=UP, n2=booting, n3=SILENT) is None
    assert any("n3" in warning and "n2 has just been killed" in warning for warning in clock.warnings)
    assert clock.tick(n1=UP, n2=replace(UP, pid=2, uptime_seconds=8.0), n3=SILENT) == "n3"


def test_one_that_never_comes_back_does_not_keep_the_others_waiting_for_ever(clock: Clock) -> None:
    assert clock.ticks(3, n1=UP, n2=SILENT, n3=SILENT)[-1] == "n2"
    assert clock.ticks(6, n1=UP, n3=SILENT) == [None] * 5 + ["n3"]


def test_when_all_fail_at_once_it_takes_longer_and_one_is_tried(clock: Clock) -> None:
    assert clock.ticks(5, n1=SILENT, n2=SILENT, n3=SILENT) == [None] * 5
    assert clock.tick(n1=SILENT, n2=SILENT, n3=SILENT) == "n1"
    assert any("the machine is the likelier cause" in warning for warning in clock.warnings)
    # It helped: then the others too.
    new = replace(UP, pid=2, uptime_seconds=4.0)
    assert clock.tick(n1=new, n2=SILENT, n3=SILENT) == "n2"
    assert clock.tick(n1=new, n2=new, n3=SILENT) == "n3"


def test_a_stall_of_all_that_ends_in_time_kills_nobody(clock: Clock) -> None:
    assert clock.ticks(5, n1=SILENT, n2=SILENT, n3=SILENT) == [None] * 5
    assert clock.tick(n1=UP, n2=UP, n3=UP) is None


def test_a_single_node_gets_no_more_patience_than_others(clock: Clock) -> None:
    assert clock.ticks(3, n1=SILENT) == [None, None, "n1"]


@pytest.mark.parametrize(
    "late", [{"gap": GAP_MAX_SECONDS + 0.1}, {"took": TIMEOUT_SECONDS + OVERTIME_MAX_SECONDS + 0.1}]
)
def test_what_a_late_listener_sees_does_not_count(clock: Clock, late: dict[str, float]) -> None:
    assert clock.ticks(2, n1=UP, n2=SILENT) == [None, None]
    assert clock.tick(n1=UP, n2=SILENT, **late) is None
    assert any("The machine stood still" in warning for warning in clock.warnings)
    assert clock.ticks(3, n1=UP, n2=SILENT) == [None, None, "n2"]


def test_ticks_that_have_gathered_are_passed_over() -> None:
    judge = Judge(FAILURES, GRACE_SECONDS, TIMEOUT_SECONDS)
    assert judge.due(100.0)
    judge.judge(100.0, 103.0, {})
    assert not judge.due(103.0 - 1.0)
    # A tick that comes when the answers are in is the next one.
    assert judge.due(103.0)
    assert judge.due(105.0)


def test_one_that_survives_its_killing_is_tried_again_later(clock: Clock) -> None:
    killed = clock.ticks(20, n1=UP, n2=SILENT)
    assert [number for number, name in enumerate(killed) if name] == [2, 8, 14]


# Anything may happen.


@dataclass(frozen=True)
class Tick:
    gap: float
    took: float
    nodes: Mapping[str, Seen | None]


replies = st.sampled_from(Reply)
states = st.none() | st.builds(
    seen,
    replies,
    pid=st.integers(1, 2),
    uptime_seconds=st.sampled_from((0.0, GRACE_SECONDS - 0.1, GRACE_SECONDS, LONG_AGO)),
    address=st.sampled_from(("127.0.0.1:1", "unix:/tmp/n.sock")),
)
# Mostly well, so that something comes of it.
steady = st.sampled_from((SILENT, SILENT, SILENT, UP, CLOSED))
ticks = st.lists(
    st.builds(
        Tick,
        gap=st.sampled_from(
            (TICK_SECONDS,) * 6 + (TICK_SECONDS + 0.1, GAP_MAX_SECONDS, GAP_MAX_SECONDS + 0.1)
        ),
        took=st.sampled_from((0.01, 0.01, TIMEOUT_SECONDS, TIMEOUT_SECONDS + OVERTIME_MAX_SECONDS + 0.1)),
        nodes=st.fixed_dictionaries(dict.fromkeys(NAMES, steady | states)),
    ),
    max_size=40,
)


@given(ticks=ticks, failures=st.integers(1, 3), grace_seconds=st.sampled_from((0.0, 7.0, GRACE_SECONDS)))
def test_nobody_is_killed_without_reason(ticks: list[Tick], failures: int, grace_seconds: float) -> None:
    clock = Clock(failures, grace_seconds)
    history: list[tuple[Tick, dict[str, Seen], bool]] = []
    kills: list[tuple[int, float, str]] = []
    for index, tick in enumerate(ticks):
        nodes = {name: what for name, what in tick.nodes.items() if what is not None}
        late = tick.took > TIMEOUT_SECONDS + OVERTIME_MAX_SECONDS or bool(
            index and tick.gap > GAP_MAX_SECONDS
        )
        history.append((tick, nodes, late))
        name = clock.tick(tick.took, tick.gap, **nodes)
        if name is None:
            continue
        what = nodes[name]
        # It failed in each of the last ticks, as the same process, booted, and nobody was late.
        assert index + 1 >= failures
        for _, before, was_late in history[-failures:]:
            assert not was_late
            assert before[name].pid == what.pid
            assert before[name].reply is not Reply.ANSWERED
            assert before[name].uptime_seconds >= grace_seconds
        if what.reply is Reply.CLOSED:
            assert any(
                name in before
                and before[name].reply is Reply.ANSWERED
                and (before[name].pid, before[name].address) == (what.pid, what.address)
                for _, before, _ in history
            )
        # Never two within the grace period, unless the first one has come back.
        if kills:
            killed_index, killed_at, killed = kills[-1]
            back = any(
                killed in after and after[killed].reply is Reply.ANSWERED
                for _, after, _ in history[killed_index + 1 :]
            )
            assert back or clock.now - killed_at >= grace_seconds
        kills.append((index, clock.now, name))


@given(before=ticks, failures=st.integers(1, 5))
def test_a_frozen_node_is_killed_whatever_was_before(before: list[Tick], failures: int) -> None:
    """While another one answers, and as soon as it may."""
    clock = Clock(failures)
    for tick in before:
        nodes = {name: what for name, what in tick.nodes.items() if what is not None}
        clock.tick(tick.took, tick.gap, **nodes)
    # An old trial is over after the grace period.
    clock.ticks(int(GRACE_SECONDS / TICK_SECONDS) + 1, n1=UP, n2=UP, n3=UP)
    assert clock.ticks(failures, n1=UP, n2=SILENT, n3=UP) == [None] * (failures - 1) + ["n2"]
