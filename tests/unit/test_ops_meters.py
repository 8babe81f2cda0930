"""Counts and percentiles of a node, without a clock."""

import itertools
import math
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ops.echoes import HELD_MAX_SECONDS, Echoes
from app.ops.pulse import BEAT_SECONDS, TICK_SECONDS, next_tick
from app.realtime.meters import CODES_MAX, SLICE_SECONDS, SLICES, Histogram, Meters, PerSecond


@given(st.lists(st.floats(20e-6, 60.0), min_size=1, max_size=300))
def test_percentiles_are_right_to_a_tenth(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.record(seconds)
    found = histogram.percentiles()
    assert found.count == len(durations)
    for share, value in ((0.5, found.p50_ms), (0.95, found.p95_ms), (0.99, found.p99_ms)):
        exact_ms = sorted(durations)[math.ceil(share * len(durations)) - 1] * 1000
        assert value == pytest.approx(exact_ms, rel=0.1)


def test_extremes_stay_in_the_outermost_buckets() -> None:
    histogram = Histogram()
    for seconds in (-1.0, 0.0, 1e-9, 1e9):
        histogram.record(seconds)
    found = histogram.percentiles()
    assert found.count == 4
    assert found.p50_ms == pytest.approx(0.01, rel=0.1)
    assert found.p99_ms is not None
    assert found.p99_ms > 100_000


def test_nothing_has_no_percentiles() -> None:
    assert Histogram().percentiles().p50_ms is None


def test_what_is_older_than_the_window_is_forgotten() -> None:
    histogram = Histogram()
    histogram.record(0.001)
    for second in range(int(SLICE_SECONDS * SLICES)):
        histogram.advance(float(second))
        assert histogram.percentiles().count == 1
    histogram.advance(SLICE_SECONDS * SLICES)
    assert histogram.percentiles().count == 0


def test_a_long_pause_forgets_everything_once() -> None:
    histogram = Histogram()
    histogram.record(0.001)
    histogram.advance(1e6)
    histogram.record(0.002)
    histogram.advance(1e6 + 1)
    assert histogram.percentiles().count == 1


def test_rates_are_those_since_the_last_look() -> None:
    meters = Meters(now=100.0)
    for _ in range(10):
        meters.event(0.001, None)
    meters.emits += 4
    meters.sent += 40
    meters.advance(102.0)
    assert meters.rates == PerSecond(5.0, 2.0, 20.0)
    meters.advance(102.0)  # no time, no rate
    assert meters.rates == PerSecond(5.0, 2.0, 20.0)
    meters.advance(103.0)
    assert meters.rates == PerSecond(0.0, 0.0, 0.0)


def test_what_is_measured_before_the_first_look_counts() -> None:
    meters = Meters(now=1e6)
    meters.event(0.001, None)
    meters.lateness.record(0.001)
    meters.delivery.record(0.001)
    meters.advance(1e6 + 1)
    for histogram in (meters.handling, meters.lateness, meters.delivery):
        assert histogram.percentiles().count == 1


def test_refusals_are_counted_by_code_within_bounds() -> None:
    meters = Meters()
    meters.event(0.001, "rate_limited")
    meters.refuse("rate_limited")
    for number in range(2 * CODES_MAX):
        meters.refuse(f"code {number}")
    assert meters.events == 1
    assert meters.refused["rate_limited"] == 2
    assert len(meters.refused) == CODES_MAX
    meters.refuse("rate_limited")
    assert meters.refused["rate_limited"] == 3


def test_an_event_costs_next_to_nothing() -> None:
    """Not a measurement: a bound ten times as large as what it takes, so that nobody adds a sort."""
    meters = Meters()
    seconds = min(timeit.repeat(lambda: meters.event(0.0012, None), number=1_000, repeat=5)) / 1_000
    assert seconds < 10e-6


def test_ticks_come_by_the_second_and_a_stall_brings_no_two_at_once() -> None:
    ticks, tick_at, now = [], 0.0, 1000.03
    while now < 1010.0:
        if now >= tick_at:
            ticks.append(now)
            tick_at = next_tick(tick_at, now)
        # A beat is a little late, and one of them by far.
        now += 2.5 if len(ticks) == 4 and now < 1004 else BEAT_SECONDS + 0.003
    gaps = [after - before for before, after in itertools.pairwise(ticks)]
    assert min(gaps) >= TICK_SECONDS - 2 * BEAT_SECONDS
    assert sorted(gaps)[-2] < TICK_SECONDS + 2 * BEAT_SECONDS
    assert sum(gaps[:3]) == pytest.approx(3 * TICK_SECONDS, abs=2 * BEAT_SECONDS)


# There and back.


@given(
    there=st.floats(0, 1),
    back=st.floats(0, 1),
    held=st.floats(0, HELD_MAX_SECONDS),
    skew=st.floats(-1e6, 1e6),
)
def test_no_clock_needs_to_be_right(there: float, back: float, held: float, skew: float) -> None:
    here, other = Echoes("here"), Echoes("other")
    sent_at = 50.0
    other.came("here", sent_at, sent_at + there + skew)
    echoes = other.to_send(sent_at + there + held + skew)
    now = sent_at + there + held + back
    found = here.one_way_seconds(echoes, now)
    if found is not None:  # a rounding of the skewed clock may make it less than nothing
        assert found == pytest.approx((there + back) / 2, abs=1e-6)
    else:
        assert there + back < 1e-6


def test_an_echo_is_sent_once_and_only_while_it_is_fresh() -> None:
    echoes = Echoes("here")
    assert echoes.to_send(0.0) == {}
    echoes.came("other", 7.0, 1.0)
    assert echoes.to_send(2.0) == {"other": (7.0, 1.0)}
    assert echoes.to_send(3.0) == {}
    echoes.came("other", 8.0, 3.0)
    assert echoes.to_send(3.1 + HELD_MAX_SECONDS) == {}


@pytest.mark.parametrize("echoes", [{}, {"other": (1.0, 0.0)}, {"here": (99.0, 0.0)}, {"here": (1.0, -5.0)}])
def test_what_makes_no_sense_is_no_measurement(echoes: dict[str, tuple[float, float]]) -> None:
    assert Echoes("here").one_way_seconds(echoes, now=10.0) is None
