"""Bytes that would become too many: refused before memory is spent on them, compressed ones too."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence

import pytest

from tests.support.wire import query
from tests.support.wire_socketio import SocketIO
from tests.support.wire_websocket import CONTINUATION, PING, TEXT, Frame, WebSocket
from tests.transport.hostile.conftest import Through
from tests.transport.hostile.people import NAMESPACE, join, wire_of
from tests.transport.hostile.reading import Stream
from tests.transport.hostile.target import Target, Usage

MOST_BYTES = 1_000_000  # max_http_buffer_size by default
PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009
# Some times what a message may be.
MESSAGE_RSS_KB = 12_000
OFFER = "permessage-deflate; client_max_window_bits"
ASK = f'42{NAMESPACE},1["message-with-ack","'
RSV1 = 4


# Without compression.


@pytest.mark.parametrize("announced", [10**9, 2**62, 2**64 - 1])
def test_a_message_that_is_announced_and_does_not_come(
    roomy: Target, through: Through, announced: int
) -> None:
    """Refused at its head, though little of it was sent."""
    usage = Usage.of(roomy)
    for _ in range(20):
        with join(through(roomy)) as client:
            wire = wire_of(client)
            wire.send_frame(TEXT, "4" + "x" * 10_000, length=announced)
            assert wire.read_close() == TOO_BIG
    assert Usage.of(roomy).peak_rss_kb - usage.peak_rss_kb < MESSAGE_RSS_KB


def test_a_message_that_is_too_long(roomy: Target, through: Through) -> None:
    """Whole and in fragments, and a byte less than that is right."""
    longest = ASK + "x" * (MOST_BYTES - len(ASK) - 2) + '"]'
    with join(through(roomy)) as client:
        wire = wire_of(client)
        wire.send_frame(TEXT, longest)
        assert client.receive_ack(1, NAMESPACE) == ["x" * (MOST_BYTES - len(ASK) - 2)]
        for start in range(0, MOST_BYTES, 100_000):
            piece = longest[start : start + 100_000]
            opcode = CONTINUATION if start else TEXT
            wire.send_frame(opcode, piece, fin=start + 100_000 >= MOST_BYTES)
        assert client.receive_ack(1, NAMESPACE) == ["x" * (MOST_BYTES - len(ASK) - 2)]
        for start in range(0, MOST_BYTES, 100_000):
            wire.send_frame(CONTINUATION if start else TEXT, longest[start : start + 100_000], fin=False)
        wire.send_frame(CONTINUATION, "x")
        assert wire.read_close() == TOO_BIG


def test_many_messages_that_never_end(roomy: Target, through: Through) -> None:
    """Fifty clients send all but the end of the largest message, again and again."""
    before = Usage.of(roomy).peak_rss_kb
    for _ in range(3):
        clients = [join(through(roomy)) for _ in range(50)]
        for client in clients:
            wire_of(client).send(Frame(TEXT, b"4" * 999_000).encode(b"mask")[:-1])
        with join(through(roomy)) as other:
            assert other.call("message-with-ack", 1, namespace=NAMESPACE) == [1]
        for client in clients:
            client.engine.close()
        roomy.wait_until_empty()
    # What the first ones took was given back, or is used again.
    assert Usage.of(roomy).peak_rss_kb - before < 2 * 50 * MOST_BYTES // 1000


# With compression.


def deflate(data: bytes, level: int = 9) -> bytes:
    """What a compressed message carries (RFC 7692, 7.2.1)."""
    engine = zlib.compressobj(level, wbits=-15)
    return (engine.compress(data) + engine.flush(zlib.Z_SYNC_FLUSH))[:-4]


def join_deflating(url: str, *rooms: str, offer: str = OFFER) -> SocketIO:
    """A client that agreed on compression."""
    wire = WebSocket(url)
    try:
        answer = wire.handshake(headers={"Sec-WebSocket-Extensions": offer})
        assert answer.headers["sec-websocket-extensions"].startswith("permessage-deflate")
        client = object.__new__(SocketIO)
        client.engine, client.pong = wire, True
        client.opened = json.loads(str(wire.receive())[1:])
        wire.send_frame(TEXT, f'40{NAMESPACE},{{"rooms":{json.dumps(rooms)}}}')
        assert client.expect(f"0{NAMESPACE},")
    except BaseException:
        wire.close()
        raise
    return client


def inflate(frames: Sequence[Frame]) -> list[str]:
    """The texts of frames, each by itself."""
    return [
        zlib.decompressobj(-15).decompress(frame.payload + b"\0\0\xff\xff").decode()
        if frame.rsv
        else frame.text
        for frame in frames
        if frame.opcode == TEXT
    ]


def ask(text: str) -> bytes:
    return f'{ASK}{text}"]'.encode()


def compressed(data: bytes, **options: bool) -> bytes:
    return Frame(TEXT, deflate(data), rsv=RSV1, **options).encode(b"mask")


@pytest.mark.parametrize("size", [10, 1_000, 2_000, 300_000])
def test_compressed_messages_both_ways(deflating: Target, through: Through, size: int) -> None:
    with join_deflating(through(deflating)) as client:
        wire = wire_of(client)
        for text in ("x" * size, os.urandom(size // 2).hex()):
            wire.send(compressed(ask(text)))
            packed = deflate(ask(text))
            wire.send(Frame(TEXT, packed[:5], fin=False, rsv=RSV1).encode())
            wire.send(Frame(PING).encode() + Frame(CONTINUATION, packed[5:]).encode())
            wire.send_frame(TEXT, ask(text))
            frames = [wire.read_frame() for _ in range(4)]
            assert inflate(frames) == [f'43{NAMESPACE},1["{text}"]'] * 3


def bomb(size: int) -> bytes:
    return compressed(ask("x" * size))


def largest_bomb() -> bytes:
    """Within the limit as it comes, and almost a thousand times as much then."""
    engine = zlib.compressobj(9, wbits=-15)
    block = engine.compress(b"4" * MOST_BYTES) + engine.flush(zlib.Z_FULL_FLUSH)
    return Frame(TEXT, block * (MOST_BYTES // len(block)), rsv=RSV1).encode(b"mask")


def bomb_in_fragments() -> bytes:
    data = deflate(b"4" + b"\0" * (100 * MOST_BYTES))
    cut = len(data) // 3
    return (
        Frame(TEXT, data[:10], fin=False, rsv=RSV1).encode(b"mask")
        + Frame(CONTINUATION, data[10:cut], fin=False).encode(b"mask")
        + Frame(CONTINUATION, data[cut:]).encode(b"mask")
    )


def bomb_behind_a_full_message() -> bytes:
    """The first fragment fills the message to the last byte; what comes then must not be without limit."""
    engine = zlib.compressobj(9, wbits=-15)
    first = engine.compress(b"4" + b"x" * (MOST_BYTES - 1)) + engine.flush(zlib.Z_SYNC_FLUSH)
    second = engine.compress(b"\0" * (100 * MOST_BYTES)) + engine.flush(zlib.Z_SYNC_FLUSH)
    return Frame(TEXT, first, fin=False, rsv=RSV1).encode(b"mask") + Frame(CONTINUATION, second).encode(
        b"mask"
    )


BOMBS = {
    "a byte too many": lambda: bomb(MOST_BYTES - len(ASK) - 1),
    "100 times": lambda: bomb(100 * MOST_BYTES),
    "as much as fits": largest_bomb,
    "in fragments": bomb_in_fragments,
    "behind a full message": bomb_behind_a_full_message,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(deflating: Target, name: str) -> None:
    """1009, and no more memory than for a message that is right. (nginx would only hand them on.)"""
    data = BOMBS[name]()
    usage = Usage.of(deflating)
    for _ in range(3):
        with join_deflating(deflating.url) as client:
            wire = wire_of(client)
            wire.send(data)
            assert wire.read_close() == TOO_BIG
    assert Usage.of(deflating).peak_rss_kb - usage.peak_rss_kb < MESSAGE_RSS_KB


WRONG = {
    "no deflate data": (PROTOCOL_ERROR, Frame(TEXT, b"\xff" * 20, rsv=RSV1).encode()),
    "another block type": (PROTOCOL_ERROR, Frame(TEXT, b"\x06abc", rsv=RSV1).encode()),
    "looks back too far": (PROTOCOL_ERROR, Frame(TEXT, bytes.fromhex("4b04d30000"), rsv=RSV1).encode()),
    "compressed ping": (PROTOCOL_ERROR, Frame(PING, deflate(b"x"), rsv=RSV1).encode()),
    "another reserved bit": (PROTOCOL_ERROR, Frame(TEXT, deflate(b"4"), rsv=2).encode()),
    "compressed continuation": (
        PROTOCOL_ERROR,
        Frame(TEXT, deflate(b"4"), fin=False, rsv=RSV1).encode()
        + Frame(CONTINUATION, deflate(b"4"), rsv=RSV1).encode(),
    ),
    "continuation compressed alone": (
        PROTOCOL_ERROR,
        Frame(TEXT, b"4", fin=False).encode() + Frame(CONTINUATION, deflate(b"4"), rsv=RSV1).encode(),
    ),
    "UTF-8 that is none within": (INVALID_DATA, compressed(b"42\xff")),
    "too long by its head": (TOO_BIG, Frame(TEXT, b"x", rsv=RSV1).encode(length=2**62)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_compressed_frames(deflating: Target, name: str) -> None:
    code, data = WRONG[name]
    with join_deflating(deflating.url) as client:
        wire_of(client).send(data)
        assert wire_of(client).read_close() == code


def test_compressed_frames_from_who_did_not_ask(deflating: Target) -> None:
    with join(deflating.url) as client:
        wire_of(client).send(compressed(ask("x")))
        assert wire_of(client).read_close() == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits=999999999999",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate" + "; x" * 500,
        "permessage-deflate," * 100,
        "x-webkit-deflate-frame",
        ";",
        '"',
        "\u00fc",
        ", ,",
    ],
)
def test_strange_offers(deflating: Target, offer: str) -> None:
    """Taken in a way that is right, or ignored; refused at worst."""
    with WebSocket(deflating.url) as wire:
        answer = wire.handshake(headers={"Sec-WebSocket-Extensions": offer}, check=False)
        assert answer.status in (101, 400), answer
        if answer.status == 101:
            assert wire.read_frame().text.startswith("0{")
            agreed = answer.headers.get("sec-websocket-extensions", "")
            data = ask("y" * 2000)
            frame = Frame(TEXT, deflate(data) if agreed else data, rsv=RSV1 if agreed else 0)
            wire.send_frame(TEXT, f"40{NAMESPACE},")
            wire.send(frame.encode())
            wire.read_frame()
            reply = wire.read_frame()
            assert inflate([reply]) == [f'43{NAMESPACE},1["{"y" * 2000}"]']
            assert bool(reply.rsv) == bool(agreed)


def test_every_compressed_byte_is_right(deflating: Target, through: Through) -> None:
    """A stalled reader that compresses, and one that does not, in the same room."""
    with (
        join_deflating(through(deflating), "room") as packed,
        join(through(deflating), "room", thin=True) as plain,
    ):
        texts = [os.urandom(10_000).hex() for _ in range(100)]
        for text in texts:
            deflating.emit("big", text, room="room", namespace=NAMESPACE)
            deflating.emit("little", 1, room="room", namespace=NAMESPACE)
        wanted = [packet for text in texts for packet in (f'42{NAMESPACE},["big","{text}"]', little())]
        for client in (packed, plain):
            stream = Stream(client)
            stream.read_until(lambda stream=stream: len(stream.frames) == len(wanted))  # type: ignore[misc]
            assert inflate(stream.frames) == wanted
            # Long ones are compressed, short ones are not.
            assert {bool(frame.rsv) for frame in stream.frames[::2]} == {client is packed}
            assert not any(frame.rsv for frame in stream.frames[1::2])


def little() -> str:
    return f'42{NAMESPACE},["little",1]'


def test_the_server_does_not_compress_unasked(roomy: Target, through: Through) -> None:
    with WebSocket(through(roomy)) as wire:
        answer = wire.handshake(query(transport="websocket"), {"Sec-WebSocket-Extensions": OFFER})
        assert "sec-websocket-extensions" not in answer.headers
        wire.read_frame()
        wire.send(compressed(b"40"))
        assert wire.read_close() == PROTOCOL_ERROR
