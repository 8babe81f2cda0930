"""A WebSocket on the loop: what the kernel does not take waits, in order, and its owner hears of it."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator

import gevent
import pytest
from gevent import monkey
from websockets.frames import CloseCode, Frame, Opcode

from app.realtime.transport.incoming import Incoming
from app.realtime.transport.sockets import PlainSocket
from app.realtime.transport.wire import GOODBYE_SECONDS, Wire
from tests.support.waiting import WAIT_SECONDS

MAX_BYTES = 1_000_000
_native_sleep = monkey.get_original("time", "sleep")


class Owner:
    """Notes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.messages: list[str | bytes] = []

    def received(self, wire: Wire, message: str | bytes) -> None:
        self.messages.append(message)

    def congested(self, wire: Wire) -> None:
        self.told.append("congested")

    def drained(self, wire: Wire) -> None:
        self.told.append("drained")

    def ended(self, wire: Wire) -> None:
        self.told.append("ended")


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield here, there


@pytest.fixture
def client(pair: tuple[socket.socket, socket.socket]) -> socket.socket:
    return pair[0]


@pytest.fixture
def wire(pair: tuple[socket.socket, socket.socket], owner: Owner) -> Iterator[Wire]:
    there = pair[1]
    taken = PlainSocket(there.family, there.type, there.proto, there.detach())
    taken.setblocking(False)
    wire = Wire(taken, owner, MAX_BYTES, 1000)
    yield wire
    wire.lost()


def read(client: socket.socket, size: int) -> bytes:
    """Read so many bytes, while the loop goes on."""
    client.setblocking(False)
    data = b""
    with gevent.Timeout(WAIT_SECONDS):
        while len(data) < size:
            try:
                more = client.recv(65_536)
                assert more, f"the end after {len(data)} of {size} bytes"
                data += more
            except BlockingIOError:
                gevent.sleep(0.001)
    return data


def test_who_owns_it_hears_when_something_waits(client: socket.socket, wire: Wire, owner: Owner) -> None:
    wire.write(b"a" * 100)
    assert owner.told == []
    wire.write(b"b" * 1_000_000)
    assert owner.told == ["congested"], "whatever follows must wait behind it"
    wire.write(b"c" * 100)
    wire.write_all([b"d" * 10, b"e" * 10])
    assert owner.told == ["congested"]
    assert read(client, 1_000_220) == b"a" * 100 + b"b" * 1_000_000 + b"c" * 100 + b"d" * 10 + b"e" * 10
    gevent.sleep(0.01)
    assert owner.told == ["congested", "drained"]
    assert wire.buffered == 0


def test_answers_to_pings_congest_it_like_anything_else(
    client: socket.socket, wire: Wire, owner: Owner
) -> None:
    """Somebody pings and does not read: the rest of a PONG waits, and nothing may be written into it."""
    ping = Frame(Opcode.PING, b"p" * 125).serialize(mask=True)
    while owner.told != ["congested"]:
        wire.feed(ping * 20)
    waiting = wire.buffered
    wire.feed(Frame(Opcode.PING, b"last").serialize(mask=True) * 100)
    assert wire.buffered == waiting, "only the last one is answered, later"
    wire.write(b"event")
    pong = Frame(Opcode.PONG, b"p" * 125).serialize(mask=False)
    last = Frame(Opcode.PONG, b"last").serialize(mask=False)
    data = b""
    with gevent.Timeout(WAIT_SECONDS):
        while not data.endswith(last):
            data += read(client, 1)
    whole, _, rest = data.partition(b"event")
    assert whole == pong * (len(whole) // len(pong))
    assert rest == last


def test_parts_that_wait_are_those_of_everybody(client: socket.socket, wire: Wire) -> None:
    """A thousand clients that are behind keep the same bytes, not a copy each."""
    parts = [b"x" * 600_000, b"y" * 600_000]
    wire.write_all(parts)
    kept = wire._backlog
    assert kept is not None
    assert all(any(getattr(each, "obj", each) is part for part in parts) for each in kept)
    assert read(client, 1_200_000) == b"".join(parts)


def test_a_parser_leaves_nothing_behind(wire: Wire) -> None:
    """It is made for each message, and the collector may not look for hours."""
    text = Frame(Opcode.TEXT, b"4hello").serialize(mask=True)
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            wire.feed(text)
        wire.feed(text[:3])
        wire.lost()
        assert [each for each in gc.get_objects() if type(each) is Incoming] == []
    finally:
        gc.enable()


def test_what_is_left_is_written_before_the_end(client: socket.socket, wire: Wire, owner: Owner) -> None:
    # A turn that takes long, as a collector's pause may: the loop's clock is behind then.
    gevent.sleep(0.001)
    _native_sleep(GOODBYE_SECONDS * 1.2)
    wire.write(b"z" * 1_000_000)
    wire.finish(CloseCode.NORMAL_CLOSURE)
    assert owner.told[-1] == "ended"
    wire.write(b"too late")
    gevent.sleep(0.001)
    data = read(client, 1_000_004)
    assert data == b"z" * 1_000_000 + bytes([0x88, 2, 3, 0xE8])
    with gevent.Timeout(WAIT_SECONDS):
        while client.recv(10) if _readable(client) else True:
            gevent.sleep(0.001)


def _readable(client: socket.socket) -> bool:
    try:
        client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True
