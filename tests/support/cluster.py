"""Nodes as processes, told over a Unix socket what to do: `tests.faults.node` from outside."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.support.servers import Server

CONTROL_SOCKET = "control"
# Longer than any command takes on a busy machine.
_ANSWER_SECONDS = 10.0


def received_path(folder: Path, life: int) -> Path:
    """Where a node writes down what its client received in one life."""
    return folder / f"received-{life}"


def emitted_path(folder: Path, label: int) -> Path:
    """Where a process writes down what it emitted under one label."""
    return folder / f"emitted-{label}"


@dataclass(frozen=True)
class NodeOptions:
    """What a process is to be.

    :param role: "node" (patched by gevent, with one client) or "external" (native threads, emits only).
    :param engine: "engine" (app.realtime) or "stock" (flask_socketio; it uses the first address only).
    :param urls: of the brokers, in order of preference.
    :param queue_options: arguments of `QueueOptions`.
    """

    role: Literal["node", "external"]
    engine: Literal["engine", "stock"]
    urls: Sequence[str]
    channel: str
    strategy: str = "failover"
    secret: str | None = None
    stock_channel: str | None = None
    queue_options: dict[str, Any] = field(default_factory=dict)


class CommandError(Exception):
    """A process said that a command failed."""


class ClusterNode(Server):
    """One such process. `start` it again after `kill` for its next life, in the same folder."""

    def __init__(self, name: str, options: NodeOptions) -> None:
        super().__init__(name)
        self.options = options
        self.life = 0

    def command(self) -> Sequence[str]:
        """The program and its options."""
        options = {**asdict(self.options), "folder": str(self.folder), "life": self.life}
        return (sys.executable, "-m", "tests.faults.node", json.dumps(options))

    def launch(self) -> None:
        """Begin a life."""
        self.life += 1
        (self.folder / CONTROL_SOCKET).unlink(missing_ok=True)
        super().launch()

    def ready(self) -> bool:
        """Ask for anything."""
        try:
            self.ask("busy")
        except OSError:
            return False
        return True

    def ask(self, command: str, *, timeout_seconds: float = _ANSWER_SECONDS, **arguments: Any) -> Any:
        """Send a command and return the answer.

        :raises CommandError: when it failed there.
        :raises OSError: when the process does not answer.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(str(self.folder / CONTROL_SOCKET))
            connection.sendall(json.dumps({"do": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        if not line:
            raise ConnectionError(f"{self.name} ended instead of an answer to {command!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise CommandError(f"{self.name}: {command}: {answer['error']}")
        return answer["value"]
