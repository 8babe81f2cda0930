"""The timers of a page go on only as a test lets them: what comes at once is told from what comes later."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.support.browser import Person
from tests.support.waiting import wait_until

T = TypeVar("T")

# What a page does at once still takes steps: frames, and the library's timers of no delay.
AT_ONCE_MS = 300


class Clock:
    """Somebody's clock. To be made before the page is loaded; it goes as any other until it is stopped.

    :param person: who has not opened the page yet.
    """

    def __init__(self, person: Person) -> None:
        self._person = person
        self._clock = person.page.clock
        self._clock.install()

    def stop(self) -> None:
        """Let no timer of the page go off any more, except by what follows."""
        # A little later than now, for the clock cannot go back.
        self._clock.pause_at(float(self._person.page.evaluate("Date.now()")) / 1000 + 1)

    def go_on(self) -> None:
        """Let time pass as everywhere else."""
        self._clock.resume()

    def skip(self, milliseconds: int) -> None:
        """Let so much time have passed, as after a sleep of the computer: what was due comes now, once."""
        self._clock.fast_forward(milliseconds)

    def run(self, milliseconds: int) -> None:
        """Let so much time pass, with all that is due in it."""
        self._clock.run_for(milliseconds)

    def at_once(self, condition: Callable[[], T], what: str) -> T:
        """See something come while next to no time passes for the page, however long the machine takes.

        :raises AssertionError: when it needs more than `AT_ONCE_MS` of the page's time.
        """
        return self.within(AT_ONCE_MS, condition, what, step_ms=2)

    def within(self, most_ms: int, condition: Callable[[], T], what: str, step_ms: int = 50) -> T:
        """See something come while at most so much time passes for the page."""
        left = most_ms // step_ms

        def came() -> T | bool:
            nonlocal left
            answer = condition()
            if not answer:
                assert left, f"not within {most_ms} ms of the page's time: {what}"
                left -= 1
                self.run(step_ms)
                # The network needs real time.
                self._person.page.wait_for_timeout(20)
            return answer

        return wait_until(came, what)  # type: ignore[return-value]
