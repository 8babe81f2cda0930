"""The steps of ending a one-machine cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy import processes
from deploy.control import Control, ControlError
from deploy.nodes import Node
from deploy.state import FILE, ClusterError, State, running


def stop_gently(control: Control, nodes: Sequence[Node]) -> None:
    """Stop the listener, so that it restarts nothing; nginx, so that nobody comes; then all nodes at once.

    :raises ControlError: when supervisord does not answer, or one of them does not end.
    """
    states = control.states()
    if "health" in states:
        control.stop("health")
    control.stop("nginx", wait_seconds=0)
    # What it would wait for are WebSockets, and they have nowhere to go.
    with contextlib.suppress(ControlError):
        control.signal("nginx", signal.SIGTERM)
    control.stop("nginx")
    names = [node.id for node in nodes if node.id in states]
    for name in names:
        control.stop(name, wait_seconds=0)
    for name in names:
        # To the worker this says "at once", for the sake of those that poll.
        with contextlib.suppress(ControlError, ProcessLookupError):
            for worker in processes.children(control.pid(name)):
                os.kill(worker, signal.SIGINT)
    for name in names:
        control.stop(name)


def end(folder: Path, state: State | None, supervisord: subprocess.Popen[bytes] | None) -> None:
    """Kill what still runs, and remove the folder. What the brokers might put in order is thrown away.

    :param state: None: its folder has been removed while it ran.
    :param supervisord: if it was started by this process.
    :raises ClusterError: when something cannot be ended.
    """
    with _undisturbed():
        if left := processes.end_all(lambda: running(folder, state)):
            raise ClusterError(f"processes of the cluster that cannot be ended: {', '.join(map(str, left))}")
        if supervisord is not None:
            supervisord.wait()
        if state is not None:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the folder; what it remembers of itself goes last, so that a rest of it is still a cluster's."""
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir():
            # Somebody else may be about to remove it too.
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != FILE:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise ClusterError(f"{folder} cannot be removed as a whole: remove what is left of it")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C and the like: this has a timeout of its own, and half of it helps nobody."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
