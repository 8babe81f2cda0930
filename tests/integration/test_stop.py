"""A node that is told to stop: it lets its clients go, loses nothing, and ends by itself."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable

import gevent
import pytest
import requests
import socketio
import websocket

from tests.integration.conftest import assert_no_traceback
from tests.support.clients import Client, Json, People, RawClient, cookie_header, general, new_client_id
from tests.support.servers import HOST, Node
from tests.support.waiting import wait_until

GRACEFUL_SECONDS = 10
WEBSOCKETS = 20
POLLERS = 4

Gather = Callable[[Node], People]


def chatter(client: Client, room: int, acknowledged: list[Json], over: list[bool]) -> None:
    """Send without a pause until the test is over, and keep what the server said yes to."""
    while not over:
        try:
            payload = {"room": room, "client_id": new_client_id(), "text": f"Message {len(acknowledged)}."}
            # The library does not end the wait for an answer when the connection ends.
            acknowledged.append(client.call("send", payload, timeout_seconds=1)["message"])
        except (socketio.exceptions.SocketIOError, ValueError):
            # Not connected just now: TimeoutError, BadNamespaceError, or no transport yet.
            gevent.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stop_in_the_middle_of_traffic(number: signal.Signals, gather: Gather) -> None:
    with Node(GRACEFUL_TIMEOUT_SECONDS=str(GRACEFUL_SECONDS), MARKET_SOURCE="random-walk") as node:
        people = gather(node)
        clients = [people.join(f"W{i}", reconnect=True) for i in range(WEBSOCKETS)]
        clients += [people.join(f"P{i}", transport="polling", reconnect=True) for i in range(POLLERS)]
        watcher = people.tab(None, namespace="/market", reconnect=True)
        watcher.call("subscribe", {"symbols": [watcher.call("symbols")["symbols"][0]["symbol"]]})
        room = general(clients[0])
        acknowledged: list[Json] = []
        over: list[bool] = []
        senders = [gevent.spawn(chatter, client, room, acknowledged, over) for client in clients[::6]]
        try:
            wait_until(lambda: len(acknowledged) >= 20, "some traffic")

            started = time.monotonic()
            node.signal(number)
            returncode = node.wait()
            elapsed = time.monotonic() - started
            assert returncode == 0, node.log()
            assert elapsed < GRACEFUL_SECONDS, node.log()
            assert "stopped " in node.log()
            assert "worker has exited cleanly" in node.log()
            assert_no_traceback(node)
            wait_until(lambda: all(c.disconnects for c in [*clients, watcher]), "all clients to notice")
            before = list(acknowledged)

            node.start()
            wait_until(
                lambda: all(c.connected and c.connects > len(c.disconnects) for c in [*clients, watcher]),
                lambda: f"all to come back: {[(c.transport, c.connects, c.disconnects) for c in clients]}",
            )
            wait_until(lambda: len(acknowledged) > len(before), "the traffic to go on")
        finally:
            over.append(True)
            gevent.joinall(senders, timeout=30, raise_error=True)

        for client in clients:
            assert client.call("hello")["me"]["name"]
        # Nothing that was acknowledged is lost, neither before the stop nor after it.
        stored: dict[int, Json] = {}
        after = 0
        while True:
            page = clients[0].call("history", {"room": room, "after_seq": after, "limit": 100})
            stored |= {message["seq"]: message for message in page["messages"]}
            if not page["has_more"]:
                break
            after = max(stored)
        assert sorted(stored) == list(range(1, len(stored) + 1))
        for message in acknowledged:
            assert stored[message["seq"]] == message
        assert len(clients[0].call("members", {"room": room})["members"]) == WEBSOCKETS + POLLERS


def test_while_it_stops_it_is_not_ready_and_then_gone(gather: Gather) -> None:
    """A stop takes about a second, in which a load balancer must not believe that the node is well."""
    with Node() as node:
        people = gather(node)
        for i in range(5):
            people.join(f"W{i}")
        node.signal(signal.SIGTERM)
        answers: list[int] = []

        def gone() -> bool:
            try:
                answers.append(requests.get(f"{node.url}/readyz", timeout=5).status_code)
            except requests.RequestException:
                return True
            return False

        wait_until(gone, "the node to be gone")
        assert node.wait() == 0
        # Ready answers may come before the signal is seen; never again after the first refusal.
        assert answers == sorted(answers), answers


def test_a_client_that_comes_late_does_not_hold_the_stop_up(gather: Gather) -> None:
    """gunicorn accepts for up to a second after the signal, and clients that were cut come back at once."""
    with Node(GRACEFUL_TIMEOUT_SECONDS=str(GRACEFUL_SECONDS)) as node:
        late = gather(node).sign_in("Late")
        started = time.monotonic()
        node.signal(signal.SIGTERM)
        while node.running:
            with contextlib.suppress(OSError, websocket.WebSocketException, ValueError):
                # It may be accepted, refused or cut in the middle. It must not stay.
                connection = RawClient(node.url, cookie=cookie_header(late))
                with connection:
                    connection.join_namespace("/chat")
                    connection.closed_by_server()
            gevent.sleep(0.01)
        assert node.wait() == 0, node.log()
        assert time.monotonic() - started < GRACEFUL_SECONDS, node.log()
        assert "worker has exited cleanly" in node.log()
        assert_no_traceback(node)


def test_a_client_that_has_vanished_does_not_hold_the_stop_up(gather: Gather) -> None:
    """A phone without a network does not say goodbye to a WebSocket's goodbye."""
    with Node(GRACEFUL_TIMEOUT_SECONDS="30") as node:
        vanished = RawClient(node.url, cookie=cookie_header(gather(node).sign_in("Vanished")))
        with vanished:
            vanished.join_namespace("/chat")
            started = time.monotonic()
            assert node.terminate(timeout_seconds=40) == 0, node.log()
            assert time.monotonic() - started < 15, node.log()
        assert "worker has exited cleanly" in node.log()
        assert "took too long" not in node.log()
        assert_no_traceback(node)


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.2, 0.4])
def test_a_stop_in_the_middle_of_the_start(seconds: float) -> None:
    node = Node(GRACEFUL_TIMEOUT_SECONDS="30")
    try:
        node.launch()
        wait_until(lambda: "Booting worker" in node.log(), "the worker to be there")
        time.sleep(seconds)
        started = time.monotonic()
        node.terminate(timeout_seconds=40)
        assert time.monotonic() - started < 15, node.log()
    finally:
        node.close()


def test_a_connection_that_says_nothing_does_not_hold_the_stop_up() -> None:
    with Node(GRACEFUL_TIMEOUT_SECONDS=str(GRACEFUL_SECONDS)) as node, socket.socket() as silent:
        silent.connect((HOST, node.port))
        silent.sendall(b"GET / HTTP/1.1\r\nHost: ")
        started = time.monotonic()
        assert node.terminate() == 0, node.log()
        # gunicorn waits for a request that has begun; it must end within the time that it was given.
        assert time.monotonic() - started < GRACEFUL_SECONDS + 5, node.log()
        assert "worker has exited cleanly" in node.log()


def test_a_second_worker_is_not_started(gather: Gather) -> None:
    with Node() as node:
        people = gather(node)
        ada = people.join("Ada")
        node.signal(signal.SIGTTIN)
        wait_until(lambda: "staying with one" in node.log(), "the node to refuse")
        assert ada.call("hello")["me"]["name"].startswith("Ada")
        assert node.log().count("Booting worker") == 1
