"""What the operations need of the node that they run on; `app.ops.node` has it, and tests another one."""

from __future__ import annotations

from typing import Protocol

from pydantic import BaseModel

from app.ops.schemas import Figures, Node


class Here(Protocol):
    """This node and its way to the others."""

    origin: str
    name: str | None

    @property
    def state(self) -> str:
        """serving, draining, or drained."""

    def measure(self) -> Figures:
        """What it has to say of itself."""

    def alive(self) -> list[str] | None:
        """The origins of the other nodes whose pulses the queue hears; None while no broker works."""

    def watched(self) -> bool:
        """Whether an operator watches, on any node."""

    def delivered(self, seconds: float) -> None:
        """A message from another node took so long."""

    def tell(self, topic: str, data: object) -> None:
        """Tell the other nodes."""

    def show(self, event: str, payload: BaseModel) -> None:
        """Send an event to the operators of this node."""

    def switch(self, broker: str | None) -> None:
        """Let all nodes prefer a broker.

        :raises ValueError: when there is none of this name.
        :raises QueueError: when the others cannot be asked.
        """

    def drain(self, node: Node, drain: bool) -> None:
        """Let a node drain, or serve again.

        :raises ValueError: when it has no name to reach it by.
        :raises QueueError: when it cannot be asked.
        """
