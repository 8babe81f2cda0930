"""The health listener under a real supervisord, as it ships: a frozen node is replaced, and nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from deploy.asking import ready
from deploy.machine import Machine
from deploy.nodes import Node
from tests.support.servers import ROOMY_RATES, ROOT, child_environment
from tests.support.waiting import wait_until

pytestmark = [
    # test_survival.py has a frozen worker behind TCP, so that these need TCP in the long run only.
    pytest.mark.parametrize(
        "kind", ["unix", pytest.param("tcp", marks=pytest.mark.soak)], scope="module", indirect=True
    ),
    pytest.mark.timeout(240),
]

# As supervisor/health.conf has it: nodes count that have been up for so long...
GRACE_SECONDS = 30.0
# ...and after three failures, one every 5 s, one is killed; on a busy machine a tick may be lost.
KILL_SECONDS = 60.0


@pytest.fixture(scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def machine(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("health") / "c"
    settings = {"APP_ENV": "testing", **ROOMY_RATES}
    with Machine(folder, brokers=("redis",), unix_sockets=kind == "unix", settings=settings) as machine:
        yield machine


@pytest.fixture
def said(machine: Machine) -> Callable[[], str]:
    """What the listener has said since the test began."""
    begin = len(machine.log("health").read_text())
    return lambda: machine.log("health").read_text()[begin:]


def node(machine: Machine, name: str) -> Node:
    return next(one for one in machine.nodes if one.id == name)


def grown(machine: Machine, *names: str) -> None:
    """Wait until these nodes do not count as booting any more."""
    wait_until(
        lambda: all(
            machine.control.program(name).uptime_seconds >= GRACE_SECONDS
            and ready(node(machine, name).address)[0]
            for name in names
        ),
        f"{names} are not up for {GRACE_SECONDS:g} s",
        GRACE_SECONDS + 60.0,
    )


def processes(machine: Machine, *names: str) -> dict[str, tuple[int, int]]:
    """The master and the worker of each node."""
    return {name: (machine.control.pid(name), machine.worker_pid(name)) for name in names}


def runs(pid: int) -> bool:
    """Whether a process has not ended, whether or not somebody has noticed."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def replaced(machine: Machine, name: str, old: tuple[int, int], said: Callable[[], str]) -> None:
    """Wait until a frozen node has a successor that serves."""
    wait_until(
        lambda: (
            machine.control.program(name).pid not in (0, old[0]) and ready(node(machine, name).address)[0]
        ),
        lambda: f"{name} is not replaced: {said()}",
        KILL_SECONDS,
    )
    wait_until(lambda: not any(runs(pid) for pid in old), f"not all of {old} have ended")
    assert f"{name}: has not answered 3 times in a row: killing its process group {old[0]}" in said()


def test_when_all_stand_still_for_a_while_none_is_killed(machine: Machine, said: Callable[[], str]) -> None:
    names = ("n1", "n2", "n3")
    grown(machine, *names)
    before = processes(machine, *names)
    for name in names:
        machine.freeze(name)
    try:
        # So often one of them alone would have been killed.
        wait_until(lambda: "the machine is the likelier cause" in said(), said, KILL_SECONDS)
    finally:
        for name in names:
            machine.thaw(name)
    wait_until(lambda: said().count("answers again") == 3, said)
    assert "killing" not in said()
    assert processes(machine, *names) == before


def tell(machine: Machine, what: str, name: str) -> None:
    """Run `flask node`."""
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "node", what, name],
        cwd=ROOT,
        env=child_environment(machine.environment()),
        capture_output=True,
        timeout=60,
        check=True,
    )


def test_one_that_drains_or_stops_is_left_alone(machine: Machine, said: Callable[[], str]) -> None:
    grown(machine, "n1", "n2", "n3")
    before = processes(machine, "n1", "n2", "n3")
    # Drained by an operator it is RUNNING, and not ready.
    tell(machine, "drain", "n2")
    assert not ready(node(machine, "n2").address)[0]
    # STOPPING is supervisor's business, and frozen it does so until supervisor kills it after stopwaitsecs.
    machine.freeze("n3")
    machine.control.stop("n3", wait_seconds=0)
    try:
        machine.freeze("n1")
        # By then the others have had as many chances.
        wait_until(lambda: "n1: has not answered 3 times" in said(), said, KILL_SECONDS)
        assert machine.control.program("n3").state == "STOPPING"
    finally:
        machine.thaw("n3")
    replaced(machine, "n1", before["n1"], said)
    wait_until(lambda: machine.control.program("n3").state == "STOPPED", "n3 does not end")
    assert machine.control.program("n3").exit_status == 0
    assert processes(machine, "n2") == {"n2": before["n2"]}
    assert said().count("killing") == 1
    tell(machine, "resume", "n2")
    machine.control.start("n3")
    machine.wait_ready()


def test_a_frozen_worker_is_replaced_and_one_that_boots_is_left_alone(
    machine: Machine, said: Callable[[], str]
) -> None:
    grown(machine, "n2")
    before = processes(machine, "n1", "n2")
    # It boots, and takes long for it.
    machine.control.stop("n3")
    machine.control.start("n3")
    machine.freeze("n3")
    booting = machine.control.pid("n3")
    # It fails first, and would be the first to go.
    wait_until(lambda: "n3: does not answer" in said(), said)

    os.kill(before["n2"][1], signal.SIGSTOP)
    wait_until(lambda: "n2: has not answered 3 times" in said(), said, KILL_SECONDS)
    assert machine.control.program("n3").pid == booting
    machine.thaw("n3")

    replaced(machine, "n2", before["n2"], said)
    wait_until(lambda: ready(node(machine, "n3").address)[0], "n3 does not boot")
    assert machine.control.pid("n3") == booting
    assert "n3: does not answer, and may still be booting" in said()
    assert processes(machine, "n1") == {"n1": before["n1"]}
    assert said().count("killing") == 1
