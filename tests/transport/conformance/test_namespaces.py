"""Socket.IO, "Connection to a namespace" and "Disconnection from a namespace"."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from tests.support.small import SmallServer
from tests.support.wire import Closed
from tests.support.wire_socketio import SocketIO
from tests.transport.conformance.conftest import Join, Open, alive, end, send_nonsense


@pytest.fixture
def client(opened: Open, server: SmallServer, transport: str) -> SocketIO:
    """A session in no namespace."""
    return opened.connect(server, transport)


@pytest.mark.parametrize("auth", [None, {}, {"token": "123"}, {"a": [1, {"b": "\N{EURO SIGN}"}]}], ids=str)
@pytest.mark.parametrize("namespace", ["/", "/custom"])
def test_connect(client: SocketIO, namespace: str, auth: Any) -> None:
    prefix = "" if namespace == "/" else f"{namespace},"
    client.send("0" + prefix + ("" if auth is None else json.dumps(auth)))
    # The answer first, and then what the handler has emitted.
    answer = json.loads(client.expect("0" + prefix)[1 + len(prefix) :])
    assert list(answer) == ["sid"]
    assert isinstance(answer["sid"], str)
    assert answer["sid"] not in ("", client.eio_sid)
    assert client.receive_event(namespace) == ["auth", auth or {}]


def test_a_namespace_without_a_comma(client: SocketIO) -> None:
    client.send("0/bench")
    client.expect('0/bench,{"sid":')
    assert alive(client)


def test_a_namespace_with_a_query(client: SocketIO) -> None:
    # The specification knows none; the library takes the name from before it, and so do we.
    client.send("0/bench?token=abc,")
    client.expect('0/bench,{"sid":')
    assert alive(client)


def test_an_unknown_namespace(client: SocketIO) -> None:
    client.send("0/random", "0/random,", '0/other,{"token":"abc"}')
    assert client.receive() == '4/random,{"message":"Invalid namespace"}'
    assert client.receive() == '4/random,{"message":"Invalid namespace"}'
    assert client.receive() == '4/other,{"message":"Invalid namespace"}'
    client.connect("/bench")
    assert alive(client)


def test_a_namespace_that_refuses(client: SocketIO) -> None:
    client.send("0/refused,", "0/closed,")
    packets = {str(client.receive()), str(client.receive())}
    refused = '4/refused,{"message":"not today","data":{"code":"E42"}}'
    assert refused in packets
    (silent,) = packets - {refused}
    assert silent.startswith("4/closed,")
    assert isinstance(json.loads(silent.removeprefix("4/closed,"))["message"], str)
    client.connect("/bench")
    assert alive(client)


def test_a_refused_client_may_try_again(client: SocketIO) -> None:
    for _ in range(3):
        client.send("0/refused,")
        client.expect("4/refused,")


def test_several_namespaces(client: SocketIO) -> None:
    sids = {client.join("/"), client.join("/custom"), client.connect("/bench")}
    assert len(sids) == 3
    for namespace in ("/", "/custom", "/bench"):
        client.emit("message", namespace, namespace=namespace)
        assert client.receive_event(namespace) == ["message-back", namespace]


def test_the_main_namespace_is_not_joined_by_itself(client: SocketIO, server: SmallServer) -> None:
    client.connect("/bench")
    server.emit("nobody hears it", namespace="/")
    assert alive(client)


def test_many_namespaces_in_one_go(client: SocketIO) -> None:
    client.send("0/bench,", '2/bench,["message",1]', "0/unknown,", '2/bench,["message",2]')
    packets = [str(client.receive()) for _ in range(4)]
    assert sorted(packets)[1:] == [
        '2/bench,["message-back",1]',
        '2/bench,["message-back",2]',
        '4/unknown,{"message":"Invalid namespace"}',
    ]
    assert packets.index('2/bench,["message-back",1]') < packets.index('2/bench,["message-back",2]')


def test_a_second_connect_makes_no_second_client(client: SocketIO, server: SmallServer) -> None:
    # The specification does not say; the reference server closes the connection.
    sid = client.connect("/bench")
    connects = server.status()["connects"]["/bench"]
    client.send("0/bench,")
    assert client.receive() == '4/bench,{"message":"Already connected"}'
    assert client.call("info", namespace="/bench")[0]["sid"] == sid
    assert server.status()["connects"]["/bench"] == connects
    server.emit("once", namespace="/bench")
    assert client.receive_event("/bench") == ["once"]
    assert alive(client)


# Before a namespace.


@pytest.mark.parametrize(
    "packet",
    [
        '2["message",1]',
        '2/bench,["message",1]',
        '21["message-with-ack"]',
        "3",
        "31[]",
        "1",
        "1/bench,",
        "abc",
    ],
)
def test_whoever_does_not_connect_first_is_closed(client: SocketIO, packet: str) -> None:
    send_nonsense(client, packet)
    assert client.closed()


def test_attachments_first(client: SocketIO) -> None:
    send_nonsense(client, b"\x01\x02")
    assert client.closed()


@pytest.mark.parametrize("auth", ["{", '{"a":1}x', "token", "'a'"])
def test_auth_must_be_json(client: SocketIO, auth: str) -> None:
    send_nonsense(client, f"0/bench,{auth}")
    assert client.closed()


@pytest.mark.parametrize("auth", ['"token"', '["token"]', "true"])
def test_auth_may_be_more_than_an_object(client: SocketIO, auth: str) -> None:
    # The reference server wants an object; Python's clients may send anything, and always could.
    client.send(f"0/custom,{auth}")
    client.expect('0/custom,{"sid":')
    assert client.receive() == f'2/custom,["auth",{auth}]'


def test_events_for_a_namespace_that_was_not_joined(client: SocketIO) -> None:
    # The reference server closes the connection; at the very least no handler may run.
    client.connect("/bench")
    with contextlib.suppress(Closed):
        client.send('2/custom,["message",1]', '2/unknown,["message",1]', "1/custom,", "3/custom,1[]")
        assert alive(client)


# Leaving.


def test_leaving_one_namespace_leaves_the_others(client: SocketIO, server: SmallServer) -> None:
    left = client.join("/custom")
    client.connect("/bench")
    client.send("1/custom,")
    assert end(server, left) == "client disconnect"
    server.emit("not for you", namespace="/custom")
    assert alive(client)


def test_leaving_without_a_comma(client: SocketIO, server: SmallServer) -> None:
    left = client.join("/custom")
    client.connect("/bench")
    client.send("1/custom")
    assert end(server, left) == "client disconnect"
    assert alive(client)


def test_leaving_is_not_answered(client: SocketIO) -> None:
    client.join("/")
    client.connect("/bench")
    client.send("1")
    assert alive(client)


def test_what_was_sent_before_leaving_counts(client: SocketIO, opened: Open, server: SmallServer) -> None:
    other = opened.join(server, "websocket", auth={"rooms": ["leaving"]})
    client.connect("/bench")
    order = {"room": "leaving", "event": "last", "data": [1]}
    client.send(f'2/bench,["emit_to",{json.dumps(order)}]', "1/bench,")
    assert other.receive_event("/bench") == ["last", 1]


def test_coming_back_brings_a_new_sid(client: SocketIO) -> None:
    client.connect("/bench")
    first = client.join("/")
    client.send("1")
    second = client.join("/")
    assert first != second
    client.emit("message", 1)
    assert client.receive_event() == ["message-back", 1]


def test_the_server_disconnects_from_a_namespace(client: SocketIO, server: SmallServer) -> None:
    sid = client.join("/custom")
    client.connect("/bench")
    server.disconnect(sid, "/custom")
    assert client.receive() == "1/custom,"
    assert end(server, sid) == "server disconnect"
    assert alive(client)


def test_the_server_disconnects_from_the_main_namespace(client: SocketIO, server: SmallServer) -> None:
    sid = client.join("/")
    client.connect("/bench")
    server.disconnect(sid, "/")
    assert client.receive() == "1"
    assert end(server, sid) == "server disconnect"
    assert alive(client)


def test_a_handler_disconnects_its_client(client: SocketIO) -> None:
    client.connect("/bench")
    client.join("/")
    client.emit("disconnect_me")
    assert client.receive() == "1"
    client.emit("message", 2, namespace="/bench")
    assert client.receive_event("/bench") == ["message-back", 2]


def test_the_end_of_the_connection_leaves_all_namespaces(client: SocketIO, server: SmallServer) -> None:
    sids = [client.join("/"), client.join("/custom"), client.connect("/bench")]
    client.emit("close_me", namespace="/bench")
    assert client.closed()
    for sid in sids:
        assert end(server, sid)


def test_rooms_are_left_with_the_namespace(join: Join, server: SmallServer) -> None:
    client = join(auth={"rooms": ["left"]})
    client.send("1/bench,")
    client.connect("/bench")
    server.emit("not for you", namespace="/bench", room="left")
    assert alive(client)
