"""How long a message takes from node to node, by one clock only. Pure; time is passed in.

    A  sends its figures at t1 (its clock) ........ hears at t4 that B held them for h
    B                        gets them, and sends its own h later, with t1 and h

`t4 - t1 - h` is the way there and back, however wrong either clock is. Half of it is one way, on average: the
two ways may differ, and nobody could tell without a common clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# What is older says more of who was away than of the way.
HELD_MAX_SECONDS = 5.0

Echo = tuple[float, float]  # when it was sent, by its sender's clock; how long it was held


@dataclass(slots=True)
class Echoes:
    """What to send back, and what came back.

    :param own: this process's origin.
    """

    own: str
    _came: dict[str, Echo] = field(default_factory=dict)  # by origin: sent at, and came at

    def came(self, origin: str, sent_at: float, now: float) -> None:
        """A message of another node has come, which it sent at a time of its own clock."""
        self._came[origin] = sent_at, now

    def to_send(self, now: float) -> dict[str, Echo]:
        """What to send along, each once."""
        echoes = {o: (sent_at, now - came_at) for o, (sent_at, came_at) in self._came.items()}
        self._came.clear()
        return {origin: echo for origin, echo in echoes.items() if echo[1] <= HELD_MAX_SECONDS}

    def one_way_seconds(self, echoes: Mapping[str, Echo], now: float) -> float | None:
        """Half the way there and back; None when what came has no echo of ours, or no sense."""
        echo = echoes.get(self.own)
        if echo is None:
            return None
        sent_at, held = echo
        there_and_back = now - sent_at - held
        return there_and_back / 2 if held >= 0 and there_and_back >= 0 else None
