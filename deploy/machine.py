"""A whole cluster on one machine, in a private folder: nodes, nginx, brokers under a supervisord of its own.

It runs the shipped configuration, with other ports, paths and user (deploy/layout.py). `make cluster` and the
tests use it.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

from deploy import processes
from deploy.asking import ready
from deploy.control import Control, ControlError
from deploy.ending import end, stop_gently
from deploy.launching import (
    NODES_MAX,
    Plan,
    check_nginx,
    claim,
    environment,
    migrate,
    start_supervisord,
)
from deploy.layout import BROKERS, HOST, free_ports, write_files
from deploy.nodes import Node, NodesError, parse, with_node, without_node, write
from deploy.readiness import HopelessError, Readiness
from deploy.render import NODES_FILE, Balance
from deploy.state import ClusterError, State, alone, running

__all__ = ["ClusterError", "Machine"]

# A cold start on a busy machine; RabbitMQ alone needs some 6 s.
START_SECONDS = 120.0
# supervisord answers, and nginx takes a new configuration, in much less.
ANSWER_SECONDS = 20.0
POLL_SECONDS = 0.1
LOG_LINES = 25


class Machine:
    """A cluster on one machine; `start` it, or `find` one that runs. For `with`, too.

    :param folder: of its own, made by `start` and removed by `stop`; it may exist if it is empty.
    :param nodes: how many, 1 to 32.
    :param brokers: of "redis" and "rabbitmq", in the order of preference. None of them: `settings` name a
        MESSAGE_QUEUE, or there is one node.
    :param balance: how nginx spreads clients: "cookie", "ip_hash" or "sticky" (nginx 1.29.6 or newer).
    :param database_url: of PostgreSQL, or another SQLite file; None: an SQLite file in the folder.
    :param unix_sockets: let the nodes listen on unix sockets instead of ports.
    :param settings: further settings of the application, by the names of their environment variables.
    :param port: of nginx; 0: any that is free.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        brokers: Sequence[str] = BROKERS,
        balance: Balance = "cookie",
        database_url: str | None = None,
        unix_sockets: bool = False,
        settings: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.folder = folder.absolute()
        self.control = Control(self.folder / "run/supervisor.sock")
        database = {"DATABASE_URL": database_url} if database_url else {}
        self._plan = Plan(
            nodes, tuple(brokers), balance, unix_sockets, {**database, **(settings or {})}, port
        )
        self._found: State | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def find(cls, folder: Path) -> Self:
        """Find the cluster that runs in a folder.

        :raises ClusterError: when none does.
        """
        machine = cls(folder)
        state = State.load(machine.folder)
        if state is None or not state.alive(machine.folder):
            raise ClusterError(f"no cluster runs in {machine.folder}: start one with `make cluster`")
        machine._found = state
        return machine

    # Where everything is.

    @property
    def port(self) -> int:
        """The port of nginx on loopback."""
        return self._state.ports.nginx

    @property
    def balance(self) -> Balance:
        """How nginx spreads clients."""
        return self._state.balance

    @property
    def url(self) -> str:
        """Where the application answers, through nginx, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def nodes(self) -> list[Node]:
        """The nodes, as its list has them."""
        try:
            return parse(self._nodes_file.read_text("utf-8"))
        except FileNotFoundError:
            raise ClusterError(f"the cluster in {self.folder} has ended") from None

    @property
    def brokers(self) -> dict[str, str]:
        """The addresses of its own brokers, in order of preference."""
        return self._state.broker_urls()

    def environment(self) -> dict[str, str]:
        """What a command beside the nodes needs: the settings that all nodes have."""
        return dict(self._state.settings)

    def log(self, program: str) -> Path:
        """The file with everything that a program has written; "supervisord" has one, too."""
        return self.folder / "log" / f"{program}.log"

    # Starting and stopping.

    def check(self) -> None:
        """See whether it could be started, as far as that can be seen without beginning.

        :raises ClusterError: when it could not.
        """
        self._plan.check(self.folder)

    def start(self, timeout_seconds: float = START_SECONDS) -> Self:
        """Start everything, and wait until it is ready.

        :raises ClusterError: when that cannot be; nothing of it runs then, and nothing is left.
        """
        self.check()
        self._found = claim(self.folder, self._plan)
        try:
            self._write(write(self._first_nodes()))
            migrate(self._environment())
            check_nginx(self.folder, self._environment())
            self._launch()
            self.wait_ready(timeout_seconds)
        except BaseException as error:
            self._end()
            if isinstance(error, ControlError):
                raise ClusterError(str(error)) from None
            raise
        return self

    def wait_ready(self, timeout_seconds: float = START_SECONDS) -> None:
        """Wait until every program runs, every node and broker is ready, and nginx serves.

        :raises ClusterError: saying what is not, with the end of its log.
        """
        readiness = self._readiness()
        deadline = time.monotonic() + timeout_seconds
        try:
            while pending := readiness.pending():
                if time.monotonic() > deadline:
                    reasons = "; ".join(f"{name} {reason}" for name, reason in pending.items())
                    log = self._tail(next(iter(pending)))
                    raise ClusterError(f"not ready within {timeout_seconds:g} s: {reasons}.{log}")
                time.sleep(POLL_SECONDS)
        except HopelessError as error:
            raise ClusterError(f"{error}.{self._tail(error.program)}") from None

    def stop(self) -> bool:
        """End everything, and remove the folder.

        :returns: whether there was anything.
        :raises ClusterError: when something cannot be ended.
        """
        there = State.load(self.folder)
        if self._found is None:
            self._found = there
        elif there is not None and there.settings != self._found.settings:
            # Somebody has ended ours, and started another one.
            self._found = None
            if self._process is not None:
                self._process.poll()
            return False
        # Somebody may also have removed the folder of one that runs.
        if self._found is None and not running(self.folder, None):
            return False
        # Of one that died while it was made, the list may be missing.
        with contextlib.suppress(ClusterError, ControlError, OSError, NodesError):
            stop_gently(self.control, self.nodes)
        self._end()
        return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What one does to a cluster.

    def kill(self, name: str) -> None:
        """End a program and its children at once (kill -9): for a node, gunicorn's master and worker."""
        self.control.kill(name)

    def freeze(self, name: str) -> None:
        """Stop a program's processes with their connections open (SIGSTOP)."""
        self.control.freeze(name)

    def thaw(self, name: str) -> None:
        """Let them go on (SIGCONT)."""
        self.control.thaw(name)

    def worker_pid(self, name: str) -> int:
        """The process id of a node's worker, which has the clients.

        :raises ClusterError: when it has none now.
        """
        workers = processes.children(self.control.pid(name))
        if not workers:
            raise ClusterError(f"{name} has no worker now")
        return workers[0]

    def add_node(self, timeout_seconds: float = START_SECONDS) -> Node:
        """Let one more node join: supervisor starts it, and when it is ready, nginx gives it clients.

        :raises ClusterError: when it does not get ready; the cluster is as it was then.
        """
        # Not while another one joins, or the nodes are rolled: the lock is the same.
        with alone(self.control.path):
            return self._add_node(timeout_seconds)

    def remove_node(self, node_id: str) -> None:
        """Let a node leave: it drains and ends, and then nginx forgets it.

        In this order, for a node that leaves refuses new clients by itself, and serves those it has to the
        end; if nginx forgot it first, those that poll would not find it any more.

        :raises ClusterError: when there is no such node, or it is the last one.
        """
        with alone(self.control.path):
            try:
                text = without_node(self._nodes_file.read_text("utf-8"), node_id)
            except NodesError as error:
                raise ClusterError(str(error)) from None
            self.control.stop(node_id)
            self._write(text)
            self.control.update()
            self._reload_nginx()

    # Below: starting.

    @property
    def _state(self) -> State:
        if self._found is None:
            raise ClusterError(f"the cluster in {self.folder} does not run")
        return self._found

    @property
    def _nodes_file(self) -> Path:
        return self.folder / NODES_FILE

    def _first_nodes(self) -> list[Node]:
        nodes: list[Node] = []
        for number in range(1, self._plan.nodes + 1):
            nodes.append(self._new_node(number, [node.port for node in nodes if node.port]))
        return nodes

    def _new_node(self, number: int, taken: Sequence[int]) -> Node:
        name = f"n{number}"
        if self._state.unix_sockets:
            return Node(name, f"unix:{self.folder}/run/nodes/{name}.sock")
        port = free_ports(1, [*taken, *asdict(self._state.ports).values()])[0]
        return Node(name, f"{HOST}:{port}")

    def _write(self, nodes_text: str) -> None:
        nodes = parse(nodes_text)
        self._nodes_file.write_text(nodes_text, "utf-8")
        state = self._state
        write_files(self.folder, nodes, state.ports, state.brokers, state.balance)

    def _environment(self) -> dict[str, str]:
        return environment(self.folder, self.environment())

    def _launch(self) -> None:
        process = start_supervisord(self.folder, self.log("supervisord"), self._environment())
        self._process = process
        self._found = replace(
            self._state, pid=process.pid, started=processes.started(process.pid), supervised=True
        )
        self._found.save(self.folder)
        self._wait(
            lambda: process.poll() is not None or self.control.answers(),
            ANSWER_SECONDS,
            "supervisord does not answer",
            "supervisord",
        )
        if process.poll() is not None:
            raise ClusterError(f"supervisord does not start.{self._tail('supervisord')}")

    # Below: while it runs.

    def _readiness(self) -> Readiness:
        state = self._state
        ports = {name: asdict(state.ports)[name] for name in state.brokers}
        return Readiness(
            self.control,
            lambda: self.nodes,
            {name: f"{HOST}:{port}" for name, port in ports.items()},
            f"{HOST}:{self.port}",
            cookies=state.balance == "cookie",
        )

    def _add_node(self, timeout_seconds: float) -> Node:
        nodes = self.nodes
        if len(nodes) >= NODES_MAX:
            raise ClusterError(f"there are {NODES_MAX} nodes already, and more are not meant for one machine")
        number = max(int(node.id.removeprefix("n")) for node in nodes) + 1
        node = self._new_node(number, [node.port for node in nodes if node.port])
        before = self._nodes_file.read_text("utf-8")
        try:
            self._write(with_node(before, node))
            self.control.update()
            self._wait(lambda: ready(node.address)[0], timeout_seconds, f"{node.id} is not ready", node.id)
        except BaseException:
            self._write(before)
            self.control.update()
            raise
        self._reload_nginx()
        return node

    def _reload_nginx(self) -> None:
        """Let nginx read its files, and wait until its new workers serve."""
        check_nginx(self.folder, self._environment())
        master = self.control.pid("nginx")
        old = set(processes.children(master))
        readiness = self._readiness()
        self.control.signal("nginx", signal.SIGHUP)
        self._wait(
            lambda: bool(set(processes.children(master)) - old) and readiness.served(self.nodes),
            ANSWER_SECONDS,
            "nginx does not take its new configuration",
            "nginx",
        )

    def _wait(self, condition: Callable[[], bool], timeout_seconds: float, what: str, log: str) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            if time.monotonic() > deadline:
                raise ClusterError(f"{what} within {timeout_seconds:g} s.{self._tail(log)}")
            time.sleep(POLL_SECONDS)

    def _tail(self, name: str) -> str:
        """The end of a log, as the end of an error's message."""
        try:
            lines = self.log(name).read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
        except OSError:
            lines = []
        return f" The end of {name}'s log:\n" + "\n".join(lines or ["(nothing)"])

    def _end(self) -> None:
        """Kill what still runs, and remove the folder."""
        end(self.folder, self._found, self._process)
        self._process = None
        self._found = None
