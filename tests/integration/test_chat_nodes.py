"""The chat on two nodes, with Redis and RabbitMQ between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import requests

from tests.integration.conftest import assert_no_traceback
from tests.support.clients import Client, People, general, room_named
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.servers import Node, Postgres
from tests.support.waiting import wait_until

SECRET = "a-secret-of-the-channel-for-the-tests-of-this-file"


@pytest.fixture(scope="module")
def nodes(postgres: Postgres, brokers: tuple[Redis, RabbitMQ]) -> Iterator[list[Node]]:
    database_url = postgres.create_database()
    settings = {
        "MESSAGE_QUEUE": ",".join([brokers[0].url, brokers[1].url()]),
        "CHANNEL_SECRET": SECRET,
        "CHAT_NAME_LEASE_SECONDS": "0",
        "MARKET_SOURCE": "random-walk",
        "MARKET_NODE": "n1",
    }
    with (
        Node(database_url, NODE_ID="n1", **settings) as first,
        Node(database_url, NODE_ID="n2", **settings) as second,
    ):
        yield [first, second]
        for node in (first, second):
            assert_no_traceback(node)


def queue_check(node: Node) -> dict[str, object]:
    """What /readyz says of the queue."""
    checks: dict[str, dict[str, object]] = requests.get(f"{node.url}/readyz", timeout=15).json()["checks"]
    return checks["queue"]


def talk(ada: Client, grace: Client, texts: list[str]) -> None:
    """Ada writes on her node, and Grace gets it on hers, in order."""
    room = general(ada)
    for text in texts:
        ada.send(room, text)
    wait_until(
        lambda: [m["text"] for m in grace.received("message") if m["text"] in texts] == texts,
        lambda: f"{texts} at the other node, which has {grace.received('message')}",
    )


def test_people_on_two_nodes_talk_while_a_broker_is_away(
    nodes: list[Node], brokers: tuple[Redis, RabbitMQ], gather: Callable[[Node], People]
) -> None:
    ada, grace = gather(nodes[0]).join("Ada"), gather(nodes[1]).join("Grace")
    talk(ada, grace, ["over Redis 1", "over Redis 2"])
    talk(grace, ada, ["and back"])
    assert queue_check(nodes[0])["active"] == "redis"

    brokers[0].kill()
    talk(ada, grace, [f"Redis is dead {number}" for number in range(20)])
    talk(grace, ada, [f"here too {number}" for number in range(20)])
    wait_until(lambda: queue_check(nodes[0]).get("active") == "rabbitmq", "the first node uses RabbitMQ")

    brokers[0].start()
    brokers[1].kill()
    talk(ada, grace, [f"RabbitMQ is dead {number}" for number in range(20)])
    talk(grace, ada, [f"here too, again {number}" for number in range(20)])
    wait_until(lambda: queue_check(nodes[1]).get("active") == "redis", "the second node uses Redis")


def test_without_any_broker_a_node_lives_and_is_not_ready(
    nodes: list[Node], brokers: tuple[Redis, RabbitMQ], gather: Callable[[Node], People]
) -> None:
    people = gather(nodes[0])
    ada, grace = people.join("Ada"), people.join("Grace")
    for broker in brokers:
        broker.kill()
    wait_until(lambda: not queue_check(nodes[0])["ok"], "the queue's check fails")
    assert requests.get(f"{nodes[0].url}/readyz", timeout=15).status_code == 503
    assert requests.get(f"{nodes[0].url}/healthz", timeout=15).ok
    talk(ada, grace, ["on the same node all is well"])
    for broker in brokers:
        broker.start()
    wait_until(lambda: requests.get(f"{nodes[0].url}/readyz", timeout=15).ok, "the node is ready again")


def test_a_node_stops_cleanly_and_the_other_goes_on(
    nodes: list[Node], gather: Callable[[Node], People]
) -> None:
    grace = gather(nodes[1]).join("Grace")
    assert nodes[0].terminate() == 0
    assert "not delivered" not in nodes[0].log()
    nodes[0].start()
    ada = gather(nodes[0]).join("Ada")
    talk(ada, grace, ["back again"])


def test_one_node_runs_the_market_for_all(nodes: list[Node], gather: Callable[[Node], People]) -> None:
    here, there = (gather(node).tab(None, namespace="/market") for node in nodes)
    symbols = [line["symbol"] for line in there.call("symbols")["symbols"]]
    assert symbols == [line["symbol"] for line in here.call("symbols")["symbols"]]
    for client in (here, there):
        client.call("subscribe", {"symbols": symbols[:2]})

    def numbers(client: Client) -> list[int]:
        return [tick["seq"] for tick in client.received("tick") if tick["symbol"] == symbols[0]]

    wait_until(lambda: len(numbers(there)) >= 5, "ticks at the node without a feed")
    heard = numbers(there)
    assert heard == list(range(heard[0], heard[0] + len(heard))), "each once"


def test_a_direct_conversation_on_two_nodes(nodes: list[Node], gather: Callable[[Node], People]) -> None:
    people = gather(nodes[0])
    ada, eve = people.join("Ada"), gather(nodes[1]).join("Eve")
    session = gather(nodes[1]).sign_in("Grace")
    here, there = people.tab(session), people.tab(session, url=nodes[1].url)
    ada_id, grace_id = (client.call("hello")["me"]["id"] for client in (ada, here))
    room = ada.call("open_direct", {"user": grace_id})["room"]["id"]
    first = ada.send(room, "Only for you.")
    for grace in (here, there):
        appeared = grace.wait_for("membership", lambda e: e["room"]["id"] == room)["room"]
        assert (appeared["with"]["id"], appeared["last_seq"], appeared["read_seq"]) == (ada_id, 1, 0)
        assert grace.wait_for("message", lambda m: m["room"] == room) == first
    answer = there.send(room, "Got it.")
    assert ada.wait_for("message", lambda m: m["seq"] == answer["seq"] and m["room"] == room) == answer
    assert there.call("open_direct", {"user": ada_id})["room"]["id"] == room

    # What comes later to everybody shows that nothing of it comes to Eve any more.
    marker = ada.send(general(ada), "For everybody.")
    eve.wait_for("message", lambda m: m["id"] == marker["id"])
    assert [m for m in eve.received("message") if m["room"] == room] == []
    assert [e for e in eve.received("membership") if e["room"]["id"] == room] == []


def test_what_is_read_on_one_node_is_read_on_the_other(
    nodes: list[Node], gather: Callable[[Node], People]
) -> None:
    people = gather(nodes[0])
    ada, session = people.join("Ada"), gather(nodes[1]).sign_in("Grace")
    here, there = people.tab(session), people.tab(session, url=nodes[1].url)
    message = ada.send(general(ada), "Read me.")
    there.wait_for("message", lambda m: m["id"] == message["id"])
    position = {"room": message["room"], "seq": message["seq"]}
    there.call("read", position)
    assert here.wait_for("read", lambda p: p["seq"] >= message["seq"]) == position
    assert room_named(here, "general")["read_seq"] == message["seq"]
    assert ada.received("read") == [], "nobody else hears of it"
