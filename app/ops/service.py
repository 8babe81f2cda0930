"""What a node knows of all nodes, and what an operator may let them do. No Flask; time is passed in.

While somebody watches on any node, each one tells its figures to all others, once a second. What happened is
told at once, watched or not, and is kept by all of them: so the page is the same wherever it connects.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import EventError
from app.ops.board import Board, name_of
from app.ops.echoes import Echo, Echoes
from app.ops.here import Here
from app.ops.pulses import Pulses
from app.ops.schemas import WORDS_MAX_CHARS, ClusterFigures, Figures, Happening, Node, Overview
from app.realtime import QueueError, QueueEvent

logger = logging.getLogger(__name__)

# What a node that starts is told by each of the others: a screen of it.
TIMELINE_TOLD = 50
# So long a node that was asked to drain may need until its figures say so, also while the queue fails over.
DRAIN_SHOWS_SECONDS = 10.0


class ToldFigures(BaseModel):
    """What nodes tell each other every second."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    number: int
    sent_at: float
    echoes: dict[str, Echo]
    figures: Figures


class OpsService:
    """The operations of one node.

    :param here: this node.
    """

    def __init__(self, here: Here) -> None:
        self.board = Board(here.origin)
        self._here = here
        self._echoes = Echoes(here.origin)
        self._pulses = Pulses()
        # By origin, until when a node that was asked to drain does not count as serving.
        self._asked_to_drain: dict[str, float] = {}
        self._number = self._happenings = 0
        self._listening = False
        self._state = here.state
        # Brokers that have been up since they were last down.
        self._reached: set[str] = set()
        # Those who see what happens must not wait for room in the outbox.
        self._to_tell: dict[str, Happening] = {}
        self._not_understood: set[str] = set()
        self.malformed = 0

    # Its life.

    def start(self, wall_ms: int) -> None:
        """Say that this node is here, and ask what happened before."""
        self._here.tell("ops.hello", None)
        self.happened(wall_ms, "node", "Started.", state="started")
        self.flush()

    def stop(self, wall_ms: int) -> None:
        """Say that it ends."""
        self.happened(wall_ms, "node", "Stopped.", state="stopped")
        self.flush()
        self._here.tell("ops.bye", None)

    def flush(self) -> None:
        """Tell the others what has happened; to be called often. It may wait, with a full outbox."""
        if self._to_tell:
            entries, self._to_tell = self._to_tell, {}
            self._here.tell("ops.happened", [entry.model_dump() for entry in entries.values()])

    def tick(self, now: float, wall_ms: int) -> None:
        """Do what is due each second."""
        if self._here.state != self._state:
            self._state = self._here.state
            self.happened(wall_ms, "node", f"Is {self._state}.", state=self._state)
        self._look_at_pulses(now, wall_ms)
        if not self._here.watched():
            self._listening = False
            return
        figures = self._here.measure()
        listening = figures.queue.active is not None
        if listening and not self._listening:
            self.board.watch(now, self._here.alive() or ())
        self._listening = listening
        self._number += 1
        self._saw(self.board.heard(self._here.origin, self._number, figures, now, wall_ms))
        if listening:
            # Without a broker they would wait, and come when they are of no use any more.
            told = ToldFigures(
                number=self._number, sent_at=now, echoes=self._echoes.to_send(now), figures=figures
            )
            self._here.tell("ops.figures", told.model_dump())
            self._saw(self.board.tick(now, wall_ms))
        self._here.show("figures", ClusterFigures(nodes=self.board.nodes(now)))

    def _look_at_pulses(self, now: float, wall_ms: int) -> None:
        came, missed = self._pulses.look(self._here.alive(), now)
        for origin in came:
            self._saw(self.board.came(origin, wall_ms))
        for origin in missed:
            self._saw(self.board.missed(origin, wall_ms))
        if came and self._here.name:
            # They do not know whom they hear.
            self._here.tell("ops.name", self._here.name)

    # What other nodes tell.

    def take_figures(self, origin: str, data: Any, now: float, wall_ms: int) -> None:
        """Take the figures of another node."""
        try:
            told = ToldFigures.model_validate(data)
        except ValidationError as error:
            self._complain(origin, error)
            return
        self._echoes.came(origin, told.sent_at, now)
        seconds = self._echoes.one_way_seconds(told.echoes, now)
        if seconds is not None:
            self._here.delivered(seconds)
        self._saw(self.board.heard(origin, told.number, told.figures, now, wall_ms))

    def take_hello(self, origin: str) -> None:
        """Another node starts: tell it what happened before."""
        self._to_tell |= {entry.key: entry for entry in self.board.timeline[:TIMELINE_TOLD]}

    def take_happenings(self, origin: str, data: Any) -> None:
        """Take what another node saw."""
        try:
            entries = [Happening.model_validate(entry) for entry in data]
        except (ValidationError, TypeError) as error:
            self._complain(origin, error)
            return
        self._show(self.board.merge(entries))

    def take_name(self, origin: str, data: Any) -> None:
        """Another node tells its NODE_ID."""
        if isinstance(data, str) and 0 < len(data) <= WORDS_MAX_CHARS:
            self.board.named(origin, data)
        else:
            self._complain(origin, TypeError(f"a name that is a {type(data).__name__}, or too long"))

    def take_bye(self, origin: str) -> None:
        """Another node ends."""
        self._pulses.goodbye(origin)
        self.board.left(origin)

    def _complain(self, origin: str, error: Exception) -> None:
        self.malformed += 1
        if origin not in self._not_understood and len(self._not_understood) < TIMELINE_TOLD:
            self._not_understood.add(origin)
            logger.warning("what %s tells of itself is not understood, another version? %s", origin, error)

    # What happens here.

    def happened(self, wall_ms: int, kind: str, words: str, **about: str | None) -> None:
        """Put something into the timeline of all nodes."""
        self._happenings += 1
        entry = Happening(
            key=f"{self._here.origin} {self._happenings}",
            at_ms=wall_ms,
            node=self.name,
            kind=kind,
            words=words[:WORDS_MAX_CHARS],
            **about,
        )
        self._saw(self.board.merge([entry]))

    def queue_event(self, event: QueueEvent) -> None:
        """The queue of this node has changed."""
        state = event.state
        match event.kind:
            case "state" if state == "silent" and event.broker not in self._reached:
                # Until it is heard for the first time, nothing can come back: that is no alarm.
                state = "connecting"
                words = f"{event.broker} is not connected yet"
            case "state":
                reason = "" if event.detail == event.state else f": {event.detail}"
                words = f"{event.broker} is {event.state}{reason}"
            case "active":
                words = f"{event.broker} is used: {event.detail}"
            case _:
                words = f"{event.kind}: {event.detail}"
        if event.broker and state == "up":
            self._reached.add(event.broker)
        elif event.broker and state == "down":
            self._reached.discard(event.broker)
        self.happened(int(event.at * 1000), event.kind, words, broker=event.broker, state=state)

    @property
    def name(self) -> str:
        """What to call this node."""
        return name_of(self._here.name, self._here.origin)

    def _saw(self, entries: Iterable[Happening]) -> None:
        """This node saw it, perhaps as the only one."""
        entries = list(entries)
        self._to_tell |= {entry.key: entry for entry in entries}
        self._show(entries)

    def _show(self, entries: Iterable[Happening]) -> None:
        for entry in entries:
            self._here.show("happened", entry)

    # What operators ask for.

    def overview(self, now: float, wall_ms: int) -> Overview:
        """Everything that is known now."""
        if not self._listening:
            # The first one to watch.
            self.tick(now, wall_ms)
        return Overview(
            nodes=self.board.nodes(now), history=self.board.history(), timeline=self.board.timeline
        )

    def switch(self, broker: str | None, wall_ms: int) -> None:
        """Let all nodes prefer a broker; None is the configured order.

        :raises EventError: `broker_not_found`, or `unavailable` when the other nodes cannot be asked.
        """
        try:
            self._here.switch(broker)
        except QueueError as error:
            raise EventError("unavailable", f"The other nodes were not asked: {_sentence(error)}") from None
        except ValueError as error:
            raise EventError("broker_not_found", _sentence(error)) from None
        wish = f"all nodes to prefer {broker}" if broker else "all nodes to go back to the configured order"
        self.happened(wall_ms, "operator", f"An operator asked {wish}.", broker=broker)

    def drain(self, origin: str, drain: bool, now: float, wall_ms: int) -> None:
        """Let a node send its clients away, or take clients again.

        :raises EventError: `node_not_found`, `last_node`, or `unavailable` when it cannot be asked.
        """
        nodes = self.board.nodes(now)
        node = next((node for node in nodes if node.origin == origin and _lives(node)), None)
        if node is None:
            raise EventError("node_not_found", "This node is not heard now: it may have started anew.")
        if drain and not any(self._serves(other, now) for other in nodes if other is not node):
            raise EventError(
                "last_node", "Let another node serve first: nobody could come back to this page."
            )
        try:
            self._here.drain(node, drain)
        except QueueError as error:
            raise EventError("unavailable", f"The node was not asked: {_sentence(error)}") from None
        except ValueError as error:
            raise EventError("node_not_found", _sentence(error)) from None
        self._asked_to_drain = {o: until for o, until in self._asked_to_drain.items() if now < until}
        if drain:
            self._asked_to_drain[origin] = now + DRAIN_SHOWS_SECONDS
        else:
            self._asked_to_drain.pop(origin, None)
        wish = "drain" if drain else "serve again"
        self.happened(
            wall_ms, "operator", f"An operator asked {name_of(node.figures.node, origin)} to {wish}."
        )

    def _serves(self, node: Node, now: float) -> bool:
        """Whether a node takes clients, and will go on to: figures are a second old."""
        asked = now < self._asked_to_drain.get(node.origin, now)
        return _lives(node) and node.figures.state == "serving" and not asked


def _sentence(error: Exception) -> str:
    words = str(error)
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def _lives(node: Node) -> bool:
    return node.seen in ("here", "heard")
