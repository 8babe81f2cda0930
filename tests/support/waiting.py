"""Wait for a condition, with a deadline: never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Generous, for a machine that does other things too; what works is seen long before.
WAIT_SECONDS = 15.0
POLL_SECONDS = 0.02


def wait_until(
    condition: Callable[[], T], what: str | Callable[[], str], timeout_seconds: float = WAIT_SECONDS
) -> T:
    """Ask again and again until the answer is truthy, and return it.

    :param what: what is waited for, for the error; a function is asked only when it is needed.
    :raises AssertionError: when it did not come in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            reason = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout_seconds:g} s: {reason}")
        time.sleep(POLL_SECONDS)
