"""Frames that break the rules of RFC 6455 end their connection, with the code that it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.support.waiting import wait_until
from tests.support.wire import Closed
from tests.support.wire_socketio import SocketIO
from tests.support.wire_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame
from tests.transport.hostile.conftest import TIGHT, TIGHT_MESSAGE_BYTES, Through
from tests.transport.hostile.people import NAMESPACE, join, wire_of
from tests.transport.hostile.target import Target

PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009
ASK = f'42{NAMESPACE},7["message-with-ack","grüße"]'.encode()
ANSWER = f'3{NAMESPACE},7["gr\\u00fc\\u00dfe"]'
NOTE = f'42{NAMESPACE},["note","after the end"]'
MOST_FRAGMENTS = int(TIGHT["max_fragments"])


def frame(opcode: int, payload: bytes = b"", **options: object) -> bytes:
    mask = options.pop("mask", b"")
    length = options.pop("length", None)
    return Frame(opcode, payload, **options).encode(mask, length)  # type: ignore[arg-type]


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def fragments(pieces: Sequence[bytes], opcode: int = TEXT) -> list[bytes]:
    """A message in several frames."""
    last = len(pieces) - 1
    return [
        frame(CONTINUATION if number else opcode, piece, fin=number == last)
        for number, piece in enumerate(pieces)
    ]


WRONG: dict[str, tuple[int, bytes]] = {
    "text without a mask": (PROTOCOL_ERROR, frame(TEXT, ASK, mask=None)),
    "binary without a mask": (PROTOCOL_ERROR, frame(BINARY, b"x", mask=None)),
    "ping without a mask": (PROTOCOL_ERROR, frame(PING, mask=None)),
    "close without a mask": (PROTOCOL_ERROR, frame(CLOSE, b"\x03\xe8", mask=None)),
    **{
        f"reserved bits {rsv:03b} of {name}": (PROTOCOL_ERROR, frame(opcode, b"", rsv=rsv))
        for rsv in range(1, 8)
        for name, opcode in (("text", TEXT), ("ping", PING), ("close", CLOSE))
    },
    **{f"opcode {opcode}": (PROTOCOL_ERROR, frame(opcode)) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "ping of 126 bytes": (PROTOCOL_ERROR, frame(PING, b"x" * 126)),
    "pong of 126 bytes": (PROTOCOL_ERROR, frame(PONG, b"x" * 126)),
    "close of 126 bytes": (PROTOCOL_ERROR, close(1000, b"x" * 124)),
    "fragmented ping": (PROTOCOL_ERROR, frame(PING, fin=False)),
    "fragmented close": (PROTOCOL_ERROR, frame(CLOSE, b"\x03\xe8", fin=False)),
    "close of one byte": (PROTOCOL_ERROR, frame(CLOSE, b"\x03")),
    **{
        f"close code {code}": (PROTOCOL_ERROR, close(code))
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    },
    "close reason that is no UTF-8": (INVALID_DATA, close(1000, b"\xff")),
    "close reason cut in a character": (INVALID_DATA, close(1000, "ü".encode()[:1])),
    "continuation of nothing": (PROTOCOL_ERROR, frame(CONTINUATION, ASK)),
    "unfinished continuation of nothing": (PROTOCOL_ERROR, frame(CONTINUATION, ASK, fin=False)),
    "text within a message": (PROTOCOL_ERROR, frame(TEXT, b"4", fin=False) + frame(TEXT, ASK)),
    "binary within a message": (PROTOCOL_ERROR, frame(TEXT, b"4", fin=False) + frame(BINARY, b"x")),
    "continuation after the end": (PROTOCOL_ERROR, b"".join(fragments([b"6", b""])) + frame(CONTINUATION)),
    **{
        f"UTF-8 {bad.hex(' ')}": (INVALID_DATA, frame(TEXT, b"42" + bad))
        for bad in (
            b"\xff",
            b"\x80",  # continues nothing
            b"\xc3",  # goes on nowhere
            b"\xc3(",
            b"\xc0\xaf",  # longer than need be
            b"\xe0\x80\xaf",
            b"\xed\xa0\x80",  # half of a surrogate pair
            b"\xf4\x90\x80\x80",  # beyond the last character
            b"\xf8\x88\x80\x80\x80",
        )
    },
    "UTF-8 cut at the end of fragments": (INVALID_DATA, b"".join(fragments([b"42", "ü".encode()[:1]]))),
    "UTF-8 wrong across fragments": (INVALID_DATA, b"".join(fragments([b"42\xc3", b"("]))),
    "announces 2^64 - 1 bytes": (TOO_BIG, frame(TEXT, b"4", length=2**64 - 1)),
    "announces 2^62 bytes": (TOO_BIG, frame(TEXT, b"4", length=2**62)),
    "announces 1 GB of binary": (TOO_BIG, frame(BINARY, b"x" * 1000, length=10**9)),
    "announces 2^62 bytes of ping": (0, frame(PING, b"", length=2**62)),
    "a byte too many": (TOO_BIG, frame(TEXT, b"4" + b"x" * TIGHT_MESSAGE_BYTES)),
    "a byte too many, in fragments": (
        TOO_BIG,
        b"".join(fragments([b"4", b"x" * (TIGHT_MESSAGE_BYTES - 1), b"x"])),
    ),
    "a fragment that announces too much": (
        TOO_BIG,
        frame(TEXT, b"4", fin=False) + frame(CONTINUATION, b"x", length=TIGHT_MESSAGE_BYTES),
    ),
    "a fragment too many": (TOO_BIG, b"".join(fragments([b"4"] + [b"x"] * MOST_FRAGMENTS))),
    "empty fragments": (TOO_BIG, frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 5000),
}


@pytest.fixture
def client(tight: Target, through: Through) -> SocketIO:
    return join(through(tight))


def assert_ended(client: SocketIO, code: int) -> None:
    """The server says this code, 0 any of those for what is wrong, and closes."""
    with client:
        closed = wire_of(client).read_close()
    assert closed == code or (code == 0 and closed in (PROTOCOL_ERROR, TOO_BIG))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_ends_the_connection(tight: Target, client: SocketIO, name: str) -> None:
    code, data = WRONG[name]
    tight.handled()
    wire = wire_of(client)
    # What comes after it is not looked at.
    wire.send(data + frame(TEXT, NOTE.encode()))
    assert_ended(client, code)
    assert tight.handled() == []


@pytest.mark.parametrize("code", [None, 1000, 1001, 1003, 1011, 3000, 4999])
def test_a_goodbye_is_returned(tight: Target, client: SocketIO, code: int | None) -> None:
    tight.handled()
    goodbye = frame(CLOSE) if code is None else close(code, "grüße".encode())
    wire_of(client).send(goodbye + frame(TEXT, NOTE.encode()))
    with client:
        assert wire_of(client).read_close() == code
    assert tight.handled() == []


def test_a_goodbye_within_a_message(client: SocketIO) -> None:
    wire_of(client).send(frame(TEXT, b"4", fin=False) + close(1000))
    with client:
        assert wire_of(client).read_close() in (1000, PROTOCOL_ERROR)


def whole() -> bytes:
    return frame(TEXT, ASK)


def in_fragments() -> bytes:
    cut = ASK.index("ü".encode()) + 1
    return b"".join(fragments([ASK[:3], ASK[3:cut], ASK[cut:]]))


def most_fragments() -> bytes:
    pieces = [ASK[at : at + 1] for at in range(MOST_FRAGMENTS - 1)]
    return b"".join(fragments([*pieces, ASK[MOST_FRAGMENTS - 1 :]]))


def with_pings_between() -> bytes:
    first, second, third = fragments([b"", ASK[:9], ASK[9:]])
    return first + frame(PING, b"one") + second + frame(PONG, b"?") + frame(PING, b"x" * 125) + third


def longest() -> bytes:
    head = ASK[: -len(b'"]')]
    return frame(TEXT, head + b"x" * (TIGHT_MESSAGE_BYTES - len(ASK)) + b'"]')


def longest_in_fragments() -> bytes:
    head = ASK[: -len(b'"]')]
    text = head + b"x" * (TIGHT_MESSAGE_BYTES - len(ASK)) + b'"]'
    return b"".join(fragments([text[:50_000], text[50_000:-1], text[-1:]]))


def masked_with_nothing() -> bytes:
    return frame(TEXT, ASK, mask=b"\0\0\0\0")


@pytest.mark.parametrize(
    "message",
    [
        whole,
        in_fragments,
        most_fragments,
        with_pings_between,
        longest,
        longest_in_fragments,
        masked_with_nothing,
    ],
)
def test_what_is_right_is_handled(client: SocketIO, message: Callable[[], bytes]) -> None:
    with client:
        wire_of(client).send(message())
        answer = client.receive()
        assert isinstance(answer, str)
        assert answer.replace("x" * (TIGHT_MESSAGE_BYTES - len(ASK)), "") == ANSWER.encode().decode(
            "unicode-escape"
        )


def test_pings_are_answered_in_the_middle_of_a_message(client: SocketIO) -> None:
    with client:
        wire = wire_of(client)
        wire.send(with_pings_between())
        frames = [wire.read_frame() for _ in range(3)]
        assert [(each.opcode, each.payload) for each in frames[:2]] == [(PONG, b"one"), (PONG, b"x" * 125)]
        assert frames[2].opcode == TEXT


@pytest.mark.parametrize(
    "packet", [b"", b"2", b"0", b"7", b"x", b"b!", b"49", b"42[", b'42{"a":1}', b"44", b"\xef\xbb\xbf42"]
)
def test_a_message_that_is_no_packet_ends_the_connection(client: SocketIO, packet: bytes) -> None:
    with client:
        wire_of(client).send(frame(TEXT, packet))
        assert client.closed()


def test_who_goes_on_after_the_end_is_cut_off(tight: Target, client: SocketIO) -> None:
    wire = wire_of(client)
    tight.handled()
    wire.send(frame(TEXT, ASK, mask=None))

    def refused() -> bool:
        try:
            wire.send(frame(TEXT, NOTE.encode()) * 100)
        except Closed:
            return True
        return False

    with client:
        wait_until(refused, "the connection to be gone")
    assert tight.handled() == []
