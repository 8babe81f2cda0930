"""More than anybody can handle, as fast as it can be sent: others are served, and nothing piles up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.nginx import Nginx
from tests.support.waiting import wait_until
from tests.support.wire_socketio import SocketIO
from tests.support.wire_websocket import BINARY, CONTINUATION, PING, PONG, TEXT, Frame
from tests.transport.hostile.conftest import TRANSPORT, Through
from tests.transport.hostile.people import NAMESPACE, Witness, join, join_polling, pour, wire_of
from tests.transport.hostile.reading import Reader
from tests.transport.hostile.target import Target, Usage

MASK = b"mask"
TOO_BIG = 1009
# More than all buffers between hold, so that one who does not read is noticed.
FLOOD_BYTES = 96_000_000
# What may come of any flood, with the buffers of one client and noise.
FLOOD_RSS_KB = 40_000
ROUNDS = 20


def frames(opcode: int, payload: str | bytes, count: int = 500, *, fin: bool = True) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    return Frame(opcode, data, fin).encode(MASK) * count


SHORT: dict[str, bytes] = {
    "empty pings": frames(PING, b""),
    "long pings": frames(PING, b"x" * 125),
    "pongs": frames(PONG, b"x" * 10),
    "Engine.IO pongs": frames(TEXT, "3"),
    "noops": frames(TEXT, "6"),
    "upgrades": frames(TEXT, "5"),
    "events that nobody handles": frames(TEXT, f'42{NAMESPACE},["nothing"]'),
    "events that ask nobody": frames(TEXT, f'42{NAMESPACE},1["nothing"]'),
    "answered events": frames(TEXT, f'42{NAMESPACE},["message",1]'),
    "acknowledged events": frames(TEXT, f'42{NAMESPACE},1["message-with-ack",1]'),
    "acknowledgements of nothing": frames(TEXT, f"43{NAMESPACE},1[]"),
    "unknown namespaces": frames(TEXT, "40/nowhere,"),
    "joins and leaves": frames(TEXT, "40/custom,", 1) + frames(TEXT, "41/custom,", 1),
    "events in fragments": b"".join(
        (
            frames(TEXT, f"42{NAMESPACE},", 1, fin=False),
            frames(CONTINUATION, b"", 10, fin=False),
            frames(CONTINUATION, '["nothing"]', 1),
        )
    ),
    "binary events": frames(TEXT, f'451-{NAMESPACE},["nothing",{{"_placeholder":true,"num":0}}]', 1)
    + frames(BINARY, b"x", 1),
}


@pytest.fixture
def flooder(roomy: Target, through: Through) -> Iterator[SocketIO]:
    with join(through(roomy)) as client:
        yield client


def flood_while(wire_client: SocketIO, data: bytes, go_on: Callable[[], bool]) -> tuple[str, int]:
    """Pour until it is enough; returns how it ended, and how much was taken."""
    ended, total = "all sent", 0
    while ended == "all sent" and go_on() and total < FLOOD_BYTES:
        ended, sent = pour(wire_of(wire_client), data, most_bytes=len(data), quiet_seconds=0.5)
        total += sent
    return ended, total


# Where nginx could make a difference.
ALSO_THROUGH_NGINX = ("empty pings", "acknowledged events")


@pytest.mark.parametrize(
    ("name", "by_nginx"), [(name, False) for name in SHORT] + [(name, True) for name in ALSO_THROUGH_NGINX]
)
def test_a_flood_that_is_not_read(
    roomy: Target,
    fronts: Callable[[Target], Nginx],
    witness: Callable[[Target], Witness],
    name: str,
    by_nginx: bool,
) -> None:
    """Whatever comes back is not taken: reading stops, or the client is ended, or nothing comes back."""
    with join(fronts(roomy).url if by_nginx else roomy.url) as flooder:
        flood_unread(roomy, flooder, witness, name)


def flood_unread(roomy: Target, flooder: SocketIO, witness: Callable[[Target], Witness], name: str) -> None:
    other = witness(roomy)
    usage = Usage.of(roomy)
    done = threading.Event()
    results: list[tuple[str, int]] = []

    def flood() -> None:
        results.append(flood_while(flooder, SHORT[name], lambda: not done.is_set()))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        other.wait_for_answers(ROUNDS)
    finally:
        done.set()
        thread.join(30)
    now = Usage.of(roomy)
    # What the kernel still has of the flood is not to be handled.
    wire_of(flooder).reset()
    assert results, "the flood does not end"
    assert now.peak_rss_kb - usage.peak_rss_kb < FLOOD_RSS_KB, results
    assert now.greenlets < usage.greenlets + 200, results
    other.wait_for_answers(ROUNDS)


def test_reading_goes_on_when_the_handlers_are_done(tight: Target, through: Through) -> None:
    """Everything that was sent is handled, in its order, though not all of it could wait in the server."""
    tight.handled()
    count = 5_000
    with join(through(tight)) as client:
        events = [f'42{NAMESPACE},["note",{number}]' for number in range(count)]
        busy = f'42{NAMESPACE},["wait",0.3]'
        data = b"".join(frames(TEXT, text, 1) for text in [busy] * 100 + events)
        ended, sent = pour(wire_of(client), data, most_bytes=len(data), quiet_seconds=10)
        assert (ended, sent) == ("all sent", len(data))
        noted: list[int] = []
        wait_until(
            lambda: noted.extend(tight.handled()) or len(noted) >= count, lambda: f"{len(noted)} events"
        )
    # Handlers are asynchronous, but these do not wait, and begin in their order.
    assert noted == list(range(count))


def test_pings_that_are_read_are_all_answered(flooder: SocketIO) -> None:
    """In their order, with what was in them, between events."""
    with Reader(flooder) as reader:
        wire = wire_of(flooder)
        for number in range(2_000):
            wire.send_frame(PING, f"{number}")
            if number % 100 == 0:
                wire.send_frame(TEXT, f'42{NAMESPACE},{number}["message-with-ack",{number}]')
        wait_until(lambda: len(reader.stream.pongs()) == 2_000, lambda: f"{len(reader.stream.pongs())} pongs")
        wait_until(lambda: len(reader.stream.acks()) == 20, "the acknowledgements")
        assert reader.stream.pongs() == [str(number).encode() for number in range(2_000)]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_empty_fragments_without_end(flooder: SocketIO, opcode: int) -> None:
    wire = wire_of(flooder)
    wire.send(frames(opcode, b"", 1, fin=False))
    # The server says why, and listens for a second; nginx goes on to read for longer what nobody wants.
    ended, _ = pour(wire, frames(CONTINUATION, b"", fin=False), most_bytes=FLOOD_BYTES)
    if ended != "closed":
        assert wire.read_close() == TOO_BIG


def test_a_flood_over_many_connections(roomy: Target, through: Through) -> None:
    """A hundred at once, and one who is served."""
    flooders = [join(through(roomy)) for _ in range(100)]
    try:
        with Witness(through(roomy)) as other:
            data = SHORT["events that nobody handles"]
            for client in flooders:
                pour(wire_of(client), data, most_bytes=len(data), quiet_seconds=0)
            other.wait_for_answers(ROUNDS)
    finally:
        for client in flooders:
            client.engine.close()


def test_a_flood_by_polling(roomy: Target, through: Through, witness: Callable[[Target], Witness]) -> None:
    other = witness(roomy)
    packet = f'2{NAMESPACE},["nothing"]'
    with join_polling(through(roomy)) as client:
        for _ in range(50):
            client.send(*[packet] * 100)
        other.wait_for_answers(ROUNDS)


if TRANSPORT == "library":
    pytestmark = pytest.mark.skip("the library alone has no bounds at all")
