"""Socket.IO packets that are none end their connection, and no other."""

from __future__ import annotations

import pytest

from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.support.wire_socketio import SocketIO
from tests.transport.conformance.conftest import SMALL_BYTES, Join, Open, alive, send_nonsense

ONE = '{"_placeholder":true,"num":0}'


@pytest.fixture
def client(join: Join) -> SocketIO:
    """A client in the namespace /bench."""
    return join()


def ends(client: SocketIO, *packets: str | bytes) -> None:
    """Send packets, and see that they end the connection.

    :raises AssertionError: when they do not.
    """
    send_nonsense(client, *packets)
    assert client.closed()


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "abc",
        "7",
        '7["message"]',
        "9/bench,[]",
        "-1",
        " 2/bench,[]",
        '4/bench,{"message":"no"}',  # only a server refuses
        "2/bench,",
        "2/bench,{}",
        "2/bench,[]",
        '2/bench,"message"',
        "2/bench,true",
        "2/bench,1",
        "2/bench,null",
        '2/bench,["message"',
        '2/bench,["message",]',
        "2/bench,['message']",
        '2/bench,["message"]x',
        '2/bench,abc["message"]',
        '2/bench,-1["message"]',
        '2/bench,1.5["message"]',
        "2/bench," + "[" * 100_000,
        "3/bench,1{}",
        '3/bench,1"x"',
        "3/bench,1[",
        "3/bench,x[]",
    ],
    ids=lambda packet: packet[:30] or "empty",
)
def test_what_is_no_packet(client: SocketIO, packet: str) -> None:
    ends(client, packet)


@pytest.mark.parametrize(
    "packet",
    [
        f'5/bench,["message",{ONE}]',
        f'5-/bench,["message",{ONE}]',
        f'5x-/bench,["message",{ONE}]',
        f'5-1-/bench,["message",{ONE}]',
        f'51.5-/bench,["message",{ONE}]',
        f'51/bench,["message",{ONE}]',
        "5" + "9" * 10_000 + f'-/bench,["message",{ONE}]',
        "51-/bench,[]",
        "51-/bench,{}",
        "51-/bench,",
        "61-/bench,1{}",
        "61-/bench,x[]",
    ],
    ids=lambda packet: packet[:30],
)
def test_what_is_no_packet_with_attachments(client: SocketIO, packet: str) -> None:
    ends(client, packet, b"x")


@pytest.mark.parametrize("number", ["5", "6"])
def test_too_many_attachments(client: SocketIO, number: str) -> None:
    # Eleven; the reference server takes ten.
    holders = ",".join(f'{{"_placeholder":true,"num":{index}}}' for index in range(11))
    head = '["message",' if number == "5" else "1["
    ends(client, f"{number}11-/bench,{head}{holders}]")


def test_too_many_attachments_for_this_server(strict: SmallServer, opened: Open, transport: str) -> None:
    client = opened.join(strict, "websocket" if transport == "upgrade" else transport)
    client.emit("message", b"1", b"2", b"3", namespace="/bench")
    assert client.receive_event("/bench") == ["message-back", b"1", b"2", b"3"]
    ends(client, '54-/bench,["message"]')


def test_attachments_that_are_too_large_together(strict: SmallServer, opened: Open, transport: str) -> None:
    client = opened.join(strict, "websocket" if transport == "upgrade" else transport)
    half = SMALL_BYTES // 2
    client.emit("message", b"x" * half, b"", namespace="/bench")
    assert client.receive_event("/bench") == ["message-back", b"x" * half, b""]
    holders = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(3))
    ends(client, f'53-/bench,["message",{holders}]', b"x" * half, b"x" * half, b"x" * half)


@pytest.mark.parametrize(
    "packets",
    [
        pytest.param([f'51-/bench,["message",{ONE}]', '2/bench,["message",1]'], id="another event"),
        pytest.param([f'51-/bench,["message",{ONE}]', f'51-/bench,["message",{ONE}]'], id="another of them"),
        pytest.param([f'51-/bench,["message",{ONE}]', "0/custom,"], id="a connect"),
        pytest.param([f'51-/bench,["message",{ONE}]', "1/bench,"], id="a disconnect"),
        pytest.param([f'51-/bench,["message",{ONE}]', "3/bench,1[]"], id="an acknowledgement"),
        pytest.param([f'51-/bench,["message",{ONE}]', "abc"], id="nonsense"),
        pytest.param([b"x"], id="an attachment of nothing"),
        pytest.param([f'51-/bench,["message",{ONE}]', b"x", b"y"], id="one too many"),
        pytest.param(['2/bench,["message"]', b"x"], id="an attachment of a text event"),
        pytest.param(['51-/bench,["message",{"_placeholder":true,"num":1}]', b"x"], id="a number too high"),
        pytest.param(['51-/bench,["message",{"_placeholder":true,"num":-1}]', b"x"], id="a negative number"),
        pytest.param(['51-/bench,["message",{"_placeholder":true,"num":"0"}]', b"x"], id="a text"),
        pytest.param(['51-/bench,["message",{"_placeholder":true}]', b"x"], id="no number"),
    ],
)
def test_attachments_that_do_not_fit(client: SocketIO, packets: list[str | bytes]) -> None:
    ends(client, *packets)


def test_a_packet_that_never_gets_its_attachments(client: SocketIO, server: SmallServer) -> None:
    client.send(f'51-/bench,["message",{ONE}]')
    client.engine.close()
    server.wait_until_empty()


def test_others_go_on(join: Join, server: SmallServer) -> None:
    victim, client = join(), join()
    sid = victim.call("info", namespace="/bench")[0]["sid"]
    ends(victim, "2/bench,{}")
    wait_until(lambda: dict(server.status()["ends"]).get(sid), "the handler of the end")
    assert alive(client)
