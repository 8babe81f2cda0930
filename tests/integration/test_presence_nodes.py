"""Who is here, on three nodes: what each of them tells its own people about those of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import requests

from tests.integration.conftest import assert_no_traceback
from tests.support.clients import Client, Json, People, RefusedConnect, general, new_room, sign_in
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.servers import Node, Postgres
from tests.support.waiting import wait_until

SECRET = "a-secret-of-the-channel-for-the-tests-of-this-file"
Gather = Callable[[Node], People]


@pytest.fixture(scope="module")
def nodes(postgres: Postgres, brokers: tuple[Redis, RabbitMQ]) -> Iterator[list[Node]]:
    database_url = postgres.create_database()
    settings = {
        "MESSAGE_QUEUE": ",".join([brokers[0].url, brokers[1].url()]),
        "CHANNEL_SECRET": SECRET,
        "CHAT_NAME_LEASE_SECONDS": "0",
    }
    with (
        Node(database_url, NODE_ID="n1", **settings) as first,
        Node(database_url, NODE_ID="n2", **settings) as second,
        Node(database_url, NODE_ID="n3", **settings) as third,
    ):
        yield [first, second, third]
        for node in (first, second, third):
            assert_no_traceback(node)


def short(member: Json) -> str:
    """A name without what makes it unique."""
    return str(member["name"]).split()[0]


def here(client: Client, room: int | None = None) -> list[str]:
    """The names of those who are in a room, as a client's node has it."""
    answer = client.call("members", {"room": room or general(client)})
    return [short(member) for member in answer["members"]]


def sees(client: Client, *names: str, room: int | None = None) -> None:
    """Wait until a client's node has exactly these people in a room, and no others of before."""
    wait_until(
        lambda: here(client, room) == sorted(names), lambda: f"{names}, and there are {here(client, room)}"
    )


def left(client: Client) -> list[str]:
    """Who went out of some room, as the client was told."""
    return [short(each["member"]) for each in client.received("member_left")]


def test_everybody_sees_everybody(nodes: list[Node], gather: Gather) -> None:
    clients = [gather(nodes[0]).join("Ada")]
    sees(clients[0], "Ada")
    for node, name in zip(nodes[1:], ("Bea", "Cid"), strict=True):
        clients.append(gather(node).join(name))
        sees(clients[0], *("Ada", "Bea", "Cid")[: len(clients)])
    for client in clients:
        sees(client, "Ada", "Bea", "Cid")
    # The one who was there first was told of both, once each, and how many there are.
    for name, count in (("Bea", 2), ("Cid", 3)):
        told = [each for each in clients[0].received("member_joined") if short(each["member"]) == name]
        assert [each["online"] for each in told] == [count]
    clients[2].close()
    for client in clients[:2]:
        sees(client, "Ada", "Bea")
    assert left(clients[0])[-1:] == ["Cid"]
    assert left(clients[0]).count("Cid") == 1


def test_two_tabs_on_two_nodes_are_one_person(nodes: list[Node], gather: Gather) -> None:
    people = gather(nodes[0])
    session = people.sign_in("Ada")
    ada, tab = people.tab(session), people.tab(session, url=nodes[1].url)
    watcher = gather(nodes[2]).join("Wim")
    sees(watcher, "Ada", "Wim")
    # A room that she joins in one tab is joined in both.
    room = new_room(ada)
    watcher.call("join", {"room": room})
    sees(watcher, "Ada", "Wim", room=room)
    tab.wait_for("membership", lambda changed: changed["room"]["id"] == room)
    watcher.send(room, "to both")
    for client in (ada, tab):
        client.wait_for("message", lambda message: message["text"] == "to both")
    ada.close()
    tab.send(room, "still here")
    watcher.wait_for("message", lambda message: message["text"] == "still here")
    assert here(watcher, room) == ["Ada", "Wim"]
    assert "Ada" not in left(watcher)
    tab.call("leave", {"room": room})
    sees(watcher, "Wim", room=room)
    tab.close()
    sees(watcher, "Wim")


def test_two_who_took_one_name_while_no_broker_worked(
    nodes: list[Node], brokers: tuple[Redis, RabbitMQ], gather: Gather
) -> None:
    """When the nodes hear each other again one of them stays, and the other one chooses another name."""
    people = gather(nodes[0])
    for broker in brokers:
        broker.kill()
    sessions = [people.sign_in("Eve")]
    clients = [people.tab(sessions[0])]
    name = clients[0].call("hello")["me"]["name"]
    sessions.append(sign_in(nodes[1].url, name))
    clients.append(people.tab(sessions[1], url=nodes[1].url))
    them = [client.call("hello")["me"] for client in clients]
    assert [me["name"] for me in them] == [name, name]
    for broker in brokers:
        broker.start()
    stays = min((0, 1), key=lambda number: them[number]["id"])
    goes = 1 - stays
    wait_until(lambda: not clients[goes].connected, "one of the two gives way")
    watcher = gather(nodes[2]).join("Wim")
    sees(watcher, "Eve", "Wim")
    assert clients[stays].connected
    with pytest.raises(RefusedConnect):
        people.tab(sessions[goes], url=nodes[goes].url)
    form = {"name": name.replace("Eve", "Eva"), "reason": "name_taken"}
    sessions[goes].post(f"{nodes[goes].url}/sign-in", data=form, timeout=15)
    people.tab(sessions[goes], url=nodes[goes].url)
    sees(watcher, "Eva", "Eve", "Wim")
    sessions[1].close()


def test_a_display_name_is_taken_on_all_nodes(nodes: list[Node], gather: Gather) -> None:
    def answer(node: Node, name: str) -> int:
        form = {"name": name}
        return requests.post(f"{node.url}/sign-in", data=form, timeout=15, allow_redirects=False).status_code

    people = gather(nodes[0])
    session = people.sign_in("Ada")
    ada, watcher = people.tab(session), gather(nodes[1]).join("Wim")
    sees(watcher, "Ada", "Wim")
    name = ada.call("hello")["me"]["name"]
    assert answer(nodes[1], name.upper()) == requests.codes.conflict
    ada.close()
    sees(watcher, "Wim")
    assert answer(nodes[1], name) == requests.codes.see_other


def test_a_killed_node_takes_its_people_along_and_comes_back(nodes: list[Node], gather: Gather) -> None:
    watcher, other = gather(nodes[0]).join("Wim"), gather(nodes[1]).join("Bea")
    lost = gather(nodes[2]).join("Cid")
    sees(watcher, "Bea", "Cid", "Wim")
    nodes[2].kill()
    for client in (watcher, other):
        sees(client, "Bea", "Wim")
    lost.close()
    nodes[2].start()
    back = gather(nodes[2]).join("Dan")
    for client in (watcher, other, back):
        sees(client, "Bea", "Dan", "Wim")


def test_presence_goes_on_without_the_first_broker_and_stands_still_without_any(
    nodes: list[Node], brokers: tuple[Redis, RabbitMQ], gather: Gather
) -> None:
    watcher, ada = gather(nodes[0]).join("Wim"), gather(nodes[1]).join("Ada")
    sees(watcher, "Ada", "Wim")
    brokers[0].kill()
    bea = gather(nodes[1]).join("Bea")
    sees(watcher, "Ada", "Bea", "Wim")
    brokers[1].kill()

    def alone() -> bool:
        checks = requests.get(f"{nodes[0].url}/readyz", timeout=15).json()["checks"]
        return not checks["queue"]["ok"]

    wait_until(alone, "no broker works")
    bea.close()
    # Nobody is said to be gone only because nothing is heard.
    assert here(watcher) == ["Ada", "Bea", "Wim"]
    for broker in brokers:
        broker.start()
    sees(watcher, "Ada", "Wim")
    assert "Ada" not in left(watcher)
    assert left(watcher).count("Bea") == 1
    assert ada.connected
