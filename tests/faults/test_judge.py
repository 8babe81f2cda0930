"""The judge must not let anything pass: what it says of records that are written by hand."""

from __future__ import annotations

import time
from collections.abc import Iterable

from tests.faults.emitting import SwitchCounter, WaitClock
from tests.faults.judge import Life, judge_calls, judge_pair, percentile, runs
from tests.faults.records import ACCEPTED, REFUSED, Emitted, Received, Recorder, read_emitted, read_received

LABEL = 7


def emitted(numbers: Iterable[int], refused: Iterable[int] = ()) -> list[Emitted]:
    return [Emitted(n, float(n), 0.0, 0.0, 0.0, REFUSED if n in set(refused) else ACCEPTED) for n in numbers]


def life(*numbers: int, joined_late: bool = False, killed: bool = False) -> Life:
    received = [Received(LABEL, number, number + 0.5) for number in numbers]
    return Life("b", [Received(LABEL + 1, 99, 0.0), *received], joined_late=joined_late, killed=killed)


def test_all_is_well():
    pair = judge_pair("a", LABEL, emitted(range(1, 6)), life(0, 1, 2, 3, 4, 5))
    assert pair.clean
    assert (pair.sent, pair.received) == (5, 5)
    assert pair.delays == [0.5] * 5


def test_lost_doubled_and_disordered_are_told_apart():
    pair = judge_pair("a", LABEL, emitted(range(1, 7)), life(1, 3, 2, 5, 5))
    assert not pair.clean
    assert (pair.lost, pair.doubled, pair.disordered) == ([4, 6], [5], [2])


def test_a_late_repetition_is_doubled_and_not_disordered():
    pair = judge_pair("a", LABEL, emitted(range(1, 4)), life(1, 2, 3, 1))
    assert (pair.doubled, pair.disordered) == ([1], [])


def test_nothing_at_all_is_lost_entirely():
    assert judge_pair("a", LABEL, emitted(range(1, 4)), life()).lost == [1, 2, 3]


def test_what_was_refused_must_not_come():
    assert judge_pair("a", LABEL, emitted(range(1, 4), refused=[2]), life(1, 3)).clean
    assert judge_pair("a", LABEL, emitted(range(1, 4), refused=[2]), life(1, 2, 3)).doubled == [2]


def test_who_joins_late_hears_everything_from_then_on():
    assert judge_pair("a", LABEL, emitted(range(1, 7)), life(3, 4, 5, 6, joined_late=True)).clean
    assert judge_pair("a", LABEL, emitted(range(1, 7)), life(3, 5, 6, joined_late=True)).lost == [4]


def test_who_is_killed_heard_everything_until_then():
    assert judge_pair("a", LABEL, emitted(range(1, 7)), life(1, 2, 3, killed=True)).clean
    assert judge_pair("a", LABEL, emitted(range(1, 7)), life(1, 3, killed=True)).lost == [2]


def test_what_a_killed_emitter_did_not_write_down_may_come():
    assert judge_pair("a", LABEL, emitted(range(1, 4)), life(1, 2, 3, 4)).clean


def test_waits_are_counted_beside_those_of_idle_calls():
    calls = judge_calls(
        "a",
        [
            Emitted(1, 0.0, 0.5, 0.0, 0.002, ACCEPTED),
            Emitted(2, 0.0, 0.2, 0.2, 0.0, ACCEPTED),
            Emitted(3, 0.0, 0.1, 0.0011, 0.0, REFUSED),
        ],
    )
    assert (calls.longest_seconds, calls.longest_wait_seconds, calls.refused) == (0.5, 0.2, 1)
    assert (calls.waits, calls.idle_waits) == (2, 1)


def test_percentiles():
    assert percentile([], 99) == 0
    assert percentile([3, 1, 2], 50) == 2
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 1001), 99.9) == 999


def test_runs():
    assert runs([5, 1, 2, 3, 9]) == "1-3, 5, 9"
    assert runs(range(1, 100, 2)).endswith(", ...")


def test_records_come_back_as_they_were_written(tmp_path):
    received, sent = Received(3, 70_000, 12.5), Emitted(70_000, 12.25, 0.5, 0.25, 0.125, REFUSED)
    Recorder(tmp_path / "received").received(received)
    Recorder(tmp_path / "emitted").emitted(sent)
    assert read_received(tmp_path / "received") == [received]
    assert read_emitted(tmp_path / "emitted") == [sent]
    assert read_received(tmp_path / "nothing") == []


def test_the_clock_takes_sleeping_for_waiting_and_computing_for_none():
    clock = WaitClock(SwitchCounter(greenlets=False))
    clock.start()
    time.sleep(0.05)
    duration, wait = clock.stop()
    # Two clocks: the sleep is measured by one, the processor by the other.
    assert 0.049 <= wait <= duration
    clock.start()
    ends = time.thread_time() + 0.05
    while time.thread_time() < ends:
        pass
    duration, wait = clock.stop()
    assert duration >= 0.05
    assert wait < 0.025
