"""The pieces that take in what clients send, fed with anything: they never raise what they do not announce.

And it does not matter in which pieces the network brings it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate

from app.realtime.protocol import BadPacketError, StrictPacket
from app.realtime.transport import handshake
from app.realtime.transport.incoming import Incoming
from tests.support.wire_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame

any_machine = hypothesis.settings(
    deadline=None, max_examples=300, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
MOST_BYTES, MOST_FRAGMENTS = 200, 4
CODES = {1000, 1002, 1007, 1009}


@dataclass
class Seen:
    """What came of some bytes."""

    messages: list[str | bytes]
    replies: bytes
    closed: bool


def feed(pieces: Iterable[bytes], deflates: bool = False) -> Seen:
    """As a connection does, which keeps no parser between two messages."""
    extensions: list[Extension] = [PerMessageDeflate(True, True, 15, 15)] if deflates else []
    seen = Seen([], b"", False)
    incoming: Incoming | None = None
    for piece in pieces:
        if incoming is None:
            incoming = Incoming(MOST_BYTES, MOST_FRAGMENTS, extensions)
        seen.messages += incoming.feed(piece)
        seen.replies += b"".join(incoming.replies)
        incoming.replies = []
        if incoming.closed:
            seen.closed = True
        elif incoming.idle:
            incoming = None
    return seen


def server_frames(data: bytes) -> list[Frame]:
    """What a server sent: whole frames only."""
    frames = []
    while data:
        length = data[1]
        assert length < 126, "replies are short"
        assert len(data) >= 2 + length
        frames.append(Frame(data[0] & 15, data[2 : 2 + length]))
        data = data[2 + length :]
    return frames


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[bytes], list[str | bytes], list[bytes]]:
    """Right frames, the messages in them, and what is pinged."""
    frames: list[bytes] = []
    wanted: list[str | bytes] = []
    pinged: list[bytes] = []
    for message in draw(st.lists(st.text(max_size=45) | st.binary(max_size=150), max_size=5)):
        data = message.encode("utf-8", "replace") if isinstance(message, str) else message
        wanted.append(data.decode() if isinstance(message, str) else data)
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=MOST_FRAGMENTS - 1)))
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(data)], strict=True)):
            opcode = CONTINUATION if number else TEXT if isinstance(message, str) else BINARY
            frame = Frame(opcode, data[start:end], fin=number == len(cuts))
            frames.append(frame.encode(draw(st.binary(min_size=4, max_size=4))))
            # What remains of the limit is for the message: no room is taken for granted.
            if end < MOST_BYTES - 20 and draw(st.integers(0, 4)) == 0:
                payload = draw(st.binary(max_size=20))
                kind = draw(st.sampled_from((PING, PONG)))
                frames.append(Frame(kind, payload).encode())
                if kind == PING:
                    pinged.append(payload)
    return frames, wanted, pinged


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in pieces."""
    if draw(st.booleans()):
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]


@any_machine
@hypothesis.given(st.data())
def test_what_is_right_comes_out_as_it_went_in(data: st.DataObject) -> None:
    frames, wanted, pinged = data.draw(messages())
    seen = feed(data.draw(cut(b"".join(frames))))
    assert not seen.closed
    assert seen.messages == wanted
    assert [(each.opcode, each.payload) for each in server_frames(seen.replies)] == [
        (PONG, payload) for payload in pinged
    ]


anything = st.one_of(
    st.binary(max_size=60),
    st.builds(
        Frame.encode,
        st.builds(
            Frame,
            st.integers(0, 15),
            st.binary(max_size=260),
            st.booleans(),
            st.sampled_from((0, 0, 0, 0, 1, 2, 4)),
        ),
        st.sampled_from((b"mask", b"\0\0\0\0", None)),
        st.sampled_from((None, None, None, 0, 5, 125, 126, 1000, 65536, 2**62)),
    ),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Right frames with something wrong: a byte changed, a piece left out, doubled, or put in."""
    data = bytearray(b"".join(draw(messages())[0]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0 if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
            case 2:
                data[at:at] = data[max(0, at - 10) : at]
            case _:
                data[at:at] = draw(anything)
    return bytes(data)


@any_machine
@hypothesis.given(st.data(), st.booleans())
def test_anything_in_any_pieces(data: st.DataObject, deflates: bool) -> None:
    """The same comes of it, within bounds, and an end has its code."""
    stream = data.draw(st.one_of(mutated(), st.lists(anything, max_size=6).map(b"".join)))
    whole = feed([stream], deflates)
    assert feed(data.draw(cut(stream)), deflates) == whole
    for message in whole.messages:
        assert len(message.encode() if isinstance(message, str) else message) <= MOST_BYTES
    frames = server_frames(whole.replies)
    assert whole.closed == (CLOSE in [frame.opcode for frame in frames])
    assert all(frame.opcode == PONG for frame in frames[:-1])
    if whole.closed and frames[-1].close_code not in CODES:
        # The client said so itself.
        code = frames[-1].close_code
        assert code is None or 1000 <= code < 5000, code


# Socket.IO packets.


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(("_placeholder", "num")), inner, max_size=3)
    ),
    max_leaves=8,
)
packet_parts = st.sampled_from(
    [
        "",
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "51-",
        "52-",
        "510-",
        "5-",
        "-",
        ",",
        "/",
        "/a",
        "/a,",
        "/a?b=c,",
        "12",
        "99999999999999999999",
        "[",
        "]",
        "{",
        "}",
        '["e"',
        '["e"]',
        ",null",
        '"',
        "\\",
        "NaN",
        "1e999",
        " ",
        '["e",{"_placeholder":true,"num":0}]',
        '{"_placeholder":true,"num":1}',
        "�",
        "é",
        "\x00",
        "-1",
    ]
)
packet_texts = st.one_of(
    st.text(max_size=30),
    st.lists(packet_parts, max_size=6).map("".join),
    st.builds(
        lambda kind, namespace, number, value: f"{kind}{namespace}{number}{json.dumps(value)}",
        st.sampled_from(("0", "1", "2", "3", "4", "51-", "61-", "53-")),
        st.sampled_from(("", "/a,", "/")),
        st.sampled_from(("", "0", "7")),
        json_values,
    ),
)


@any_machine
@hypothesis.given(packet_texts, st.lists(st.binary(max_size=20) | st.text(max_size=3), max_size=4))
def test_packets(text: str, attachments: list[bytes | str]) -> None:
    """A packet, or the one exception; and an event has a name to be called by, or a list at least."""
    try:
        packet = StrictPacket(encoded_packet=text)
        for attachment in attachments:
            if packet.attachment_count <= len(packet.attachments):
                break
            packet.add_attachment(attachment)
    except BadPacketError:
        return
    if text:
        assert packet.packet_type in (0, 1, 2, 3, 5, 6)
        assert packet.attachment_count <= StrictPacket.max_attachments
        assert packet.packet_type not in (2, 5) or isinstance(packet.data, list)


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_packets_within_packets(depth: int, brackets: str) -> None:
    begin, end = brackets[:-1], brackets[-1]
    text = f'2["e",{begin * depth}1{end * depth}]'
    try:
        StrictPacket(encoded_packet=text)
    except BadPacketError:
        assert depth > 100


# Handshakes.

OFFER_PARTS = (
    *("permessage-deflate", ";", ",", "=", '"', " ", "8", "15", "16"),
    *("client_max_window_bits", "server_max_window_bits"),
    *("client_no_context_takeover", "server_no_context_takeover"),
)
header_texts = st.text(st.characters(max_codepoint=255), max_size=40)


@any_machine
@hypothesis.given(
    st.fixed_dictionaries(
        {"REQUEST_METHOD": st.sampled_from(("GET", "POST", "get"))},
        optional={
            "HTTP_UPGRADE": header_texts | st.just("websocket"),
            "HTTP_CONNECTION": header_texts | st.just("Upgrade"),
            "HTTP_SEC_WEBSOCKET_KEY": header_texts | st.just("dGhlIHNhbXBsZSBub25jZQ=="),
            "HTTP_SEC_WEBSOCKET_VERSION": header_texts | st.just("13"),
            "HTTP_SEC_WEBSOCKET_EXTENSIONS": header_texts
            | st.lists(st.sampled_from(OFFER_PARTS)).map("".join),
            "SERVER_PROTOCOL": st.sampled_from(("HTTP/1.0", "HTTP/1.1", "HTTP/2")),
            "CONTENT_LENGTH": st.sampled_from(("", "0", "1", "x")),
            "HTTP_TRANSFER_ENCODING": st.just("chunked"),
        },
    )
)
def test_handshakes(environ: dict[str, Any]) -> None:
    """Refused in one of the ways, or answered."""
    handshake.is_handshake(environ)
    wrong = handshake.wrong_handshake(environ)
    headers, extensions = handshake.negotiate_deflate(environ)
    assert len(headers) == len(extensions) <= 1
    if wrong is None:
        assert b"\r\n\r\n" in handshake.answer(environ, headers)
    else:
        assert wrong[0].startswith(("400", "426"))
