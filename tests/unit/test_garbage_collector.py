"""The garbage collector is relieved of what lives long, and sees it again when most of it has gone."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from app.realtime.transport.garbage import THAW_SHARE, Garbage


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_it_freezes_with_so_many_new_sessions_also_when_others_have_gone() -> None:
    garbage = Garbage(10)
    for _ in range(9):
        garbage.opened(5)
    assert gc.get_freeze_count() == 0
    garbage.opened(5)
    frozen = gc.get_freeze_count()
    assert frozen > 0
    kept = [[index] for index in range(100)]
    for _ in range(10):
        garbage.opened(5)
    assert gc.get_freeze_count() > frozen + len(kept) / 2


def test_what_is_garbage_is_not_frozen() -> None:
    class Knot:
        """Refers to itself."""

    garbage = Garbage(1)
    gc.disable()
    try:
        for _ in range(50):
            knot = Knot()
            knot.self = knot  # type: ignore[attr-defined]
        del knot
        garbage.opened(1)
        gc.unfreeze()
        assert [each for each in gc.get_objects() if type(each) is Knot] == []
    finally:
        gc.enable()


def test_it_thaws_when_few_are_left() -> None:
    garbage = Garbage(10)
    for number in range(1, 101):
        garbage.opened(number)
    assert gc.get_freeze_count() > 0
    garbage.closed(100 // THAW_SHARE)
    assert gc.get_freeze_count() > 0
    garbage.closed(100 // THAW_SHARE - 1)
    assert gc.get_freeze_count() == 0


def test_zero_is_never() -> None:
    garbage = Garbage(0)
    thresholds = gc.get_threshold()
    for _ in range(3_000):
        garbage.opened(3_000)
    garbage.closed(1)
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, thresholds)
