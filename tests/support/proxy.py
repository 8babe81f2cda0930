"""A TCP proxy that tests put before a server: slow, cut, refusing, or silent as a partitioned network is.

It is a process of its own (`relay.py`), so it works the same for tests in greenlets and in threads, and does
not stop when a test does.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from tests.support.servers import HOST, Server

# Longer than any order takes on a busy machine.
ANSWER_SECONDS = 10.0

Direction = Literal["both", "requests", "answers"]


@dataclass
class _Lane:
    delay_seconds: float = 0.0
    open: bool = True


@dataclass
class _Road:
    listen: bool = True
    requests: _Lane = field(default_factory=_Lane)
    answers: _Lane = field(default_factory=_Lane)


class TcpProxy(Server):
    """Everything that connects to `port` is carried to the target, for `with`. Each order holds on return.

    What a client sends are requests, what the target sends are answers. Orders of different kinds add up, and
    `resume` ends them all.
    When the target refuses a connection, the client's is reset.
    """

    def __init__(self, target_port: int, target_host: str = HOST) -> None:
        super().__init__("proxy")
        self.target = (target_host, target_port)
        self._road = _Road()

    # What Server asks.

    def command(self) -> Sequence[str]:
        """The relay; -I because it needs nothing of this project."""
        program = Path(__file__).with_name("relay.py")
        return (sys.executable, "-I", str(program), self._control, str(self.port), *map(str, self.target))

    def launch(self) -> None:
        """Start the relay; it listens when it is told to."""
        Path(self._control).unlink(missing_ok=True)
        super().launch()

    def ready(self) -> bool:
        """Give the first order."""
        try:
            self._order()
        except OSError:
            return False
        return True

    # What a test does.

    def delay(self, *, requests_seconds: float = 0.0, answers_seconds: float = 0.0) -> None:
        """Let everything that comes from now on take so much longer; what flows, flows no slower."""
        self._road.requests.delay_seconds = requests_seconds
        self._road.answers.delay_seconds = answers_seconds
        self._order()

    def blackhole(self, direction: Direction = "both") -> None:
        """Carry nothing, and say nothing: connections stay open, and new ones are accepted.

        As in a partition that heals, what was sent meanwhile arrives after `resume`, unless `cut` comes
        first.

        :param direction: "answers" for a server that does everything and seems to do nothing; with "requests"
            and "both", the target does not hear of new connections.
        """
        self._road.requests.open = direction == "answers"
        self._road.answers.open = direction == "requests"
        self._order()

    def refuse(self) -> None:
        """Refuse new connections, as a port where nobody listens does. Those that exist stay: see `cut`."""
        self._road.listen = False
        self._order()

    def cut(self) -> int:
        """Reset all connections, at both ends, and return how many there were. New ones are welcome."""
        return self._order(cut=True)

    def resume(self) -> None:
        """Carry everything again, at once."""
        self._road = _Road()
        self._order()

    def connections(self) -> int:
        """How many clients are connected."""
        return self._order()

    @property
    def _control(self) -> str:
        return str(self.folder / "control")

    def _order(self, *, cut: bool = False) -> int:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(ANSWER_SECONDS)
            control.connect(self._control)
            control.sendall(json.dumps({**asdict(self._road), "cut": cut}).encode() + b"\n")
            with control.makefile("rb") as stream:
                line = stream.readline()
        if not line:
            raise ConnectionError(f"the proxy did not do it. Its output:\n{self.log()}")
        return int(line)
