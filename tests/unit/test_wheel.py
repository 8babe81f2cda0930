"""What is due is told once, in time, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.realtime.transport.wheel import TICK_SECONDS, Wheel

times = st.floats(0, 100, allow_nan=False)


@given(st.lists(times, max_size=50), st.lists(times, max_size=20))
def test_all_are_told_once_and_not_before_their_time(added: list[float], looked: list[float]) -> None:
    wheel = Wheel()
    told: list[tuple[float, float]] = []
    for at in added:
        wheel.add(at, lambda now, at=at: told.append((at, now)))  # type: ignore[misc]
    previous = -1.0
    for now in [*sorted(looked), 200.0]:
        for callback in wheel.take(now):
            callback(now)
        for at, when in told:
            assert when >= at
        # Whatever was due a tick ago has been told by now.
        assert {at for at in added if at + TICK_SECONDS <= now} <= {at for at, _ in told}
        assert now >= previous
        previous = now
    assert sorted(at for at, _ in told) == sorted(added)
    assert wheel.next() is None


@given(st.lists(times, min_size=1, max_size=50))
def test_it_knows_when_to_look_next(added: list[float]) -> None:
    wheel = Wheel()
    for at in added:
        wheel.add(at, lambda _now: None)
    upcoming = wheel.next()
    assert upcoming is not None
    assert min(added) <= upcoming <= min(added) + TICK_SECONDS
    assert not wheel.take(upcoming - 2 * TICK_SECONDS)
    assert wheel.take(upcoming)


def test_what_is_added_while_others_are_told_waits_for_its_turn() -> None:
    wheel = Wheel()
    told: list[str] = []
    wheel.add(1.0, lambda now: wheel.add(now, lambda _now: told.append("second")))
    for now in (1.0, 1.1):
        for callback in wheel.take(now):
            callback(now)
    assert told == ["second"]
