"""Socket.IO, "Sending and receiving data" and "Acknowledgement", with and without binary attachments."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tests.support.small import SmallServer
from tests.support.wire import Closed, Packet
from tests.support.wire_socketio import SocketIO
from tests.transport.conformance.conftest import Join, Open, alive

ARGUMENTS: list[list[Any]] = [
    [],
    [1, "2", {"3": [True]}],
    [None, False, 0, "", [], {}],
    [-1, 0.5, 1e300, 2**53, '\N{EURO SIGN}\N{GRINNING FACE}\u2028\x00\x1f"\\/'],
    [[[[1]], {"a": {"b": [None]}}]],
    ["x" * 100_000],
]


@pytest.fixture
def client(join: Join) -> SocketIO:
    """A client in the namespace /bench."""
    return join()


def receive(client: SocketIO, count: int) -> list[Packet]:
    """So many packets as they come."""
    return [client.receive() for _ in range(count)]


@pytest.mark.parametrize("values", ARGUMENTS, ids=lambda values: str(values)[:30])
def test_an_event(client: SocketIO, values: list[Any]) -> None:
    client.emit("message", *values, namespace="/bench")
    assert client.receive_event("/bench") == ["message-back", *values]


@pytest.mark.parametrize("values", ARGUMENTS, ids=lambda values: str(values)[:30])
def test_an_acknowledgement(client: SocketIO, values: list[Any]) -> None:
    assert client.call("message-with-ack", *values, namespace="/bench", ack=456) == values


@pytest.mark.parametrize("namespace", ["/", "/custom"])
def test_the_encoding_of_packets(join: Join, opened: Open, server: SmallServer, namespace: str) -> None:
    client = opened.connect(server, "websocket")
    client.join(namespace)
    prefix = "" if namespace == "/" else f"{namespace},"
    client.send(f'2{prefix}["message",1,"2",{{"3":[true]}}]')
    assert client.receive() == f'2{prefix}["message-back",1,"2",{{"3":[true]}}]'
    client.send(f'2{prefix}456["message-with-ack",1,"2",{{"3":[false]}}]')
    assert client.receive() == f'3{prefix}456[1,"2",{{"3":[false]}}]'
    client.send(f'52-{prefix}["message",{{"_placeholder":true,"num":0}},{{"_placeholder":true,"num":1}}]')
    client.send(b"\x01\x02\x03", b"\x04\x05\x06")
    back = f'52-{prefix}["message-back",{{"_placeholder":true,"num":0}},{{"_placeholder":true,"num":1}}]'
    assert receive(client, 3) == [back, b"\x01\x02\x03", b"\x04\x05\x06"]
    client.send(
        f'52-{prefix}789["message-with-ack",{{"_placeholder":true,"num":0}},{{"_placeholder":true,"num":1}}]',
        b"\x01\x02\x03",
        b"\x04\x05\x06",
    )
    acked = f'62-{prefix}789[{{"_placeholder":true,"num":0}},{{"_placeholder":true,"num":1}}]'
    assert receive(client, 3) == [acked, b"\x01\x02\x03", b"\x04\x05\x06"]


def test_white_space_in_json(client: SocketIO) -> None:
    client.send('2/bench,[ "message" , 1 ,\n{ "a" : [ ] } ]')
    assert client.receive_event("/bench") == ["message-back", 1, {"a": []}]


@pytest.mark.parametrize("number", [0, 1, 9, 10, 2**31, 2**53 - 1])
def test_ids_come_back(client: SocketIO, number: int) -> None:
    assert client.call("message-with-ack", "x", namespace="/bench", ack=number) == ["x"]


def test_ids_of_namespaces_are_apart(client: SocketIO) -> None:
    client.join("/custom")
    client.emit("message-with-ack", "one", namespace="/bench", ack=1)
    assert client.receive_ack(1, "/bench") == ["one"]
    client.emit("message-with-ack", "other", namespace="/custom", ack=1)
    assert client.receive_ack(1, "/custom") == ["other"]


def test_acknowledgements_may_come_out_of_order(client: SocketIO) -> None:
    client.emit("wait", 0.3, namespace="/bench", ack=1)
    client.emit("message-with-ack", "quick", namespace="/bench", ack=2)
    assert client.receive_ack(2, "/bench") == ["quick"]
    assert client.receive_ack(1, "/bench") == [True]


def test_an_event_that_nobody_handles(client: SocketIO) -> None:
    client.emit("unknown", 1, b"2", namespace="/bench")
    assert alive(client)


def test_an_event_of_a_number(client: SocketIO) -> None:
    # "MUST be a non-empty array": no more is said. The reference server takes numbers for names.
    client.send("2/bench,[1]", '2/bench,[1.5,"x"]', '2/bench,[""]')
    assert alive(client)


@pytest.mark.parametrize("event", ["[null,2]", "[[]]", '[{"a":1}]', "[true]", '[["message"],1]'])
def test_an_event_without_a_name_runs_no_handler(client: SocketIO, event: str) -> None:
    # The reference server closes the connection, and so may this one.
    with contextlib.suppress(Closed):
        client.send(f"2/bench,{event}")
        assert alive(client)


@pytest.mark.parametrize("name", ["connect", "disconnect", "*", "connect_error"])
def test_an_event_with_a_reserved_name_runs_no_handler(
    client: SocketIO, opened: Open, server: SmallServer, name: str
) -> None:
    # The reference server closes the connection, and so may this one.
    sid = client.call("info", namespace="/bench")[0]["sid"]
    connects = server.status()["connects"]["/bench"]
    client.emit(name, "x", namespace="/bench")
    with contextlib.suppress(Closed):
        assert alive(client)
        status = server.status()
        assert status["connects"]["/bench"] == connects
        assert sid not in dict(status["ends"])


# Attachments.


@pytest.mark.parametrize("count", [1, 2, 10])
def test_attachments(client: SocketIO, count: int) -> None:
    parts = [bytes([number]) * (number * 1000) for number in range(count)]
    client.emit("message", *parts, namespace="/bench")
    assert client.receive_event("/bench") == ["message-back", *parts]
    assert client.call("message-with-ack", *parts, namespace="/bench", ack=5) == parts


def test_attachments_within_the_data(client: SocketIO) -> None:
    one, other = '{"_placeholder":true,"num":0}', '{"_placeholder":true,"num":1}'
    client.send(f'52-/bench,["message",{{"a":[{one},1],"b":{{"c":{other}}}}},"text"]', b"one", b"other")
    assert client.receive_event("/bench") == [
        "message-back",
        {"a": [b"one", 1], "b": {"c": b"other"}},
        "text",
    ]


def test_placeholders_in_another_order(client: SocketIO) -> None:
    client.send(
        '52-/bench,["message",{"_placeholder":true,"num":1},{"num":0,"_placeholder":true}]', b"one", b"other"
    )
    assert client.receive_event("/bench") == ["message-back", b"other", b"one"]


def test_a_placeholder_in_a_text_event_is_data(client: SocketIO) -> None:
    value = {"_placeholder": True, "num": 0}
    client.emit("message", value, namespace="/bench")
    packet = client.receive()
    assert packet == '2/bench,["message-back",{"_placeholder":true,"num":0}]'


@pytest.mark.parametrize("data", [b"", b"\x00", b"4", b"2", b"\xff" * 1000, "4\N{EURO SIGN}".encode()])
def test_attachments_may_be_anything(client: SocketIO, data: bytes) -> None:
    client.emit("message", data, namespace="/bench")
    assert client.receive_event("/bench") == ["message-back", data]


def test_pongs_between_attachments(client: SocketIO) -> None:
    client.send('52-/bench,["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"one")
    client.engine.post("3")
    client.send(b"other")
    assert client.receive_event("/bench") == ["message-back", b"one", b"other"]


def test_each_connection_has_its_attachments(join: Join) -> None:
    clients = [join() for _ in range(3)]
    for client in clients:
        client.send('52-/bench,["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    for number, client in enumerate(clients):
        client.send(b"one %d" % number)
    for number, client in enumerate(clients):
        client.send(b"other %d" % number)
    for number, client in enumerate(clients):
        expected = ["message-back", b"one %d" % number, b"other %d" % number]
        assert client.receive_event("/bench") == expected


def test_an_event_reaches_every_transport(opened: Open, server: SmallServer) -> None:
    clients = [opened.join(server, transport) for transport in ("polling", "websocket", "upgrade", "polling")]
    server.emit("news", 1, binary="AQIDBA==", namespace="/bench")
    server.emit("more", {"a": 1}, namespace="/bench")
    for client in clients:
        assert client.receive_event("/bench") == ["news", 1, b"\x01\x02\x03\x04"]
        assert client.receive_event("/bench") == ["more", {"a": 1}]


# What the server asks.


@pytest.mark.parametrize(
    "values", [[], [1], ["x", {"a": [1]}], [b"binary"], [b"two", "x", b"parts"]], ids=str
)
def test_the_server_asks(client: SocketIO, values: list[Any]) -> None:
    client.emit("ask", "question", ["x", 1], namespace="/bench", ack=7)
    packet = client.receive()
    assert isinstance(packet, str)
    assert packet.startswith("2/bench,")
    number, _, arguments = packet.removeprefix("2/bench,").partition("[")
    assert arguments == '"question","x",1]'
    client.acknowledge(int(number), *values, namespace="/bench")
    answer = client.receive_ack(7, "/bench")
    assert answer == [[True, *(values or [None])]] or (not values and answer == [[True]])


def test_an_answer_that_nobody_asked_for(client: SocketIO) -> None:
    client.acknowledge(12345, "x", namespace="/bench")
    client.acknowledge(12346, b"x", namespace="/bench")
    assert alive(client)


def test_only_the_first_answer_counts(client: SocketIO) -> None:
    client.emit("ask", "question", [], namespace="/bench", ack=7)
    number = int(str(client.receive()).removeprefix("2/bench,").partition("[")[0])
    for answer in ("first", "second"):
        client.acknowledge(number, answer, namespace="/bench")
    assert client.receive_ack(7, "/bench") == [[True, "first"]]
    assert alive(client)


def test_nobody_answers_for_another(client: SocketIO, join: Join) -> None:
    other = join()
    client.emit("ask", "question", [], namespace="/bench", ack=7)
    number = int(str(client.receive()).removeprefix("2/bench,").partition("[")[0])
    other.acknowledge(number, "wrong", namespace="/bench")
    assert alive(other)
    client.acknowledge(number, "right", namespace="/bench")
    assert client.receive_ack(7, "/bench") == [[True, "right"]]
