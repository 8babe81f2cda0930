"""Starting a cluster in many ways, and what is refused; every end leaves nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from deploy import layout, processes
from deploy.machine import ClusterError, Machine
from deploy.state import FILE, State
from tests.deploy.commands import SETTINGS, Trace, node_by_cookie, of_folder, run
from tests.support.clients import People, general
from tests.support.servers import HOST, ROOT, Postgres, child_environment, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)


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
            talk_across(machine, "n1", "n5")
            trace = Trace(machine)
            run("down", "--folder", str(place))
            assert trace.left() == []
        finally:
            machine.stop()


def talk_across(machine: Machine, here: str, there: str) -> None:
    """Two people on two nodes, through nginx: what one writes the other reads."""
    people = People(machine.url)
    try:
        clients = []
        for node in (here, there):
            session = people.sign_in(f"At {node}")
            session.cookies.set("NODE", node, domain=HOST, path="/")
            clients.append(people.tab(session))
            assert clients[-1].sid.startswith(f"{node}.")
        writer, reader = clients
        sent = writer.send(general(writer), f"From {here} to {there}.")
        assert reader.wait_for("message", lambda message: message["seq"] == sent["seq"]) == sent
    finally:
        people.close()


def test_a_cluster_whose_folder_was_removed_is_found_all_the_same(tmp_path: Path) -> None:
    place = tmp_path / "c"
    machine = Machine(place, 1, ("redis",), settings=SETTINGS).start()
    try:
        trace = Trace(machine)
        shutil.rmtree(place)
        run("up", "--folder", str(place), status=1, said="which somebody has removed: stop it with")
        run("down", "--folder", str(place), said="has ended")
        assert trace.left() == []
    finally:
        machine.stop()
    run("down", "--folder", str(place), status=1, said="no cluster runs in")


def test_what_a_reboot_has_left_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_ROOMS_MAX", "many")  # what happens to be set here is not for the nodes
    place = tmp_path / "c"
    machine = Machine(place, 1, ("redis",), settings=SETTINGS).start()
    state = State.load(place)
    assert state is not None
    assert processes.end_all(lambda: processes.of_cluster(place, state.pid, (ROOT,))) == []
    # As the machine's next life finds it; the process id is somebody else's by now.
    somebody = {"pid": os.getppid(), "started": processes.started(os.getppid()), "supervised": False}
    values = json.loads((place / FILE).read_text()) | somebody
    (place / FILE).write_text(json.dumps(values))
    Machine.find(place)
    (place / FILE).write_text(json.dumps(values | {"boot": "another"}))
    with pytest.raises(ClusterError, match="no cluster runs in"):
        Machine.find(place)

    with Machine(place, 1, ("redis",), settings=SETTINGS) as again:
        assert again.environment()["SECRET_KEY"] != machine.environment()["SECRET_KEY"]
        machine.stop()
        assert requests.get(again.url, timeout=10).ok, "that one is not the other's to end"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (("--nodes", "0"), {}, "0 nodes cannot be started: 1 to 32 can"),
        (("--nodes", "33"), {}, "33 nodes cannot be started: 1 to 32 can"),
        (("--port", "70000"), {}, "70000 is not in the range 0<=x<=65535"),
        ((), {"RATE_SEND": "often"}, "RATE_SEND='often'"),
        ((), {"DATABASE_URL": "mysql://x/y"}, "DATABASE_URL=(hidden)"),
        (("--balance", "sticky"), {"PATH": "/usr/bin:/bin"}, "sticky needs nginx 1.29.6 or newer"),
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_interrupted_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    place = tmp_path / "c"
    up = subprocess.Popen(
        [sys.executable, "-m", "deploy", "up", "--folder", str(place)],
        cwd=ROOT,
        env=child_environment(SETTINGS),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with up:
        # supervisord, the listener, the brokers and their mapper, nginx, and three nodes.
        wait_until(lambda: len(of_folder(place)) >= 9 or up.poll() is not None, "the nodes are started", 90)
        trace = Trace(Machine.find(place))
        up.send_signal(number)
        said, _ = up.communicate(timeout=60)
    assert up.returncode == 1, said
    assert "Traceback" not in said
    assert trace.left() == []


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
