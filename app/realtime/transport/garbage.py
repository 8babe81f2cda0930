"""Keeps Python's garbage collector from standing still for all clients.

A full collection looks at every object, and each session has a dozen: with 15,000 clients that takes a tenth
of a second and more, in which nothing else is done. Sessions hold no cycles once they are closed, so they
need no collector; whenever so many new ones have come, all that is there is frozen
(`gc.freeze`): it is not looked at any more, and freed as ever when nobody refers to it.
"""

from __future__ import annotations

import gc
import logging

logger = logging.getLogger(__name__)

# New objects until the youngest are looked at, and how often that until the older ones are.
THRESHOLDS = (20_000, 20, 50)
# When less than one in so many sessions is left, the collector sees everything again.
THAW_SHARE = 4


class Garbage:
    """Freezes what lives long.

    :param step: after how many new sessions, 1 or more; 0: never.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._opened = 0  # since the last time
        self._most = 0  # sessions at a time, since the last thaw

    def opened(self, sessions: int) -> None:
        """Say that a session was opened, and how many there are."""
        if not self._step:
            return
        if self._most == 0:
            # Python's defaults are for programs of a thousandth of the objects.
            gc.set_threshold(*THRESHOLDS)
        self._opened += 1
        self._most = max(self._most, sessions)
        if self._opened >= self._step:
            self._opened = 0
            # What is garbage now would stay; it is only looked for among what is new since the last time.
            gc.collect()
            gc.freeze()

    def closed(self, sessions: int) -> None:
        """Say that a session was closed, and how many are left."""
        if self._step and self._most >= self._step and sessions * THAW_SHARE < self._most:
            # Few are left of many: what has become garbage among what was frozen can be found at little cost.
            self._most = sessions
            gc.unfreeze()
            logger.debug("the collector sees everything again")
