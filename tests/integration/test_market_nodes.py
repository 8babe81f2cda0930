"""The market on nodes of which one has the feed, with Redis and RabbitMQ between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.integration.conftest import assert_no_traceback
from tests.support.clients import Client
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.servers import Node
from tests.support.waiting import WAIT_SECONDS, wait_until

Brokers = tuple[Redis, RabbitMQ]


@pytest.fixture(scope="module")
def nodes(brokers: Brokers) -> Iterator[list[Node]]:
    settings = {
        "MESSAGE_QUEUE": ",".join([brokers[0].url, brokers[1].url()]),
        "MARKET_SOURCE": "random-walk",
        "MARKET_SYMBOLS": "ACME=Acme Corp,NOVA=Nova",
        "MARKET_TICKS_PER_SECOND": "20",
        "MARKET_HISTORY_POINTS": "5000",
        "MARKET_NODE": "n1",
        "RATE_CONNECT": "10000/second",
    }
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(Node(NODE_ID=name, **settings)) for name in ("n1", "n2", "n3")]
        yield started
        for node in started:
            assert_no_traceback(node)


def history(node: Node, symbol: str = "ACME") -> list[list[Any]]:
    """What a node answers to somebody who comes now."""
    with Client(node.url, namespace="/market") as client:
        points: list[list[Any]] = client.call("history", {"symbol": symbol})["points"]
        return points


def assert_whole(points: list[list[Any]]) -> None:
    """Each run's numbers begin with 1 and have no gaps."""
    for run in {point[0] for point in points}:
        seqs = [point[1] for point in points if point[0] == run]
        assert seqs == list(range(1, len(seqs) + 1))
    assert points == sorted(points)


def test_a_client_of_another_node_gets_history_and_ticks(nodes: list[Node]) -> None:
    wait_until(lambda: len(history(nodes[1])) > 20, "the second node knows prices")
    with Client(nodes[1].url, namespace="/market") as client:
        (snapshot,) = client.call("subscribe", {"symbols": ["ACME"]})["snapshots"]
        assert snapshot["last"]["seq"] > 20
        assert snapshot["history"][-1] == snapshot["last"]["price"]
        wait_until(lambda: len(client.received("tick")) > 40, "ticks at the second node")
        ticks = [[t["run"], t["seq"], t["time_ms"], t["price"]] for t in client.received("tick")]
    # All that was sent is in the history of every node, and there is nothing else in it.
    wait_until(
        lambda: all(history(node)[-1][:2] >= ticks[-1][:2] for node in nodes), "all nodes know the last tick"
    )
    for node in nodes:
        points = history(node)
        assert_whole(points)
        assert [point for point in points if ticks[0][:2] <= point[:2] <= ticks[-1][:2]] == ticks


def test_prices_go_on_over_the_other_broker(nodes: list[Node], brokers: Brokers) -> None:
    wait_until(lambda: history(nodes[1]), "the second node knows prices")
    brokers[0].kill()
    try:
        known = len(history(nodes[0]))
        wait_until(lambda: len(history(nodes[1])) > known, "prices over RabbitMQ")
        assert_whole(history(nodes[1]))
    finally:
        brokers[0].start()


def test_a_node_that_starts_anew_knows_what_was_before(nodes: list[Node]) -> None:
    feed, other, third = nodes
    wait_until(lambda: len(history(other)) > 20, "the second node knows prices")
    other.kill()
    before = history(feed)
    other.start()
    wait_until(lambda: len(history(other)) > len(before), "it knows what was before it")
    assert history(other)[: len(before)] == before

    # The feed's own node, too. Its numbers begin anew, in a later run, and nobody takes them for old ones.
    wait_until(lambda: len(history(third)) > len(before), "the third node is as far")
    feed.terminate()
    before = history(third)
    feed.start()
    wait_until(
        lambda: history(feed)[: len(before)] == before, "the feed's node has got back the prices of before"
    )
    wait_until(lambda: len(history(third)) > len(before) + 20, "the new run at another node")
    points = history(third)
    assert_whole(points)
    assert points[-1][0] > before[-1][0]
    with Client(third.url, namespace="/market") as client:
        (snapshot,) = client.call("subscribe", {"symbols": ["ACME"]})["snapshots"]
        assert snapshot["last"]["run"] == points[-1][0]


def test_the_page_is_open_to_everybody(nodes: list[Node]) -> None:
    page = requests.get(f"{nodes[1].url}/market", timeout=WAIT_SECONDS)
    assert page.ok
    assert 'aria-current="page">Market<' in page.text
