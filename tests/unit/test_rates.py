"""Token buckets: never more than the rate allows, and nothing is kept of those who have gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.realtime import Rates


def test_a_burst_then_evenly() -> None:
    rates = Rates({"send": "5/second"})
    assert [rates.spend("send", "ada", 100.0) for _ in range(5)] == [0] * 5
    assert rates.spend("send", "ada", 100.0) == pytest.approx(0.2)
    assert rates.spend("send", "bob", 100.0) == 0, "somebody else"
    assert rates.spend("send", "ada", 100.21) == 0
    assert rates.spend("send", "ada", 100.21) > 0


def test_all_limits_hold_and_a_refusal_costs_nothing() -> None:
    rates = Rates({"send": "2/second;3/minute"})
    assert [rates.spend("send", "ada", t) for t in (0, 0)] == [0, 0]
    for _ in range(50):
        assert rates.spend("send", "ada", 0.1) > 0
    assert rates.spend("send", "ada", 1.0) == 0
    assert rates.spend("send", "ada", 2.0) == pytest.approx(18.0)
    assert rates.spend("send", "ada", 20.0) == 0


@given(
    st.integers(1, 7),
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3)), max_size=60),
)
def test_no_window_sees_more_than_burst_and_refill(count: int, pauses: list[tuple[str, float]]) -> None:
    rates = Rates({"r": f"{count}/second"})
    granted: dict[str, list[float]] = {"a": [], "b": []}
    now = 0.0
    for who, pause in pauses:
        now += pause
        wait = rates.spend("r", who, now)
        if wait:
            assert rates.spend("r", who, now + wait + 1e-6) == 0, "it says when"
            now += wait + 1e-6
        granted[who].append(now)
    for times in granted.values():
        for i, start in enumerate(times):
            for j in range(i, len(times)):
                assert j - i + 1 <= count + count * (times[j] - start) + 1e-3


def test_full_buckets_are_forgotten() -> None:
    rates = Rates({"r": "5/second;10/minute"})
    for number in range(10_000):
        rates.spend("r", f"user:{number}", number / 100)
    assert len(rates) < 2 * 100 + 2 * 6_000, "the last second's and the last minute's"
    for number in range(20_000):
        rates.spend("r", "somebody", 1_000 + number)
    assert len(rates) <= 2


def test_a_rate_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="often"):
        Rates({"r": "often"})
