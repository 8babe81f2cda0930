"""Binary events: as many attachments as were announced, in bounds, or the end of the connection."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.support.wire import Closed
from tests.support.wire_socketio import SocketIO
from tests.support.wire_websocket import WebSocket
from tests.transport.hostile.conftest import TIGHT, TIGHT_MESSAGE_BYTES, Through
from tests.transport.hostile.people import NAMESPACE, join, join_polling, wire_of
from tests.transport.hostile.target import Target, Usage

MOST = int(TIGHT["max_attachments"])


@pytest.fixture(params=["websocket", "polling"])
def client(request: pytest.FixtureRequest, tight: Target, through: Through) -> Iterator[SocketIO]:
    connect: Callable[[str], SocketIO] = join if request.param == "websocket" else join_polling
    with connect(through(tight)) as client:
        yield client


def head(count: int, *places: int, event: str = "message-with-ack") -> str:
    """An event that announces attachments, with placeholders for some."""
    holders = "".join(f',{{"_placeholder":true,"num":{number}}}' for number in places)
    return f'5{count}-{NAMESPACE},1["{event}"{holders}]'


def test_as_many_as_are_allowed(client: SocketIO) -> None:
    parts = [bytes([number]) * 10 for number in range(MOST)]
    assert client.call("message-with-ack", *parts, namespace=NAMESPACE) == parts


@pytest.mark.parametrize("count", [MOST + 1, 1_000, 10**9, 10**100])
def test_more_than_are_allowed(client: SocketIO, count: int) -> None:
    """Refused when they are announced."""
    client.send(head(count, 0))
    assert client.closed()


def test_as_many_bytes_as_are_allowed(client: SocketIO) -> None:
    # The packets of a request by polling are counted together, and bytes are a third longer there.
    size = TIGHT_MESSAGE_BYTES // 3 if isinstance(client.engine, WebSocket) else 20_000
    parts = [b"x" * size, b"y" * size, b"z" * size]
    assert client.call("message-with-ack", *parts, namespace=NAMESPACE) == parts


def test_more_bytes_than_are_allowed(client: SocketIO) -> None:
    """In all attachments of a packet together."""
    client.send(head(MOST, *range(MOST)))
    client.send(b"x" * 60_000)
    client.send(b"x" * 40_001)
    assert client.closed()


def test_the_most_bytes(tight: Target, through: Through) -> None:
    with join(through(tight)) as client:
        parts = [b"x" * (TIGHT_MESSAGE_BYTES - 1), b"x"]
        assert client.call("message-with-ack", *parts, namespace=NAMESPACE) == parts


def test_attachments_that_do_not_come(tight: Target, through: Through) -> None:
    """The event waits for them, and is forgotten with the connection."""
    tight.handled()
    usage = Usage.of(tight)
    for _ in range(50):
        with join(through(tight)) as client:
            client.send(head(2, 0, 1, event="note"), b"x" * 90_000)
            wire_of(client).send_frame(9, b"are you there?")
            assert wire_of(client).read_frame().payload == b"are you there?"
    tight.wait_until_empty()
    assert tight.handled() == []
    usage.wait_until_back(tight, rss_kb=8_000)


@pytest.mark.parametrize(
    "packets",
    [
        (head(1, 0), "4not bytes"),
        (head(1, 0), f'42{NAMESPACE},["note",1]'),
        (b"nobody asked for this",),
        (head(1, 1), b"x"),
        (head(1, 99), b"x"),
        (head(2, 0, 1), b"x", "4"),
        (f'5-{NAMESPACE},["note"]',),
        (f'5x-{NAMESPACE},["note"]',),
        (f'5-1-{NAMESPACE},["note"]', b"x"),
        (f'51{NAMESPACE},["note"]', b"x"),
        (f"51-{NAMESPACE},", b"x"),
        (f'51-{NAMESPACE},["note",{{"_placeholder":true,"num":"0"}}]', b"x"),
        (f'51-{NAMESPACE},["note",{{"_placeholder":true,"num":null}}]', b"x"),
        (f'51-{NAMESPACE},["note",{{"_placeholder":true,"num":[]}}]', b"x"),
    ],
    ids=repr,
)
def test_what_does_not_belong_together(client: SocketIO, packets: tuple[str | bytes, ...]) -> None:
    with contextlib.suppress(Closed):
        for packet in packets:
            client.send(packet)
    assert client.closed()


def test_acknowledgements_with_attachments_of_nothing(client: SocketIO) -> None:
    """For a question that nobody asked."""
    client.send(f'61-{NAMESPACE},99[{{"_placeholder":true,"num":0}}]', b"x")
    assert client.call("message-with-ack", 1, namespace=NAMESPACE, ack=2) == [1]


def test_one_attachment_in_many_places(client: SocketIO) -> None:
    """A small packet must not become a large one: the same bytes are meant, not copies."""
    answer = client.call("message-with-ack", b"x", namespace=NAMESPACE)
    assert answer == [b"x"]
    client.send(head(1, *[0] * 1000, event="nothing"), b"x" * 20_000)
    assert client.call("message-with-ack", 1, namespace=NAMESPACE, ack=2) == [1]
