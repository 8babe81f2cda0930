"""deploy.control against a real supervisord with harmless programs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from deploy.control import Control, ControlError
from tests.support.servers import Server
from tests.support.waiting import wait_until

CONFIG = """\
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={folder}/supervisord.pid
[unix_http_server]
file={folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files=programs.conf
"""
# A parent and a child; the parent leads the group, as gunicorn's master does.
FAMILY = "/bin/sh -c 'echo hello; sleep 1000 & wait'"
STUBBORN = "/bin/sh -c 'trap \"\" TERM; sleep 1000 & wait; wait'"


def section(name: str, command: str, extra: str = "") -> str:
    folder = "{folder}"
    return (
        f"[program:{name}]\ncommand={command}\nautorestart=true\nstartsecs=0\nstopasgroup=true\n"
        f"redirect_stderr=true\nstdout_logfile={folder}/%(program_name)s.log\n{extra}\n"
    )


class Supervisord(Server):
    """With the programs of a test."""

    def __init__(self, programs: str) -> None:
        super().__init__("supervisord")
        (self.folder / "s.conf").write_text(CONFIG.format(folder=self.folder))
        self.write(programs)
        self.control = Control(self.folder / "s.sock")

    def write(self, programs: str) -> None:
        (self.folder / "programs.conf").write_text(programs.replace("{folder}", str(self.folder)))

    def command(self) -> Sequence[str]:
        return (str(Path(sys.prefix) / "bin/supervisord"), "-c", str(self.folder / "s.conf"))

    def ready(self) -> bool:
        return self.control.answers()


@pytest.fixture
def supervisord() -> Iterator[Supervisord]:
    with Supervisord(section("a", FAMILY) + section("b", FAMILY)) as server:
        wait_until(lambda: [p.state for p in server.control.states().values()] == ["RUNNING"] * 2, "both run")
        yield server


def family(control: Control, name: str) -> list[int]:
    """A program's process and its children."""
    pid = control.pid(name)
    wait_until(lambda: psutil.Process(pid).children(), f"{name} has a child")
    return [pid, *(child.pid for child in psutil.Process(pid).children())]


def pids(control: Control) -> dict[str, int]:
    return {name: program.pid for name, program in control.states().items()}


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_states_tell_of_every_program(supervisord: Supervisord) -> None:
    control = supervisord.control
    assert control.supervisor_pid() == supervisord.pid
    states = control.states()
    assert list(states) == ["a", "b"]
    assert states["a"].alive
    assert psutil.Process(states["a"].pid).ppid() == supervisord.pid
    assert states["a"].uptime_seconds < 60
    assert control.settings("a").command == FAMILY
    assert control.settings("a").directory == ""
    wait_until(lambda: control.tail("a") == "hello", "the log is there")


def test_a_name_that_is_not_there_is_answered_with_those_that_are(supervisord: Supervisord) -> None:
    for act in (supervisord.control.kill, supervisord.control.stop, supervisord.control.start):
        with pytest.raises(ControlError, match="there is no program c, but a, b"):
            act("c")


def test_stop_waits_for_the_end_and_start_begins_anew(supervisord: Supervisord) -> None:
    control = supervisord.control
    members = family(control, "a")
    control.stop("a")
    assert control.program("a").state == "STOPPED"
    assert gone(members[0])
    control.stop("a")  # again, nothing
    with pytest.raises(ControlError, match="a does not run: it is STOPPED"):
        control.kill("a")
    control.start("a")
    wait_until(lambda: control.program("a").state == "RUNNING", "it runs")
    control.start("a")  # again, nothing


def test_kill_ends_the_children_too_and_supervisor_starts_it_again(supervisord: Supervisord) -> None:
    control = supervisord.control
    other = control.pid("b")
    members = family(control, "a")
    control.kill("a")
    wait_until(lambda: all(map(gone, members)), "parent and child are gone")
    wait_until(lambda: control.program("a").pid not in (0, members[0]), "another one runs")
    assert control.pid("b") == other


def test_freeze_stops_the_children_too_until_they_are_thawed(supervisord: Supervisord) -> None:
    control = supervisord.control
    members = family(control, "a")
    control.freeze("a")
    wait_until(lambda: {psutil.Process(p).status() for p in members} == {psutil.STATUS_STOPPED}, "they stand")
    assert control.program("a").state == "RUNNING", "supervisor does not see it"
    control.thaw("a")
    wait_until(
        lambda: psutil.STATUS_STOPPED not in {psutil.Process(p).status() for p in members}, "they go on"
    )


def test_update_touches_only_what_has_changed(supervisord: Supervisord) -> None:
    control = supervisord.control
    before = pids(control)
    control.update()
    assert pids(control) == before
    changed = section("b", FAMILY, "environment=X=1")
    supervisord.write(section("a", FAMILY) + changed + section("c", FAMILY))
    control.update()
    after = pids(control)
    assert list(after) == ["a", "b", "c"]
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    supervisord.write(section("a", FAMILY) + section("c", FAMILY))
    control.update()
    assert pids(control) == {"a": after["a"], "c": after["c"]}
    supervisord.write("[program:a]\n")
    with pytest.raises(ControlError, match=r"cannot read its files: .*command"):
        control.update()
    assert control.pid("a") == before["a"]


def test_processes_of_one_section_go_by_their_own_names() -> None:
    numbered = section("nodes", FAMILY, "process_name=n%(process_num)d\nnumprocs=2\nnumprocs_start=1")
    with Supervisord(numbered.replace("%(program_name)s", "%(process_num)d")) as server:
        control = server.control
        assert {name: p.full_name for name, p in control.states().items()} == {
            "n1": "nodes:n1",
            "n2": "nodes:n2",
        }
        control.stop("n2")
        assert control.program("n1").alive
        assert not control.program("n2").alive
        assert control.settings("n2").command == FAMILY
        server.write("")
        control.update()
        assert control.states() == {}


def test_a_program_that_does_not_end_is_told_of(supervisord: Supervisord) -> None:
    supervisord.write(section("stubborn", STUBBORN, "stopwaitsecs=3"))
    supervisord.control.update()
    family(supervisord.control, "stubborn")
    with pytest.raises(ControlError, match=r"stubborn did not end within 0.2 s: it is STOPPING"):
        supervisord.control.stop("stubborn", wait_seconds=0.2)
    supervisord.control.stop("stubborn")


def test_no_answer_is_told_of_and_waited_for_only_so_long(
    supervisord: Supervisord, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ControlError, match=r"no supervisord answers at .*none.sock"):
        Control(tmp_path / "none.sock").states()
    monkeypatch.setattr("deploy.control.ANSWER_SECONDS", 0.3)
    os.kill(supervisord.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ControlError, match="no supervisord answers"):
            supervisord.control.states()
        assert not supervisord.control.answers()
    finally:
        os.kill(supervisord.pid, signal.SIGCONT)
    assert supervisord.control.answers()
