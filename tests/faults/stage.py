"""One run of a scenario: the processes, who emits, and what came of it. Scenarios act on it while it runs."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from tests.faults.judge import Calls, Life, Pair, judge_calls, judge_pair
from tests.faults.noise import Noise
from tests.faults.records import Emitted, Received, read_emitted, read_received, received_count
from tests.support.cluster import ClusterNode, CommandError, NodeOptions, emitted_path, received_path
from tests.support.proxy import TcpProxy
from tests.support.waiting import wait_until

Engine = Literal["engine", "stock"]

EVENTS_PER_SECOND = 200.0
# Before and after each fault, so that what it changes shows.
LEAD_SECONDS = 1.0
TRAIL_SECONDS = 1.0
# When nothing has come in for so long, nothing will: the engine's backoff is capped at about 2 s.
QUIET_SECONDS = 12.0
# The stock classes give up what they could not send, and nothing is kept for their readers.
STOCK_QUIET_SECONDS = 3.0
SETTLE_SECONDS = 120.0
# A repeated message would come soon after the last one that is missing.
ECHO_SECONDS = 0.5
WARM_UP_SECONDS = 30.0
# The longest that a stock emit() was seen to block is 12 s.
CALL_SECONDS = 60.0


def address(server: Any) -> str:
    """The address of a broker, as `message_queue` takes it."""
    return str(server.url() if callable(server.url) else server.url)


@dataclass
class Emitter:
    """Somebody who emitted, or still does."""

    label: int
    process: ClusterNode
    name: str  # of its process, and which life of it this was


def _name(process: ClusterNode, life: int) -> str:
    return process.name if life == 1 else f"{process.name}#{life}"


@dataclass
class Outcome:
    """What came of a run."""

    pairs: list[Pair]
    calls: list[Calls]
    noise_seconds: float
    statuses: dict[str, Any] = field(default_factory=dict)

    @property
    def delays(self) -> list[float]:
        """All delays, of all pairs."""
        return [delay for pair in self.pairs for delay in pair.delays]


class Stage:
    """The processes of one run, for `with`, which ends them.

    :param servers: the brokers by name, for `play` functions.
    :param choices: the source of whatever is left to chance.
    """

    def __init__(self, engine: Engine, servers: Mapping[str, Any], choices: random.Random) -> None:
        self.engine: Engine = engine
        self.servers = servers
        self.choices = choices
        self.channel = f"faults-{uuid.uuid4().hex[:8]}"
        self.processes: dict[str, ClusterNode] = {}
        self.proxies: dict[tuple[str, str], TcpProxy] = {}  # by broker, and whose it is
        self.emitters: list[Emitter] = []
        self.folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self.memory: dict[str, Any] = {}  # what a scenario keeps for its judge
        self.notes: list[str] = []
        self._lives: list[tuple[ClusterNode, int, bool, bool]] = []  # of nodes: life, joined late, killed
        self._noise = Noise()
        self._begun = 0.0
        self._at = 0.0

    def __enter__(self) -> Self:
        self._noise.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._noise.__exit__()
        for process in self.processes.values():
            process.kill()
            process.close()
        for proxy in self.proxies.values():
            proxy.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Processes.

    def add(self, name: str, urls: Sequence[str], *, external: bool = False, **options: Any) -> ClusterNode:
        """Start a process, and wait for nothing. See `NodeOptions` for the rest."""
        process = ClusterNode(
            name,
            NodeOptions("external" if external else "node", self.engine, list(urls), self.channel, **options),
        )
        self.processes[name] = process
        self._launch(process)
        return process

    def restart(self, name: str) -> None:
        """Start a killed process again, with the same options, and wait until it answers."""
        process = self.processes[name]
        self._launch(process)
        self._wait_until_ready(process)

    def join(self, name: str) -> None:
        """Start a killed node again, or wait for a new one, until it hears everybody who emits."""
        process = self.processes[name]
        if process.running:
            self._wait_until_ready(process)
        else:
            self.restart(name)
        others = {emitter.label for emitter in self.emitters if emitter.process.running} - {
            emitter.label for emitter in self.emitters if emitter.process is process
        }
        wait_until(lambda: others <= self._labels_heard(process), f"{name} hears {others}", WARM_UP_SECONDS)

    def kill(self, name: str) -> None:
        """End a process as the system does when it is out of memory."""
        process = self.processes[name]
        process.kill()
        self._lives = [
            (node, life, late, killed or (node is process and life == process.life))
            for node, life, late, killed in self._lives
        ]

    def warm_up(self) -> None:
        """Wait until every process is ready and every node hears every other process."""
        for process in self.processes.values():
            self._wait_until_ready(process)
        processes = list(self.processes.values())
        for label, process in enumerate(processes, 60_000):
            nodes = [other for other in self._nodes() if other is not process]

            def heard(
                label: int = label, process: ClusterNode = process, nodes: Sequence[Any] = nodes
            ) -> bool:
                process.ask("warm_up", label=label)
                return all(label in self._labels_heard(node) for node in nodes)

            wait_until(heard, lambda p=process: f"everybody hears {p.name}: {self.report()}", WARM_UP_SECONDS)

    # Emitters.

    def emit_from(self, *names: str, rate: float = EVENTS_PER_SECOND) -> None:
        """Let processes emit from now on."""
        self._begun = self._begun or time.monotonic()
        self._at = self._at or self._begun
        for name in names:
            process = self.processes[name]
            emitter = Emitter(len(self.emitters) + 1, process, _name(process, process.life))
            self.emitters.append(emitter)
            emitter.process.ask("emit", label=emitter.label, rate=rate)

    def wait(self, seconds: float) -> None:
        """Let it run: until so many seconds after the end of the wait before, whatever took place between."""
        self._at = max(self._at + seconds, time.monotonic())
        time.sleep(max(0.0, self._at - time.monotonic()))

    def pause(self, seconds: float) -> None:
        """Let it run for so long from now."""
        self._at = time.monotonic()
        self.wait(seconds)

    def finish(self, quiet_seconds: float = QUIET_SECONDS) -> Outcome:
        """Let emitters stop, wait until everything has arrived or nothing comes any more, and judge."""
        if self.engine == "stock":
            quiet_seconds = STOCK_QUIET_SECONDS
        alive = [emitter.process for emitter in self.emitters if emitter.process.running]
        for process in alive:
            process.ask("stop")
        for process in alive:
            wait_until(
                lambda p=process: not p.ask("busy"), f"{process.name}: emit() comes back", CALL_SECONDS
            )
        deadline = time.monotonic() + SETTLE_SECONDS
        count, quiet_since = -1, time.monotonic()
        while time.monotonic() < min(deadline, quiet_since + quiet_seconds):
            if (counted := self._received_count()) != count:
                count, quiet_since = counted, time.monotonic()
                if not any(pair.lost for pair in self.pairs()):
                    break
            time.sleep(0.05)
        time.sleep(ECHO_SECONDS)
        calls = [judge_calls(emitter.name, self.emitted(emitter)) for emitter in self.emitters]
        return Outcome(self.pairs(), calls, self._noise.longest_seconds, self.statuses())

    # What is known.

    def server(self, name: str) -> Any:
        """A broker by its name."""
        return self.servers[name]

    def urls(self, names: Sequence[str], *, through: str | None = None) -> list[str]:
        """The addresses of brokers, through the proxies of somebody where there are any."""
        found = []
        for name in names:
            server = self.servers[name]
            proxy = self.proxies.get((name, through or ""))
            url = address(server)
            found.append(url.replace(f":{server.port}", f":{proxy.port}") if proxy else url)
        return found

    def proxy(self, name: str, owner: str) -> None:
        """Put a proxy before a broker, for whoever uses `urls(..., through=owner)`."""
        self.proxies[name, owner] = TcpProxy(self.servers[name].port).start()

    def emitted(self, emitter: Emitter) -> list[Emitted]:
        """What somebody emitted so far."""
        return read_emitted(emitted_path(emitter.process.folder, emitter.label))

    def received(self, name: str) -> list[Received]:
        """What the client of a node received in the node's last life."""
        process = self.processes[name]
        return read_received(received_path(process.folder, process.life))

    def pairs(self) -> list[Pair]:
        """Every emitter as every other node heard it."""
        found = []
        for emitter in self.emitters:
            emitted = self.emitted(emitter)
            for node, number, late, killed in self._lives:
                if node is emitter.process:
                    continue
                received = read_received(received_path(node.folder, number))
                life = Life(_name(node, number), received, joined_late=late, killed=killed)
                found.append(judge_pair(emitter.name, emitter.label, emitted, life))
        return found

    def statuses(self) -> dict[str, Any]:
        """`queue_status()` of everybody who answers."""
        found = {}
        for name, process in self.processes.items():
            if process.running:
                with contextlib.suppress(OSError, CommandError):
                    found[name] = process.ask("status")
        return found

    def status(self, name: str) -> Any:
        """`queue_status()` of one."""
        return self.processes[name].ask("status")

    def report(self) -> str:
        """Everything that explains a failure."""
        parts = [f"channel {self.channel}", *self.notes, *map(str, self.pairs())]
        parts += [f"{name}: {status}" for name, status in self.statuses().items()]
        parts += [f"--- {name}, the end of its log:\n{p.log()[-3000:]}" for name, p in self.processes.items()]
        return "\n".join(parts)

    @staticmethod
    def _wait_until_ready(process: ClusterNode) -> None:
        wait_until(lambda: process.ready() or not process.running, f"{process.name} answers", WARM_UP_SECONDS)
        assert process.running, f"{process.name} ended:\n{process.log()[-3000:]}"

    def _launch(self, process: ClusterNode) -> None:
        process.launch()
        if process.options.role == "node":
            self._lives.append((process, process.life, bool(self.emitters), False))

    def _nodes(self) -> list[ClusterNode]:
        return [process for process in self.processes.values() if process.options.role == "node"]

    def _labels_heard(self, process: ClusterNode) -> set[int]:
        return {record.label for record in read_received(received_path(process.folder, process.life))}

    def _received_count(self) -> int:
        return sum(received_count(received_path(node.folder, life)) for node, life, _, _ in self._lives)
