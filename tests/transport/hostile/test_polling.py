"""Requests of long-polling clients that lie, overflow or stop: 4xx, and nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.waiting import wait_until
from tests.support.wire import Closed, Connection, encode_payload
from tests.support.wire_socketio import Polling, SocketIO
from tests.transport.hostile.conftest import TIGHT, TIGHT_MESSAGE_BYTES, Through
from tests.transport.hostile.people import NAMESPACE, join_polling
from tests.transport.hostile.target import Target, Usage

MOST_PACKETS = int(TIGHT["max_packets"])
NOTE = f'42{NAMESPACE},["note",1]'


@pytest.fixture
def client(tight: Target, through: Through) -> Iterator[SocketIO]:
    tight.handled()
    with join_polling(through(tight)) as client:
        yield client


def polling(client: SocketIO) -> Polling:
    assert isinstance(client.engine, Polling)
    return client.engine


def is_over(client: SocketIO) -> bool:
    """Whether the session has ended: the client is told once, and then there is none."""
    answer = polling(client).poll(2)
    return answer.status == 400 or (answer.packets[-1] == "1" and polling(client).poll(2).status == 400)


def post_head(engine: Polling, *headers: str) -> bytes:
    lines = (f"POST {engine.target()} HTTP/1.1", "Host: x", "Content-Type: text/plain", *headers)
    return "\r\n".join([*lines, "", ""]).encode()


def raw_post(client: SocketIO, *headers: str, body: bytes = b"", end: bool = True) -> int | None:
    """Send a request by hand; the status that came, None when the connection was just closed."""
    engine = polling(client)
    with Connection(engine.url) as connection:
        try:
            connection.send(post_head(engine, *headers) + body)
            if end:
                connection.half_close()
            return connection.read_answer().status
        except Closed:
            return None


def test_as_many_packets_as_are_allowed(tight: Target, client: SocketIO) -> None:
    answer = polling(client).post_body(encode_payload([NOTE] * MOST_PACKETS))
    assert answer.status == 200
    wait_until(lambda: len(tight.handled()) == MOST_PACKETS, "the events")


@pytest.mark.parametrize("count", [MOST_PACKETS + 1, 1_000, 3_000])
def test_more_packets_than_are_allowed(tight: Target, client: SocketIO, count: int) -> None:
    """None of them is handled, and the session is over."""
    answer = polling(client).post_body(encode_payload([NOTE] * count))
    assert answer.status == 400
    assert is_over(client)
    assert tight.handled() == []


def test_a_flood_of_separators(tight: Target, client: SocketIO) -> None:
    usage = Usage.of(tight)
    assert polling(client).post_body("\x1e" * (TIGHT_MESSAGE_BYTES - 1)).status == 400
    assert Usage.of(tight).peak_rss_kb - usage.peak_rss_kb < 10_000


def test_a_body_that_is_too_large(tight: Target, client: SocketIO) -> None:
    longest = NOTE + "\x1e6" + "x" * (TIGHT_MESSAGE_BYTES - len(NOTE) - 2)
    assert polling(client).post_body(longest).status == 200
    wait_until(lambda: tight.handled() == [1], "the event")
    answer = polling(client).post_body(longest + "x")
    assert answer.status == 413
    # nginx refuses it by itself, and the session lives on.
    assert polling(client).url != tight.url or is_over(client)
    assert tight.handled() == []


@pytest.mark.parametrize("length", [10**9, 2**63, 10**30])
def test_a_body_that_is_announced_and_does_not_come(tight: Target, client: SocketIO, length: int) -> None:
    usage = Usage.of(tight)
    for _ in range(10):
        status = raw_post(client, f"Content-Length: {length}", body=b"4" * 1000, end=False)
        assert status in (400, 413, None)
    assert Usage.of(tight).peak_rss_kb - usage.peak_rss_kb < 10_000


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: -1",),
        ("Content-Length: x",),
        ("Content-Length: 5, 6",),
        ("Content-Length: +5",),
        ("Content-Length: 0x10",),
        ("Content-Length: 1e3",),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip",),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: x, chunked",),
    ],
    ids=str,
)
def test_lengths_that_make_no_sense(tight: Target, client: SocketIO, headers: tuple[str, ...]) -> None:
    status = raw_post(client, *headers, body=b"5\r\n4abcd\r\n0\r\n\r\n")
    assert status is None or 400 <= status < 502, status
    assert tight.handled() == []


def test_less_than_was_announced(tight: Target, client: SocketIO) -> None:
    """A body that was cut off is no body, whole as its first packets may be."""
    body = encode_payload([NOTE, NOTE]).encode()
    status = raw_post(client, f"Content-Length: {len(body) + 50}", body=body)
    assert status in (400, 408, None)
    assert tight.handled() == []


def test_more_than_was_announced(tight: Target, client: SocketIO) -> None:
    """The rest is another request, and none."""
    body = NOTE.encode()
    assert raw_post(client, f"Content-Length: {len(body)}", body=body + b"\x1e" + body, end=False) == 200
    wait_until(lambda: tight.handled() == [1], "the event")


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


CHUNKED = "Transfer-Encoding: chunked"


def test_a_chunked_body(tight: Target, client: SocketIO) -> None:
    body = encode_payload([NOTE, NOTE]).encode()
    assert raw_post(client, CHUNKED, body=chunked(body[:3], body[3:5], body[5:]), end=False) == 200
    noted: list[object] = []
    wait_until(lambda: noted.extend(tight.handled()) or noted == [1, 1], lambda: str(noted))


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-5\r\nabcde\r\n0\r\n\r\n",
        b"ffffffffffffffffffff\r\n4",
        b"5\r\n4abcdefgh\r\n0\r\n\r\n",
        b"5\r\n4ab",
        b"5\r\n4abcd\r\n",
        b"0\r\n" + b"x: y\r\n" * 300 + b"\r\n",
        b"\r\n\r\n",
        b"",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_chunks_that_are_none(tight: Target, client: SocketIO, body: bytes) -> None:
    status = raw_post(client, CHUNKED, body=body)
    assert status is None or 400 <= status < 502, status
    assert tight.handled() == []


def test_chunks_without_end(tight: Target, client: SocketIO) -> None:
    """Read up to the limit, and not on."""
    usage = Usage.of(tight)
    engine = polling(client)
    with Connection(engine.url) as connection:
        try:
            connection.send(post_head(engine, CHUNKED))
            for _ in range(300):
                connection.send(b"10000\r\n" + b"4" * 0x10000 + b"\r\n")
            status: int | None = connection.read_answer().status
        except Closed:
            status = None
    assert status in (413, 400, None)
    assert Usage.of(tight).peak_rss_kb - usage.peak_rss_kb < 10_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"4\xed\xa0\x80",
        b"x",
        b"49",
        b"2",
        b"0",
        b"b!",
        b"\x1e",
        b"4\x1e",
        b"\x1e4",
        b"b4\x1eb",
        b"42[",
    ],
)
def test_bodies_that_are_none(tight: Target, client: SocketIO, body: bytes) -> None:
    assert polling(client).post_body(body).status in (200, 400)
    wait_until(lambda: polling(client).post_body(NOTE).status == 400, "the session to end")
    assert tight.handled() == []


def test_a_body_that_never_comes(tight: Target, client: SocketIO) -> None:
    """It is waited for, for so long."""
    engine = polling(client)
    with Connection(engine.url) as connection:
        connection.send(post_head(engine, "Content-Length: 50") + b"4")
        if engine.url == tight.url:
            assert connection.read_answer().status in (400, 408)


def test_two_polls_at_once(client: SocketIO) -> None:
    engine = polling(client)
    with engine.start_poll() as first, engine.start_poll() as second:
        statuses = [first.read_answer().status, second.read_answer().status]
    assert 400 in statuses
    assert is_over(client)


def test_polls_that_are_left(tight: Target, client: SocketIO) -> None:
    """The one who asked has gone: others are served, and nothing stays."""
    for _ in range(20):
        polling(client).start_poll().reset()
    with join_polling(polling(client).url) as other:
        assert other.call("message-with-ack", 1, namespace=NAMESPACE) == [1]
