"""Volatile events: dropped for a client that takes its time, and only they."""

from __future__ import annotations

import pytest

from tests.support.small import SmallServer, Transport
from tests.support.wire_socketio import Polling
from tests.transport.conformance.conftest import Join, Open


@pytest.fixture(autouse=True)
def only_native(kind: Transport) -> None:
    """The library has no such events."""
    if kind == "library":
        pytest.skip("emit has no argument `volatile` there")


def test_a_volatile_event_reaches_who_listens(join: Join, server: SmallServer) -> None:
    client = join()
    server.emit("news", 1, namespace="/bench", volatile=True)
    assert client.receive_event("/bench") == ["news", 1]
    server.emit("news", 2, binary="AQIDBA==", namespace="/bench", volatile=True)
    assert client.receive_event("/bench") == ["news", 2, b"\x01\x02\x03\x04"]


def test_volatile_events_are_dropped_for_who_does_not_poll(strict: SmallServer, opened: Open) -> None:
    client = opened.join(strict, "polling")
    assert isinstance(client.engine, Polling)
    before = strict.status()["transport"]["volatile_dropped"]
    strict.emit("first", text_bytes=2000, namespace="/bench")
    strict.emit("lost", 1, namespace="/bench", volatile=True)
    strict.emit("lost", 2, binary="AQIDBA==", namespace="/bench", volatile=True)
    strict.emit("second", 2, namespace="/bench")
    assert strict.status()["transport"]["volatile_dropped"] == before + 2
    # What is emitted together with one of them is not dropped with it.
    strict.emit_in_one_turn(
        {"event": "third", "namespace": "/bench"},
        {"event": "lost", "namespace": "/bench", "volatile": True},
        {"event": "fourth", "namespace": "/bench"},
    )
    assert client.receive_event("/bench") == ["first", "x" * 2000]
    assert client.receive_event("/bench") == ["second", 2]
    assert client.receive_event("/bench") == ["third"]
    assert client.receive_event("/bench") == ["fourth"]
    strict.emit("again", 3, namespace="/bench", volatile=True)
    assert client.receive_event("/bench") == ["again", 3]


def test_volatile_events_are_dropped_for_who_does_not_read(strict: SmallServer, opened: Open) -> None:
    client = opened.join(strict, "websocket", receive_bytes=8192)
    events = 0
    # Until neither kernel takes more.
    while not strict.status()["transport"]["buffered_bytes"]:
        strict.emit("filler", events, text_bytes=500_000, namespace="/bench")
        events += 1
        assert events < 200
    before = strict.status()["transport"]["volatile_dropped"]
    strict.emit("lost", 1, namespace="/bench", volatile=True)
    strict.emit("lost", 2, binary="AQIDBA==", namespace="/bench", volatile=True)
    assert strict.status()["transport"]["volatile_dropped"] == before + 2
    strict.emit_in_one_turn(
        {"event": "lost", "namespace": "/bench", "volatile": True},
        {"event": "last", "namespace": "/bench"},
    )
    for number in range(events):
        assert client.receive_event("/bench")[:2] == ["filler", number]
    assert client.receive_event("/bench") == ["last"]
    strict.emit("again", 3, namespace="/bench", volatile=True)
    assert client.receive_event("/bench") == ["again", 3]
