"""Keeps Python's garbage collector from standing still for all clients.

A full collection looks at every object, and each session has a dozen: with 15,000 clients that takes a tenth
of a second and more, in which nothing else is done. Sessions hold no cycles once they are closed, so they
need no collector; whenever there are more of them than ever before, all that is there is frozen
(`gc.freeze`): it is not looked at any more, and freed as ever when nobody refers to it.
"""

from __future__ import annotations

import gc
import logging

logger = logging.getLogger(__name__)


class Garbage:
    """Freezes what lives long.

    :param step: after how many sessions more than ever before, 1 or more; 0: never.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._next = 1

    def grown(self, sessions: int) -> None:
        """Say how many sessions there are, when there is one more."""
        if self._step and sessions >= self._next:
            # What is garbage now would stay for good: it is looked for among what is young, which is quick.
            gc.collect(1)
            gc.freeze()
            self._next = sessions + self._step

    def shrunk(self, sessions: int) -> None:
        """Say how many there are, when there is one less; when hardly any is left, all starts anew."""
        if self._next > self._step + 1 and sessions == 0:
            gc.unfreeze()
            self._next = 1
            logger.debug("no session is left: the collector sees everything again")
