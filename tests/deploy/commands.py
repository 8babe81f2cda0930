"""Running `python -m deploy`, and finding what a cluster leaves behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import requests

from deploy import layout, processes
from deploy.machine import Machine
from deploy.state import State
from tests.support.servers import ROOMY_RATES, ROOT, child_environment

COMMAND_SECONDS = 150.0
SETTINGS = {"APP_ENV": "testing", **ROOMY_RATES}


def run(
    *arguments: str, status: int = 0, settings: dict[str, str] | None = None, said: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command of `python -m deploy`; everything that it says, also of errors, is in `stdout`."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy", *arguments],
        cwd=ROOT,
        env=child_environment(SETTINGS | (settings or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert "Traceback" not in done.stdout
    assert said in done.stdout
    return done


def alive(process: psutil.Process) -> bool:
    """Whether a process has not ended, whether or not its parent has noticed."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def of_folder(folder: Path) -> list[psutil.Process]:
    """Every process that has to do with a folder: by its arguments, environment, directory or open files."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            traces = [process.cwd(), *process.cmdline(), *process.environ().values()]
            traces += [file.path for file in process.open_files()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(folder) in trace for trace in traces):
            found.append(process)
    return found


class Trace:
    """Everything that a cluster has now; `left` says afterwards what of it is still there."""

    def __init__(self, machine: Machine) -> None:
        state = State.load(machine.folder)
        assert state is not None
        self.folder = machine.folder
        self.processes = set(of_folder(machine.folder))
        for pid in processes.of_cluster(machine.folder, state.pid, (ROOT,)):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.processes.add(psutil.Process(pid))
        # By the very processes and by their ports, since nginx and Redis hide where they come from.
        self.ports = set()
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.ports |= {
                    connection.laddr.port
                    for connection in process.net_connections("tcp")
                    if connection.status == psutil.CONN_LISTEN
                }
        # supervisord, the listener, nginx and a worker, Redis, and the nodes.
        assert len(self.processes) >= 5 + len(machine.nodes)

    def left(self) -> list[object]:
        running = [process for process in self.processes | set(of_folder(self.folder)) if alive(process)]
        files = [self.folder] if self.folder.exists() else []
        return [*running, *files, *(port for port in self.ports if layout.listens(port))]


def node_by_cookie(machine: Machine, name: str) -> str | None:
    return str(requests.get(f"{machine.url}/healthz", cookies={"NODE": name}, timeout=10).json()["node"])
