"""Engine.IO, "Upgrade": from polling to a WebSocket, without losing or doubling anything."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.small import SmallServer
from tests.support.wire import Closed, Connection, fetch, query
from tests.support.wire_socketio import Polling, SocketIO
from tests.support.wire_websocket import CLOSE, TEXT, WebSocket
from tests.transport.conformance.conftest import Open
from tests.transport.conformance.test_handshake import BAD_REQUEST, refused


@pytest.fixture
def client(opened: Open, server: SmallServer) -> SocketIO:
    """A session by polling, in the namespace /bench, with nothing to fetch."""
    return opened.join(server, "polling")


def polls(client: SocketIO) -> Polling:
    """The polling side of a session."""
    assert isinstance(client.engine, Polling)
    return client.engine


def waiting_poll(server: SmallServer, client: SocketIO) -> Connection:
    """Begin a poll, and see that the server has taken it."""
    poll = polls(client).start_poll()
    fetch(server.url, "GET", "/ready")
    return poll


def usable(websocket: WebSocket) -> bool:
    """Whether events go through a WebSocket in both directions."""
    websocket.post('42/bench,["message","usable?"]')
    return websocket.receive() == '42/bench,["message-back","usable?"]'


def is_refused(websocket: WebSocket, sid: str) -> bool:
    """Whether another WebSocket for a session is refused: at its handshake, or by its end."""
    answer = websocket.handshake(query(transport="websocket", sid=sid), check=False)
    if answer.status == 101:
        with contextlib.suppress(Closed):
            websocket.post("2probe")
            websocket.receive()
            return False
        return True
    return answer.status == 400


def test_the_steps_of_an_upgrade(server: SmallServer, opened: Open, client: SocketIO) -> None:
    websocket = opened.upgraded(server)
    with waiting_poll(server, client) as poll:
        websocket.probe(client.eio_sid)
        assert poll.read_answer().text == "6"
    websocket.post("5")
    assert usable(websocket)


def test_a_poll_after_the_probe(server: SmallServer, opened: Open, client: SocketIO) -> None:
    websocket = opened.upgraded(server)
    websocket.probe(client.eio_sid)
    for _ in range(2):
        answer = polls(client).poll()
        assert (answer.status, answer.text) == (200, "6")
    websocket.post("5")
    assert usable(websocket)


def test_a_post_after_the_probe(server: SmallServer, opened: Open, client: SocketIO) -> None:
    websocket = opened.upgraded(server)
    websocket.probe(client.eio_sid)
    client.emit("message", 1, namespace="/bench")
    answer = polls(client).poll()
    rest = [packet for packet in answer.packets if packet != "6"]
    websocket.post("5")
    while not rest:
        rest.append(websocket.receive())
    assert rest == ['42/bench,["message-back",1]']
    assert usable(websocket)


def test_an_upgrade_before_any_namespace(server: SmallServer, opened: Open) -> None:
    polling = opened.polling(server)
    websocket = opened.upgraded(server)
    websocket.upgrade(polling.sid)
    websocket.post("40/bench,")
    assert str(websocket.receive()).startswith("40/bench,")
    assert usable(websocket)


def test_the_session_stays_the_same(server: SmallServer, opened: Open, client: SocketIO) -> None:
    (before,) = client.call("info", namespace="/bench")
    websocket = opened.upgraded(server)
    websocket.upgrade(client.eio_sid)
    client.engine = websocket
    (after,) = client.call("info", namespace="/bench")
    assert (before["transport"], after["transport"]) == ("polling", "websocket")
    assert before["sid"] == after["sid"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_polling_is_refused_after_an_upgrade(
    server: SmallServer, opened: Open, client: SocketIO, method: str
) -> None:
    websocket = opened.upgraded(server)
    websocket.upgrade(client.eio_sid)
    # The "5" and the request race; whoever answers to the WebSocket has seen the "5".
    assert usable(websocket)
    body = '42/bench,["message",2]' if method == "POST" else None
    refused(fetch(server.url, method, polls(client).target(), body=body), BAD_REQUEST)
    assert usable(websocket)


def test_a_second_websocket_is_refused_after_an_upgrade(
    server: SmallServer, opened: Open, client: SocketIO
) -> None:
    websocket = opened.upgraded(server)
    websocket.upgrade(client.eio_sid)
    assert usable(websocket)
    assert is_refused(opened.websocket(server), client.eio_sid)
    assert usable(websocket)


def test_a_second_websocket_is_refused_during_an_upgrade(
    server: SmallServer, opened: Open, client: SocketIO
) -> None:
    websocket = opened.upgraded(server)
    websocket.probe(client.eio_sid)
    assert is_refused(opened.websocket(server), client.eio_sid)
    websocket.post("5")
    assert usable(websocket)


def test_a_websocket_for_a_session_that_has_one(server: SmallServer, opened: Open) -> None:
    client = opened.join(server, "websocket")
    assert is_refused(opened.websocket(server), client.eio_sid)
    assert isinstance(client.engine, WebSocket)
    assert usable(client.engine)


# An upgrade that fails.


def vanishes(websocket: WebSocket) -> None:
    websocket.close()


def says_goodbye(websocket: WebSocket) -> None:
    websocket.send_frame(CLOSE, b"\x03\xe8")
    websocket.read_frame()


def is_no_websocket(websocket: WebSocket) -> None:
    websocket.send(b"GET / HTTP/1.1\r\n\r\n")
    websocket.read_all()


def says(packet: str) -> Callable[[WebSocket], None]:
    """A client that says something else than it should."""

    def say(websocket: WebSocket) -> None:
        websocket.send_frame(TEXT, packet)
        with contextlib.suppress(Closed):
            while True:
                websocket.receive()

    return say


FAILURES: dict[str, Callable[[WebSocket], None]] = {
    "vanishes": vanishes,
    "says goodbye": says_goodbye,
    "is no WebSocket": is_no_websocket,
    "sends a message": says('42/bench,["message",1]'),
    "sends nonsense": says("abc"),
    "sends nothing": says(""),
    "closes": says("1"),
    "sends a pong": says("3probe"),
}


@pytest.mark.parametrize("probed", [False, True], ids=["before the probe", "after the probe"])
@pytest.mark.parametrize("failure", FAILURES)
def test_polling_goes_on_after_a_failed_upgrade(
    server: SmallServer, opened: Open, client: SocketIO, failure: str, probed: bool
) -> None:
    websocket = opened.upgraded(server)
    if probed:
        websocket.probe(client.eio_sid)
    else:
        websocket.handshake(query(transport="websocket", sid=client.eio_sid))
    FAILURES[failure](websocket)
    client.emit("message", "still here", namespace="/bench")
    assert texts(client, 1) == ['42/bench,["message-back","still here"]']
    again = opened.upgraded(server)
    # The end of a connection that vanished may be seen late.
    again.upgrade(client.eio_sid)
    assert usable(again)


def texts(client: SocketIO, count: int) -> list[Any]:
    """So many packets by polling, but no "6"."""
    found: list[Any] = []
    while len(found) < count:
        packet = client.engine.receive()
        if packet != "6":
            found.append(packet)
    return found


@pytest.mark.parametrize("probed", [False, True], ids=["before the probe", "after the probe"])
def test_an_upgrade_that_comes_to_nothing(brisk: SmallServer, opened: Open, probed: bool) -> None:
    client = opened.join(brisk, "polling")
    websocket = opened.upgraded(brisk)
    if probed:
        websocket.probe(client.eio_sid)
    else:
        websocket.handshake(query(transport="websocket", sid=client.eio_sid))
    # The server gives up after a second; the client forgets about it.
    websocket.read_all()
    client.emit("message", 1, namespace="/bench")
    assert client.receive_event("/bench") == ["message-back", 1]


def test_the_session_ends_during_an_upgrade(server: SmallServer, opened: Open, client: SocketIO) -> None:
    websocket = opened.upgraded(server)
    websocket.probe(client.eio_sid)
    assert polls(client).post_body("1").body == b"ok"
    websocket.read_all()


# Nothing is lost, doubled or swapped.


def test_what_is_emitted_after_the_probe_arrives(server: SmallServer, opened: Open, client: SocketIO) -> None:
    websocket = opened.upgraded(server)
    with waiting_poll(server, client) as poll:
        websocket.probe(client.eio_sid)
        assert poll.read_answer().text == "6"
    # The client waits with the "5" for its last poll, and polls no more.
    for number in range(30):
        server.emit("number", number, namespace="/bench")
    websocket.post("5")
    received = [websocket.receive() for _ in range(30)]
    assert received == [f'42/bench,["number",{number}]' for number in range(30)]
    assert usable(websocket)


def test_what_was_posted_before_is_handled_first(server: SmallServer, opened: Open, client: SocketIO) -> None:
    websocket = opened.upgraded(server)
    websocket.probe(client.eio_sid)
    client.send(*(f'2/bench,["message",{number}]' for number in range(10)))
    websocket.post("5", *(f'42/bench,["message",{number}]' for number in range(10, 20)))
    received = [websocket.receive() for _ in range(20)]
    assert received == [f'42/bench,["message-back",{number}]' for number in range(20)]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_a_stream_goes_on_during_an_upgrade(server: SmallServer, opened: Open, binary: bool) -> None:
    # As the JavaScript client upgrades: it polls on until the probe is answered and the last poll has come.
    for pause in (0.0, 0.001, 0.003):
        client = opened.join(server, "polling")
        client.emit("stream", "number", 60, pause, binary, namespace="/bench", ack=1)
        received = [client.engine.receive() for _ in range(2)]
        websocket = opened.upgraded(server)
        poll = polls(client).start_poll()
        websocket.probe(client.eio_sid)
        received += [*polls(client).waiting, *poll.read_answer().packets]
        poll.close()
        websocket.post("5")
        while "43/bench,1[true]" not in received:
            received.append(websocket.receive())
        events = [packet for packet in received if packet not in ("6", "43/bench,1[true]")]
        if binary:
            assert events[1::2] == [str(number).encode() for number in range(60)]
        else:
            numbers = [int(re.sub(r"\D", "", str(packet).removeprefix("42"))) for packet in events]
            assert numbers == list(range(60))


def test_a_large_event_during_an_upgrade(server: SmallServer, opened: Open, client: SocketIO) -> None:
    websocket = opened.upgraded(server)
    websocket.probe(client.eio_sid)
    server.emit("large", text_bytes=900_000, namespace="/bench")
    server.emit("small", 1, namespace="/bench")
    websocket.post("5")
    client.engine = websocket
    name, text = client.receive_event("/bench")
    assert (name, len(text)) == ("large", 900_000)
    assert client.receive_event("/bench") == ["small", 1]
