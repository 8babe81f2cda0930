"""A node that leaves: gently on SIGTERM, at once on SIGINT, quickly without its master, or by command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import psutil
import pytest
import requests

from tests.integration.conftest import assert_no_traceback
from tests.support.clients import People, general, new_client_id
from tests.support.hearing import run
from tests.support.redis import Redis
from tests.support.servers import Node, StartError
from tests.support.waiting import wait_until

Gather = Callable[[Node], People]
Done = subprocess.CompletedProcess[str]

CHANNEL_SECRET = "a-secret-of-the-channel-with-32-characters"
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"


def status(node: Node, path: str) -> int | None:
    """What a request gets; None: nobody listens any more."""
    try:
        return requests.get(node.url + path, timeout=5).status_code
    except requests.RequestException:
        return None


def test_a_drain_is_gentle(gather: Gather) -> None:
    """While the clients leave one by one, those who are left are served, by polling too."""
    with Node(DRAIN_SECONDS="4", GRACEFUL_TIMEOUT_SECONDS="12", NODE_ID="n1") as node:
        people = gather(node)
        clients = [people.join(f"W{i}") for i in range(12)]
        clients += [people.join(f"P{i}", transport="polling") for i in range(12)]
        assert all(client.sid.startswith("n1.") for client in clients)
        room = general(clients[0])
        node.signal(signal.SIGTERM)
        wait_until(lambda: status(node, "/readyz") == 503, "the node to drain")
        assert requests.get(f"{node.url}/healthz", timeout=5).json() == {"status": "ok", "node": "n1"}
        refused = requests.get(node.url + HANDSHAKE, timeout=5)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")

        left_at: dict[int, float] = {}

        def watch() -> None:
            while len(left_at) < len(clients):
                for number, client in enumerate(clients):
                    if client.disconnects and number not in left_at:
                        left_at[number] = time.monotonic()
                gevent.sleep(0.02)

        watcher = gevent.spawn(watch)
        served = 0
        while not watcher.dead:
            here = [client for client in clients[12:] if client.connected]
            if here:
                # Its request may be on its way when its turn comes.
                with_luck = gevent.spawn(
                    here[0].call,
                    "send",
                    {"room": room, "client_id": new_client_id(), "text": "Still here."},
                    timeout_seconds=2,
                )
                with_luck.join(2)
                served += bool(with_luck.value)
            gevent.sleep(0.02)
        assert node.wait() == 0, node.log()
        assert served, "who polls is served until his turn comes"
        times = sorted(left_at.values())
        # Some 2 s at an even pace; who notices late that he was let go is among the last, and not looked at.
        assert times[18] - times[6] > 0.5, "in batches, over the whole time"
        assert "drained: no client is left" in node.log()
        assert "worker has exited cleanly" in node.log()
        assert_no_traceback(node)


def test_an_interrupt_hurries_a_drain(gather: Gather) -> None:
    with Node(DRAIN_SECONDS="60", GRACEFUL_TIMEOUT_SECONDS="120") as node:
        clients = [gather(node).join(f"W{i}") for i in range(6)]
        node.signal(signal.SIGTERM)
        wait_until(lambda: status(node, "/readyz") == 503, "the node to drain")
        assert sum(client.connected for client in clients) > 3
        node.signal(signal.SIGINT)
        assert node.wait() == 0, node.log()
        assert "worker has exited cleanly" in node.log()
        assert_no_traceback(node)


def test_a_worker_without_its_master_lets_go_of_the_port_and_of_its_clients(gather: Gather) -> None:
    with Node(DRAIN_SECONDS="60", GRACEFUL_TIMEOUT_SECONDS="120") as node:
        client = gather(node).join("Ada", reconnect=True)
        (worker,) = psutil.Process(node.pid).children()
        os.kill(node.pid, signal.SIGKILL)
        node.wait()
        try:
            worker.wait(timeout=20)
        finally:
            if worker.is_running():
                worker.kill()
        assert "the master is gone" in node.log()
        assert "worker has exited cleanly" in node.log()
        assert_no_traceback(node)
        node.start()
        wait_until(lambda: client.connects == 2, "the client to come back")


def test_what_is_in_hand_is_finished_and_told(redis: Redis, gather: Gather) -> None:
    """A send that waits for the database when its client is let go is stored, and others hear of it."""
    shared = {"MESSAGE_QUEUE": redis.url, "CHANNEL": "in-hand"}
    with (
        Node(GRACEFUL_TIMEOUT_SECONDS="30", **shared) as first,
        Node(first.database_url, **shared) as second,
    ):
        ada, bob = gather(first).join("Ada"), gather(second).join("Bob")
        room = general(ada)
        database = sqlite3.connect(first.folder / "chat.db", isolation_level=None, timeout=10)
        with contextlib.closing(database):
            database.execute("BEGIN IMMEDIATE")
            ada.emit("typing", {"room": room, "active": True})
            ada.emit("send", {"room": room, "client_id": new_client_id(), "text": "Just in time."})
            # When this has gone all the way, that, right behind it, is in hand.
            bob.wait_for("typing")
            first.signal(signal.SIGTERM)
            wait_until(lambda: "drained: no client is left" in first.log(), "the client to be let go")
            # A stop that does not wait is over by then.
            gevent.sleep(1.5)
            database.execute("COMMIT")
        assert first.wait() == 0, first.log()
        assert_no_traceback(first)
        wait_until(
            lambda: [message["text"] for message in bob.received("message")] == ["Just in time."],
            "the other node to hear of it",
        )


# A unix socket.


def ask(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


class SocketNode(Node):
    """A node that listens on a unix socket in its folder."""

    @property
    def path(self) -> Path:
        return self.folder / "n1.sock"

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "UNIX_SOCKET": str(self.path)}

    def ready(self) -> bool:
        try:
            return b" 200 OK" in ask(self.path, b"GET /readyz HTTP/1.0\r\n\r\n")
        except OSError:
            return False


def test_a_node_on_a_unix_socket() -> None:
    with SocketNode(NODE_ID="n1") as node:
        assert b'"node":"n1"' in ask(node.path, b"GET /healthz HTTP/1.0\r\n\r\n")
        assert status(node, "/healthz") is None, "no port"
        second = SocketNode()
        second.folder.rmdir()
        second.folder = node.folder
        second.launch()
        assert second.wait() != 0
        assert f"Cannot listen on {node.path}: somebody does already" in second.log()
        assert b"200 OK" in ask(node.path, b"GET /healthz HTTP/1.0\r\n\r\n")
        # A socket that a killed node has left behind is in nobody's way.
        node.kill()
        assert node.path.exists()
        node.start()
        assert node.terminate() == 0


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("relative.sock", "should be an absolute path"),
        ("/nowhere/n1.sock", "/nowhere is no folder to write to"),
        (f"/tmp/{'x' * 120}", "a unix socket's may have 107"),
    ],
)
def test_a_socket_that_cannot_be_is_explained(path: str, reason: str) -> None:
    node = Node(UNIX_SOCKET=path)
    try:
        with pytest.raises(StartError) as refused:
            node.start()
        assert reason in refused.value.log
        assert "Traceback" not in refused.value.log
    finally:
        node.close()


# flask node


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def pair(redis: Redis) -> Iterator[tuple[Node, Node]]:
    shared = {"MESSAGE_QUEUE": redis.url, "CHANNEL_SECRET": CHANNEL_SECRET, "DRAIN_SECONDS": "1"}
    with (
        Node(NODE_ID="n1", **shared) as first,
        Node(first.database_url, NODE_ID="n2", **shared) as second,
    ):
        yield first, second


@pytest.fixture
def flask(pair: tuple[Node, Node], redis: Redis) -> Callable[..., Done]:
    settings = {
        "APP_ENV": "testing",
        "FLASK_SKIP_DOTENV": "1",
        "DATABASE_URL": pair[0].database_url,
        "MESSAGE_QUEUE": redis.url,
        "CHANNEL_SECRET": CHANNEL_SECRET,
    }

    def run_flask(*arguments: str, **changed: str) -> Done:
        done = run("-m", "flask", "--app", "wsgi", *arguments, **settings | changed)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run_flask


def test_a_node_is_drained_and_taken_back_by_command(
    pair: tuple[Node, Node], flask: Callable[..., Done], gather: Gather
) -> None:
    first, second = pair
    people = gather(first)
    ada, bob = people.join("Ada", reconnect=True), gather(second).join("Bob")
    listed = flask("node", "list")
    assert listed.returncode == 0, listed.stderr
    rows = [line.split()[:3] for line in listed.stdout.splitlines()]
    assert rows == [["node", "state", "clients"], ["n1", "serving", "1"], ["n2", "serving", "1"]]

    drained = flask("node", "drain", "n1", "--timeout", "20")
    assert drained.returncode == 0, drained.stderr
    assert drained.stdout.splitlines()[-1] == "n1: drained, 0 clients"
    wait_until(lambda: bool(ada.disconnects), "the client to be let go")
    assert status(first, "/readyz") == 503
    assert "takes no new clients" in requests.get(f"{first.url}/readyz", timeout=5).text
    assert status(first, HANDSHAKE) == 503
    assert status(second, HANDSHAKE) == 200
    assert bob.connected
    assert ["n1", "drained", "0"] in [row.split()[:3] for row in flask("node", "list").stdout.splitlines()]

    resumed = flask("node", "resume", "n1")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[-1].startswith("n1: serving")
    assert status(first, "/readyz") == 200
    wait_until(lambda: ada.connects == 2, "the client to come back")
    assert_no_traceback(first)


def test_what_cannot_be_drained_is_explained(flask: Callable[..., Done]) -> None:
    unknown = flask("node", "drain", "n9")
    assert unknown.returncode == 1
    assert "there is no node 'n9': there are n1, n2" in unknown.stderr
    alone = flask("node", "list", MESSAGE_QUEUE="")
    assert alone.returncode == 1
    assert "MESSAGE_QUEUE is not set" in alone.stderr
    deaf = flask("node", "list", "--timeout", "1", CHANNEL="elsewhere")
    assert deaf.returncode == 1
    assert "no node answers on channel 'elsewhere'" in deaf.stderr
