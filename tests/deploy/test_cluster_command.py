"""`make cluster` and its relatives: `python -m deploy`, from the outside, with a real cluster."""

from __future__ import annotations

import json
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

from deploy import layout, processes
from deploy.machine import ClusterError, Machine
from deploy.nodes import Node
from deploy.state import FILE, State
from tests.support.servers import HOST, ROOMY_RATES, ROOT, Postgres, child_environment, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

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
    """Everything that a cluster has now; `gone` says afterwards whether all of it is."""

    def __init__(self, machine: Machine) -> None:
        state = State.load(machine.folder)
        assert state is not None
        self.folder = machine.folder
        self.processes = [
            psutil.Process(pid) for pid in processes.of_cluster(machine.folder, state.pid, (ROOT,))
        ]
        self.processes += [p for p in of_folder(machine.folder) if p not in self.processes]
        # By the very processes and by their ports, since nginx and Redis hide where they come from.
        self.ports = {
            connection.laddr.port
            for process in self.processes
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert len(self.processes) >= 8
        assert len(self.ports) >= 4 or machine.nodes[0].unix_socket

    def left(self) -> list[object]:
        running = [
            process
            for process in {*self.processes, *of_folder(self.folder)}
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]
        files = [self.folder] if self.folder.exists() else []
        return [*running, *files, *(port for port in self.ports if layout.listens(port))]


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


def node_by_cookie(machine: Machine, name: str) -> str | None:
    return str(requests.get(f"{machine.url}/healthz", cookies={"NODE": name}, timeout=10).json()["node"])


def test_up_tells_where_it_is_and_what_to_try(welcome: str, machine: Machine) -> None:
    address = re.search(r"^  (http://127\.0\.0\.1:\d+)$", welcome, re.MULTILINE)
    assert address is not None
    assert requests.get(address[1], timeout=10).ok
    for part in (*(node.address for node in machine.nodes), *machine.brokers.values()):
        assert part in welcome
    for command in ("watch", "kill n1", "kill redis", "roll", "down"):
        assert f"-m deploy {command} --folder {machine.folder}" in welcome
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
    wait_until(
        lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in old), "both are gone"
    )
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


def test_five_nodes_by_unix_sockets_with_postgresql_and_an_end_that_leaves_nothing(tmp_path: Path) -> None:
    with Postgres() as postgres:
        settings = {"DATABASE_URL": postgres.create_database(), "NODE_ID": "mine", "PORT": "1"}
        place = tmp_path / "c"
        run("up", "--nodes", "5", "--unix-sockets", "--folder", str(place), settings=settings)
        machine = Machine.find(place)
        try:
            assert [node.unix_socket for node in machine.nodes] == [
                f"{place}/run/nodes/n{number}.sock" for number in range(1, 6)
            ]
            for node in machine.nodes:
                assert node_by_cookie(machine, node.id) == node.id
            checks = requests.get(f"{machine.url}/readyz", timeout=10).json()["checks"]
            assert checks["database"]["dialect"] == "postgresql"
            trace = Trace(machine)
            run("down", "--folder", str(place))
            assert trace.left() == []
        finally:
            machine.stop()


def test_what_a_reboot_has_left_is_replaced(tmp_path: Path) -> None:
    place = tmp_path / "c"
    with Machine(place, 1, ("redis",), settings=SETTINGS) as machine:
        trace = Trace(machine) if len(machine.nodes) > 1 else None
        old = machine.environment()["SECRET_KEY"]
        state = State.load(place)
        assert state is not None
        assert processes.end_all(lambda: processes.of_cluster(place, state.pid, (ROOT,))) == []
        assert trace is None
        # As the machine's next life finds it: this process id may be somebody's by now.
        values = json.loads((place / FILE).read_text())
        (place / FILE).write_text(json.dumps(values | {"boot": "another", "pid": os.getppid()}))
        with pytest.raises(ClusterError, match="no cluster runs in"):
            Machine.find(place)
        with Machine(place, 1, ("redis",), settings=SETTINGS) as again:
            assert requests.get(again.url, timeout=10).ok
            assert again.environment()["SECRET_KEY"] != old
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (("--nodes", "0"), {}, "0 nodes cannot be started: 1 to 32 can"),
        (("--nodes", "33"), {}, "33 nodes cannot be started: 1 to 32 can"),
        (("--port", "70000"), {}, "70000 is not in the range 0<=x<=65535"),
        ((), {"RATE_SEND": "often"}, "RATE_SEND='often'"),
        ((), {"DATABASE_URL": "mysql://x/y"}, "DATABASE_URL=(hidden)"),
        (("--balance", "sticky"), {}, 'unknown directive "sticky"'),
    ],
)
def test_what_cannot_be_started_is_refused_in_plain_words_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    place = tmp_path / "c"
    status = 2 if "70000" in arguments else 1
    run("up", "--folder", str(place), *arguments, settings=settings, status=status, said=said)
    assert list(tmp_path.iterdir()) == []
    assert of_folder(place) == []


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        run(
            "up", "--port", str(port), "--folder", str(tmp_path / "c"), status=1, said=f"port {port} is taken"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    run("up", "--folder", str(tmp_path), status=1, said="is not empty, and no cluster's")
    run("down", "--folder", str(tmp_path), status=1, said="no cluster runs in")
    Machine(tmp_path).stop()
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_a_cluster_without_a_broker_has_one_node(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="do not hear each other"):
        Machine(tmp_path / "c", 2, ()).start()
    with pytest.raises(ClusterError, match="'kafka' is no broker that this starts: redis and rabbitmq are"):
        Machine(tmp_path / "c", 2, ("kafka",)).start()
    with pytest.raises(ClusterError, match="PORT: each node has its own"):
        Machine(tmp_path / "c", settings={"PORT": "5000"}).start()


def test_a_start_that_fails_shows_the_log_and_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = iter([free_port(), port])
        real = layout.free_ports
        monkeypatch.setattr(
            "deploy.launching.free_ports",
            lambda count, used=(): [next(ports), *real(count - 1, used)],
        )
        with pytest.raises(ClusterError, match=r"(?s)redis does not start\. The end of redis's log:.*in use"):
            Machine(tmp_path / "c", 1, ("redis",), settings=SETTINGS).start()
    assert list(tmp_path.iterdir()) == []
    assert of_folder(tmp_path / "c") == []


def test_the_files_follow_from_the_list_and_keep_their_way_of_balancing(tmp_path: Path) -> None:
    for name in ("nginx", "supervisor", "config"):
        for path in ROOT.glob(f"{name}/**/*"):
            if path.suffix in (".conf", ".j2", ".txt"):
                copy = tmp_path / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(path.read_text())
    root = ("--root", str(tmp_path))
    run("nodes", "--check", *root, said="Everything is as")
    run("nodes", "--balance", "ip_hash", *root, said="written: nginx/nodes.conf")

    with (tmp_path / "config/nodes.txt").open("a") as nodes:
        nodes.write("n4 127.0.0.1:5004\n")
    run("nodes", "--check", *root, status=1, said="nginx/nodes.conf")
    said = run("nodes", *root).stdout
    assert "written: supervisor/nodes.conf" in said
    assert f"-c {tmp_path}/supervisor/supervisord.conf update" in said
    assert f"nginx -c {tmp_path}/nginx/nginx.conf -s reload" in said
    assert re.search(r"^\s*ip_hash;", (tmp_path / "nginx/nodes.conf").read_text(), re.MULTILINE)
    assert "127.0.0.1:5004" in (tmp_path / "nginx/nodes.conf").read_text()
    assert "[program:n4]" in (tmp_path / "supervisor/nodes.conf").read_text()
    run("nodes", "--check", *root)

    (tmp_path / "config/nodes.txt").write_text("n1 everywhere\n")
    run("nodes", *root, status=1, said="line 1 of the list of nodes")
