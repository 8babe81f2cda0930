"""Thousands of clients that come and go leave the server as it was."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.servers import ROOT, child_environment
from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.transport.clients.conftest import Meet, Serve
from tests.transport.clients.peers import TRANSPORTS, JavaScript, Kind

CLIENTS = 4_000
# Some 20 s of a whole machine, and minutes of one that does other things too.
MANY_CLIENTS = 10_000
# So many first, until the allocator has what it ever needs.
WARM_UP = 2_000
PROCESSES = 3
STORM_SECONDS = 100.0
# A KB for each client would be as much.
MOST_GROWTH_KB = 4_000
# The test's own request; a collection that is just going on.
SOME = 5


@pytest.fixture
def server(serve: Serve) -> SmallServer:
    """A server that gives up soon those of whom it hears nothing."""
    # What is kept for a client until its patience would have ended is not to count.
    return serve(ping_interval=2, ping_timeout=2, options={"connect_seconds": 2})


def storm(server: SmallServer, clients: int, seconds: float = STORM_SECONDS) -> collections.Counter[str]:
    """Let so many clients come and go, and tell what they did.

    :raises AssertionError: when one of them was treated badly.
    """
    command = (sys.executable, "-m", "tests.transport.clients.storm", server.url, str(clients // PROCESSES))
    running = [
        subprocess.Popen(
            (*command, str(number)), cwd=ROOT, env=child_environment({}), stdout=subprocess.PIPE, text=True
        )
        for number in range(PROCESSES)
    ]
    done: collections.Counter[str] = collections.Counter()
    try:
        for each in running:
            said, _ = each.communicate(timeout=seconds)
            result = json.loads(said)
            assert not result["failed"], result
            done.update(result["done"])
    finally:
        for each in running:
            each.kill()
            each.communicate()
    return done


def settled(server: SmallServer) -> dict[str, Any]:
    """How the server is when everybody has left and nothing goes on any more."""
    server.wait_until_empty()
    wait_until(lambda: server.status()["transport"].get("connections", 0) == 0, "connections to end")
    return server.status(collect="1", greenlets="1")


def assert_as_before(server: SmallServer, before: dict[str, Any]) -> None:
    """Nothing of the clients is left."""

    def differs() -> dict[str, Any]:
        now = settled(server)
        grown = {name: now[name] - before[name] for name in ("descriptors", "greenlets", "rss_kb")}
        bounds = {"descriptors": SOME, "greenlets": SOME, "rss_kb": MOST_GROWTH_KB}
        return {name: size for name, size in grown.items() if size > bounds[name]}

    wait_until(lambda: not differs(), lambda: f"grown by: {differs()}")


def come_and_go(server: SmallServer, clients: int, seconds: float = STORM_SECONDS) -> None:
    storm(server, WARM_UP)
    before = settled(server)
    done = storm(server, clients, seconds)
    assert len(done) == 10, done
    assert_as_before(server, before)
    # Each was let in once and has left once, but for those that were refused.
    after = server.status()
    came = sum(after["connects"].values()) - sum(before["connects"].values())
    left = sum(after["reasons"].values()) - sum(before["reasons"].values())
    assert came == left == sum(done.values()) - done["refused"]


def test_thousands_of_quick_clients_leave_nothing_behind(server: SmallServer) -> None:
    come_and_go(server, CLIENTS)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_ten_thousand_leave_nothing_behind(server: SmallServer) -> None:
    come_and_go(server, MANY_CLIENTS, 500.0)


@pytest.mark.parametrize(("kind", "times"), [("node", 300), ("chromium", 30)])
def test_hundreds_of_real_clients_leave_nothing_behind(
    kind: Kind, times: int, meet: Meet, server: SmallServer
) -> None:
    peer = meet(kind, "websocket", server.url)
    assert isinstance(peer, JavaScript)

    def come_and_go(times: int) -> None:
        for transport in TRANSPORTS:
            options = {"transports": {"upgrade": ["polling", "websocket"]}.get(transport, [transport])}
            failures = peer.ask("comeAndGo", server.url, options, times, 10, timeout_seconds=60)
            assert failures == []

    come_and_go(10)
    peer.close()
    before = settled(server)
    come_and_go(times)
    assert_as_before(server, before)
