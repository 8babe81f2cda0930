"""What is known of all nodes, and what happened to them. Pure: no clock, no sockets.

A node is heard while its figures come, one a second. Then

    heard --3 s--> silent --12 s--> gone --10 min, or another start of the same node--> forgotten

Nobody tells figures while nobody watches, and nobody is heard while no broker works. So silence counts, at
the earliest, from when both began (`watch`).

Its pulses on the queue go on meanwhile: by them a node is missed, and heard again, watched or not.

The timeline is the same on all nodes, for each entry has a key, and is taken once. What a node tells of
itself is numbered by it. What others see of it, that it is silent or back, has a key made of the number of
its last figures: all who saw the same make the same one. What its pulses say is numbered by the timeline
itself, odd when it is missed, even when it is heard again: who has heard of it says it no second time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.ops.schemas import HISTORY_SECONDS, TIMELINE_MAX, Figures, Happening, History, Node, Seen

SILENT_SECONDS = 3.0
GONE_SECONDS = 15.0
FORGOTTEN_SECONDS = 600.0
# Nobody looks at more; who was heard longest ago is forgotten first.
NODES_MAX = 100


@dataclass(slots=True)
class _Known:
    """A node. Times are the board's clock."""

    figures: Figures
    number: int
    heard_at: float
    left: bool = False
    told_silent: bool = False
    events: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY_SECONDS))
    sent: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY_SECONDS))


class Board:
    """The nodes of the cluster, as one of them sees it.

    :param own: this process's origin; it is never silent.
    """

    def __init__(self, own: str) -> None:
        self.own = own
        self._known: dict[str, _Known] = {}
        self._timeline: dict[str, Happening] = {}
        self._watched_since = 0.0
        # Of nodes that nobody has watched; who told it last stands last.
        self._names: dict[str, str] = {}

    # What comes in.

    def watch(self, now: float, alive: Iterable[str]) -> None:
        """From now on others can be heard: somebody watches, and a broker works.

        :param alive: who lives, as far as the queue knows; others, not heard lately, are forgotten.
        """
        for origin in self._known.keys() - {self.own} - set(alive):
            if now - self._known[origin].heard_at > GONE_SECONDS:
                del self._known[origin]
        for known in self._known.values():
            known.events.clear()
            known.sent.clear()
        self._watched_since = now

    def heard(self, origin: str, number: int, figures: Figures, now: float, wall_ms: int) -> list[Happening]:
        """Take the figures of a node.

        :param number: 1, 2, 3, ... for each origin.
        :returns: what that means for the timeline.
        """
        known = self._known.pop(origin, None) or _Known(figures, number, now)
        was_silent, known.told_silent = known.told_silent, False
        known.figures, known.number, known.heard_at, known.left = figures, number, now, False
        known.events.append(figures.events_per_second)
        known.sent.append(figures.sent_per_second)
        self._forget_earlier_starts(figures.node, now)
        while len(self._known) >= NODES_MAX:
            del self._known[next(iter(self._known))]
        self._known[origin] = known  # the last one heard stands last
        if not was_silent:
            return []
        pulse = self._pulse_number(origin)
        key = _pulse_key(origin, pulse + 1) if pulse % 2 else f"{origin} back {number}"
        return self.merge([_of_node(key, wall_ms, self._name(origin), "heard", "Heard again.")])

    def named(self, origin: str, name: str) -> None:
        """A node tells its NODE_ID."""
        self._names.pop(origin, None)
        while len(self._names) >= NODES_MAX:
            del self._names[next(iter(self._names))]
        self._names[origin] = name

    def missed(self, origin: str, wall_ms: int) -> list[Happening]:
        """A node has no pulse any more.

        :returns: what is new in the timeline.
        """
        known, pulse = self._known.get(origin), self._pulse_number(origin)
        if pulse % 2 or (known and (known.left or known.told_silent)):
            return []
        if known:
            known.told_silent = True
        entry = _of_node(
            _pulse_key(origin, pulse + 1), wall_ms, self._name(origin), "silent", "Not heard any more."
        )
        return self.merge([entry])

    def came(self, origin: str, wall_ms: int) -> list[Happening]:
        """A node has a pulse; of a new one there is nothing to say, for it says so itself.

        :returns: what is new in the timeline.
        """
        pulse = self._pulse_number(origin)
        if not pulse % 2:
            return []
        if known := self._known.get(origin):
            known.told_silent = False
        return self.merge(
            [_of_node(_pulse_key(origin, pulse + 1), wall_ms, self._name(origin), "heard", "Heard again.")]
        )

    def left(self, origin: str) -> None:
        """A node says that it ends."""
        if origin in self._known:
            self._known[origin].left = True

    def tick(self, now: float, wall_ms: int) -> list[Happening]:
        """Let time pass, while others can be heard: otherwise their silence says nothing.

        :returns: what is new in the timeline.
        """
        silent = []
        for origin, known in list(self._known.items()):
            seconds = self._silent_seconds(origin, known, now)
            if seconds > FORGOTTEN_SECONDS:
                del self._known[origin]
            elif seconds > SILENT_SECONDS and not (known.told_silent or known.left):
                known.told_silent = True
                key = f"{origin} silent {known.number}"
                words = f"Not heard for {SILENT_SECONDS:g} s."
                silent.append(_of_node(key, wall_ms, self._name(origin), "silent", words))
        return self.merge(silent)

    def merge(self, entries: Iterable[Happening]) -> list[Happening]:
        """Take in entries of the timeline; returns those that are new, and among the newest."""
        new = {entry.key: entry for entry in entries if entry.key not in self._timeline}
        newest = sorted({**self._timeline, **new}.values(), key=_age, reverse=True)[:TIMELINE_MAX]
        self._timeline = {entry.key: entry for entry in newest}
        return [entry for entry in new.values() if entry.key in self._timeline]

    # What is known.

    def nodes(self, now: float) -> list[Node]:
        """All nodes, by name."""
        return sorted(
            (
                Node(
                    origin=origin,
                    seen=self._seen(origin, known, now),
                    silent_seconds=round(self._silent_seconds(origin, known, now), 1),
                    figures=known.figures,
                )
                for origin, known in self._known.items()
            ),
            key=lambda node: (node.figures.node or "", node.origin),
        )

    def node(self, origin: str, now: float) -> Node | None:
        """One of them."""
        return next((node for node in self.nodes(now) if node.origin == origin), None)

    def history(self) -> list[History]:
        """The rates of all nodes."""
        return [
            History(origin=origin, events_per_second=[*known.events], sent_per_second=[*known.sent])
            for origin, known in self._known.items()
        ]

    @property
    def timeline(self) -> list[Happening]:
        """What happened, newest first."""
        return list(self._timeline.values())

    # The rules.

    def _silent_seconds(self, origin: str, known: _Known, now: float) -> float:
        if origin == self.own:
            return 0.0
        return max(0.0, now - (known.heard_at if known.left else max(known.heard_at, self._watched_since)))

    def _seen(self, origin: str, known: _Known, now: float) -> Seen:
        if origin == self.own:
            return "here"
        seconds = self._silent_seconds(origin, known, now)
        if known.left or seconds > GONE_SECONDS:
            return "gone"
        return "silent" if seconds > SILENT_SECONDS else "heard"

    def _forget_earlier_starts(self, node: str | None, now: float) -> None:
        """A node that is back under another origin takes the place of what it was."""
        for origin, known in list(self._known.items()):
            if node and known.figures.node == node and self._seen(origin, known, now) in ("silent", "gone"):
                del self._known[origin]

    def _name(self, origin: str) -> str:
        known = self._known.get(origin)
        return name_of(known.figures.node if known else self._names.get(origin), origin)

    def _pulse_number(self, origin: str) -> int:
        """Of the newest entry that its pulses have made; 0: there is none."""
        start = _pulse_key(origin, "")
        numbers = (key.removeprefix(start) for key in self._timeline if key.startswith(start))
        return max((int(number) for number in numbers if number.isdecimal()), default=0)


def name_of(node: str | None, origin: str) -> str:
    """What to call a node: its NODE_ID, or the beginning of its origin."""
    return node or origin[:8] or "this node"


def _of_node(key: str, at_ms: int, node: str, state: str, words: str) -> Happening:
    return Happening(key=key, at_ms=at_ms, node=node, kind="node", state=state, words=words)


def _pulse_key(origin: str, number: int | str) -> str:
    return f"{origin} pulse {number}"


def _age(entry: Happening) -> tuple[int, str]:
    return entry.at_ms, entry.key
