"""Clients that vanish, in every state that a connection can be in, leave nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.support.wire import Connection, query
from tests.support.wire_socketio import Polling, SocketIO
from tests.support.wire_websocket import TEXT, Frame, WebSocket
from tests.transport.clients.conftest import Serve, assert_no_traceback

# How a TCP connection ends: properly, with a reset, in one direction only, or not at all.
ENDINGS = ("close", "reset", "half", "silence")
TIMES = 10
HELLO = '40{"rooms":["a room","another"]}'


@pytest.fixture
def server(serve: Serve) -> SmallServer:
    """A server that gives up soon those of whom it hears nothing."""
    options = {"connect_seconds": 2, "upgrade_seconds": 2, "post_seconds": 2}
    return serve(ping_interval=1, ping_timeout=1, options=options)


# The states. Each makes one and returns the TCP connection that ends.


def no_request(url: str) -> Connection:
    return Connection(url)


def half_a_request(url: str) -> Connection:
    connection = Connection(url)
    connection.send(b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: here\r\nUpgr")
    return connection


def handshake_unanswered(url: str) -> WebSocket:
    """Gone before the answer is read."""
    client = WebSocket(url)
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}
    client.send_request("GET", query(transport="websocket"), headers | key)
    return client


def opened(url: str) -> WebSocket:
    client = WebSocket(url)
    client.open()
    return client


def in_rooms(url: str) -> WebSocket:
    client = opened(url)
    client.post(HELLO, "40/custom,")
    for _ in range(4):
        client.receive()
    return client


def in_a_head(url: str) -> WebSocket:
    client = in_rooms(url)
    client.send(Frame(TEXT, b"x" * 70_000).encode()[:3])
    return client


def in_a_frame(url: str) -> WebSocket:
    client = in_rooms(url)
    client.send(Frame(TEXT, b"x" * 70_000).encode()[:40_000])
    return client


def in_a_message(url: str) -> WebSocket:
    client = in_rooms(url)
    client.send_frame(TEXT, '42["mess', fin=False)
    return client


def between_attachments(url: str) -> WebSocket:
    client = in_rooms(url)
    client.post('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"first")
    return client


def while_a_handler_works(url: str) -> WebSocket:
    client = in_rooms(url)
    client.post('42["wait",0.5]', '42["wait",0.5]')
    return client


def with_unread_answers(url: str) -> WebSocket:
    client = in_rooms(url)
    client.post('42["burst","item",2000,"' + "x" * 1000 + '"]')
    return client


def asked_and_not_answered(url: str) -> WebSocket:
    client = in_rooms(url)
    client.post('42["ask","question",[],3]')
    assert str(client.receive()).startswith("42")
    return client


def polling(url: str) -> Connection:
    """In a GET that waits."""
    session = Polling(url)
    session.open()
    session.post(HELLO)
    for _ in range(2):
        session.receive()
    return session.start_poll()


def in_a_post(url: str) -> Connection:
    session = Polling(url)
    session.open()
    session.post(HELLO)
    connection = Connection(url)
    connection.send(
        f"POST {session.target()} HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n42[".encode()
    )
    return connection


def probing(url: str) -> WebSocket:
    session = Polling(url)
    session.open()
    session.post(HELLO)
    client = WebSocket(url)
    client.handshake(query(transport="websocket", sid=session.sid))
    client.post("2probe")
    assert client.receive() == "3probe"
    return client


def upgraded(url: str) -> WebSocket:
    client = probing(url)
    client.post("5")
    for _ in range(2):
        client.receive()
    return client


STATES: list[Callable[[str], Connection]] = [
    no_request,
    half_a_request,
    handshake_unanswered,
    opened,
    in_rooms,
    in_a_head,
    in_a_frame,
    in_a_message,
    between_attachments,
    while_a_handler_works,
    with_unread_answers,
    asked_and_not_answered,
    polling,
    in_a_post,
    probing,
    upgraded,
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_of_clients_that_vanish(ending: str, server: SmallServer) -> None:
    before = server.status(collect="1", greenlets="1")
    with contextlib.ExitStack() as connections:
        for state in STATES * TIMES:
            connection = connections.enter_context(state(server.url))
            if ending == "close":
                connection.close()
            elif ending == "reset":
                connection.reset()
            elif ending == "half":
                connection.half_close()
        server.wait_until_empty()
    # Requests that are none yet are for whoever listens there: they end with their connections.
    wait_until(lambda: not _more(server, before), lambda: f"more than before: {_more(server, before)}", 30)
    # And it still serves.
    with SocketIO(WebSocket(server.url)) as client:
        client.join()
        assert client.call("message-with-ack", "here") == ["here"]


def test_a_handler_that_runs_after_its_client_has_gone_harms_nobody(server: SmallServer) -> None:
    with WebSocket(server.url) as client:
        client.open()
        client.post("40", '42["stream","item",50,0.02]')
        while client.receive() != '42["item",3]':
            pass
        client.reset()
    server.wait_until_empty()
    with SocketIO(WebSocket(server.url)) as other:
        other.join()
        assert other.call("message-with-ack", "here") == ["here"]


def _more(server: SmallServer, before: dict[str, Any]) -> dict[str, Any]:
    now = server.status(collect="1", greenlets="1")
    return {
        name: now[name] - before[name]
        for name in ("descriptors", "greenlets")
        if now[name] > before[name] + 3
    }


@pytest.fixture(autouse=True)
def _no_traceback(server: SmallServer) -> Iterator[None]:
    yield
    assert_no_traceback(server)
