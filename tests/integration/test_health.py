"""Health checks, and a database that is slow or gone: the node goes on serving what it can."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import pytest
import requests

from tests.integration.conftest import assert_no_traceback
from tests.support.clients import Client, Json, People, Refused, general
from tests.support.servers import Node, Postgres, child_environment
from tests.support.waiting import WAIT_SECONDS, wait_until

Gather = Callable[[Node], People]

DATABASE_TIMEOUT_SECONDS = 3
# Holds the write lock of an SQLite file until its input ends; an own process, as a backup script would be.
LOCK_SCRIPT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def ready(node: Node) -> tuple[int, Json]:
    answer = requests.get(f"{node.url}/readyz", timeout=WAIT_SECONDS)
    return answer.status_code, answer.json()


@contextmanager
def write_lock(node: Node) -> Iterator[Callable[[], None]]:
    """Hold the write lock of a node's SQLite file; what is given releases it early."""
    path = node.database_url.removeprefix("sqlite:///")
    with subprocess.Popen(
        [sys.executable, "-c", LOCK_SCRIPT, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment({}),
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        try:
            yield holder.stdin.close
        finally:
            holder.stdin.close()
            holder.wait(WAIT_SECONDS)


@pytest.fixture(scope="module")
def busy_node() -> Iterator[Node]:
    """A node on SQLite that waits for locks not too long, with a busy market."""
    with Node(
        DATABASE_TIMEOUT_SECONDS=str(DATABASE_TIMEOUT_SECONDS),
        MARKET_SOURCE="random-walk",
        MARKET_TICKS_PER_SECOND="20",
    ) as node:
        yield node
        assert_no_traceback(node)


def test_ready_says_what_it_checked(any_node: Node, any_database_url: str | None) -> None:
    status, body = ready(any_node)
    assert (status, body["status"]) == (200, "ready")
    assert set(body["checks"]) == {"node", "database", "queue", "emitter"}
    assert all(check["ok"] and check["reason"] is None for check in body["checks"].values())
    assert body["checks"]["database"]["dialect"] == ("postgresql" if any_database_url else "sqlite")
    alive = requests.get(f"{any_node.url}/healthz", timeout=WAIT_SECONDS)
    assert (alive.status_code, alive.json()) == (200, {"status": "ok", "node": None})


def test_a_database_that_is_gone_and_comes_back(postgres: Postgres, gather: Gather) -> None:
    with Node(postgres.create_database(), DATABASE_TIMEOUT_SECONDS="1") as node:
        ada = gather(node).join("Ada")
        room = general(ada)
        first = ada.send(room, "Before.")
        postgres.stop()
        try:
            status, body = ready(node)
            assert (status, body["status"]) == (503, "not ready")
            assert body["checks"]["database"]["ok"] is False
            assert body["checks"]["database"]["reason"]
            assert body["checks"]["node"]["ok"] is body["checks"]["emitter"]["ok"] is True
            assert requests.get(f"{node.url}/healthz", timeout=WAIT_SECONDS).status_code == 200

            with pytest.raises(Refused) as refused:
                ada.send(room, "Meanwhile.")
            assert refused.value.code == "unavailable"
            answer = requests.get(f"{node.url}/api/v1/rooms", cookies=ada.cookies(), timeout=WAIT_SECONDS)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            page = requests.post(f"{node.url}/sign-in", data={"name": "Somebody"}, timeout=WAIT_SECONDS)
            assert page.status_code == 503
            assert ada.connected
        finally:
            postgres.start()

        wait_until(lambda: ready(node)[0] == 200, "the node to be ready again")
        second = ada.send(room, "After.")
        assert ada.call("history", {"room": room})["messages"] == [first, second]
        assert_no_traceback(node)


def test_a_database_that_is_frozen(postgres: Postgres, gather: Gather) -> None:
    """It holds its connections, and says nothing."""
    with Node(postgres.create_database(), DATABASE_TIMEOUT_SECONDS="0.5") as node:
        ada = gather(node).join("Ada")
        room = general(ada)
        first = ada.send(room, "Before.")
        with postgres.frozen():
            with pytest.raises(Refused) as refused:
                ada.send(room, "Meanwhile.")
            assert refused.value.code == "unavailable"
            assert ready(node)[0] == 503
        wait_until(lambda: ready(node)[0] == 200, "the node to be ready again")
        second = ada.send(room, "After.")
        messages = ada.call("history", {"room": room})["messages"]
        # What was asked meanwhile may have been done, and its answer was not waited for.
        assert [first, second] == [message for message in messages if message["text"] != "Meanwhile."]
        assert_no_traceback(node)


def test_the_reason_names_the_cause(postgres: Postgres) -> None:
    with Node(postgres.create_database(), DATABASE_TIMEOUT_SECONDS="1") as node:
        postgres.stop()
        try:
            reason = ready(node)[1]["checks"]["database"]["reason"]
        finally:
            postgres.start()
        assert "refused" in reason or "terminat" in reason, reason


def test_a_held_lock_does_not_freeze_the_node(busy_node: Node, gather: Gather) -> None:
    """A send waits for the lock, in a thread: meanwhile requests are answered and ticks flow."""
    people = gather(busy_node)
    ada, bob = people.join("Ada"), people.join("Bob")
    watcher = people.tab(None, namespace="/market")
    symbols = [s["symbol"] for s in watcher.call("symbols")["symbols"]]
    watcher.call("subscribe", {"symbols": symbols})
    room = general(ada)
    watcher.wait_for("tick")

    with write_lock(busy_node):
        ticks_before = len(watcher.received("tick"))
        started = time.monotonic()
        waiting = gevent.spawn(ada.ask, "send", {"room": room, "client_id": "locked-out", "text": "Hello?"})
        slowest, answered = 0.0, 0
        while not waiting.ready():
            asked = time.monotonic()
            assert requests.get(f"{busy_node.url}/healthz", timeout=WAIT_SECONDS).status_code == 200
            bob.call("typing", {"room": room, "active": True})
            slowest = max(slowest, time.monotonic() - asked)
            answered += 1
        waited = time.monotonic() - started
        ticks = len(watcher.received("tick")) - ticks_before

    refused = waiting.get()
    assert (refused["ok"], refused["error"]["code"]) == (False, "unavailable")
    # It did wait for the lock; and a node that had frozen would have answered once, at the end.
    assert waited > DATABASE_TIMEOUT_SECONDS / 2
    assert slowest < waited / 2, f"{answered} answers, the slowest after {slowest:.2f} of {waited:.2f} s"
    assert answered >= 5
    assert ticks >= 10, ticks
    # The same message again, now that the lock is gone.
    message = ada.send(room, "Hello?", "locked-out")
    assert message["text"] == "Hello?"


def test_a_lock_that_is_given_back_in_time_only_delays(busy_node: Node, gather: Gather) -> None:
    ada = gather(busy_node).join("Ada")
    room = general(ada)
    with write_lock(busy_node) as release:
        waiting = gevent.spawn(ada.send, room, "Hello?")
        # Until it has reached the server and waits there.
        requests.get(f"{busy_node.url}/healthz", timeout=WAIT_SECONDS)
        gevent.sleep(0.2)
        assert not waiting.ready()
        release()
        message = waiting.get(timeout=WAIT_SECONDS)
    assert ada.call("history", {"room": room, "limit": 1})["messages"] == [message]


def test_a_flood_in_one_connection_does_not_hold_up_another(busy_node: Node, gather: Gather) -> None:
    """Events of one connection are handled one by one; everybody else is served between them."""
    people = gather(busy_node)
    flood, bob = people.join("Flood"), people.join("Bob")
    room = general(flood)
    for number in range(300):
        flood.emit("send", {"room": room, "client_id": f"flood-{number}", "text": "x" * 500})
    bob.call("hello")
    # Bob hears what is posted; his answer came between, and not after all of it.
    assert len(bob.received("message")) < 300
    flood.call("hello")
    assert _count(bob, room, "flood-") == 300


def _count(client: Client, room: int, beginning: str) -> int:
    found, after = 0, 0
    while True:
        page = client.call("history", {"room": room, "after_seq": after, "limit": 100})
        found += sum(m["client_id"].startswith(beginning) for m in page["messages"])
        if not page["has_more"]:
            return found
        after = page["messages"][-1]["seq"]
