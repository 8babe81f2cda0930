"""What the tour may break in a cluster on one machine: the brokers and the nodes, through its supervisord."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.tour.tour import What
from deploy.control import Control, ControlError, Program

__all__ = ["Breaker", "ControlError", "Part"]

BROKERS = ("redis", "rabbitmq")
# What everything else needs, this page too; it is never offered.
NEEDED = frozenset({"nginx", "epmd", "health"})


@dataclass(frozen=True)
class Part:
    """A program that can be broken.

    :param state: in supervisord's words; RUNNING is well.
    :param pid: 0: it has no process.
    :param uptime_seconds: since its process was started.
    """

    name: str
    is_broker: bool
    state: str
    pid: int
    uptime_seconds: int


class Controls(Protocol):
    """What is needed of `deploy.control.Control`."""

    def states(self) -> dict[str, Program]: ...
    def kill(self, name: str) -> None: ...
    def freeze(self, name: str) -> None: ...
    def thaw(self, name: str) -> None: ...


class Breaker:
    """Kills, freezes and thaws.

    Its calls wait for supervisord, which answers in milliseconds; under gevent the other greenlets go on
    meanwhile. Each raises `ControlError` when it does not answer.

    :param control: the supervisord; a path is that of its unix socket.
    """

    def __init__(self, control: Path | Controls) -> None:
        self._control: Controls = Control(control) if isinstance(control, Path) else control

    def parts(self) -> dict[str, Part]:
        """All that can be broken by name, brokers last."""
        parts = [
            Part(name, name in BROKERS, program.state, program.pid, program.uptime_seconds)
            for name, program in self._control.states().items()
            if name not in NEEDED
        ]
        return {part.name: part for part in sorted(parts, key=lambda part: (part.is_broker, part.name))}

    def part(self, what: What, node: str) -> Part:
        """The part that an action is about.

        :param node: whom "kill-node" is about.
        :raises ControlError: when it is not there, or has no process; saying what there is.
        """
        name = node if what == "kill-node" else what.split("-", 1)[1]
        parts = self.parts()
        part = parts.get(name)
        if part is None or part.is_broker is (what == "kill-node"):
            raise ControlError(f"This cluster has no {name}, but {', '.join(parts)}.")
        if not part.pid:
            raise ControlError(f"{name} does not run: it is {part.state}. Try again when it does.")
        return part

    def act(self, what: What, name: str) -> None:
        """Do it: a kill ends the program and its children at once, a freeze holds them still."""
        if what.startswith("freeze-"):
            self._control.freeze(name)
        else:
            self._control.kill(name)

    def thaw(self, name: str) -> None:
        """Let a frozen program go on; one that is not frozen does not notice."""
        self._control.thaw(name)
