"""Compression of WebSocket messages (RFC 7692), where it is wanted; without context takeover."""

from __future__ import annotations

import zlib

import pytest

from tests.support.small import SmallServer, Transport
from tests.support.wire_websocket import BINARY, CONTINUATION, TEXT, Frame, WebSocket
from tests.transport.conformance.conftest import SMALL_BYTES, Open

COMPRESSED = 4  # the first of the reserved bits
TAIL = b"\x00\x00\xff\xff"
EXTENSIONS = "Sec-WebSocket-Extensions"


@pytest.fixture(autouse=True)
def only_native(kind: Transport) -> None:
    """The library does not compress messages."""
    if kind != "native":
        pytest.skip("only our own transport compresses messages")


@pytest.fixture
def websocket(opened: Open, strict: SmallServer) -> WebSocket:
    """A WebSocket in /bench whose client compresses, as browsers do."""
    websocket = opened.websocket(strict)
    answer = websocket.handshake(None, {EXTENSIONS: "permessage-deflate; client_max_window_bits"})
    agreed = [part.strip() for part in answer.headers[EXTENSIONS.lower()].split(";")]
    assert agreed[0] == "permessage-deflate"
    assert {"server_no_context_takeover", "client_no_context_takeover"} <= set(agreed)
    return joined(websocket)


def joined(websocket: WebSocket) -> WebSocket:
    """Join /bench."""
    assert websocket.read_frame().text.startswith("0{")
    websocket.send_frame(TEXT, "40/bench,")
    assert websocket.read_frame().text.startswith("40/bench,{")
    return websocket


def deflated(data: bytes) -> bytes:
    """A compressed payload."""
    compress = zlib.compressobj(wbits=-15)
    return (compress.compress(data) + compress.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def inflated(frame: Frame) -> bytes:
    """The payload of a compressed frame, which needs nothing of the frames before it."""
    assert frame.rsv == COMPRESSED
    decompress = zlib.decompressobj(wbits=-15)
    return decompress.decompress(frame.payload + TAIL)


def test_large_messages_are_compressed(websocket: WebSocket) -> None:
    for letter in ("x", "x", "y"):
        websocket.send_frame(TEXT, f'42/bench,["message","{letter * 5000}"]')
        frame = websocket.read_frame()
        assert len(frame.payload) < 500
        assert inflated(frame).decode() == f'42/bench,["message-back","{letter * 5000}"]'


def test_small_messages_are_not(websocket: WebSocket) -> None:
    websocket.send_frame(TEXT, '42/bench,["message","' + "x" * 500 + '"]')
    frame = websocket.read_frame()
    assert frame.rsv == 0
    assert frame.text == '42/bench,["message-back","' + "x" * 500 + '"]'


def test_binary_messages_are_compressed(websocket: WebSocket) -> None:
    websocket.send_frame(TEXT, '451-/bench,["message",{"_placeholder":true,"num":0}]')
    websocket.send_frame(BINARY, b"x" * 5000)
    assert websocket.read_frame().rsv == 0
    frame = websocket.read_frame()
    assert frame.opcode == BINARY
    assert inflated(frame) == b"x" * 5000


def test_compressed_messages_are_taken(websocket: WebSocket) -> None:
    for letter in ("x", "y"):
        packet = f'42/bench,["message","{letter * 100}"]'.encode()
        websocket.send_frame(TEXT, deflated(packet), rsv=COMPRESSED)
        assert websocket.read_frame().text == f'42/bench,["message-back","{letter * 100}"]'


def test_a_compressed_message_in_fragments(websocket: WebSocket) -> None:
    payload = deflated(b'42/bench,["message","fragments"]')
    websocket.send_frame(TEXT, payload[:7], rsv=COMPRESSED, fin=False)
    websocket.send_frame(CONTINUATION, payload[7:])
    assert websocket.read_frame().text == '42/bench,["message-back","fragments"]'


def test_a_bomb(websocket: WebSocket) -> None:
    websocket.send_frame(TEXT, deflated(b"4" * (SMALL_BYTES + 1)), rsv=COMPRESSED)
    assert websocket.read_close() == 1009


def test_nonsense_in_the_place_of_compressed_data(websocket: WebSocket) -> None:
    websocket.send_frame(TEXT, b"\xff" * 50, rsv=COMPRESSED)
    assert websocket.read_close() in (1002, 1007)


@pytest.mark.parametrize(
    "offer",
    [
        None,
        "x-webkit-deflate-frame",
        "permessage-deflate; unknown=1",
        "permessage-deflate; server_max_window_bits=8",
    ],
)
def test_whoever_offers_nothing_usable_gets_plain_frames(
    strict: SmallServer, opened: Open, offer: str | None
) -> None:
    websocket = opened.websocket(strict)
    answer = websocket.handshake(None, {EXTENSIONS: offer})
    assert EXTENSIONS.lower() not in answer.headers
    joined(websocket).send_frame(TEXT, '42/bench,["message","' + "x" * 5000 + '"]')
    frame = websocket.read_frame()
    assert frame.rsv == 0
    assert frame.text == '42/bench,["message-back","' + "x" * 5000 + '"]'


def test_a_broadcast_is_right_for_everybody(strict: SmallServer, opened: Open, websocket: WebSocket) -> None:
    plain = opened.join(strict, "websocket")
    polling = opened.join(strict, "polling")
    strict.emit("large", "x" * 5000, namespace="/bench")
    assert inflated(websocket.read_frame()).decode() == '42/bench,["large","' + "x" * 5000 + '"]'
    assert plain.receive_event("/bench") == ["large", "x" * 5000]
    assert polling.receive_event("/bench") == ["large", "x" * 5000]
