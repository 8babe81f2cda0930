"""Which other nodes come and go, by the pulses that the queue hears, watched or not. Pure; time is passed in.

The queue itself gives up a node after some 3.5 s without a pulse. Here it is missed a while longer: after a
failure of a broker, nodes connect again one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable

# Longer than a node's patience until it tries a broker again, and than figures need to say it first.
MISSED_SECONDS = 5.0


class Pulses:
    """The other nodes with a pulse."""

    def __init__(self) -> None:
        # By origin; the queue has bounds for how many there are.
        self._heard_at: dict[str, float] = {}
        self._hearing_since: float | None = None
        # They have a pulse still, while they finish.
        self._ending: set[str] = set()

    def look(self, alive: Iterable[str] | None, now: float) -> tuple[list[str], list[str]]:
        """Take what the queue knows now.

        :param alive: the origins with a pulse; None while no broker works: then silence says nothing.
        :returns: the origins that came, and those that are missed.
        """
        if alive is None:
            self._hearing_since = None
            return [], []
        if self._hearing_since is None:
            self._hearing_since = now
        with_pulse = set(alive)
        self._ending &= with_pulse
        alive = sorted(with_pulse - self._ending)
        came = [origin for origin in alive if origin not in self._heard_at]
        self._heard_at.update(dict.fromkeys(alive, now))
        missed = [
            origin
            for origin, heard_at in self._heard_at.items()
            if now - max(heard_at, self._hearing_since) > MISSED_SECONDS
        ]
        for origin in missed:
            del self._heard_at[origin]
        return came, missed

    def goodbye(self, origin: str) -> None:
        """It says itself that it ends; nobody misses it."""
        self._heard_at.pop(origin, None)
        self._ending.add(origin)
