"""Engine.IO, "HTTP long-polling": sending, receiving, and what ends a session."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest

from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.support.wire import SEPARATOR, Answer, Closed, Connection, encode_payload, fetch
from tests.support.wire_socketio import Polling, SocketIO
from tests.transport.conformance.conftest import SMALL_BYTES, Open
from tests.transport.conformance.test_handshake import UNKNOWN_SID, refused

EVENTS = [f'42/bench,["message",{number}]' for number in range(50)]
BACK = [f'42/bench,["message-back",{number}]' for number in range(50)]


def joined(opened: Open, server: SmallServer) -> tuple[Polling, SocketIO]:
    """A session in the namespace /bench, with nothing to fetch."""
    client = opened.join(server, "polling")
    assert isinstance(client.engine, Polling)
    return client.engine, client


def gone(polling: Polling) -> bool:
    """Whether the session is unknown."""
    refused(polling.poll(), UNKNOWN_SID)
    refused(polling.post_body("4hello"), UNKNOWN_SID)
    return True


def waiting_polls(server: SmallServer, polling: Polling) -> Connection:
    """Begin a poll, and see that the server has taken it."""
    poll = polling.start_poll()
    # The poll was sent before this request, and the server takes them in their order; both are short.
    fetch(server.url, "GET", "/ready")
    return poll


def test_a_post_is_answered_with_ok(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    answer = polling.post_body(EVENTS[0])
    assert (answer.status, answer.body) == (200, b"ok")
    answer = polling.poll()
    assert (answer.status, answer.text) == (200, BACK[0])


def test_several_packets_in_a_request(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    assert polling.post_body(SEPARATOR.join(EVENTS[:3])).body == b"ok"
    received = [str(polling.receive()) for _ in range(3)]
    assert received == BACK[:3]


def test_several_packets_in_an_answer(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    client.emit("burst", "number", 3, namespace="/bench", ack=1)
    numbers = [f'42/bench,["number",{number}]' for number in range(3)]
    packets = polling.poll().text.split(SEPARATOR)
    assert packets[:3] == numbers


def test_many_packets_come_in_order(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    client.emit("burst", "number", 200, namespace="/bench", ack=1)
    received = [str(polling.receive()) for _ in range(201)]
    assert received == [f'42/bench,["number",{number}]' for number in range(200)] + ["43/bench,1[true]"]


def test_binary_is_base64(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    event = '451-/bench,["message",{"_placeholder":true,"num":0}]'
    assert polling.post_body(f"{event}\x1ebAQIDBA==").body == b"ok"
    back = '451-/bench,["message-back",{"_placeholder":true,"num":0}]'
    texts: list[str] = []
    while len(texts) < 2:
        texts += polling.poll().text.split(SEPARATOR)
    assert texts == [back, "bAQIDBA=="]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 65_536])
def test_binary_of_any_size(server: SmallServer, opened: Open, size: int) -> None:
    _, client = joined(opened, server)
    data = bytes(number % 256 for number in range(size))
    client.emit("message", data, namespace="/bench")
    assert client.receive_event("/bench") == ["message-back", data]


def test_text_is_utf8(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    text = "\N{EURO SIGN} \N{GRINNING FACE} \u2028 \x00 \x7f"
    raw = text.replace("\x00", "\\u0000")
    assert polling.post_body(f'42/bench,["message","{raw}"]').body == b"ok"
    answer = polling.poll()
    assert int(answer.headers["content-length"]) == len(answer.body)
    (packet,) = answer.packets
    assert json.loads(str(packet).removeprefix("42/bench,")) == ["message-back", text]


def test_a_poll_waits(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    with waiting_polls(server, polling) as poll:
        client.emit("message", "now", namespace="/bench")
        assert poll.read_answer().text == '42/bench,["message-back","now"]'


def test_a_post_does_not_wait_for_a_poll(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    with waiting_polls(server, polling) as poll:
        assert polling.post_body('42/bench,["wait",0]').body == b"ok"
        client.emit("message", 2, namespace="/bench")
        assert poll.read_answer().text == '42/bench,["message-back",2]'


def test_a_handler_does_not_hold_up_requests(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    client.emit("wait", 30, namespace="/bench", ack=1)
    client.emit("message", "meanwhile", namespace="/bench")
    assert polling.poll().text == '42/bench,["message-back","meanwhile"]'


def test_a_second_poll_ends_the_session(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    with waiting_polls(server, polling) as first:
        assert polling.poll().status == 400
        answer = first.read_answer()
        assert (answer.status, answer.text) == (200, "1")
    assert gone(polling)


def test_a_second_post_ends_the_session(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    with Connection(server.url) as first:
        body = EVENTS[0].encode()
        headers = {"Content-Type": "text/plain;charset=UTF-8", "Content-Length": str(len(body))}
        first.send_request("POST", polling.target(), headers)
        first.send(body[:5])
        fetch(server.url, "GET", "/ready")
        assert polling.post_body(EVENTS[1]).status == 400
        with contextlib.suppress(Closed):
            first.send(body[5:])
            assert first.read_answer().status == 400
    assert gone(polling)


def test_a_poll_that_is_given_up_ends_the_session(server: SmallServer, opened: Open) -> None:
    # "closes the session upon cancelled polling request": what it would have carried might be lost.
    polling, _ = joined(opened, server)
    waiting_polls(server, polling).close()
    wait_until(lambda: polling.post_body("3").status == 400, "the end of the session")
    assert gone(polling)


@pytest.mark.parametrize(
    "body",
    [
        b"abc",
        b"",
        b"9",
        b"4hello\x1eabc",
        b"4hello\x1e",
        b"b" + b"AQI",
        b"b====",
        b"b\xc3\xa4\xc3\xa4",
        b"4\xff\xfe",
        b'd=42["message"]',
        b"\x1e",
        b"\x00",
    ],
    ids=repr,
)
def test_what_is_no_payload_ends_the_session(server: SmallServer, opened: Open, body: bytes) -> None:
    polling, _ = joined(opened, server)
    with contextlib.suppress(Closed):
        assert polling.post_body(body).status == 400
    assert gone(polling)


def test_a_waiting_poll_learns_of_the_end(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    with waiting_polls(server, polling) as poll:
        with contextlib.suppress(Closed):
            assert polling.post_body("abc").status == 400
        # The reference server says "1"; Python's clients take that for good, and never come back.
        assert poll.read_answer().text in ("1", "6")
    assert gone(polling)


def test_the_client_closes(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    with waiting_polls(server, polling) as poll:
        assert polling.post_body("1").body == b"ok"
        answer = poll.read_answer()
        assert (answer.status, answer.text) == (200, "6")
    assert gone(polling)


def test_the_client_closes_between_polls(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    assert polling.post_body("1").body == b"ok"
    assert gone(polling)


def test_the_client_closes_after_events(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    room = f"room-{client.eio_sid}"
    other = opened.join(server, "websocket")
    assert other.call("join", room, namespace="/bench") == [True]
    order = '42/bench,["emit_to",{"room":"' + room + '","event":"last","data":[1]}]'
    polling.post_body(encode_payload([order, "1"]))
    assert other.receive_event("/bench") == ["last", 1]
    assert gone(polling)


def test_the_server_closes(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    with waiting_polls(server, polling) as poll:
        server.disconnect(client.eio_sid, None)
        answer = poll.read_answer()
        assert answer.status == 200
        assert answer.packets[-1] == "1"
    assert gone(polling)


def test_the_server_closes_between_polls(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    server.emit("last", 1, namespace="/bench")
    server.disconnect(client.eio_sid, None)
    packets = polling.poll().packets
    while packets[-1] != "1":
        packets += polling.poll().packets
    assert [packet for packet in packets if packet != "6"] == ['42/bench,["last",1]', "1"]
    assert gone(polling)


# Limits.


def padded(size: int) -> str:
    """A packet of so many bytes."""
    packet = '42/bench,["message-with-ack",""]'
    return packet.replace('""', '"' + "x" * (size - len(packet)) + '"')


def test_the_largest_payload(strict: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, strict)
    assert polling.post_body(padded(SMALL_BYTES)).body == b"ok"
    assert polling.post_body(padded(SMALL_BYTES + 1)).status == 413


@pytest.mark.parametrize("how", ["promised", "chunked"])
def test_a_payload_that_is_too_large_is_not_read(strict: SmallServer, opened: Open, how: str) -> None:
    polling, _ = joined(opened, strict)
    with Connection(strict.url) as connection:
        if how == "promised":
            connection.send_request("POST", polling.target(), {"Content-Length": "1000000000"})
        else:
            connection.send_request("POST", polling.target(), {"Transfer-Encoding": "chunked"})
            connection.send(b"%x\r\n%s\r\n" % (SMALL_BYTES + 1, b"4" * (SMALL_BYTES + 1)))
        assert connection.read_answer().status == 413


def test_a_chunked_payload(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    with Connection(server.url) as connection:
        connection.send_request("POST", polling.target(), {"Transfer-Encoding": "chunked"})
        body = EVENTS[0].encode()
        for part in (body[:10], body[10:], b""):
            connection.send(b"%x\r\n%s\r\n" % (len(part), part))
        assert connection.read_answer().body == b"ok"
    assert client.receive_event("/bench") == ["message-back", 0]


def test_so_many_packets_a_payload(strict: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, strict)
    assert polling.post_body(SEPARATOR.join(EVENTS[:20])).body == b"ok"
    assert [client.receive_event("/bench") for _ in range(20)] == [
        ["message-back", number] for number in range(20)
    ]
    with contextlib.suppress(Closed):
        assert polling.post_body(SEPARATOR.join(EVENTS[:21])).status == 400
    assert gone(polling)


# Of HTTP.


def test_a_connection_serves_many_requests(server: SmallServer, opened: Open) -> None:
    polling, _ = joined(opened, server)
    with Connection(server.url) as connection:
        for number in range(5):
            answer = connection.request("POST", polling.target(), body=EVENTS[number])
            assert answer.body == b"ok"
            assert connection.request("GET", polling.target()).text == BACK[number]


@pytest.mark.parametrize("content_type", [None, "text/plain", "text/plain; charset=UTF-8", "text/html"])
def test_a_payload_without_a_type_is_text(
    server: SmallServer, opened: Open, content_type: str | None
) -> None:
    polling, client = joined(opened, server)
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer: Answer = fetch(server.url, "POST", polling.target(), headers, EVENTS[0])
    assert answer.body == b"ok"
    assert client.receive_event("/bench") == ["message-back", 0]


def test_a_payload_that_looks_like_a_form_is_none(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = fetch(server.url, "POST", polling.target(), headers, '42/bench,["message","a=b&c=%20"]')
    assert answer.body == b"ok"
    assert client.receive_event("/bench") == ["message-back", "a=b&c=%20"]


def test_base64_is_exact(server: SmallServer, opened: Open) -> None:
    polling, client = joined(opened, server)
    data = bytes(range(256))
    client.emit("message", data, namespace="/bench")
    texts: list[str] = []
    while len(texts) < 2:
        texts += polling.poll().text.split(SEPARATOR)
    assert texts[1] == "b" + base64.b64encode(data).decode()
