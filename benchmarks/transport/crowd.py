"""The generator as the scenarios see it: clients of one server, in a process on a core of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from benchmarks.transport import pinned
from tests.support.servers import HOST, ROOT

IN_FLIGHT = 100
# How long nothing may come before something is missing.
PATIENCE_SECONDS = 15.0
CONNECT_SECONDS = 120.0


class CrowdError(Exception):
    """The clients did not get what they should; the message says what."""


class Crowd:
    """Clients of a server, for `with`.

    :param port: the server's, or that of a proxy before it.
    :param core: where the generator runs.
    """

    def __init__(self, port: int, core: int) -> None:
        self._command = pinned.command(
            core, sys.executable, "-m", "benchmarks.transport.load", HOST, str(port)
        )
        # The largest share of its core that the generator has used in a measurement.
        self.busy = 0.0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def connect(
        self, count: int, *, blocks: tuple[int, ...] = (), namespaces: int = 1, in_flight: int = IN_FLIGHT
    ) -> dict[str, Any]:
        """Let more WebSocket clients come in.

        :param blocks: for each, every client joins one of the rooms that seat so many.
        """
        order = {"count": count, "blocks": blocks, "namespaces": namespaces, "in_flight": in_flight}
        return self._do("connect", **order, timeout=CONNECT_SECONDS)

    def reconnect(self, count: int) -> dict[str, Any]:
        """Let everybody leave and come back, all at once."""
        return self._do("reconnect", count=count, timeout=CONNECT_SECONDS)

    def get_ready(self, members: int, **order: int) -> None:
        """Prepare for what the server is about to emit to the first so many clients."""
        order = {"size": 130, "block": 0, "rooms": 1, "namespaces": 1} | order
        self._do("receive", members=members, **order, timeout=PATIENCE_SECONDS)

    def get_ready_to_poll(self, **order: int) -> None:
        """The same, for clients that poll."""
        self._do("receive_polling", **order, timeout=PATIENCE_SECONDS)

    def received(self) -> dict[str, Any]:
        """Wait until everything has come."""
        return self._measured(self._read())

    def publish(
        self, rate: float, seconds: float, size: int, every: int, probe_seconds: float = 0.0
    ) -> dict[str, Any]:
        """Let one publish, and the others see how long it takes."""
        order = {"rate": rate, "seconds": seconds, "size": size, "every": every}
        return self._measured(self._do("publish", **order, probe_seconds=probe_seconds))

    def echo(self, seconds: float, size: int) -> dict[str, Any]:
        """Let all send events that come back."""
        return self._measured(self._do("echo", seconds=seconds, size=size))

    def echo_polling(self, seconds: float, size: int) -> dict[str, Any]:
        """Let those that poll do so."""
        return self._measured(self._do("echo_polling", seconds=seconds, size=size))

    def idle(self, seconds: float) -> dict[str, Any]:
        """Let all answer pings."""
        return self._do("idle", seconds=seconds)

    def connect_polling(self, count: int) -> dict[str, Any]:
        """Let clients come in that poll."""
        return self._do("connect_polling", count=count)

    def close(self) -> None:
        """Let everybody leave."""
        self._do("close")

    def _do(self, what: str, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **order}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise CrowdError("the generator has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CrowdError(answer["error"])
        return answer

    def _measured(self, answer: dict[str, Any]) -> dict[str, Any]:
        self.busy = max(self.busy, answer["busy"])
        return answer
