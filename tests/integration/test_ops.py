"""The operations of two nodes, with Redis and RabbitMQ between them: what one knows of the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from itsdangerous import URLSafeSerializer

from app.ops.access import COOKIE
from config.ops import DEFAULT_ADMIN_TOKEN
from config.settings import DEFAULT_SECRET_KEY
from tests.integration.conftest import assert_no_traceback
from tests.support.clients import Client, People, Refused, RefusedConnect, general
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.servers import Node, Postgres
from tests.support.waiting import wait_until

SECRET = "a-secret-of-the-channel-for-the-tests-of-this-file"
Operate = Callable[[Node], Client]


@pytest.fixture(scope="module")
def nodes(postgres: Postgres, brokers: tuple[Redis, RabbitMQ]) -> Iterator[list[Node]]:
    settings = {
        "MESSAGE_QUEUE": ",".join([brokers[0].url, brokers[1].url()]),
        "CHANNEL_SECRET": SECRET,
        "CHAT_NAME_LEASE_SECONDS": "0",
        "QUEUE_FAILBACK_SECONDS": "1",
    }
    database_url = postgres.create_database()
    with (
        Node(database_url, NODE_ID="n1", **settings) as first,
        Node(database_url, NODE_ID="n2", **settings) as second,
    ):
        yield [first, second]
        for node in (first, second):
            assert_no_traceback(node)


def sign_in(node: Node, token: str = DEFAULT_ADMIN_TOKEN) -> requests.Session:
    session = requests.Session()
    answer = session.post(f"{node.url}/ops/sign-in", data={"token": token}, timeout=15)
    assert answer.url == f"{node.url}/ops", answer.text
    return session


@pytest.fixture
def operate() -> Iterator[Operate]:
    """Connect an operator to a node."""
    opened: list[Client | requests.Session] = []

    def operate(node: Node) -> Client:
        session = sign_in(node)
        client = Client(node.url, session, namespace="/ops").connect()
        opened.extend([session, client])
        return client

    yield operate
    for one in reversed(opened):
        one.close()


def latest(operator: Client, name: str) -> Any:
    """What an operator was told last of a node; None when it is not there."""
    told = operator.received("figures")
    nodes = told[-1]["nodes"] if told else []
    return next((node for node in nodes if node["figures"]["node"] == name), None)


def wait_for(operator: Client, name: str, what: str, matches: Callable[[Any], bool]) -> Any:
    """Wait until the newest figures of a node are so."""

    def found() -> Any:
        node = latest(operator, name)
        return node if node and matches(node) else None

    return wait_until(found, lambda: f"{name}: {what}; it is {latest(operator, name)}")


def heard(operator: Client, words: str) -> Any:
    """Wait until something is in the timeline."""
    return operator.wait_for("happened", lambda entry: words in f"{entry['node']}: {entry['words']}")


def broker(node: Any, name: str) -> Any:
    return next(each for each in node["figures"]["queue"]["brokers"] if each["name"] == name)


def test_each_node_shows_the_figures_of_the_other(
    nodes: list[Node], operate: Operate, gather: Callable[[Node], People]
) -> None:
    ada = gather(nodes[1]).join("Ada")
    operator = operate(nodes[0])
    for number in range(5):
        ada.send(general(ada), f"message {number}")
    with pytest.raises(Refused):
        ada.call("no_such_event")
    node = wait_for(
        operator, "n2", "its refusal", lambda n: n["figures"]["refused"].get("unknown_event") == 1
    )
    assert node["seen"] == "heard"
    figures = node["figures"]
    assert (figures["state"], figures["websocket"], figures["polling"]) == ("serving", 1, 0)
    assert figures["queue"]["active"] == "redis"
    assert figures["handling"]["count"] >= 6
    assert 0 < figures["handling"]["p50_ms"] <= figures["handling"]["p99_ms"]
    assert figures["lateness"]["count"] > 0
    assert {room["name"] for room in figures["largest_rooms"]} >= {f"room:{general(ada)}"}
    wait_for(operator, "n2", "the way from n1", lambda n: n["figures"]["delivery"]["count"] > 0)
    wait_for(operator, "n1", "the way from n2", lambda n: n["figures"]["delivery"]["count"] > 0)
    here = latest(operator, "n1")
    assert here["seen"] == "here"
    overview = operator.call("overview")
    assert {node["figures"]["node"] for node in overview["nodes"]} == {"n1", "n2"}
    assert {line["origin"] for line in overview["history"]} == {here["origin"], node["origin"]}
    assert {(entry["node"], entry["words"]) for entry in overview["timeline"]} >= {
        ("n1", "Started."),
        ("n2", "Started."),
    }


def test_a_broker_that_dies_is_seen_from_the_other_node(
    nodes: list[Node], brokers: tuple[Redis, RabbitMQ], operate: Operate
) -> None:
    operator = operate(nodes[0])
    wait_for(operator, "n2", "heard", lambda n: n["figures"]["queue"]["active"] == "redis")
    brokers[0].kill()
    wait_for(operator, "n2", "another broker", lambda n: n["figures"]["queue"]["active"] == "rabbitmq")
    wait_for(operator, "n2", "redis is down", lambda n: broker(n, "redis")["state"] == "down")
    heard(operator, "n2: redis is down")
    heard(operator, "n2: rabbitmq is used")
    heard(operator, "n1: rabbitmq is used")
    brokers[0].start()
    wait_for(operator, "n2", "redis again", lambda n: n["figures"]["queue"]["active"] == "redis")
    # Everybody keeps what happened: it is the same on the other node.
    timelines = [
        {entry["key"] for entry in each.call("overview")["timeline"]}
        for each in (operator, operate(nodes[1]))
    ]
    wait_until(lambda: timelines[0] & timelines[1], "what both nodes saw")
    entries = operate(nodes[1]).call("overview")["timeline"]
    assert any(entry["node"] == "n1" and "rabbitmq is used" in entry["words"] for entry in entries)


def test_without_any_broker_a_node_shows_itself(
    nodes: list[Node], brokers: tuple[Redis, RabbitMQ], operate: Operate
) -> None:
    operator = operate(nodes[0])
    wait_for(operator, "n2", "heard", lambda n: n["seen"] == "heard")
    for each in brokers:
        each.kill()
    try:
        wait_for(operator, "n1", "no broker", lambda n: n["figures"]["queue"]["active"] is None)
        wait_for(operator, "n2", "silent", lambda n: n["seen"] == "silent")
        count = len(operator.received("figures"))
        wait_until(lambda: len(operator.received("figures")) > count + 1, "its own figures go on")
    finally:
        for each in brokers:
            each.start()
    wait_for(operator, "n2", "heard again", lambda n: n["seen"] == "heard")
    assert not any("n2: Not heard" in f"{e['node']}: {e['words']}" for e in operator.received("happened"))


def test_a_switch_is_done_by_all_nodes(nodes: list[Node], operate: Operate) -> None:
    operator = operate(nodes[0])
    for wanted, asked in (("rabbitmq", "rabbitmq"), ("redis", None)):
        assert operator.call("switch", {"broker": asked}) == {}
        for name in ("n1", "n2"):
            wait_for(operator, name, wanted, lambda n, to=wanted: n["figures"]["queue"]["active"] == to)
            wait_for(operator, name, wanted, lambda n, to=wanted: n["figures"]["queue"]["preferred"] == to)
    heard(operator, "An operator asked all nodes to prefer rabbitmq")
    with pytest.raises(Refused) as refused:
        operator.call("switch", {"broker": "kafka"})
    assert refused.value.error["code"] == "broker_not_found"


def test_a_node_drains_and_serves_again(
    nodes: list[Node], operate: Operate, gather: Callable[[Node], People]
) -> None:
    ada = gather(nodes[1]).join("Ada")
    operator = operate(nodes[0])
    second = wait_for(operator, "n2", "with a client", lambda n: n["figures"]["clients"] > 0)
    operator.call("drain", {"origin": second["origin"]})
    wait_for(operator, "n2", "drained", lambda n: n["figures"]["state"] == "drained")
    wait_until(lambda: not ada.connected, "the client is let go")
    heard(operator, "n2: Is drained")
    first = latest(operator, "n1")
    with pytest.raises(Refused) as refused:
        operator.call("drain", {"origin": first["origin"]})
    assert refused.value.error["code"] == "last_node"
    operator.call("resume", {"origin": second["origin"]})
    wait_for(operator, "n2", "serving", lambda n: n["figures"]["state"] == "serving")
    with pytest.raises(Refused) as refused:
        operator.call("drain", {"origin": "nobody"})
    assert refused.value.error["code"] == "node_not_found"


def test_a_node_that_is_killed_is_silent_and_comes_back(nodes: list[Node], operate: Operate) -> None:
    operator = operate(nodes[0])
    before = wait_for(operator, "n2", "heard", lambda n: n["seen"] == "heard")
    nodes[1].kill()
    wait_for(operator, "n2", "silent", lambda n: n["seen"] == "silent")
    heard(operator, "n2: Not heard for 3 s.")
    nodes[1].start()
    again = wait_for(operator, "n2", "heard again", lambda n: n["seen"] == "heard")
    assert again["origin"] != before["origin"]
    assert sum(n["figures"]["node"] == "n2" for n in operator.received("figures")[-1]["nodes"]) == 1
    # It has asked the others what happened while it was away.
    timeline = operate(nodes[1]).call("overview")["timeline"]
    assert any(entry["words"] == "Not heard for 3 s." for entry in timeline)


# Who gets in.


def test_only_operators_get_in(nodes: list[Node], gather: Callable[[Node], People]) -> None:
    ada = gather(nodes[0]).sign_in("Ada")
    for session in (None, ada):
        with pytest.raises(RefusedConnect) as refused:
            Client(nodes[0].url, session, namespace="/ops").connect()
        assert refused.value.code == "unauthorized"
    page = requests.get(f"{nodes[0].url}/ops", timeout=15)
    assert page.url.endswith("/ops/sign-in")
    wrong = requests.post(f"{nodes[0].url}/ops/sign-in", data={"token": "guess"}, timeout=15)
    assert wrong.status_code == 401
    assert COOKIE not in wrong.cookies


def test_the_mark_ends_with_its_time_and_its_token(nodes: list[Node]) -> None:
    def mark(token: str, seconds: float) -> requests.Session:
        now = time.time()
        value = {"id": "x", "began_at": now - 60, "expires_at": now + seconds, "name": "Operator"}
        signer = URLSafeSerializer(f"{DEFAULT_SECRET_KEY}\n{token}", salt=COOKIE)
        session = requests.Session()
        session.cookies.set(COOKIE, signer.dumps(value))
        return session

    with mark(DEFAULT_ADMIN_TOKEN, 60) as good, Client(nodes[0].url, good, namespace="/ops") as client:
        assert client.call("overview")["nodes"]
    for session in (mark(DEFAULT_ADMIN_TOKEN, -1), mark("the token of yesterday", 60)):
        with session, pytest.raises(RefusedConnect) as refused:
            Client(nodes[0].url, session, namespace="/ops").connect()
        assert refused.value.code == "unauthorized"
    # Also for who only looks on.
    with mark(DEFAULT_ADMIN_TOKEN, 3) as short, Client(nodes[0].url, short, namespace="/ops") as client:
        client.call("overview")
        wait_until(lambda: not client.connected, "the end of the operator's time")


def test_signing_out_ends_the_connections_on_all_nodes(nodes: list[Node]) -> None:
    session = sign_in(nodes[0])
    with session, Client(nodes[1].url, session, namespace="/ops") as client:
        client.call("overview")
        session.post(f"{nodes[0].url}/ops/sign-out", timeout=15)
        wait_until(lambda: not client.connected, "the end of the connection on the other node")


def test_attempts_are_limited_by_address_for_page_and_socket_together() -> None:
    with Node(RATE_SIGN_IN="3/minute") as node:
        for _ in range(3):
            answer = requests.post(f"{node.url}/ops/sign-in", data={"token": "guess"}, timeout=15)
            assert answer.status_code == 401
        good = requests.post(f"{node.url}/ops/sign-in", data={"token": DEFAULT_ADMIN_TOKEN}, timeout=15)
        assert good.status_code == 429
        with pytest.raises(RefusedConnect) as refused:
            Client(node.url, namespace="/ops", auth={"token": DEFAULT_ADMIN_TOKEN}).connect()
        assert refused.value.code == "rate_limited"


def test_programs_show_the_token_when_they_connect(nodes: list[Node]) -> None:
    with Client(nodes[0].url, namespace="/ops", auth={"token": DEFAULT_ADMIN_TOKEN}) as program:
        assert program.call("overview")["nodes"]
    with pytest.raises(RefusedConnect) as refused:
        Client(nodes[0].url, namespace="/ops", auth={"token": "guess"}).connect()
    assert refused.value.code == "unauthorized"
