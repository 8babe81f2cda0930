"""A client that does not read: what waits for it is bounded, and what it reads in the end is right."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import pytest

from tests.support.waiting import wait_until
from tests.support.wire import Closed, fetch, query
from tests.support.wire_socketio import SocketIO
from tests.support.wire_websocket import PING
from tests.transport.hostile.conftest import TIGHT, Through
from tests.transport.hostile.people import NAMESPACE, Thin, join, join_polling, wire_of
from tests.transport.hostile.reading import Reader, Stream
from tests.transport.hostile.target import Target, Usage

VOLATILE_BYTES = 64 * 1024
SLOW = "slow client"
TEXT = "x" * 32_000
# What the sockets between take before anything waits in the server: nginx's, and of the kernel.
MOST_BETWEEN_BYTES = 24_000_000
# Of a server that holds next to nothing for a stalled reader: what Python's allocator keeps, and noise.
SMALL_RSS_KB = 16_000


def emit(server: Target, event: str, *data: object, room: str = "room", volatile: bool = False) -> None:
    server.emit(event, *data, room=room, namespace=NAMESPACE, volatile=volatile)


def buffered(server: Target) -> int:
    waiting: int = server.transport_status()["buffered_bytes"]
    return waiting


def emit_until_behind(server: Target, more_than: int) -> int:
    """Emit numbered events until more than so much waits for the only client that does not read."""
    for number in itertools.count():
        emit(server, "big", number, TEXT)
        if buffered(server) > more_than:
            return number + 1
        assert number * len(TEXT) < MOST_BETWEEN_BYTES, "nothing ever waits"
    raise AssertionError


def bigs(count: int) -> list[list[object]]:
    return [["big", number, TEXT] for number in range(count)]


def volatiles(*numbers: int) -> list[list[object]]:
    return [["volatile", number] for number in numbers]


def test_volatile_events_are_dropped_for_who_is_behind(roomy: Target, through: Through) -> None:
    with Reader(join(roomy.url, "room")) as healthy, join(through(roomy), "room", thin=True) as client:
        count = emit_until_behind(roomy, VOLATILE_BYTES)
        before = roomy.transport_status()["volatile_dropped"]
        for number in range(10):
            emit(roomy, "volatile", number, volatile=True)
        emit(roomy, "after")
        healthy.wait_for("after", 1)
        assert roomy.transport_status()["volatile_dropped"] == before + 10
        assert healthy.stream.events() == [*bigs(count), *volatiles(*range(10)), ["after"]]
        stream = Stream(client)
        stream.read_until(lambda: stream.came(f'42{NAMESPACE},["after"]'))
        assert stream.events() == [*bigs(count), ["after"]]
        # It is not behind any more.
        wait_until(lambda: buffered(roomy) == 0, "nothing to wait")
        emit(roomy, "volatile", 10, volatile=True)
        stream.read_until(lambda: stream.came(f'42{NAMESPACE},["volatile"'))
        assert stream.events()[-1:] == volatiles(10)


def test_volatile_events_are_dropped_for_who_does_not_poll(roomy: Target, through: Through) -> None:
    with join_polling(through(roomy), "room") as client:
        count = emit_until_behind(roomy, VOLATILE_BYTES)
        before = roomy.transport_status()["volatile_dropped"]
        for number in range(10):
            emit(roomy, "volatile", number, volatile=True)
        emit(roomy, "after")
        assert roomy.transport_status()["volatile_dropped"] == before + 10
        received = [client.receive_event(NAMESPACE) for _ in range(count + 1)]
        assert received == [*bigs(count), ["after"]]
        emit(roomy, "volatile", 10, volatile=True)
        assert client.receive_event(NAMESPACE) == volatiles(10)[0]


def emit_until_disconnected(server: Target, slow_before: int) -> int:
    for number in range(MOST_BETWEEN_BYTES // len(TEXT)):
        emit(server, "big", number, TEXT)
        if server.transport_status()["slow_disconnects"] > slow_before:
            return number + 1
    raise AssertionError("a client that does not read is never disconnected")


def test_who_is_too_far_behind_is_disconnected(tight: Target, through: Through) -> None:
    slow_before = tight.transport_status()["slow_disconnects"]
    reasons_before = tight.reasons().get(SLOW, 0)
    with Reader(join(tight.url, "room")) as healthy, join(through(tight), "room", thin=True) as client:
        usage = Usage.of(tight)
        count = emit_until_disconnected(tight, slow_before)
        wait_until(lambda: tight.reasons().get(SLOW, 0) == reasons_before + 1, lambda: str(tight.status()))
        assert tight.transport_status()["slow_disconnects"] == slow_before + 1
        assert buffered(tight) == 0
        assert healthy.wait_for("big", count) == bigs(count)
        assert Usage.of(tight).peak_rss_kb - usage.peak_rss_kb < SMALL_RSS_KB
        # What had left the server before is right, to the last whole frame.
        stream = Stream(client)
        stream.read_to_end()
        events = stream.events()
        assert events == bigs(len(events))
        assert 0 < len(events) < count


def test_who_does_not_poll_is_disconnected(tight: Target, through: Through) -> None:
    slow_before = tight.transport_status()["slow_disconnects"]
    reasons_before = tight.reasons().get(SLOW, 0)
    client = join_polling(through(tight), "room")
    usage = Usage.of(tight)
    count = emit_until_disconnected(tight, slow_before)
    wait_until(lambda: tight.reasons().get(SLOW, 0) == reasons_before + 1, lambda: str(tight.status()))
    assert TIGHT["buffer_bytes"] <= count * len(TEXT) <= TIGHT["buffer_bytes"] + 2 * len(TEXT)
    assert Usage.of(tight).peak_rss_kb - usage.peak_rss_kb < SMALL_RSS_KB
    answer = fetch(through(tight), "GET", query(transport="polling", sid=client.eio_sid))
    assert (answer.status, answer.json()) == (400, {"code": 1, "message": "Session ID unknown"})
    with pytest.raises(Closed):
        client.receive()


def test_an_answer_to_a_poll_that_is_not_read(tight: Target) -> None:
    """It is the web server's by then; its client alone waits for the rest."""
    with join_polling(tight.url, "room") as client, Thin(tight.url) as poll, join(tight.url) as other:
        emit(tight, "big", 0, "x" * 400_000)
        poll.send_request("GET", query(transport="polling", sid=client.eio_sid))
        assert other.call("message-with-ack", 1, namespace=NAMESPACE) == [1]
        wait_until(lambda: buffered(tight) == 0, "the answer to be given")
        assert poll.read_answer().packets == [f'42{NAMESPACE},["big",0,"{"x" * 400_000}"]']


def check_storm(stream: Stream, sources: int, count: int, size: int) -> None:
    """Every source's events are there, in its order, each with what belongs to it."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for _, source, number, data in stream.events("storm"):
        numbers[source].append(number)
        text = "x" * size
        assert data == (f"{source} {number} {text}".encode() if isinstance(data, bytes) else text)
    assert len(numbers) == sources
    assert all(found == list(range(count)) for found in numbers.values()), numbers


def everything(client: SocketIO, questions: int) -> None:
    """Ask for 300 x 50 KB, and go on talking, without reading a byte."""
    wire = wire_of(client)
    client.emit("burst", "n", 300, "x" * 50_000, namespace=NAMESPACE, ack=0)
    for number in range(questions):
        client.emit("message-with-ack", number, namespace=NAMESPACE, ack=number + 1)
        wire.send_frame(PING, str(number))


@pytest.mark.parametrize("how", ["at once", "slowly"])
def test_every_byte_is_right(roomy: Target, through: Through, how: str) -> None:
    """15 MB, acks, pongs and events from six sides at once wait, and not a frame is cut or interleaved."""
    questions, sources, count, size = 40, 6, 25, 3_000
    with join(through(roomy), "room") as client:
        everything(client, questions)
        wait_until(lambda: buffered(roomy) > 5_000_000, "much to wait")
        roomy.storm("room", greenlets=3, threads=3, count=count, size=size)
        stream = Stream(client)
        if how == "slowly":
            luck = random.Random(5)
            stream.sip([luck.choice((1, 2, 3, 100, 1500, 4000)) for _ in range(300)], pause_seconds=0.0005)

        attachments = 3 * ((count + 1) // 2)
        texts = 300 + sources * count + attachments + questions + 1
        last = str(questions - 1).encode()
        stream.read_until(lambda: len(stream.packets()) == texts and last in stream.pongs(), seconds=60)
        assert stream.events("n") == [["n", number, "x" * 50_000] for number in range(300)]
        check_storm(stream, sources, count, size)
        assert stream.acks() == {0: [True]} | {number + 1: [number] for number in range(questions)}
        # Of several pings the newest is answered at least (RFC 6455, 5.5.3).
        pongs = [int(payload) for payload in stream.pongs()]
        assert pongs == sorted(set(pongs))


def test_messages_larger_than_all_buffers(roomy: Target, through: Through) -> None:
    sizes = [8_000_000, 1, 12_000_000, 65_536, 3]
    with join(through(roomy), "room", thin=True) as client:
        for size in sizes:
            options = {"text_bytes": size, "room": "room", "namespace": NAMESPACE}
            roomy.emit("large", **options)
        wait_until(lambda: buffered(roomy) > 10_000_000, "much to wait")
        stream = Stream(client)
        stream.read_until(lambda: len(stream.frames) == len(sizes), seconds=60)
        assert [len(text) for _, text in stream.events("large")] == sizes


def test_a_message_above_the_limit_reaches_who_reads(tight: Target, through: Through) -> None:
    """The limit is for what waits because somebody does not read, not for what was just emitted."""
    with Reader(join(through(tight), "room")) as reader:
        for number in range(3):
            tight.emit("large", number, text_bytes=3_000_000, room="room", namespace=NAMESPACE)
            events = reader.wait_for("large", number + 1)
            assert [event[1] for event in events] == list(range(number + 1))
        tight.emit("many", "x" * 20_000, count=200, room="room", namespace=NAMESPACE)
        assert len(reader.wait_for("many", 200)) == 200
