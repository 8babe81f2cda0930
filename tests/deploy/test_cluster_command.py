"""`make cluster` and its relatives: `python -m deploy`, from the outside, with a real cluster."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from click.testing import CliRunner

from deploy.cli import main
from deploy.machine import ClusterError, Machine
from deploy.nodes import Node
from tests.deploy.commands import Trace, alive, node_by_cookie, run
from tests.support.servers import HOST, ROOT, child_environment, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up") / "cluster"


@pytest.fixture(scope="module")
def welcome(folder: Path) -> Iterator[str]:
    """A cluster of two nodes; what `up` has said."""
    try:
        yield run("up", "--nodes", "2", "--folder", str(folder)).stdout
    finally:
        # Whatever a test has left of it.
        Machine(folder).stop()


@pytest.fixture
def machine(welcome: str, folder: Path) -> Machine:
    return Machine.find(folder)


@pytest.fixture
def deploy(machine: Machine) -> Callable[..., str]:
    """Run a command for the cluster, and return what it says."""
    return lambda command, *arguments, status=0: (
        run(command, "--folder", str(machine.folder), *arguments, status=status).stdout
    )


def pids(machine: Machine) -> dict[str, int]:
    return {name: program.pid for name, program in machine.control.states().items()}


def test_up_tells_where_it_is_and_what_to_try(welcome: str, machine: Machine) -> None:
    address = re.search(r"^  (http://127\.0\.0\.1:\d+)$", welcome, re.MULTILINE)
    assert address is not None
    assert requests.get(address[1], timeout=10).ok
    for part in (*(node.address for node in machine.nodes), *machine.brokers.values()):
        assert part in welcome
    for command in ("watch", "kill n1", "kill redis", "roll", "down"):
        assert f"-m deploy {command} --folder {machine.folder}" in welcome
    assert f"{machine.url}/ops?tour" in welcome
    assert len(welcome.splitlines()) < 20


def test_everything_is_on_loopback_and_for_its_user_only(machine: Machine) -> None:
    addresses = {
        connection.laddr.ip
        for process in Trace(machine).processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses <= {"127.0.0.1", "::1"}
    assert stat.S_IMODE(machine.folder.stat().st_mode) == 0o700
    first, second = (Machine.find(machine.folder).environment() for _ in range(2))
    assert first == second
    assert len(first["SECRET_KEY"]) >= 48 <= len(first["CHANNEL_SECRET"])
    assert first["SECRET_KEY"] != first["CHANNEL_SECRET"]


def test_status_has_every_program_and_what_the_nodes_say(
    machine: Machine, deploy: Callable[..., str]
) -> None:
    lines = {line.split()[0]: line for line in deploy("status").splitlines() if line}
    assert set(pids(machine)) == {"epmd", "health", "n1", "n2", "nginx", "rabbitmq", "redis"}
    for name, pid in pids(machine).items():
        assert re.match(rf"{name} +RUNNING +{pid} ", lines[name])
    assert re.search(r" 0 +ready; over redis$", lines["n1"])
    assert machine.url in lines


def test_exec_runs_a_command_with_the_clusters_settings(deploy: Callable[..., str]) -> None:
    said = deploy("exec", "--", "flask", "--app", "wsgi", "node", "list")
    assert re.findall(r"^(n\d) +serving", said, re.MULTILINE) == ["n1", "n2"]
    assert "No such file" in deploy("exec", "--", "no-such-program", status=1)


def test_logs_show_the_end_of_what_programs_have_written(deploy: Callable[..., str]) -> None:
    assert "Starting gunicorn" in deploy("logs", "n1")
    everything = deploy("logs")
    for name in ("n2", "nginx", "redis", "rabbitmq", "supervisord"):
        assert f"/{name}.log <==" in everything
    assert "no log of n7, but of epmd, health, n1" in deploy("logs", "n7", status=1)


def test_the_schema_is_made_once_and_the_database_is_in_the_folder(machine: Machine) -> None:
    assert machine.environment()["DATABASE_URL"] == f"sqlite:///{machine.folder}/data/chat.db"
    assert machine.environment()["DATABASE_AUTO_UPGRADE"] == "false"
    assert requests.get(f"{machine.url}/readyz", timeout=10).json()["checks"]["database"]["ok"]


def test_redis_keeps_what_it_took_and_refuses_when_it_is_full(machine: Machine) -> None:
    port = int(machine.brokers["redis"].rpartition(":")[2].partition("/")[0])
    said = subprocess.run(
        ["redis-cli", "-p", str(port), "CONFIG", "GET", "append*", "maxmemory-policy", "save"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout.splitlines()
    values = dict(zip(said[::2], said[1::2], strict=False))
    assert (values["appendonly"], values["appendfsync"]) == ("yes", "everysec")
    assert values["maxmemory-policy"] == "noeviction"


def test_a_second_cluster_in_the_folder_is_refused(machine: Machine, deploy: Callable[..., str]) -> None:
    before = pids(machine)
    said = deploy("up", status=1)
    assert f"a cluster runs in {machine.folder} already, {machine.url}" in said
    assert "make cluster-stop" in said
    assert pids(machine) == before


def test_kill_ends_master_and_worker_and_the_node_comes_back(
    machine: Machine, deploy: Callable[..., str]
) -> None:
    before = pids(machine)
    old = [psutil.Process(before["n1"]), psutil.Process(machine.worker_pid("n1"))]
    assert "n1 is dead" in deploy("kill", "n1")
    wait_until(lambda: not any(map(alive, old)), "both are gone")
    machine.wait_ready()
    after = pids(machine)
    assert after.pop("n1") != before.pop("n1")
    assert after == before
    assert "there is no program n7, but epmd" in deploy("kill", "n7", status=1)


def test_freeze_and_thaw(machine: Machine, deploy: Callable[..., str]) -> None:
    worker = psutil.Process(machine.worker_pid("n2"))
    deploy("freeze", "n2")
    try:
        wait_until(lambda: worker.status() == psutil.STATUS_STOPPED, "the worker stands")
        assert re.search(r"^n2 .* does not answer$", deploy("status"), re.MULTILINE)
    finally:
        deploy("thaw", "n2")
    machine.wait_ready()
    assert worker.is_running()


def test_watch_tells_what_changes(machine: Machine) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-u", "-m", "deploy", "watch", "--folder", str(machine.folder)],
        cwd=ROOT,
        env=child_environment({}),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watch.stdout is not None
        lines = iter(watch.stdout.readline, "")
        assert next(line for line in lines if line.startswith("redis"))
        old = machine.control.pid("redis")
        machine.kill("redis")
        wait_until(lambda: machine.control.program("redis").pid not in (0, old), "Redis is back")
        assert next(line for line in lines if re.match(r"\d\d:\d\d:\d\d  redis (was|is another)", line))
        watch.send_signal(signal.SIGINT)
        assert watch.wait(10) == 0
    finally:
        watch.kill()
        watch.wait()
        assert watch.stdout is not None
        watch.stdout.close()
    machine.wait_ready()


def test_a_node_joins_and_leaves_and_the_others_go_on(machine: Machine, deploy: Callable[..., str]) -> None:
    before = pids(machine)
    assert "n3 has joined" in deploy("add")
    assert node_by_cookie(machine, "n3") == "n3"
    after = pids(machine)
    assert after.pop("n3")
    assert after == before

    assert "n3 has left" in deploy("remove", "n3")
    assert pids(machine) == before
    assert node_by_cookie(machine, "n3") in ("n1", "n2")
    # A session of n3 is nobody's now: as long as nginx knew n3, it would ask nobody else (503).
    assert (
        requests.get(f"{machine.url}/socket.io/?EIO=4&transport=polling&sid=n3.x", timeout=10).status_code
        == 400
    )
    assert "there is no node 'n3' in the list: it has n1, n2" in deploy("remove", "n3", status=1)


def test_a_node_that_does_not_get_ready_does_not_join(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pids(machine)
    port = free_port()
    with socket.socket() as taken:
        taken.bind((HOST, port))
        taken.listen()
        monkeypatch.setattr(Machine, "_new_node", lambda *_: Node("n9", f"{HOST}:{port}"))
        with pytest.raises(ClusterError, match=r"(?s)n9 is not ready within 6 s.*Cannot listen on .*in use"):
            machine.add_node(timeout_seconds=6)
    assert pids(machine) == before
    assert [node.id for node in machine.nodes] == ["n1", "n2"]


def test_production_means_the_machines_own_supervisord_and_list(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.cli.RUN", f"{machine.folder}/run")
    monkeypatch.setattr("deploy.cli.CHECKOUT", machine.folder)
    done = CliRunner().invoke(main, ["status", "--production"])
    assert re.findall(r"^(n\d) +RUNNING .* ready", done.output, re.MULTILINE) == ["n1", "n2"]
    done = CliRunner().invoke(main, ["status", "--production", "--machine", "web1"])
    assert (done.exit_code, "no machine 'web1'" in done.output) == (1, True)
    monkeypatch.setattr("deploy.cli.RUN", "/nowhere")
    done = CliRunner().invoke(main, ["status", "--production"])
    assert "no supervisord answers at /nowhere/supervisor.sock" in done.output


def test_down_leaves_nothing_also_after_a_kill_and_a_crash_of_supervisord(
    machine: Machine, deploy: Callable[..., str]
) -> None:
    trace = Trace(machine)
    machine.kill("n1")
    os.kill(machine.control.supervisor_pid(), signal.SIGKILL)
    wait_until(lambda: not machine.control.answers(), "supervisord is gone")
    assert "already" in deploy("up", status=1), "its programs run on"
    assert "no supervisord answers" in deploy("status", status=1)
    assert "has ended" in deploy("down")
    assert trace.left() == []
    assert "no cluster runs in" in deploy("down", status=1)
    assert f"no cluster runs in {machine.folder}: start one with `make cluster`" in deploy("status", status=1)
