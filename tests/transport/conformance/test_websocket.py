"""Engine.IO over WebSocket: a packet a frame, text and binary; what ends the connection."""

from __future__ import annotations

import contextlib
import json

import pytest

from tests.support.small import SmallServer
from tests.support.wire import Closed
from tests.support.wire_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WebSocket
from tests.transport.conformance.conftest import SMALL_BYTES, Open, end


@pytest.fixture
def websocket(opened: Open, server: SmallServer) -> WebSocket:
    """A WebSocket in the namespace /bench."""
    return joined(opened.websocket(server))


def joined(websocket: WebSocket) -> WebSocket:
    """Open a session, and join /bench."""
    websocket.open()
    websocket.send_frame(TEXT, "40/bench,")
    assert str(websocket.receive()).startswith("40/bench,")
    return websocket


def test_a_text_packet_is_a_text_frame(websocket: WebSocket) -> None:
    websocket.send_frame(TEXT, '42/bench,["message","hello"]')
    frame = websocket.read_frame()
    assert (frame.opcode, frame.fin, frame.rsv, frame.masked) == (TEXT, True, 0, False)
    assert frame.text == '42/bench,["message-back","hello"]'


def test_a_binary_packet_is_a_binary_frame(websocket: WebSocket) -> None:
    websocket.send_frame(TEXT, '451-/bench,["message",{"_placeholder":true,"num":0}]')
    websocket.send_frame(BINARY, b"\x01\x02\x03\x04")
    frame = websocket.read_frame()
    assert frame.text == '451-/bench,["message-back",{"_placeholder":true,"num":0}]'
    frame = websocket.read_frame()
    assert (frame.opcode, frame.fin, frame.masked) == (BINARY, True, False)
    assert frame.payload == b"\x01\x02\x03\x04"


def test_each_packet_has_its_frame(websocket: WebSocket) -> None:
    for number in range(20):
        websocket.send_frame(TEXT, f'42/bench,["message",{number}]')
    for number in range(20):
        assert websocket.read_frame().text == f'42/bench,["message-back",{number}]'


@pytest.mark.parametrize("size", [0, 1, *range(95, 100), 125, 126, 65_507, 65_508, 65_535, 65_536, 200_000])
def test_packets_of_any_size(websocket: WebSocket, size: int) -> None:
    # The length of a frame is written in three ways (RFC 6455, 5.2); both limits lie among these sizes.
    websocket.send_frame(TEXT, '42/bench,["message","' + "x" * size + '"]')
    assert websocket.read_frame().text == '42/bench,["message-back","' + "x" * size + '"]'
    websocket.send_frame(TEXT, '451-/bench,["message",{"_placeholder":true,"num":0}]')
    websocket.send_frame(BINARY, b"x" * size)
    websocket.read_frame()
    assert websocket.read_frame().payload == b"x" * size


def test_text_is_utf8(websocket: WebSocket) -> None:
    text = "\N{EURO SIGN} \N{GRINNING FACE} \u2028"
    websocket.send_frame(TEXT, f'42/bench,["message","{text}"]')
    assert json.loads(websocket.read_frame().text[9:]) == ["message-back", text]


def test_a_packet_in_fragments(websocket: WebSocket) -> None:
    packet = '42/bench,["message","\N{EURO SIGN}uro"]'.encode()
    middle = packet.index("\N{EURO SIGN}".encode()) + 1  # within a character
    websocket.send_frame(TEXT, packet[:5], fin=False)
    websocket.send_frame(PING, b"in between")
    websocket.send_frame(CONTINUATION, packet[5:middle], fin=False)
    websocket.send_frame(CONTINUATION, packet[middle:])
    pong = websocket.read_frame()
    assert (pong.opcode, pong.payload) == (PONG, b"in between")
    assert json.loads(websocket.read_frame().text[9:]) == ["message-back", "\N{EURO SIGN}uro"]


def test_a_ping_of_the_websocket(websocket: WebSocket) -> None:
    websocket.send_frame(PING, b"are you there?")
    frame = websocket.read_frame()
    assert (frame.opcode, frame.payload) == (PONG, b"are you there?")
    websocket.send_frame(PONG, b"unasked")
    websocket.send_frame(TEXT, '42/bench,["message",1]')
    assert websocket.read_frame().text == '42/bench,["message-back",1]'


@pytest.mark.parametrize("packet", ["abc", "", "9", "7", "-", "\x00", " 4", "\N{EURO SIGN}"])
def test_what_is_no_packet_ends_the_session(websocket: WebSocket, packet: str) -> None:
    websocket.send_frame(TEXT, packet)
    websocket.read_close()


@pytest.mark.parametrize("packet", ["3", "6", "3probe", "0", '0{"sid":"abc"}'])
def test_packets_that_mean_nothing_here(websocket: WebSocket, packet: str) -> None:
    # An open session may hear these; what it may not do is to take them for messages, or to answer.
    with contextlib.suppress(Closed):
        websocket.send_frame(TEXT, packet)
        websocket.send_frame(TEXT, '42/bench,["message",1]')
        assert websocket.receive() == '42/bench,["message-back",1]'


@pytest.mark.parametrize("payload", ["", "\x03\xe8", "\x03\xe8bye"])
def test_the_client_closes_the_websocket(
    opened: Open, server: SmallServer, websocket: WebSocket, payload: str
) -> None:
    # RFC 6455, 5.5.1: the answer carries the same code.
    data = payload.encode("latin-1")
    websocket.send_frame(CLOSE, data)
    frame = websocket.read_frame()
    assert (frame.opcode, frame.payload[:2]) == (CLOSE, data[:2])
    assert websocket.read_all() == b""


def test_the_client_closes_the_session(opened: Open, server: SmallServer) -> None:
    client = opened.connect(server, "websocket")
    sid = client.connect("/bench")
    client.engine.post("1")
    assert isinstance(client.engine, WebSocket)
    client.engine.read_close()
    assert end(server, sid) in ("client disconnect", "transport close")


def test_what_was_sent_before_the_close_counts(opened: Open, server: SmallServer) -> None:
    other, room = opened.join(server, "websocket"), "closing"
    assert other.call("join", room, namespace="/bench") == [True]
    client = opened.join(server, "websocket")
    client.emit("emit_to", {"room": room, "event": "last", "data": [1]}, namespace="/bench")
    client.engine.post("1")
    assert other.receive_event("/bench") == ["last", 1]


def test_the_server_closes_the_session(opened: Open, server: SmallServer) -> None:
    client = opened.join(server, "websocket")
    server.emit("last", 1, namespace="/bench")
    server.disconnect(client.eio_sid, None)
    assert client.receive_event("/bench") == ["last", 1]
    assert isinstance(client.engine, WebSocket)
    packet = client.engine.read_frame()
    # A packet "1" may come before the end.
    if packet.opcode == TEXT:
        assert packet.text == "1"
        client.engine.read_close()
    else:
        assert packet.opcode == CLOSE
        client.engine.send_frame(CLOSE, packet.payload[:2])
        client.engine.read_all()


def test_a_connection_that_breaks(opened: Open, server: SmallServer) -> None:
    for way in ("close", "reset"):
        client = opened.connect(server, "websocket")
        sid = client.connect("/bench")
        assert isinstance(client.engine, WebSocket)
        getattr(client.engine, way)()
        assert end(server, sid) in ("transport close", "transport error")


def test_a_message_of_the_largest_size(strict: SmallServer, opened: Open) -> None:
    websocket = joined(opened.websocket(strict))
    packet = '42/bench,["message",""]'
    text = "x" * (SMALL_BYTES - len(packet))
    websocket.send_frame(TEXT, packet.replace('""', f'"{text}"'))
    assert websocket.receive() == f'42/bench,["message-back","{text}"]'
    websocket.send_frame(TEXT, packet.replace('""', f'"x{text}"'))
    assert websocket.read_close() == 1009


def test_a_message_of_fragments_that_is_too_large(strict: SmallServer, opened: Open) -> None:
    websocket = joined(opened.websocket(strict))
    with contextlib.suppress(Closed):
        websocket.send_frame(TEXT, "4" * (SMALL_BYTES // 2), fin=False)
        for _ in range(3):
            websocket.send_frame(CONTINUATION, "4" * (SMALL_BYTES // 4), fin=False)
    assert websocket.read_close() == 1009


def test_a_length_that_is_too_large_is_not_waited_for(strict: SmallServer, opened: Open) -> None:
    websocket = joined(opened.websocket(strict))
    websocket.send_frame(BINARY, b"", length=2**62)
    assert websocket.read_close() == 1009
