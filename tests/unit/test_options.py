"""The bounds of the queue: what makes no sense is refused, by name and with what is allowed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from app.realtime.queue.options import BOUNDS, QueueOptions

NUMBERS = {field.name: field for field in dataclasses.fields(QueueOptions) if field.name in BOUNDS}


def test_the_defaults_are_within_their_bounds() -> None:
    options = QueueOptions()
    assert options.max_age_seconds == 300
    assert options.max_message_bytes == 1024 * 1024
    assert (
        options.patience_seconds < options.timeout_seconds < options.repair_seconds < options.max_age_seconds
    )
    assert set(BOUNDS) == set(NUMBERS), "a bound for each number, and for nothing else"
    assert {field.name for field in dataclasses.fields(QueueOptions)} - set(NUMBERS) == {"overflow", "spool"}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds(name: str) -> None:
    low, high = BOUNDS[name]
    whole = NUMBERS[name].type == "int"
    for value in (int(low), int(high)) if whole else (low, high):
        assert getattr(QueueOptions(**{name: value}), name) == value
    if not whole:
        assert getattr(QueueOptions(**{name: int(high)}), name) == int(high)
    refused: list[Any] = [low - 1, high + 1, -1, math.nan, math.inf, -math.inf, None, "1", True, [1]]
    if whole:
        refused += [low + 0.5, float(high)]
    for value in refused:
        with pytest.raises(ValueError, match=rf"^{name}=.*: write a (whole )?number from") as caught:
            QueueOptions(**{name: value})
        assert repr(value) in str(caught.value)


@pytest.mark.parametrize("overflow", ["drop_oldest", "reject", "block"])
def test_policies(overflow: Any) -> None:
    assert QueueOptions(overflow=overflow).overflow == overflow


@pytest.mark.parametrize("overflow", ["", "drop", None, 1, "Block"])
def test_another_policy_is_refused(overflow: Any) -> None:
    with pytest.raises(ValueError, match="allowed are drop_oldest, reject, block"):
        QueueOptions(overflow=overflow)


def test_they_cannot_be_changed_or_misspelled() -> None:
    options = QueueOptions(spool=Path("/somewhere"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.max_bytes = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        QueueOptions(max_message=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        QueueOptions("reject")  # type: ignore[misc]
