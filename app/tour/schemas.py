"""The payloads of the `/tour` namespace: what operators send, and what they are shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

NodeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Count = Annotated[int, Field(ge=0)]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Break(_Payload):
    """Kill or freeze something."""

    what: Literal["kill-redis", "freeze-redis", "kill-rabbitmq", "kill-node"] = Field(
        description="`kill-redis`, `freeze-redis` (for 8 seconds), `kill-rabbitmq` or `kill-node`."
    )
    node: NodeName | None = Field(
        None, description="Whom `kill-node` kills; left out: the node that serves the client."
    )


class BreakAnswer(_Payload):
    """The step that was announced."""

    step: str = Field(description="Its id, as the events `step` and `tour` have it.")


class Figures(_Payload):
    """What was counted of the numbers, by all receivers together."""

    received: Count
    lost: Count = Field(description="Not there yet; one that comes after all is late, not lost.")
    doubled: Count
    late: Count = Field(description="Took more than a second.")
    worst_ms: Count
    half_within_ms: Count = Field(description="Half of them came within this time.")
    most_within_ms: Count = Field(description="99 of 100 came within this time.")


class TourStep(_Payload):
    """A step was announced, is under way, or is over."""

    id: str
    what: str
    program: str = Field(description="What is broken; empty for the start.")
    by: str = Field(description="The node that does it.")
    at_ms: int
    state: Literal["announced", "under_way", "back", "failed", "missing"] = Field(
        description="`missing`: what was broken has not come back in its time."
    )
    back_ms: int | None = Field(description="When it was seen at work again.")
    error: str | None


class StepFigures(_Payload):
    """A step, and what was counted from it to the next one."""

    step: TourStep
    figures: Figures


class TourPart(_Payload):
    """A program that can be broken."""

    name: str
    is_broker: bool
    state: str = Field(description="As supervisord has it, or FROZEN.")
    pid: int
    uptime_seconds: int


class Pair(_Payload):
    """What one node counted of another one's numbers, over all starts of the sender."""

    receiver: str
    sender: str
    received: Count
    lost: Count
    doubled: Count
    late: Count
    worst_ms: Count


class Strip(_Payload):
    """A sender's last numbers, as one receiver got them."""

    sender: str
    receiver: str
    sent: Count
    delays_ms: list[int] = Field(description="The newest last. -1: lost so far; -2: from before it listened.")


class TourState(_Payload):
    """The whole tour as one node knows it; every second, to the clients of that node."""

    node: str = Field(description="Whose view it is.")
    now_ms: int
    running: bool
    began_ms: int | None
    ends_ms: int | None
    queue: str | None = Field(description="The broker that this node publishes on.")
    busy: str | None = Field(description="The id of the step that the next one has to wait for.")
    trouble: str | None = Field(description="Why nothing can be broken.")
    sent: Count
    figures: Figures
    steps: list[StepFigures]
    parts: list[TourPart]
    strips: list[Strip]
    pairs: list[Pair]
