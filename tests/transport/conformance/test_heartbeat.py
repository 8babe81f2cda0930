"""Engine.IO, "Heartbeat"; and the time that a connection may be in no namespace (the reference server's)."""

from __future__ import annotations

import time

import pytest

from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.support.wire import Closed
from tests.support.wire_socketio import Polling, SocketIO
from tests.support.wire_websocket import WebSocket
from tests.transport.conformance.conftest import CONNECT_SECONDS, PING_SECONDS, Open, end
from tests.transport.conformance.test_handshake import UNKNOWN_SID, refused


def test_pings_come_in_time_and_pongs_keep_alive(brisk: SmallServer, opened: Open, transport: str) -> None:
    client = opened.join(brisk, transport)
    before = time.monotonic()
    for _ in range(3):
        assert client.engine.receive() == "2"
        client.engine.post("3")
    assert time.monotonic() - before > 2 * PING_SECONDS
    assert client.call("message-with-ack", 1, namespace="/bench") == [1]


def test_a_client_without_events_is_pinged_while_it_sends(brisk: SmallServer, opened: Open) -> None:
    client = opened.join(brisk, "websocket")
    websocket = client.engine
    assert isinstance(websocket, WebSocket)
    pings, acks, sent = 0, 0, 0
    while pings < 3:
        websocket.post(f'42/bench,{sent}["message-with-ack"]')
        sent += 1
        while acks < sent:
            packet = websocket.receive()
            if packet == "2":
                pings += 1
                websocket.post("3")
            else:
                assert packet == f"43/bench,{acks}[]"
                acks += 1


def test_no_pong_closes_a_websocket(impatient: SmallServer, opened: Open) -> None:
    client = opened.connect(impatient, "websocket")
    sid = client.connect("/bench")
    client.pong = False
    assert client.engine.receive() == "2"
    with pytest.raises(Closed):
        client.receive()
    assert end(impatient, sid) == "ping timeout"


def test_no_pong_closes_an_upgraded_session(impatient: SmallServer, opened: Open) -> None:
    client = opened.connect(impatient, "upgrade")
    client.pong = False
    assert client.closed()


def test_no_pong_closes_a_polling_session(impatient: SmallServer, opened: Open) -> None:
    client = opened.connect(impatient, "polling")
    sid = client.connect("/bench")
    assert end(impatient, sid) == "ping timeout"
    assert isinstance(client.engine, Polling)
    refused(client.engine.poll(), UNKNOWN_SID)


def test_no_pong_answers_a_waiting_poll(impatient: SmallServer, opened: Open) -> None:
    polling = opened.polling(impatient)
    assert polling.poll().text == "2"
    answer = polling.poll()
    assert answer.status == 200
    assert answer.text in ("1", "6")
    refused(polling.poll(), UNKNOWN_SID)


def test_a_session_that_is_never_used_ends(impatient: SmallServer, opened: Open) -> None:
    polling = opened.polling(impatient)
    wait_until(lambda: impatient.status()["left"]["sockets"] == 0, "the end of all sessions")
    refused(polling.poll(), UNKNOWN_SID)


def test_a_pong_in_time_matters_not_when(brisk: SmallServer, opened: Open, transport: str) -> None:
    # Only silence counts: an answer that nobody asked for, and two of them, do no harm.
    client = opened.join(brisk, transport)
    client.engine.post("3", "3")
    assert client.engine.receive() == "2"
    client.engine.post("3", "3")
    assert client.engine.receive() == "2"
    client.engine.post("3")
    assert client.call("message-with-ack", 1, namespace="/bench") == [1]


# A namespace in time.

# An upgraded session is like one that began on a WebSocket, and these tests take their time.
BOTH = pytest.mark.parametrize("transport", ["websocket", "polling"])


def stays_out(client: SocketIO) -> None:
    """Wait for the server to close the connection, not too soon.

    :raises AssertionError: when it does not, or too soon.
    """
    before = time.monotonic()
    assert client.closed()
    assert time.monotonic() - before > CONNECT_SECONDS / 2


@BOTH
def test_a_client_that_joins_no_namespace(brisk: SmallServer, opened: Open, transport: str) -> None:
    stays_out(opened.connect(brisk, transport))


@BOTH
def test_a_client_that_is_refused(brisk: SmallServer, opened: Open, transport: str) -> None:
    client = opened.connect(brisk, transport)
    client.send("0/refused,", "0/unknown,")
    client.expect("4/refused,")
    client.expect("4/unknown,")
    stays_out(client)


@BOTH
def test_a_client_that_leaves_its_last_namespace(brisk: SmallServer, opened: Open, transport: str) -> None:
    client = opened.join(brisk, transport)
    client.send("1/bench,")
    stays_out(client)


@BOTH
def test_a_client_that_comes_back_in_time(brisk: SmallServer, opened: Open, transport: str) -> None:
    client = opened.join(brisk, transport)
    client.send("1/bench,")
    client.connect("/bench")
    before = time.monotonic()
    while time.monotonic() - before < CONNECT_SECONDS + 1:
        assert client.engine.receive() == "2"
        client.engine.post("3")
    assert client.call("message-with-ack", 1, namespace="/bench") == [1]
