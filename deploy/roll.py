"""Does a rolling deploy: what rolling.py decides, with supervisor, the nodes and nginx."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from deploy.asking import get
from deploy.control import Control, ControlError, Program
from deploy.nodes import Node
from deploy.rolling import Condition, Roll, RollError
from deploy.trial import launch_of, try_code, try_database

# /readyz makes four checks, each with a timeout of 2 s.
READY_SECONDS = 10.0
NGINX_TIMEOUT_SECONDS = 5.0
EXIT_FAILED = 1


def roll(
    control: Control,
    nodes: Sequence[Node],
    *,
    only: Sequence[str] = (),
    dry_run: bool = False,
    nginx: str | None = None,
    ready_seconds: float = 60.0,
    steady_seconds: float = 3.0,
    say: Callable[[str], object] = print,
) -> int:
    """Restart nodes one after the other, with what is in the checkout now.

    :param nodes: all nodes of this machine, in the order in which they are rolled.
    :param only: the ids of those to roll; none: all.
    :param dry_run: only look whether it could be done, and try the code.
    :param nginx: its URL, for example http://127.0.0.1, to see that it sends clients to a node again; it must
        balance by cookie. None: it is not asked.
    :param ready_seconds: how long a node may take to get ready, more than 0.
    :param steady_seconds: how long it must stay so before the next one is stopped, 0 or more.
    :param say: takes each line of what is told about it.
    :returns: the exit status: 0, or 1 when it has ended early; then it has said why.
    """

    def tell(line: str) -> None:
        say(f"{datetime.now().astimezone():%H:%M:%S}  {line}")

    try:
        with _alone(control), _signals():
            cluster = Cluster(control, nodes, nginx)
            ids = [node.id for node in nodes]
            one = Roll(
                cluster, ids, only, ready_seconds=ready_seconds, steady_seconds=steady_seconds, say=tell
            )
            return one.run(dry=dry_run)
    except RollError as error:
        tell(f"not begun: {error}")
        return EXIT_FAILED


class Cluster:
    """The world of a roll. What supervisor refuses ends the roll, with its words.

    :param nodes: of this machine.
    :param nginx: its URL; None: it is not asked.
    """

    def __init__(self, control: Control, nodes: Sequence[Node], nginx: str | None) -> None:
        self._control = control
        self._nodes = {node.id: node for node in nodes}
        self._nginx = nginx and nginx.rstrip("/")
        missing = [node_id for node_id in self._nodes if node_id not in self._programs()]
        if missing:
            raise RollError(
                f"supervisor knows no {', '.join(missing)}, which the list of nodes has: write what follows "
                "from it, and let supervisor read that: python -m deploy nodes && supervisorctl update"
            )

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def look(self, ids: Sequence[str]) -> dict[str, Condition]:
        """How these nodes are now."""
        programs = self._programs()
        return {node_id: self._condition(self._nodes[node_id], programs[node_id]) for node_id in ids}

    def try_code(self, node_id: str) -> str:
        """Why the code in the checkout could not start as this node; nothing: it could."""
        with _explained():
            return try_code(launch_of(self._control, *self._with_others(node_id)))

    def try_database(self, node_id: str) -> str:
        """Why it could not work with the database; nothing: it could."""
        with _explained():
            return try_database(launch_of(self._control, *self._with_others(node_id)))

    def served(self, node_id: str) -> str:
        """Why nginx does not send the node's clients to it; nothing: it does, or its address is unknown."""
        if self._nginx is None:
            return ""
        request = Request(f"{self._nginx}/healthz", headers={"Cookie": f"NODE={node_id}"})
        # Who answers is all that is asked, of this machine's nginx; its certificate is for the public name.
        trusting = ssl._create_unverified_context()
        try:
            with urlopen(request, timeout=NGINX_TIMEOUT_SECONDS, context=trusting) as response:
                said = json.loads(response.read())
        except HTTPError as error:
            return f"{self._nginx} answers {error.code} to the cookie NODE={node_id}"
        except (OSError, ValueError) as error:
            return f"{self._nginx}: {getattr(error, 'reason', error)}"
        by = said.get("node") if isinstance(said, dict) else None
        return "" if by == node_id else f"{by or 'something else'} answers to the cookie NODE={node_id}"

    def stop(self, node_id: str) -> None:
        """Tell it to end, and wait for nothing."""
        with _explained():
            self._control.stop(node_id, wait_seconds=0)

    def start(self, node_id: str) -> None:
        """Start it, and wait for nothing."""
        with _explained():
            self._control.start(node_id)

    def tail(self, node_id: str) -> str:
        """The end of its log; nothing: it has none of its own."""
        with _explained():
            return self._control.tail(node_id)

    def _programs(self) -> dict[str, Program]:
        with _explained():
            return self._control.states()

    def _with_others(self, node_id: str) -> tuple[Program, list[Program]]:
        programs = self._programs()
        return programs[node_id], [programs[other] for other in self._nodes if other != node_id]

    def _condition(self, node: Node, program: Program) -> Condition:
        ready, why = False, program.reason
        if program.state in ("RUNNING", "STOPPING"):
            ready, why = _ready(node)
        elif program.state == "EXITED":
            status = program.exit_status
            why = f"with status {status}" if status >= 0 else "killed by a signal"
        return Condition(program.state, program.pid, program.ended, program.exit_status == 0, ready, why)


def _ready(node: Node) -> tuple[bool, str]:
    """What /readyz says, and why, when it says no."""
    try:
        answer = get(node.address, "/readyz", timeout_seconds=READY_SECONDS)
    except OSError as error:
        return False, f"does not answer at {node.address}: {error}"
    if (name := answer.body.get("node")) != node.id:
        return False, f"{name or 'somebody else'} answers at {node.address}, instead of {node.id}"
    if answer.status == HTTPStatus.OK:
        return True, ""
    checks = answer.body.get("checks", {})
    reasons = [f"{what}: {check['reason']}" for what, check in checks.items() if not check["ok"]]
    return False, "not ready: " + ("; ".join(reasons) or f"/readyz answers {answer.status}")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Let what goes wrong below end the roll, in words."""
    try:
        yield
    except ControlError as error:
        raise RollError(str(error)) from None
    except PermissionError as error:
        raise RollError(f"{error.filename}: {error.strerror}. Roll as the nodes' user, or as root") from None


@contextlib.contextmanager
def _alone(control: Control) -> Iterator[None]:
    """See that no other roll is under way: two would stop two nodes at once.

    The lock is on the folder of supervisord's socket, so that nothing is left of it.

    :raises RollError: when there is one, or no such folder.
    """
    folder = control.path.parent
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise RollError(f"no supervisord answers at {control.path}: {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RollError("another roll is under way: wait for its end") from None
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a terminal that is closed, be a Ctrl-C: no node must be left stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Who has told it to live on without a terminal (nohup) means it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
