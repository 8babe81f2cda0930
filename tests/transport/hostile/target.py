"""The small server that is attacked, and what must be as before afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.small import SmallServer
from tests.support.waiting import WAIT_SECONDS, wait_until
from tests.support.wire import fetch
from tests.transport.hostile.people import join


class Target(SmallServer):
    """The small server with the program of these tests."""

    def command(self) -> Sequence[str]:
        """Another program."""
        *most, _ = super().command()
        return (*most, "tests.transport.hostile.program:app")

    @property
    def worker_pid(self) -> int:
        """The process id of the worker that serves."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()
        assert len(children) == 1, children
        return int(children[0])

    def moment(self) -> Moment:
        """What is true now and must be true later."""
        return Moment(self, self.worker_pid, len(self.log()))

    def handled(self) -> list[Any]:
        """The values of the events `note` since this was asked last."""
        answer = requests.post(f"{self.url}/handled", timeout=WAIT_SECONDS)
        values: list[Any] = answer.json()["values"]
        return values

    def reasons(self) -> dict[str, int]:
        """How often clients were disconnected for each reason."""
        counted: dict[str, int] = self.status()["reasons"]
        return counted

    def transport_status(self) -> dict[str, Any]:
        """What the transport says of itself."""
        status: dict[str, Any] = self.status()["transport"]
        return status

    def storm(self, room: str, *, greenlets: int, threads: int, count: int, size: int) -> None:
        """Let the server emit from many sides at once; see `program.py`."""
        order = {"room": room, "greenlets": greenlets, "threads": threads, "count": count, "bytes": size}
        requests.post(f"{self.url}/storm", json=order, timeout=60).raise_for_status()


@dataclass
class Moment:
    """How a server was."""

    server: Target
    worker_pid: int
    log_characters: int

    def assert_unharmed(self) -> None:
        """Nobody is left, the same process answers, and it has logged no stack trace."""
        self.server.wait_until_empty()
        assert self.server.worker_pid == self.worker_pid, "the worker was replaced"
        log = self.server.log()[self.log_characters :]
        assert "Traceback" not in log, log[:6000]
        assert fetch(self.server.url, "GET", "/ready").text == "ready"
        with join(self.server.url) as client:
            assert client.call("message-with-ack", "still here", namespace="/bench") == ["still here"]


@dataclass
class Usage:
    """What a process holds."""

    descriptors: int
    greenlets: int
    rss_kb: int
    peak_rss_kb: int

    @classmethod
    def of(cls, server: SmallServer) -> Usage:
        """Now."""
        status = server.status(greenlets="1", collect="1")
        return cls(**{name: status[name] for name in ("descriptors", "greenlets", "rss_kb", "peak_rss_kb")})

    def wait_until_back(self, server: SmallServer, *, rss_kb: int) -> None:
        """Wait until a server holds no more than this; of memory so much more.

        :raises AssertionError: when it does not come to that.
        """

        def back() -> bool:
            now = Usage.of(server)
            return (
                now.descriptors <= self.descriptors
                and now.greenlets <= self.greenlets
                and now.rss_kb <= self.rss_kb + rss_kb
            )

        wait_until(back, lambda: f"{Usage.of(server)} after {self}")
