"""The health listener: supervisor runs it, and it ends a node that is frozen; supervisor starts it again.

supervisor sees when a process ends, not when it stops to answer. So at each tick of supervisor's clock all
nodes of the list are asked for /healthz, at the same time, and `judge.py` decides. A frozen node is killed
(SIGKILL) with its whole process group: it would not drain, and a worker left alone would hold the port.

Why not superlance's httpok: it knows no unix sockets, needs one listener for each URL (so all nodes may be
restarted at once), and restarts a node that is still booting.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click
from supervisor.childutils import get_headers
from supervisor.childutils import listener as protocol

from deploy.asking import get
from deploy.control import Control, ControlError, Program
from deploy.judge import Judge, Reply, Seen
from deploy.nodes import Node, NodesError, parse

logger = logging.getLogger("health")

EVENT = "TICK_5"
UNIX_SCHEME = "unix://"
ROOT = Path(__file__).resolve().parent.parent


class Listener:
    """Looks at the nodes when supervisor's clock ticks, and does what the judge says.

    :param nodes_file: the list of nodes; it is read at each tick, for nodes join and leave.
    """

    def __init__(self, control: Control, nodes_file: Path, judge: Judge, timeout_seconds: float) -> None:
        self._control = control
        self._nodes_file = nodes_file
        self._judge = judge
        self._timeout_seconds = timeout_seconds
        self._watched = ("", "")
        self._complaint = ""

    def tick(self) -> None:
        """Look at all nodes once."""
        if not self._judge.due(time.monotonic()):
            return
        try:
            running = self._running()
        except (ControlError, NodesError, OSError) as error:
            self._complain(f"cannot look at the nodes: {error}")
            return
        self._complain("")
        asked_at = time.monotonic()
        replies = ask_all([node for node, _ in running], self._timeout_seconds)
        answered_at = time.monotonic()
        programs = {node.id: program for node, program in running}
        seen = {
            node.id: Seen(program.pid, node.address, program.uptime_seconds, *replies[node.id])
            for node, program in running
        }
        verdict = self._judge.judge(asked_at, answered_at, seen)
        for text in verdict.notes:
            logger.info(text)
        for text in verdict.warnings:
            logger.warning(text)
        if verdict.kill is not None:
            self._kill(programs[verdict.kill])

    def _running(self) -> list[tuple[Node, Program]]:
        """The nodes of this machine, and the programs they are.

        Those that supervisor does not know belong to other machines, or have not been started yet.
        """
        nodes = parse(self._nodes_file.read_text("utf-8"))
        programs = self._control.states()
        watched = ", ".join(node.id for node in nodes if node.id in programs) or "nobody"
        others = ", ".join(node.id for node in nodes if node.id not in programs)
        if (watched, others) != self._watched:
            self._watched = (watched, others)
            logger.info("watching %s%s", watched, others and f"; supervisor knows nothing of {others}")
        return [
            (node, programs[node.id])
            for node in nodes
            if node.id in programs and programs[node.id].state == "RUNNING"
        ]

    def _kill(self, program: Program) -> None:
        try:
            # It may have been told to stop, or have ended, while the nodes were asked.
            now = self._control.program(program.name)
            if (now.pid, now.state) != (program.pid, "RUNNING"):
                logger.info("%s: is %s by now, and not killed", program.name, now.state)
                return
            self._control.kill(program.name)
        except ControlError as error:
            logger.error("%s: could not be killed: %s", program.name, error)

    def _complain(self, complaint: str) -> None:
        """Say it once, not every 5 seconds."""
        if complaint and complaint != self._complaint:
            logger.error(complaint)
        self._complaint = complaint


def ask_all(nodes: Sequence[Node], timeout_seconds: float) -> dict[str, tuple[Reply, str]]:
    """Ask all nodes for /healthz at the same time.

    :param timeout_seconds: until when the whole answer must be there.
    :returns: by id, the reply and, in words, why there was none.
    """
    replies = {
        node.id: (Reply.SILENT, f"{node.address}: no answer in {timeout_seconds:g} s") for node in nodes
    }
    found: dict[str, tuple[Reply, str]] = {}

    def ask(node: Node) -> None:
        try:
            get(node.address, "/healthz", timeout_seconds=timeout_seconds)
        except (ConnectionRefusedError, FileNotFoundError) as error:
            found[node.id] = (Reply.CLOSED, f"{node.address}: {error.strerror}")
        except TimeoutError:
            pass
        except OSError as error:
            found[node.id] = (Reply.SILENT, f"{node.address}: {error}")
        else:
            found[node.id] = (Reply.ANSWERED, "")

    # Threads of their own, and daemons: one that is answered byte by byte keeps nobody waiting.
    threads = [threading.Thread(target=ask, args=(node,), daemon=True) for node in nodes]
    deadline = time.monotonic() + timeout_seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return replies | found.copy()


def listen(listener: Listener, events: TextIO, answers: TextIO) -> None:
    """Take events from supervisor until it is gone.

    An event counts as done before the nodes are asked, so that it is never sent twice; the next one is asked
    for afterwards. A tick takes its timeout at the most, so supervisor's buffer stays empty.
    """
    while True:
        protocol.ready(answers)
        header = events.readline()
        if not header:
            return
        headers = get_headers(header)
        events.read(int(headers["len"]))
        protocol.ok(answers)
        if headers["eventname"] == EVENT:
            listener.tick()


@click.command()
@click.option(
    "--nodes",
    "nodes_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=ROOT / "config" / "nodes.txt",
    help="The list of nodes.  [default: config/nodes.txt]",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    # Below a tick, or they would queue up.
    type=click.FloatRange(0.1, 4.0),
    default=3.0,
    show_default=True,
    help="Seconds that a node may take to answer.",
)
@click.option(
    "--failures",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="How many in a row are too many; there is one every 5 s.",
)
@click.option(
    "--grace",
    "grace_seconds",
    type=click.FloatRange(0.0, 3600.0),
    default=30.0,
    show_default=True,
    help="Seconds that a node may take to boot, or to stop.",
)
def main(nodes_file: Path, timeout_seconds: float, failures: int, grace_seconds: float) -> None:
    """Restart nodes that are frozen. supervisor runs this: see supervisor/health.conf."""
    address = os.environ.get("SUPERVISOR_SERVER_URL", "")
    if not address.startswith(UNIX_SCHEME):
        raise click.ClickException(
            "this is an event listener: supervisor runs it, and says where its unix socket is "
            f"(SUPERVISOR_SERVER_URL is {address!r}). See supervisor/health.conf"
        )
    # The standard output belongs to supervisor's protocol.
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s health %(levelname)s %(message)s"
    )
    judge = Judge(failures, grace_seconds, timeout_seconds)
    listener = Listener(Control(address.removeprefix(UNIX_SCHEME)), nodes_file, judge, timeout_seconds)
    listen(listener, sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
