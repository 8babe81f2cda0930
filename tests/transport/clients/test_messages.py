"""What every kind of client says and hears, over every transport."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.transport.clients.conftest import Meet
from tests.transport.clients.peers import KINDS, TRANSPORTS, AckTimeout, Binary, Kind, Peer, Transport

TEXTS = [
    "",
    "plain",
    "Grüße, κόσμε, 世界, 🎉👩‍👩‍👧",
    '"quoted" \\ and / slashes',
    "\u0000\u001e\u2028\u2029\r\n\t",
]
VALUES: list[list[Any]] = [
    [],
    [None],
    [True, False, 0, -1, 1.5, 2**53 - 1],
    [TEXTS],
    [{"nested": {"deeper": [{"deepest": []}, {}]}, "": "an empty name", "ключ": 1}],
    ["first", ["second"], {"third": 3}],
    [{"_placeholder": True, "number": "not a number"}],
]
EVERY_BYTE = bytes(range(256))
BINARIES: list[list[Any]] = [
    [EVERY_BYTE],
    [b""],
    ["before", b"\x00\x01", "after"],
    [{"file": {"content": EVERY_BYTE, "name": "a.bin"}, "parts": [b"one", [b"two"], {"three": b"three"}]}],
    # As many as a packet may have.
    [bytes([number]) * (number + 1) for number in range(10)],
]
# A burst that is longer than the buffers of clients and servers that count packets.
MANY = 100


@pytest.fixture(params=[(kind, transport) for kind in KINDS for transport in TRANSPORTS], ids="-".join)
def peer(request: pytest.FixtureRequest, meet: Meet, roomy: SmallServer) -> Peer:
    """Each kind of client, over each transport, with two namespaces on one connection."""
    kind, transport = request.param
    return meet(
        kind, transport, roomy.url, namespaces=("/", "/custom"), auth={"who": "me", "token": "ünique"}
    )


def test_what_the_client_says_when_it_connects_arrives(peer: Peer) -> None:
    for namespace in peer.namespaces:
        assert peer.wait_for("auth", namespace=namespace) == [[{"who": "me", "token": "ünique"}]]
    # A namespace's id is nobody else's business.
    assert len({peer.engine_id(), peer.sid("/"), peer.sid("/custom")}) == 3


def test_every_json_value_comes_back_as_it_was(peer: Peer) -> None:
    for values in VALUES:
        peer.emit("message", *values)
    assert peer.wait_for("message-back", len(VALUES)) == VALUES


def test_binary_values_come_back_as_they_were(peer: Peer) -> None:
    for values in BINARIES:
        peer.emit("message", *values)
    assert peer.wait_for("message-back", len(BINARIES)) == BINARIES


def test_the_server_acknowledges(peer: Peer) -> None:
    for values in VALUES + BINARIES:
        assert peer.call("message-with-ack", *values) == values
        assert peer.call("message-with-ack", *values, namespace="/custom") == values


def test_the_client_acknowledges(peer: Peer) -> None:
    for number, values in enumerate(VALUES + BINARIES):
        peer.answer(f"question {number}", "answer", *values)
        expected = [True, "answer", *values]
        assert peer.call("ask", f"question {number}", ["please", b"\x00"], 10) == [expected]
        assert peer.wait_for(f"question {number}") == [["please", b"\x00"]]


def test_an_acknowledgement_that_is_late_is_a_timeout_and_no_more(peer: Peer) -> None:
    peer.answer("slow question", "late", after_seconds=1.0)
    assert peer.call("ask", "slow question", [], 0.2) == [[False]]
    with pytest.raises(AckTimeout):
        peer.call("never-acknowledged", timeout_seconds=0.2)
    peer.answer("slow question", "in time")
    assert peer.call("ask", "slow question", [], 10) == [[True, "in time"]]
    assert peer.disconnects() == []


def test_a_client_gets_many_events_of_one_moment_in_their_order(peer: Peer) -> None:
    peer.emit("burst", "item", MANY)
    assert peer.wait_for("item", MANY) == [[number] for number in range(MANY)]
    # The connection has survived it.
    assert peer.call("message-with-ack", "still here") == ["still here"]
    assert peer.disconnects() == []


def test_many_events_of_one_moment_leave_a_client_in_their_order(peer: Peer) -> None:
    peer.emit_all(
        [("message", [number, b"binary" if number % 10 == 0 else "text"]) for number in range(MANY)]
    )
    came = peer.wait_for("message-back", MANY)
    assert [number for number, _ in came] == list(range(MANY))
    assert [content for _, content in came] == [b"binary" if n % 10 == 0 else "text" for n in range(MANY)]
    assert peer.disconnects() == []


def test_namespaces_on_one_connection_do_not_hear_each_other(peer: Peer, roomy: SmallServer) -> None:
    for namespace in peer.namespaces:
        peer.emit_all([("message", [namespace, number]) for number in range(10)], namespace)
    for namespace in peer.namespaces:
        came = peer.wait_for("message-back", 10, namespace=namespace)
        assert came == [[namespace, number] for number in range(10)]


def test_volatile_events_reach_a_client_that_reads(peer: Peer) -> None:
    for number in range(10):
        # One at a time: a volatile event is for whoever can take it now.
        peer.emit("emit_to", {"event": "now", "data": [number, b"binary"], "volatile": True})
        peer.wait_for("now", number + 1)
    assert peer.wait_for("now", 10) == [[number, b"binary"] for number in range(10)]


def test_a_client_that_leaves_leaves_nothing_behind(peer: Peer, roomy: SmallServer) -> None:
    sids = {peer.sid(namespace) for namespace in peer.namespaces}
    assert peer.call("join", "a room") == [True]
    peer.close()
    ends = wait_until(lambda: _ends(roomy, sids), "the server's disconnect handlers")
    assert sorted(ends) == sorted(sids)
    assert set(ends.values()) <= {"client disconnect", "transport close"}
    roomy.wait_until_empty()


def test_the_server_ends_one_namespace_and_the_other_goes_on(peer: Peer, roomy: SmallServer) -> None:
    sid = peer.sid()
    peer.emit("disconnect_me")
    wait_until(peer.disconnects, lambda: f"{peer!r}")
    # The words are the clients' own.
    assert peer.disconnects() in (["io server disconnect"], ["server disconnect"])
    assert peer.call("message-with-ack", "here", namespace="/custom") == ["here"]
    assert peer.disconnects("/custom") == []
    assert wait_until(lambda: _ends(roomy, {sid}), "its end") == {sid: "server disconnect"}


def _ends(server: SmallServer, sids: set[str]) -> dict[str, str]:
    """Why each of these clients ended, for the server; nothing as long as not all have."""
    ends = {sid: reason for sid, reason in server.status()["ends"] if sid in sids}
    return ends if len(ends) == len(sids) else {}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("kind", "type"),
    [
        ("node", "Buffer"),
        ("node", "Uint8Array"),
        ("node", "ArrayBuffer"),
        ("chromium", "ArrayBuffer"),
        ("chromium", "Uint8Array"),
        ("chromium", "Blob"),
    ],
)
def test_every_binary_type_of_javascript_arrives_as_bytes(
    kind: Kind, type: str, transport: Transport, meet: Meet, roomy: SmallServer
) -> None:
    peer = meet(kind, transport, roomy.url)
    values = [Binary(EVERY_BYTE, type), {"nested": [Binary(b"\xff\x00", type)]}]
    assert peer.call("message-with-ack", *values) == [EVERY_BYTE, {"nested": [b"\xff\x00"]}]
    peer.answer("question", Binary(b"answer", type))
    assert peer.call("ask", "question", [], 10) == [[True, b"answer"]]
