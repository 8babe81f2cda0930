"""What no client of ours would send: the node refuses it, serves everybody else, and logs no stack trace."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
import requests
import websocket

from tests.integration.conftest import API_TOKEN, assert_no_traceback
from tests.support.clients import (
    Client,
    Json,
    People,
    RawClient,
    cookie_header,
    general,
    new_client_id,
    new_room,
)
from tests.support.servers import HOST, Node
from tests.support.waiting import WAIT_SECONDS, wait_until

Gather = Callable[[Node], People]


@pytest.fixture
def witness(node: Node, gather: Gather) -> Iterator[Client]:
    """Somebody who behaves, and is served before and after; the log is clean in the end."""
    ada = gather(node).join("Witness")
    since = len(node.log())
    yield ada
    assert ada.send(general(ada), "Still here.")["text"] == "Still here."
    assert requests.get(f"{node.url}/readyz", timeout=WAIT_SECONDS).status_code == 200
    assert_no_traceback(node, since)


class Member:
    """Somebody in a room over a raw connection."""

    def __init__(self, raw: RawClient, witness: Client) -> None:
        self.raw = raw
        answer = raw.join_namespace("/chat")
        if not answer.startswith("40/chat"):
            raw.receive_until("40/chat")
        self.witness = witness
        self.room = new_room(witness)
        assert self.ask("join", {"room": self.room})["ok"]

    def ask(self, *event: object) -> Json:
        """Send an event that asks for an acknowledgement, and return that."""
        self.raw.send(f"42/chat,7{json.dumps(list(event))}")
        answer: Json = json.loads(self.raw.receive_until("43/chat,7").removeprefix("43/chat,7"))[0]
        return answer

    def is_here(self) -> bool:
        return len(self.witness.call("members", {"room": self.room})["members"]) == 2


@pytest.fixture
def member(node: Node, gather: Gather, witness: Client) -> Iterator[Member]:
    cookie = cookie_header(gather(node).sign_in("Raw"))
    with RawClient(node.url, cookie=cookie) as raw:
        yield Member(raw, witness)


@pytest.mark.parametrize(
    "packet",
    [
        "[5]",
        "[null]",
        '[{"a": 1}]',
        '[["send"]]',
        '[""]',
        '["connect"]',
        '["connect", {}]',
        '["disconnect"]',
        '["disconnect", "transport error"]',
        '["trigger_event", {}]',
        '["__init__", {}]',
        '["_answer", {}]',
        '["emit", {}]',
        '["*", {}]',
        '["send"]',
        '["send", {}, {}, {}]',
        '["send", null]',
        '["send", [1, 2]]',
        '["send", "text"]',
        '["join", {"room": 1e400}]',
        '["join", {"room": NaN}]',
        '["join", {"room": -1}]',
        '["join", {"room": true}]',
        '["join", {"room": 1.5}]',
        '["\\ud800", {}]',
        '["' + "x" * 10_000 + '", {}]',
        '["hello", ' + '{"a":' * 200 + "1" + "}" * 200 + "]",
    ],
    ids=lambda packet: packet[:40],
)
def test_an_event_that_makes_no_sense(member: Member, packet: str) -> None:
    """It is answered by an error when an answer was asked for, and changes nothing."""
    member.raw.send(f"42/chat,{packet}")
    member.raw.send(f"42/chat,5{packet}")
    # Answered in their order, so both are done; the connection lives.
    assert member.ask("hello")["me"]["name"].startswith("Raw")
    assert member.is_here()


@pytest.mark.parametrize("name", ["disconnect", "connect"])
def test_a_reserved_name_gets_an_error(member: Member, name: str) -> None:
    answer = member.ask(name, {})
    assert (answer["ok"], answer["error"]["code"]) == (False, "unknown_event")
    assert member.is_here()


def test_binary_payloads(member: Member) -> None:
    # The event and its attachment, as a client sends bytes.
    member.raw.send('451-/chat,7["send",{"_placeholder":true,"num":0}]')
    member.raw.send_binary(b"\x00\x01\x02")
    answer = json.loads(member.raw.receive_until("43/chat,7").removeprefix("43/chat,7"))[0]
    assert answer["error"]["code"] == "bad_payload"
    text = {"_placeholder": True, "num": 0}
    fields = json.dumps({"room": member.room, "client_id": "binary", "text": text})
    member.raw.send(f'451-/chat,7["send",{fields}]')
    member.raw.send_binary(b"Hello")
    answer = json.loads(member.raw.receive_until("43/chat,7").removeprefix("43/chat,7"))[0]
    assert (answer["error"]["code"], answer["error"]["field"]) == ("bad_payload", "text")
    assert member.is_here()


@pytest.mark.parametrize(
    "frame",
    [
        "4",
        "",
        "9",
        "x",
        "49",
        "4x",
        "42",
        "42/chat",
        "42/chat,",
        "42/chat,{",
        "42/chat,{}",
        "42/chat,[]",
        '42/chat,"send"',
        "42/chat,null",
        "42/chat,[",
        '42/nowhere,["send",{}]',
        '42["send",{}]',
        "40/nowhere,",
        "40/chat,",
        "40/chat,[",
        "43/chat,99[]",
        '43/chat,"x"',
        '451-/chat,["send",{"_placeholder":true,"num":7}]',
        '45999-/chat,["send",{"_placeholder":true,"num":0}]',
        "46/chat,1[]",
        "2probe",
        "5",
        "6",
        "b" + "A" * 20,
        "42/chat,123456789012345678901234567890[]",
        "\ufeff42",
    ],
    ids=repr,
)
def test_a_packet_that_makes_no_sense(member: Member, frame: str) -> None:
    """The connection may be closed for it, and then its user is gone; nobody else notices."""
    member.raw.send(frame)
    if frame.startswith(("45", "46")):
        # Now the server waits for as many attachments as were announced, or has given up.
        member.raw.send_binary(b"attachment")
        return
    member.raw.send('42/chat,8["hello",{}]')
    # An answer or the end, so that the server has dealt with it.
    try:
        member.raw.receive_until("43/chat,8")
    except websocket.WebSocketTimeoutException:
        pytest.fail("neither an answer nor the end")
    except (websocket.WebSocketException, OSError):
        wait_until(lambda: not member.is_here(), "the user to be gone")


@pytest.mark.parametrize(
    ("name", "text"), [("lone surrogate", "\ud83d cut in half"), ("null", "\x00"), ("overlong", "x" * 50_000)]
)
def test_broken_text(member: Member, name: str, text: str) -> None:
    message = {"room": member.room, "client_id": new_client_id(), "text": text}
    answer = member.ask("send", message)
    assert answer["ok"] or answer["error"]["code"] in ("bad_payload", "too_long"), (name, answer)
    if answer["ok"]:
        member.witness.wait_for("message", lambda m: m["client_id"] == message["client_id"])


def test_broken_text_over_http(node: Node, witness: Client) -> None:
    body = {"client_id": new_client_id(), "text": "\ud83d cut in half"}
    url = f"{node.url}/api/v1/rooms/{general(witness)}/messages"
    answer = requests.post(url, json=body, cookies=witness.cookies(), timeout=WAIT_SECONDS)
    assert answer.status_code in (201, 422), answer.text
    url = f"{node.url}/api/v1/emit"
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    answer = requests.post(url, json={"event": "e", "data": "\ud83d"}, headers=headers, timeout=WAIT_SECONDS)
    assert answer.status_code in (202, 422), answer.text


def test_a_message_that_is_too_large_closes_only_its_connection(member: Member) -> None:
    text = "x" * 200_000
    member.raw.send(f'42/chat,5["send",{{"room":{member.room},"client_id":"large","text":"{text}"}}]')
    assert member.raw.closed_by_server()
    wait_until(lambda: not member.is_here(), "the sender to be gone")
    assert member.witness.call("history", {"room": member.room})["messages"] == []


def test_a_polling_request_that_is_too_large(node: Node, gather: Gather, witness: Client) -> None:
    bob = gather(node).join("Bob", transport="polling")
    room = general(bob)
    bob.emit("send", {"room": room, "client_id": "large", "text": "x" * 200_000})
    wait_until(lambda: bob.disconnects, "the connection to be closed")


def test_garbage_before_any_protocol(node: Node, witness: Client) -> None:
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection((HOST, node.port), timeout=WAIT_SECONDS) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


@pytest.mark.parametrize(
    "query",
    [
        "",
        "EIO=3&transport=polling",
        "EIO=4&transport=carrier-pigeon",
        "EIO=4&transport=polling&sid=unknown",
        "EIO=4&transport=websocket",
        "EIO=4&transport=polling&j=0",
        "EIO=4&transport=polling&sid=%00%ff",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT"])
def test_handshakes_that_make_no_sense(node: Node, witness: Client, method: str, query: str) -> None:
    url = f"{node.url}/socket.io/?{query}"
    body = b"4" if method == "POST" else None
    answer = requests.request(method, url, data=body, timeout=WAIT_SECONDS)
    assert answer.status_code < 500, answer.text


def test_a_connection_that_vanishes_is_noticed(node: Node, gather: Gather, witness: Client) -> None:
    """No close frame, no goodbye: the TCP connection ends, and the user is gone."""
    cookie = cookie_header(gather(node).sign_in("Raw"))
    with RawClient(node.url, cookie=cookie) as raw:
        member = Member(raw, witness)
        assert member.is_here()
    wait_until(lambda: not member.is_here(), "the user to be gone")


def test_a_flood_of_refused_events_does_not_hold_the_node_up(node: Node) -> None:
    """What costs next to nothing to send is the cheapest attack: everybody else is served meanwhile."""
    with RawClient(node.url) as flood:
        flood.join_namespace("/market")
        answers = gevent.spawn(flood.receive_until, "43/market,1")
        for _ in range(5_000):
            flood.send('42/market,["no_such_event",{}]')
        flood.send('42/market,1["symbols",{}]')
        started = time.monotonic()
        answer = requests.get(f"{node.url}/healthz", timeout=30)
        first_answer = time.monotonic() - started
        answers.get(timeout=60)
        whole_flood = time.monotonic() - started
    assert answer.status_code == 200
    assert first_answer < whole_flood / 4, f"answered after {first_answer:.2f} of {whole_flood:.2f} s"


HANDSHAKE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "WebSocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Sec-WebSocket-Key", None, 400),
        ("Sec-WebSocket-Key", "c2hvcnQ=", 400),
        ("Sec-WebSocket-Key", "?", 400),
        ("Connection", "keep-alive", 400),
        ("Sec-WebSocket-Version", None, 426),
        ("Sec-WebSocket-Version", "8", 426),
    ],
)
def test_a_handshake_that_is_none_leaves_no_session(
    header: str, value: str | None, status: int, node: Node, witness: Client
) -> None:
    def clients() -> int:
        ready = requests.get(f"{node.url}/readyz", timeout=WAIT_SECONDS).json()
        return int(ready["checks"]["node"]["clients"])

    # Clients of other tests may be about to leave.
    before = clients()
    answer = requests.get(
        f"{node.url}/socket.io/?EIO=4&transport=websocket",
        headers={**HANDSHAKE, header: value},
        timeout=WAIT_SECONDS,
    )
    assert answer.status_code == status
    assert (answer.headers.get("Sec-WebSocket-Version") == "13") == (status == 426)
    assert clients() <= before
