"""Finds and ends the processes of a cluster, also those whose supervisord is gone, by /proc of Linux."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROC = Path("/proc")
POLL_SECONDS = 0.02
# In the environment of everything that a cluster runs: the folder it belongs to.
MARK = "REALTIME_CLUSTER"
# Fields of /proc/PID/stat after the name, which is in parentheses and may contain anything.
STATE, PARENT, SESSION, STARTED = 0, 1, 3, 19


def boot_id() -> str:
    """Something that changes when the machine starts anew, and process ids with it."""
    return (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()


def started(pid: int) -> int | None:
    """When a process was started, in ticks since the boot; None: there is none.

    Process ids are used again; with this it is known whether it is still the same.
    """
    stat = _stat(pid)
    return int(stat[STARTED]) if stat else None


def children(pid: int) -> list[int]:
    """The process ids of a process' children."""
    return [other for other in _pids() if (stat := _stat(other)) and int(stat[PARENT]) == pid]


def of_cluster(folder: Path, session: int, cwds: tuple[Path, ...]) -> list[int]:
    """Find what a cluster has running, but not the caller.

    By the mark in the environment, which a program inherits whoever its parent has become; and since nginx
    and Redis write their titles over it, by the session of those that have it.

    :param session: which supervisord leads, or led, for the case that none of those is left; 0: unknown. Its
        id stays taken until the last member has ended.
    :param cwds: folders that its programs are started in; a session that took the id later has others.
    """
    mark = f"{MARK}={folder}".encode()
    sessions: dict[int, int] = {}
    marked = set()
    for pid in _pids():
        if pid != os.getpid() and (stat := _stat(pid)):
            sessions[pid] = int(stat[SESSION])
            with contextlib.suppress(OSError):
                if mark in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                    marked.add(pid)
    ours = {sessions[pid] for pid in marked}
    return [
        pid
        for pid, its in sessions.items()
        if pid in marked or its in ours or (session and its == session and _cwd(pid) in cwds)
    ]


def end_all(find: Callable[[], list[int]], timeout_seconds: float = 10.0) -> list[int]:
    """Kill what `find` finds (SIGKILL), again and again, until it finds nothing and all of them are gone.

    :returns: what is still there after the timeout.
    """
    deadline = time.monotonic() + timeout_seconds
    # One that is about to end has lost what it would be found by, and may still hold its port.
    ending: dict[int, int] = {}
    while True:
        for pid in find():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            ending[pid] = ending.get(pid) or started(pid) or 0
        left = [pid for pid, since in ending.items() if since and started(pid) == since]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(POLL_SECONDS)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _cwd(pid: int) -> Path | None:
    try:
        return (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None


def _stat(pid: int) -> list[str] | None:
    """The fields of a process after its name; None: it has ended, or only its parent has not noticed."""
    try:
        fields = (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[STATE] in ("Z", "X") else fields
