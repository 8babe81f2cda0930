"""Letting the clients go: in time, evenly, without a goodbye, and nobody new comes in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from flask import Flask
from gevent.queue import Queue
from hypothesis import given
from hypothesis import strategies as st

from app.realtime import SocketIO
from app.realtime.drain import BATCH_SECONDS, Drain, batch_size
from tests.support.waiting import wait_until


class Socket:
    """An Engine.IO socket, as far as a drain is concerned."""

    upgraded = True

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.closed = False
        self.queue: Queue[str] = Queue()
        self.closings: list[tuple[bool, bool]] = []

    def close(self, wait: bool = True, abort: bool = False) -> None:
        self.closings.append((wait, abort))
        self.closed = True


class Poller(Socket):
    upgraded = False


@pytest.fixture
def socketio() -> SocketIO:
    return SocketIO(Flask("app"), async_mode="gevent")


@pytest.fixture
def sockets(socketio: SocketIO) -> Iterator[dict[str, Socket]]:
    engine = socketio.server.eio
    engine.sockets = {}
    yield engine.sockets
    engine.sockets = {}


def request(socketio: SocketIO, query: str) -> list[str]:
    """Ask the engine something, as a WSGI server would; returns the status lines."""
    said: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "QUERY_STRING": query, "PATH_INFO": "/socket.io/"}
    socketio.server.eio.handle_request(environ, lambda status, headers: said.append(status))
    return said


@given(st.integers(0, 20_000), st.floats(0, 300), st.floats(0.5, 1.5))
def test_everybody_is_gone_in_time_and_no_batch_is_much_larger_than_the_others(
    clients: int, seconds: float, pace: float
) -> None:
    left, now = clients, 0.0
    largest = 0
    while left:
        size = batch_size(left, seconds - now)
        assert 1 <= size <= left
        largest = max(largest, size)
        left -= size
        now += BATCH_SECONDS * pace
    assert now <= seconds + 2 * BATCH_SECONDS
    if pace <= 1 and seconds > 2:
        assert largest <= clients * BATCH_SECONDS / seconds + 1


def test_all_are_let_go_without_a_goodbye(socketio: SocketIO, sockets: dict[str, Socket]) -> None:
    drain = Drain(socketio, seconds=0.3)
    those = [Socket(str(i)) for i in range(30)]
    sockets.update({socket.sid: socket for socket in those})
    assert (drain.state, drain.clients) == ("serving", 30)
    drain.begin()
    assert drain.state == "draining"
    wait_until(lambda: drain.clients < 30, "the first batch to be let go")
    assert drain.clients > 10, "in batches"
    drain.wait()
    assert (drain.state, drain.clients) == ("drained", 0)
    assert [socket.closings for socket in those] == [[(False, True)]] * 30


def test_who_comes_during_the_drain_is_let_go_too(socketio: SocketIO, sockets: dict[str, Socket]) -> None:
    """A handshake that was under way when it began."""
    drain = Drain(socketio, seconds=0.2)
    sockets["early"] = Socket("early")
    drain.begin()
    gevent.sleep(0.01)
    sockets["late"] = Socket("late")
    drain.wait()
    assert sockets["late"].closed


def test_who_has_no_session_is_refused_and_who_has_one_is_served(
    socketio: SocketIO, sockets: dict[str, Socket]
) -> None:
    drain = Drain(socketio, seconds=60)
    sockets["old"] = Socket("old")
    assert request(socketio, "EIO=4&transport=invalid") == ["400 Bad Request"]
    drain.begin()
    for query in ("EIO=4&transport=polling", "EIO=4&transport=websocket", "EIO=4&sid="):
        assert request(socketio, query) == ["503 Service Unavailable"]
    assert request(socketio, "EIO=4&transport=invalid&sid=old") == ["400 Bad Request"], "the engine's own"
    drain.resume()
    assert drain.state == "serving"
    assert request(socketio, "EIO=4&transport=invalid") == ["400 Bad Request"]
    gevent.sleep(0.01)
    assert not sockets["old"].closed, "its turn had not come"


def test_who_polls_first_fetches_what_waits(socketio: SocketIO, sockets: dict[str, Socket]) -> None:
    drain = Drain(socketio)
    poller = sockets["poller"] = Poller("poller")
    poller.queue.put("an event")
    drain.begin()
    gevent.sleep(0.05)
    assert not poller.closed
    poller.queue.get()
    drain.wait()
    assert poller.closed


@pytest.mark.parametrize("how", ["never fetches", "hurried"])
def test_who_never_polls_again_does_not_hold_it_up(
    how: str, socketio: SocketIO, sockets: dict[str, Socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "never fetches":
        monkeypatch.setattr("app.realtime.drain.FETCH_SECONDS", 0.1)
    drain = Drain(socketio)
    poller = sockets["poller"] = Poller("poller")
    poller.queue.put("an event")
    drain.begin()
    gevent.sleep(0.02)
    assert not poller.closed
    if how == "hurried":
        drain.hurry()
    wait_until(lambda: poller.closed, "it to be let go")


def test_it_serves_on_while_load_balancers_ask(socketio: SocketIO, sockets: dict[str, Socket]) -> None:
    drain = Drain(socketio, wait_seconds=60)
    sockets["a"] = Socket("a")
    drain.begin()
    gevent.sleep(0.05)
    assert not sockets["a"].closed
    assert drain.state == "draining"
    drain.hurry()
    drain.wait()
    assert sockets["a"].closed


def test_one_that_fails_to_close_does_not_keep_the_others(
    socketio: SocketIO, sockets: dict[str, Socket], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        bad.closed = True
        raise RuntimeError("stuck")

    drain = Drain(socketio)
    bad, good = Socket("bad"), Socket("good")
    bad.close = fail  # type: ignore[method-assign]
    sockets.update(bad=bad, good=good)
    drain.begin()
    drain.wait()
    assert good.closed
    assert "could not close a connection" in caplog.text


def test_the_end_is_for_good(socketio: SocketIO, sockets: dict[str, Socket]) -> None:
    drain = Drain(socketio, seconds=60)
    sockets["a"] = Socket("a")
    drain.begin()
    assert drain.finish(5) == 0
    assert request(socketio, "EIO=4&transport=polling&sid=a") == ["503 Service Unavailable"]


def test_what_an_operator_says_arrives(socketio: SocketIO, sockets: dict[str, Socket]) -> None:
    drain = Drain(socketio)
    assert socketio.manager is not None
    assert socketio.manager.on_drain is not None
    socketio.manager.on_drain(True)
    drain.wait()
    assert socketio.queue_status()["node"] == {"id": None, "state": "drained", "clients": 0}
    socketio.manager.on_drain(False)
    assert drain.state == "serving"


def test_a_manager_of_ones_own_can_be_drained_too() -> None:
    import socketio as pysocketio

    own = SocketIO(Flask("app"), async_mode="gevent", client_manager=pysocketio.Manager())
    drain = Drain(own)
    drain.begin()
    drain.wait()
    assert drain.state == "drained"


def test_sids_begin_with_the_name_of_the_node() -> None:
    named = SocketIO(Flask("app"), async_mode="gevent", node_id="n1")
    assert named.server.eio.generate_id().startswith("n1.")
    assert len({named.server.eio.generate_id() for _ in range(100)}) == 100
    unnamed = SocketIO(Flask("app"), async_mode="gevent")
    assert "." not in unnamed.server.eio.generate_id()


def test_a_full_node_refuses_newcomers_and_says_so(
    socketio: SocketIO, sockets: dict[str, Socket], caplog: pytest.LogCaptureFixture
) -> None:
    drain = Drain(socketio, max_clients=2)
    sockets.update(a=Socket("a"), b=Socket("b"))
    for _ in range(3):
        assert request(socketio, "EIO=4&transport=polling") == ["503 Service Unavailable"]
    assert drain.refused == 3
    assert caplog.text.count("full: 2 clients") == 1, "not a line each"
    assert request(socketio, "EIO=4&transport=invalid&sid=a") == ["400 Bad Request"], "who is in is served"
    del sockets["a"]
    assert request(socketio, "EIO=4&transport=invalid") == ["400 Bad Request"]


@pytest.mark.parametrize("hanging", [1, 120])
def test_handlers_that_hang_do_not_hold_it_up(
    hanging: int,
    socketio: SocketIO,
    sockets: dict[str, Socket],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also when there are more of them than are let go at once."""
    monkeypatch.setattr("app.realtime.drain.LAST_SECONDS", 0.3)
    drain = Drain(socketio)
    for number in range(hanging):
        stuck = sockets[f"stuck{number}"] = Socket(f"stuck{number}")
        stuck.close = lambda **_: gevent.sleep(60)  # type: ignore[method-assign]
    drain.begin()
    drain.wait()
    assert f"but for {hanging} clients" in caplog.text
