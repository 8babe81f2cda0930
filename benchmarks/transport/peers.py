"""The servers that are compared, each on one core, and what can be seen of their processes."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.transport import pinned
from benchmarks.transport.servers.work import Order
from tests.support import node_js
from tests.support.servers import HOST, Server

FOLDER = Path(__file__).parent / "servers"
# Long enough that no ping falls into a measurement by chance.
QUIET_SECONDS = 3600.0
PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024
REQUEST_SECONDS = 60.0
GONE_SECONDS = 60.0


class Peer(Server):
    """One of them.

    :param core: where it runs.
    :param ping_seconds: how often it asks whether a client is still there.
    """

    kind = ""

    def __init__(self, core: int, ping_seconds: float = QUIET_SECONDS) -> None:
        super().__init__(f"bench-{self.kind}")
        self.ping_seconds = ping_seconds
        self._core = core
        self._worker: int | None = None

    def program(self) -> Sequence[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        """The program, on its core."""
        return pinned.command(self._core, *self.program())

    def ready(self) -> bool:
        """Ask how it is."""
        try:
            self._worker = self.status()["pid"]
        except (OSError, http.client.HTTPException):
            return False
        return True

    # What it is asked.

    def ask(self, path: str, body: object = None) -> str:
        """Send a request, a POST if there is a body, and return the answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=REQUEST_SECONDS)
        try:
            if body is None:
                connection.request("GET", path)
            else:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == http.client.OK, (
            f"{self.name} answered {path} with {answer.status}: {text[:500]}"
        )
        return text

    def status(self) -> dict[str, Any]:
        """What it tells of itself."""
        status: dict[str, Any] = json.loads(self.ask("/status"))
        return status

    def emit(self, **order: Any) -> int:
        """Let it emit (see servers/work.py), and return when it began."""
        started: int = json.loads(self.ask("/emit", asdict(Order(**order))))["started"]
        return started

    def settle(self) -> float:
        """Let it drop its garbage, and return how many milliseconds a full collection takes."""
        milliseconds: float = json.loads(self.ask("/settle", {}))["collect_ms"]
        return milliseconds

    def wait_until_empty(self) -> None:
        """Wait until it has forgotten all clients.

        :raises AssertionError: when it does not.
        """
        deadline = time.monotonic() + GONE_SECONDS
        while clients := self.status()["clients"]:
            assert time.monotonic() < deadline, f"{self.name} still has {clients} clients"
            time.sleep(0.05)

    # What the system knows of its process.

    @property
    def worker(self) -> int:
        """The process that does the work."""
        assert self._worker is not None
        return self._worker

    def processor_seconds(self) -> float:
        """How long all its threads have run."""
        tasks = Path(f"/proc/{self.worker}/task").glob("*/schedstat")
        return sum(int(task.read_text("ascii").split()[0]) for task in tasks) / 1e9

    def resident_kb(self) -> float:
        """How much memory it has."""
        return int(Path(f"/proc/{self.worker}/statm").read_text("ascii").split()[1]) * PAGE_KB


class _Gunicorn(Peer):
    """Flask-SocketIO under gunicorn."""

    def program(self) -> Sequence[str]:
        """One gevent worker."""
        configuration = str(FOLDER / "gunicorn.conf.py")
        return (sys.executable, "-m", "gunicorn", "-c", configuration, "benchmarks.transport.servers.app:app")

    def environment(self) -> Mapping[str, str]:
        """What app.py and gunicorn.conf.py read."""
        return {
            "BENCHMARK_KIND": self.kind,
            "BENCHMARK_BIND": f"{HOST}:{self.port}",
            "BENCHMARK_PING_SECONDS": str(self.ping_seconds),
        }


class Native(_Gunicorn):
    """`SocketIO(app, transport="native")`."""

    kind = "native"


class Switched(_Gunicorn):
    """`SocketIO(app, transport="stock")`."""

    kind = "stock"


class Library(_Gunicorn):
    """`flask_socketio.SocketIO` as it comes."""

    kind = "library"


class Node(Peer):
    """Socket.IO on Node."""

    kind = "node"

    def program(self) -> Sequence[str]:
        """Node; the garbage collector can be called, for `settle`."""
        command = node_js.command(
            FOLDER / "node_server.js", HOST, str(self.port), str(int(self.ping_seconds * 1000))
        )
        return (command[0], "--expose-gc", *command[1:])

    def environment(self) -> Mapping[str, str]:
        """Where its packages are."""
        return {"NODE_PATH": str(node_js.packages())}


class Raw(Peer):
    """The raw limit."""

    kind = "raw"

    def program(self) -> Sequence[str]:
        """A plain loop."""
        return (sys.executable, "-m", "benchmarks.transport.servers.raw", HOST, str(self.port))


KINDS: dict[str, type[Peer]] = {kind.kind: kind for kind in (Native, Library, Switched, Node, Raw)}
LABELS = {
    "native": "native",
    "library": "stock",
    "stock": 'transport="stock"',
    "node": "Node",
    "raw": "raw limit",
}
