"""Talks to supervisord over its unix socket: what runs; start, stop, kill; read the files again."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

# supervisord answers at once: what takes long is asked for without waiting, and then watched.
ANSWER_SECONDS = 10.0
GROUP_SECONDS = 2.0
POLL_SECONDS = 0.05
# A node's stopwaitsecs, and some more.
STOP_SECONDS = 60.0
# What is read from the end of a log, for its last lines.
TAIL_BYTES = 16_384
# States in which a program has a process (STOPPING: still), and in which it has none and gets none by itself.
ALIVE = frozenset({"STARTING", "RUNNING", "STOPPING"})
ENDED = frozenset({"STOPPED", "EXITED", "FATAL"})


class ControlError(Exception):
    """supervisord does not answer, or cannot do what it was asked for; the message says what helps."""


@dataclass(frozen=True)
class Program:
    """What supervisord knows of a program.

    :param name: of the process, which is its section's unless that says otherwise (numprocs).
    :param state: STOPPED, STARTING, RUNNING, BACKOFF (ended too early, and is tried again), STOPPING, EXITED,
        FATAL (given up).
    :param pid: 0 when it has no process.
    :param uptime_seconds: since its process was started; 0 when it has none.
    :param ended: when its last process ended, in seconds since the epoch; 0: none has.
    :param exit_status: of that process; -1 when a signal ended it.
    :param reason: why it could not be started, in supervisord's words.
    :param group: which it is one of; "": it is alone.
    """

    name: str
    state: str
    pid: int
    uptime_seconds: int
    ended: int
    exit_status: int
    reason: str
    group: str = ""

    @property
    def full_name(self) -> str:
        """How supervisord calls it."""
        return f"{self.group}:{self.name}" if self.group else self.name

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self.state in ALIVE


@dataclass(frozen=True)
class ProgramSettings:
    """What supervisor's files say of a program: its command line, its directory ("": supervisord's)."""

    command: str
    directory: str


class _Connection(http.client.HTTPConnection):
    """A connection that gives up: supervisor's own would wait for ever for a supervisord that is frozen."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(str(self._path))


class _Transport(SupervisorTransport):  # type: ignore[misc]
    def __init__(self, path: Path) -> None:
        super().__init__(serverurl=f"unix://{path}")
        self._get_connection = lambda: _Connection(path)


class Control:
    """One supervisord.

    Every method raises `ControlError` when it does not answer; those that name a program, also when there is
    none of that name.

    :param path: of its unix socket (`file` in [unix_http_server]).
    """

    def __init__(self, path: Path | str = "/run/realtime/supervisor.sock") -> None:
        self.path = Path(path)

    # Asking.

    def answers(self) -> bool:
        """Whether a supervisord is there."""
        try:
            self.supervisor_pid()
        except ControlError:
            return False
        return True

    def supervisor_pid(self) -> int:
        """The process id of supervisord itself."""
        return int(self._ask("getPID"))

    def states(self) -> dict[str, Program]:
        """All programs by name, in the order in which they start; if two have one name, by "group:name"."""
        programs = [_program(info) for info in self._ask("getAllProcessInfo")]
        names = [program.name for program in programs]
        return {
            program.name if names.count(program.name) == 1 else program.full_name: program
            for program in programs
        }

    def program(self, name: str) -> Program:
        """One program.

        :param name: as in `states`.
        """
        programs = self.states()
        if name not in programs:
            raise ControlError(f"there is no program {name}, but {', '.join(programs)}")
        return programs[name]

    def pid(self, name: str) -> int:
        """The process id of a program.

        :raises ControlError: also when it has no process.
        """
        program = self.program(name)
        if not program.pid:
            raise ControlError(f"{name} does not run: it is {program.state}")
        return program.pid

    def settings(self, name: str) -> ProgramSettings:
        """How a program is started, as of the last `update`."""
        program = self.program(name)
        for info in self._ask("getAllConfigInfo"):
            if (info["group"], info["name"]) == (program.group or program.name, program.name):
                directory = "" if info["directory"] == "none" else info["directory"]
                return ProgramSettings(info["command"], directory)
        raise ControlError(f"supervisord has no settings of {name}")

    def tail(self, name: str, lines: int = 20) -> str:
        """The last lines of what a program has written.

        :param lines: how many at most, 1 or more.
        :returns: nothing when it writes to supervisord's own output, which nobody can read back.
        """
        full_name = self.program(name).full_name
        try:
            text = str(self._ask("readProcessStdoutLog", full_name, -TAIL_BYTES, 0))
        except ControlError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    # Doing.

    def start(self, name: str) -> None:
        """Start a program; nothing, when it runs. Returns at once."""
        self._ask("startProcess", self.program(name).full_name, False, unless=Faults.ALREADY_STARTED)

    def stop(self, name: str, wait_seconds: float = STOP_SECONDS) -> None:
        """Stop a program by its stopsignal; nothing, when it does not run.

        :param wait_seconds: how long to wait until its process has ended; 0: not at all.
        :raises ControlError: also when it has not ended in that time.
        """
        self._ask("stopProcess", self.program(name).full_name, False, unless=Faults.NOT_RUNNING)
        deadline = time.monotonic() + wait_seconds
        while wait_seconds and (state := self.program(name).state) not in ENDED:
            if time.monotonic() > deadline:
                raise ControlError(f"{name} did not end within {wait_seconds:g} s: it is {state}")
            time.sleep(POLL_SECONDS)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program's process, but not to its children."""
        self._send(os.kill, name, number)

    def kill(self, name: str) -> None:
        """End a program and its children at once (SIGKILL): for a node, gunicorn's master and worker."""
        self._send(os.killpg, name, signal.SIGKILL)

    def freeze(self, name: str) -> None:
        """Stop all processes of a program where they are, with their connections open (SIGSTOP)."""
        self._send(os.killpg, name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let them go on (SIGCONT)."""
        self._send(os.killpg, name, signal.SIGCONT)

    def update(self, wait_seconds: float = STOP_SECONDS) -> None:
        """Read the files again: start what is new, end what is gone, restart what has changed, and no more.

        :param wait_seconds: how long to wait for each program that has to end.
        """
        ((added, changed, removed),) = self._ask("reloadConfig")
        for group in (*removed, *changed):
            # All of a group at the same time, each with its own stopwaitsecs.
            self._ask("stopProcessGroup", group, False, unless=Faults.NOT_RUNNING)
        for group in (*removed, *changed):
            for name in self._group(group):
                self.stop(name, wait_seconds)
            self._ask("removeProcessGroup", group)
        for group in (*changed, *added):
            self._ask("addProcessGroup", group)

    # Below.

    def _group(self, group: str) -> list[str]:
        return [name for name, program in self.states().items() if (program.group or name) == group]

    def _send(self, send: Any, name: str, number: int) -> None:
        pid = self.pid(name)
        deadline = time.monotonic() + GROUP_SECONDS
        try:
            while True:
                try:
                    send(pid, number)
                    return
                except ProcessLookupError:
                    # A program leads a process group, a moment after it was forked.
                    if time.monotonic() > deadline:
                        raise
                    os.kill(pid, 0)
                    time.sleep(POLL_SECONDS)
        except ProcessLookupError:
            raise ControlError(f"{name} has just ended") from None
        except PermissionError:
            raise ControlError(f"{name} runs as another user: try again as root") from None

    def _ask(self, method: str, *arguments: Any, unless: int | None = None) -> Any:
        """Call a method of supervisord.

        :param unless: a fault that means that it is done already.
        """
        transport = _Transport(self.path)
        try:
            return getattr(ServerProxy("http://localhost", transport=transport).supervisor, method)(
                *arguments
            )
        except Fault as fault:
            if fault.faultCode == unless:
                return None
            raise ControlError(_explain(fault, arguments)) from None
        except PermissionError:
            raise ControlError(
                f"supervisord's socket {self.path} belongs to another user: try again as him, or as root"
            ) from None
        except (OSError, http.client.HTTPException, ProtocolError) as error:
            raise ControlError(f"no supervisord answers at {self.path} ({error}): is it running?") from None
        finally:
            transport.close()


def _explain(fault: Fault, arguments: tuple[Any, ...]) -> str:
    if fault.faultCode == Faults.SHUTDOWN_STATE:
        return "supervisord is about to end"
    if fault.faultCode == Faults.CANT_REREAD:
        return f"supervisord cannot read its files: {fault.faultString}"
    return f"supervisord refused {' '.join(map(str, arguments))}: {fault.faultString}"


def _program(info: Any) -> Program:
    alive = info["statename"] in ALIVE
    return Program(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"] if alive else 0,
        uptime_seconds=max(0, info["now"] - info["start"]) if alive else 0,
        ended=info["stop"],
        exit_status=info["exitstatus"],
        reason=info["spawnerr"],
        group="" if info["group"] == info["name"] else info["group"],
    )
