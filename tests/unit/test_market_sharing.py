"""Nodes share what they know of the market: a made-up cluster, real boards."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
import pytest

from app.market import sharing
from app.market.board import Board, Point
from app.market.sharing import Sharing
from app.market.sources import Instrument, Quote
from app.realtime import OutboxFull

ACME, NOVA = Instrument("ACME", "Acme Corp"), Instrument("NOVA", "Nova")


class Cluster:
    """Takes what a node tells to all others, through msgpack, as the queue does."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.told: list[tuple[str, str, Any]] = []  # (origin, topic, data)
        self.full = False

    def join(self, *instruments: Instrument, feed: bool = False) -> Node:
        node = Node(self, f"n{len(self.nodes) + 1}", Board(instruments or [ACME, NOVA], 60), feed)
        self.nodes.append(node)
        return node

    def topics(self, *topics: str) -> list[tuple[str, str]]:
        return [(origin, topic) for origin, topic, _ in self.told if topic in topics]


class Node:
    """One node of it."""

    def __init__(self, cluster: Cluster, origin: str, board: Board, feed: bool) -> None:
        self.cluster, self.origin, self.board = cluster, origin, board
        self.handlers: dict[str, Callable[[str, Any], None]] = {}
        self.sharing = Sharing(board, self, feed)

    def tell_nodes(self, topic: str, data: Any) -> None:
        if self.cluster.full:
            raise OutboxFull("no room")
        body = msgspec.msgpack.encode(data)
        self.cluster.told.append((self.origin, topic, msgspec.msgpack.decode(body)))
        for node in self.cluster.nodes:
            if node is not self:
                node.handlers[topic](self.origin, msgspec.msgpack.decode(body))

    def on_nodes(self, topic: str, handler: Callable[[str, Any], None]) -> None:
        self.handlers[topic] = handler

    def record(self, *prices: float, symbol: str = "ACME", time_ms: int = 1_000) -> None:
        for price in prices:
            self.board.record(Quote(symbol, price), time_ms)

    def prices(self, symbol: str = "ACME") -> list[float]:
        return [point.price for point in self.board.history(symbol).points]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second takes a hundredth."""
    for name in ("SHARE_SECONDS", "ANSWER_SPREAD_SECONDS", "ASK_AGAIN_SECONDS"):
        monkeypatch.setattr(sharing, name, getattr(sharing, name) / 100)


def wait_until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(30):
        while not condition():
            gevent.sleep(0.001)


def test_the_others_learn_what_the_feed_records_once(cluster: Cluster) -> None:
    feed, other = cluster.join(feed=True), cluster.join()
    feed.record(10.0, 11.0)
    feed.record(5.0, symbol="NOVA")
    feed.sharing.tell()
    feed.sharing.tell()  # nothing is new
    assert len(cluster.told) == 1
    feed.record(12.0)
    feed.sharing.tell()
    assert other.prices() == feed.prices() == [10.0, 11.0, 12.0]
    assert other.board.snapshot("ACME") == feed.board.snapshot("ACME")
    assert other.board.snapshot("NOVA") == feed.board.snapshot("NOVA")
    assert [len(data) for _, _, data in cluster.told] == [2, 1]


def test_they_learn_it_by_themselves_and_the_last_when_it_stops(cluster: Cluster) -> None:
    feed, other = cluster.join(feed=True), cluster.join()
    feed.sharing.start()
    feed.record(10.0)
    wait_until(lambda: other.prices() == [10.0])
    feed.record(11.0)
    feed.sharing.stop()
    assert other.prices() == [10.0, 11.0]


def test_a_node_that_starts_gets_the_history_from_the_feed(cluster: Cluster) -> None:
    feed, other = cluster.join(feed=True), cluster.join()
    feed.record(10.0, 11.0)
    feed.record(5.0, symbol="NOVA")
    feed.sharing.tell()
    late = cluster.join()
    late.sharing.start()
    wait_until(late.sharing._answered.is_set)
    assert (late.prices(), late.prices("NOVA")) == ([10.0, 11.0], [5.0])
    assert late.board.snapshot("ACME") == feed.board.snapshot("ACME")
    gevent.sleep(2 * sharing.ANSWER_SPREAD_SECONDS)
    assert cluster.topics(sharing.ANSWER) == [("n1", sharing.ANSWER)] * 2, "one node answers, and no other"
    assert cluster.topics(sharing.ASK) == [("n3", sharing.ASK)]
    assert other.prices() == [10.0, 11.0]


def test_the_node_of_the_feed_gets_back_what_it_has_forgotten(cluster: Cluster) -> None:
    first, other = cluster.join(feed=True), cluster.join()
    first.record(10.0, 11.0)
    first.sharing.stop()
    cluster.nodes.remove(first)
    again = cluster.join(feed=True)
    again.record(20.0, time_ms=2_000)
    again.sharing.start()
    wait_until(lambda: other.prices() == [10.0, 11.0, 20.0])
    wait_until(lambda: again.prices() == [10.0, 11.0, 20.0])
    again.sharing.stop()


def test_who_is_not_answered_asks_a_few_times(cluster: Cluster) -> None:
    alone, empty = cluster.join(), cluster.join()
    alone.sharing.start()
    gevent.joinall(alone.sharing._greenlets, timeout=30)
    assert cluster.topics(sharing.ASK) == [("n1", sharing.ASK)] * sharing.ASKS_MAX
    assert cluster.topics(sharing.ANSWER) == [], "who knows nothing says nothing"
    alone.sharing.stop()
    empty.sharing.stop()


def test_what_could_not_be_told_is_told_later(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    feed, other = cluster.join(feed=True), cluster.join()
    cluster.full = True
    feed.record(10.0)
    feed.sharing.tell()
    feed.sharing.tell()
    assert [record.getMessage() for record in caplog.records] == [
        "the other nodes do not get market: no room"
    ]
    cluster.full = False
    feed.record(11.0)
    feed.sharing.tell()
    assert other.prices() == [10.0, 11.0]
    assert feed.sharing.skipped == 0


def test_what_was_forgotten_before_it_was_told_is_counted(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    feed, other = cluster.join(feed=True), cluster.join()
    feed.record(*range(1, 71))
    feed.sharing.tell()
    assert feed.sharing.skipped == 10
    assert "the other nodes miss 10 prices of ACME" in caplog.text
    assert other.prices() == [float(price) for price in range(11, 71)]


def test_two_feeds_are_told(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    early, late = cluster.join(feed=True), cluster.join(feed=True)
    early.record(10.0)
    early.sharing.tell()
    late.record(20.0, time_ms=2_000)
    late.sharing.tell()
    late.record(21.0)
    late.sharing.tell()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2, "each node says it once"
    assert all("MARKET_NODE" in warning for warning in warnings)
    assert early.prices() == late.prices() == [10.0, 20.0, 21.0]


@pytest.mark.parametrize(
    ("topic", "data"),
    [
        (sharing.TICKS, {"no": "list"}),
        (sharing.TICKS, [{"symbol": "ACME", "opening": 1.0, "points": [[1, 1, 1]]}]),
        (sharing.TICKS, [{"symbol": "GONE", "opening": 1.0, "points": [[1, 1, 1, 1.0]]}]),
        (sharing.TICKS, [{"symbol": "ACME", "opening": 1.0, "points": [[1, 1, 1, -1.0]]}]),
        (sharing.ASK, 7),
        (sharing.ANSWER, "x"),
    ],
)
def test_what_another_version_tells_does_no_harm(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, topic: str, data: Any
) -> None:
    other, node = cluster.join(), cluster.join()
    other.tell_nodes(topic, data)
    other.tell_nodes(topic, data)
    assert len(caplog.records) == 1, "it is logged, once"
    assert node.board.history("ACME").points == ()
    node.handlers[sharing.TICKS]("n9", [{"symbol": "ACME", "opening": 1.0, "points": [[1, 1, 1, 1.0]]}])
    assert node.board.history("ACME").points == (Point(1, 1, 1, 1.0),)
