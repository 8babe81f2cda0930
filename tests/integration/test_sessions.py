"""Sessions end on all nodes: by sign-out, by command, by time; with a broker and without."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from tests.integration.conftest import assert_no_traceback
from tests.support.clients import Client, People, RawClient, RefusedConnect, cookie_header
from tests.support.hearing import run
from tests.support.jwks import claims_of, jwks, new_key, provide, sign
from tests.support.redis import Redis
from tests.support.servers import Node
from tests.support.waiting import wait_until

SECRET = "a-secret-of-another-site-with-40-letters"
CHANNEL_SECRET = "a-secret-of-the-channel-for-the-tests-of-this-file"
# Long enough that only a message can be the reason for what a test sees.
NEVER_SECONDS = "300"


class Pair:
    """Two nodes on one database, with Redis between them."""

    def __init__(self, folder: Path, redis: Redis, **settings: str) -> None:
        self.redis = redis
        self.settings = {
            "DATABASE_URL": f"sqlite:///{folder}/chat.db",
            "MESSAGE_QUEUE": redis.url,
            "CHANNEL_SECRET": CHANNEL_SECRET,
            "CHANNEL": folder.name,
            "CHAT_NAME_LEASE_SECONDS": "0",
            **settings,
        }
        url = self.settings["DATABASE_URL"]
        rest = {name: value for name, value in self.settings.items() if name != "DATABASE_URL"}
        self.nodes = [Node(url, NODE_ID=node_id, **rest) for node_id in ("n1", "n2")]

    def flask(self, *arguments: str) -> Any:
        """Run a command beside the nodes."""
        environment: dict[str, Any] = {"APP_ENV": "testing", "FLASK_SKIP_DOTENV": "1", **self.settings}
        done = run("-m", "flask", "--app", "wsgi", *arguments, **environment)
        assert "Traceback" not in done.stderr, done.stderr
        return done


def start(pair: Pair) -> Iterator[Pair]:
    with pair.nodes[0], pair.nodes[1]:
        yield pair
        for node in pair.nodes:
            assert_no_traceback(node)


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, redis: Redis) -> Iterator[Pair]:
    """Nodes that hear of ends by messages only."""
    folder = tmp_path_factory.mktemp("told")
    yield from start(Pair(folder, redis, SESSION_CHECK_SECONDS=NEVER_SECONDS, AUTH_JWT_SECRET=SECRET))


def token(user_id: str, name: str, **more: Any) -> str:
    return jwt.encode(claims_of(user_id, name, **more), SECRET, "HS256")


def on_other_node(people: People, base: str, pair: Pair) -> tuple[requests.Session, Client]:
    """Somebody who signed in on the first node, with a tab on the second."""
    session = people.sign_in(base)
    return session, people.tab(session, url=pair.nodes[1].url)


def name_of(client: Client) -> str:
    return str(client.call("hello")["me"]["name"])


def assert_ended(client: Client, reason: str = "ended") -> None:
    assert client.wait_for("session_ended")["reason"] == reason
    wait_until(lambda: client.disconnects, "the server disconnects the client")


def test_signing_out_ends_the_tab_on_the_other_node_and_the_copied_cookie(
    pair: Pair, gather: Callable[[Node], People]
) -> None:
    people = gather(pair.nodes[0])
    session, there = on_other_node(people, "Ada", pair)
    _, neighbour = on_other_node(people, "Bob", pair)
    copy = cookie_header(session)
    raw = RawClient(pair.nodes[1].url, cookie=copy)
    assert raw.join_namespace("/chat").startswith("40/chat,")
    assert requests.post(f"{pair.nodes[0].url}/sign-out", headers={"Cookie": copy}, timeout=15).ok
    assert_ended(there)
    with raw:
        assert raw.closed_by_server(), "what carries the client is closed too"
    for node in pair.nodes:
        rooms = requests.get(f"{node.url}/api/v1/rooms", headers={"Cookie": copy}, timeout=15)
        assert rooms.status_code == requests.codes.unauthorized
        with pytest.raises(RefusedConnect) as refused:
            # The session still has the cookie that the copy was made of.
            people.tab(session, url=node.url)
        assert refused.value.code == "unauthorized"
    assert name_of(neighbour), "nobody else is concerned"


@pytest.mark.parametrize("by", ["name", "id"])
def test_users_disconnect_reaches_all_nodes(pair: Pair, gather: Callable[[Node], People], by: str) -> None:
    people = gather(pair.nodes[0])
    session, there = on_other_node(people, "Grace", pair)
    here = people.tab(session)
    me = there.call("hello")["me"]
    # As the chat compares names.
    who = (me["name"].upper().replace(" ", "  "),) if by == "name" else ("--id", me["id"])
    done = pair.flask("users", "disconnect", *who)
    assert done.returncode == 0, done.stderr
    assert "are over; stored." in done.stdout
    assert "The nodes were told over redis." in done.stdout
    assert "Nobody is known" not in done.stderr
    assert_ended(there)
    assert_ended(here)
    with pytest.raises(RefusedConnect):
        people.tab(session)
    again = requests.post(
        f"{pair.nodes[1].url}/sign-in", {"name": me["name"]}, timeout=15, allow_redirects=False
    )
    assert again.status_code == requests.codes.see_other, "the name is free on all nodes"


def test_a_token_opens_sockets_on_all_nodes_until_it_is_ended(
    pair: Pair, gather: Callable[[Node], People]
) -> None:
    people = gather(pair.nodes[0])
    auth = {"token": token("account-1", "Margaret")}
    market = people.tab(None, url=pair.nodes[1].url, namespace="/market", auth=auth)
    there = people.tab(None, url=pair.nodes[1].url, auth=auth)
    assert there.call("hello")["me"] == {"id": "account-1", "name": "Margaret"}
    assert pair.flask("users", "disconnect", "margaret").returncode == 0
    assert_ended(there)
    assert_ended(market)
    with pytest.raises(RefusedConnect):
        people.tab(None, auth=auth)
    fresh = {"token": token("account-1", "Margaret", iat=time.time() + 1)}
    assert name_of(people.tab(None, auth=fresh)) == "Margaret"


def test_an_idle_client_is_disconnected_when_its_token_expires(
    pair: Pair, gather: Callable[[Node], People]
) -> None:
    people = gather(pair.nodes[0])
    # The leeway of 10 s counts.
    soon = people.tab(None, auth={"token": token("account-2", "Hedy", seconds=-4)})
    renewed = people.tab(None, auth={"token": token("account-3", "Joan", seconds=-4)})
    assert renewed.call("renew", {"token": token("account-3", "Joan")})["expires_at_ms"] > time.time() * 1000
    assert_ended(soon, "expired")
    assert name_of(renewed) == "Joan"
    assert not renewed.disconnects


# Without any broker.


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Pair]:
    """Nodes that ask the database often, and whose broker a test may kill."""
    with Redis() as redis:
        yield from start(Pair(tmp_path, redis, SESSION_CHECK_SECONDS="0.2"))


def test_all_of_it_works_while_every_broker_is_down(lonely: Pair, gather: Callable[[Node], People]) -> None:
    people = gather(lonely.nodes[0])
    ada_session, ada = on_other_node(people, "Ada", lonely)
    bob_session, bob = on_other_node(people, "Bob", lonely)
    lonely.redis.kill()
    assert ada_session.post(f"{lonely.nodes[0].url}/sign-out", timeout=15).ok
    assert_ended(ada)
    done = lonely.flask("users", "disconnect", "--timeout", "1", name_of(bob))
    assert done.returncode == 0, done.stderr
    assert "No broker took it within 1 s, so each node finds it in the database within 0.2 s." in done.stdout
    assert_ended(bob)
    with pytest.raises(RefusedConnect):
        people.tab(bob_session)


def test_a_node_that_starts_later_knows_who_was_signed_out(
    lonely: Pair, gather: Callable[[Node], People]
) -> None:
    people = gather(lonely.nodes[0])
    session = people.sign_in("Ada")
    copy = cookie_header(session)
    lonely.nodes[1].terminate()
    assert session.post(f"{lonely.nodes[0].url}/sign-out", timeout=15).ok
    lonely.nodes[1].start()
    for path, status in (("/", requests.codes.found), ("/api/v1/rooms", requests.codes.unauthorized)):
        answer = requests.get(
            f"{lonely.nodes[1].url}{path}", headers={"Cookie": copy}, timeout=15, allow_redirects=False
        )
        assert answer.status_code == status


# An identity provider.


def test_keys_are_taken_from_an_identity_provider(gather: Callable[[Node], People]) -> None:
    key = new_key()
    with provide(jwks(("one", key))) as provider, Node(AUTH_JWT_JWKS=provider.url) as node:
        assert provider.requests == 0, "a node starts without its provider"
        people = gather(node)
        clients = [
            people.tab(None, auth={"token": sign(key, "one", claims_of(f"account-{n}", f"User {n}"))})
            for n in range(5)
        ]
        assert [name_of(client) for client in clients] == [f"User {n}" for n in range(5)]
        assert provider.requests == 1
        with pytest.raises(RefusedConnect) as refused:
            people.tab(None, auth={"token": sign(new_key(), "one", claims_of("7", "Eve"))})
        assert refused.value.code == "unauthorized"
        assert_no_traceback(node)
