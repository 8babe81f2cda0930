"""A tour: numbered events between all nodes, and the steps in which something is broken meanwhile. Pure.

    Tour    begun by one node, repeated by all every second, and so known to those that start later
    Step    announced LEAD_SECONDS before it happens: by then every sender marks its numbers with it
            under way until what was broken is back, or EVER_SECONDS are over; then comes the next one

Nodes tell each other what they know, and `merged` makes the same out of it everywhere, whatever comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from app.tour.ledger import Name

# Enough to see a gap of a tenth of a second; the queue does ten thousand times as much.
NUMBERS_PER_SECOND = 10
# A tour that everybody has forgotten ends by itself.
TOUR_SECONDS = 900.0
# The queue needs some 0.5 s to tell all nodes, also while it fails over.
LEAD_SECONDS = 0.7
# Longer than the queue's patience and timeouts, shorter than a person's.
FREEZE_SECONDS = 8.0
# RabbitMQ needs some 10 s to start, and a minute on a busy machine.
EVER_SECONDS = 90.0
# A thaw is everybody's business when whoever froze it has not done it so soon.
THAW_GRACE_SECONDS = 1.0
# More than anybody presses in a tour; a new tour has as many again.
STEPS_MAX = 50

What = Literal["start", "kill-redis", "freeze-redis", "kill-rabbitmq", "kill-node"]
Text = Annotated[str, Meta(max_length=500)]


@dataclass(frozen=True)
class Chapter:
    """What the guide says of a step, before it is tried.

    :param what: the step; "kill-node" is the node that serves whoever reads it.
    :param program: of supervisord; None: the node in question, or nothing.
    """

    what: What
    program: str | None
    title: str
    button: str
    does: str
    expect: str


CHAPTERS = (
    Chapter(
        "start",
        None,
        "Start the numbers",
        "Start",
        f"Every node sends {NUMBERS_PER_SECOND} numbers a second to all others, over the same queue as the "
        "messages of the chat, and counts those that it gets.",
        "Nothing is lost, nothing arrives twice, and most numbers take a few milliseconds.",
    ),
    Chapter(
        "kill-redis",
        "redis",
        "Kill Redis",
        "Kill Redis",
        "kill -9 breaks every connection to Redis at once. Supervisor starts it again.",
        "Within half a second the numbers go over RabbitMQ. When Redis has been healthy for 10 seconds, they "
        "go over Redis again. Nothing is lost; a few numbers are slower.",
    ),
    Chapter(
        "freeze-redis",
        "redis",
        "Freeze Redis",
        f"Freeze Redis for {FREEZE_SECONDS:g} s",
        "SIGSTOP: Redis keeps its connections and what is sent to it, but answers nothing. After "
        f"{FREEZE_SECONDS:g} seconds it goes on by itself.",
        "No connection breaks, so no error says what is wrong. The nodes notice that nothing comes back, and "
        "use RabbitMQ within half a second. What Redis held arrives again later, and is counted once.",
    ),
    Chapter(
        "kill-rabbitmq",
        "rabbitmq",
        "Kill RabbitMQ",
        "Kill RabbitMQ",
        "kill -9 again. Supervisor starts it again, which takes about ten seconds.",
        "While Redis is in use, nobody notices: only the reserve is gone for a while. If RabbitMQ was in "
        "use, because Redis had just died, the numbers go over Redis again.",
    ),
    Chapter(
        "kill-node",
        None,
        "Kill the node that serves you",
        "Kill this node",
        "kill -9 ends its gunicorn, master and worker, and with them the connection of this page. Supervisor "
        "starts it again.",
        "This page is back within seconds, on another node, with the same figures. What the dead node had "
        "not sent yet is on its disk, and is sent when it starts again: late, not lost.",
    ),
)


class Step(Struct, frozen=True):
    """Something that is tried out.

    :param program: what is broken, as supervisord calls it; "" for the start.
    :param by: the node that does it.
    :param at: when it happens, in seconds since the epoch.
    :param pid: of the program before; another one is a new process. 0: none.
    :param until: when a frozen program is thawed.
    :param back: when it was seen at work again.
    :param error: why it could not be done.
    """

    id: Name
    what: What
    program: Name
    by: Name
    at: float
    pid: int = 0
    until: float | None = None
    back: float | None = None
    error: Text | None = None

    def under_way(self, now: float) -> bool:
        """Whether what was broken may still be so."""
        return self.back is None and self.error is None and now < self.at + EVER_SECONDS

    def frozen(self, now: float) -> bool:
        """Whether it holds a program still."""
        return self.until is not None and self.under_way(now)

    def merged(self, other: Step) -> Step:
        """What both know: the first that saw it is right."""
        return msgspec.structs.replace(
            self,
            back=_first(self.back, other.back),
            error=min(filter(None, (self.error, other.error)), default=None),
        )


class Tour(Struct, frozen=True):
    """One tour.

    :param began: in seconds since the epoch, as all times here.
    :param until: when it ends at the latest.
    :param ended: when somebody ended it.
    """

    id: Name
    began: float
    until: float
    ended: float | None = None
    steps: Annotated[tuple[Step, ...], Meta(max_length=2 * STEPS_MAX)] = ()

    def running(self, now: float) -> bool:
        """Whether nodes send numbers."""
        return self.ended is None and now < self.until

    def step(self, now: float) -> Step | None:
        """The step that is under way, and has the next one wait."""
        return next((step for step in self.steps if step.under_way(now)), None)

    def with_step(self, step: Step) -> Tour:
        """The tour with a new or changed step, in the order in which they happen."""
        steps = {known.id: known for known in self.steps}
        steps[step.id] = steps[step.id].merged(step) if step.id in steps else step
        ordered = sorted(steps.values(), key=lambda each: (each.at, each.id))
        return msgspec.structs.replace(self, steps=tuple(ordered))

    def merged(self, other: Tour) -> Tour:
        """What both know; of two tours, the one that began later."""
        if self.id != other.id:
            return max(self, other, key=lambda tour: (tour.began, tour.id))
        both = msgspec.structs.replace(self, ended=_first(self.ended, other.ended))
        for step in other.steps:
            both = both.with_step(step)
        return both

    def due_to_thaw(self, node: str, now: float) -> list[Step]:
        """The frozen programs that a node has to thaw: in time, and at once when the tour is over.

        :param node: whoever has frozen something comes first, and all others a moment later.
        """
        return [
            step
            for step in self.steps
            if step.until is not None
            and step.back is None
            and step.error is None
            and now >= step.at
            and (
                not self.running(now) or now >= step.until + (THAW_GRACE_SECONDS if step.by != node else 0.0)
            )
        ]


def _first(one: float | None, other: float | None) -> float | None:
    """The earlier of two times that may not have been yet."""
    return min((time for time in (one, other) if time is not None), default=None)
