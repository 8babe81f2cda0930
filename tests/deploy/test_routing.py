"""Which node a client gets, and that it stays there: real nodes behind the nginx configuration that ships."""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest
import requests

from deploy.render import Balance
from tests.deploy.front import POLL, ClusterNode, Poller, Visitor, node_of, running, spread
from tests.support.clients import People, Transport
from tests.support.nginx import PROGRAM, Nginx
from tests.support.servers import HOST, free_port
from tests.support.waiting import wait_until

CLIENTS = 300
Before = Callable[[list[str]], Nginx]
TRANSPORTS: tuple[Transport, ...] = ("websocket", "polling", "upgrade")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[ClusterNode]]:
    with running([ClusterNode(f"n{number}") for number in (1, 2, 3)]) as started:
        yield started


@pytest.fixture
def addresses(nodes: list[ClusterNode]) -> list[str]:
    return [node.address for node in nodes]


@pytest.fixture(params=["cookie", "sticky"])
def before(request: pytest.FixtureRequest) -> Before:
    """Put an nginx before nodes: both ways to bind a client by a cookie, which must do the same."""
    balance: Balance = request.param
    program = request.getfixturevalue("new_nginx") if balance == "sticky" else PROGRAM
    return functools.partial(Nginx, balance=balance, program=program)


@pytest.fixture
def nginx(before: Before, addresses: list[str]) -> Iterator[Nginx]:
    with before(addresses) as server:
        yield server


@pytest.fixture
def crowd(nginx: Nginx) -> Iterator[list[Visitor]]:
    """Clients with cookies, all from one address."""
    with contextlib.ExitStack() as exits:
        yield [exits.enter_context(Visitor(nginx)) for _ in range(CLIENTS)]


def test_cookie_clients_of_one_address_spread_evenly(crowd: list[Visitor]) -> None:
    """Each loads a page and opens a WebSocket, and all stay connected."""
    for visitor in crowd:
        assert visitor.request("/sign-in").status_code == 200
    bound = [visitor.cookie for visitor in crowd]
    went = [node_of(visitor.open_socket()) for visitor in crowd]
    assert went == bound, "a WebSocket goes where the page came from"
    smallest, _, largest = spread(went)
    assert 0.9 * CLIENTS / 3 <= smallest <= largest <= 1.1 * CLIENTS / 3


def test_by_address_all_clients_of_one_get_one_node(addresses: list[str]) -> None:
    """Why the cookie is the default: an office, a mobile network, another proxy are one address."""
    with contextlib.ExitStack() as exits:
        nginx = exits.enter_context(Nginx(addresses, balance="ip_hash"))
        crowd = [exits.enter_context(Visitor(nginx)) for _ in range(CLIENTS)]
        for visitor in crowd:
            assert visitor.request("/sign-in").status_code == 200
            assert visitor.cookie is None
        assert spread(node_of(visitor.open_socket()) for visitor in crowd) == [CLIENTS]


def test_nobody_moves(crowd: list[Visitor]) -> None:
    some = crowd[:50]
    bound = [visitor.node() for visitor in some]
    assert set(bound) == {"n1", "n2", "n3"}
    for _ in range(1000 // len(some)):
        assert [visitor.node() for visitor in some] == bound
    assert [visitor.cookie for visitor in some] == bound


def test_the_cookie_is_set_once_and_well(crowd: list[Visitor]) -> None:
    first, second = crowd[0].request("/sign-in"), crowd[0].request("/sign-in")
    assert "NODE" in first.cookies
    # The attributes come in one order or another, and in any case.
    name, *attributes = first.headers["Set-Cookie"].lower().split("; ")
    assert (name, sorted(attributes)) == (f"node={crowd[0].cookie}", ["httponly", "path=/", "samesite=lax"])
    # nginx' own directive sends it each time.
    again = crowd[0].cookie if crowd[0].nginx.balance == "sticky" else None
    assert second.cookies.get("NODE") == again


@pytest.mark.parametrize("cookies", [True, False], ids=["with cookies", "without"])
def test_clients_that_poll_stay_on_their_node(nginx: Nginx, cookies: bool) -> None:
    """Without cookies too, in which case the id of the session says where."""
    with contextlib.ExitStack() as exits:
        crowd = [exits.enter_context(Visitor(nginx, cookies=cookies)) for _ in range(30)]
        pollers = [Poller(visitor) for visitor in crowd]
        assert spread(node_of(poller.sid) for poller in pollers)[0] >= 5
        for _ in range(3):
            for poller in pollers:
                poller.exchange()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_real_clients_stay_on_their_node(nginx: Nginx, transport: Transport) -> None:
    people = People(nginx.url)
    try:
        clients = [people.join("Ada", transport=transport) for _ in range(9)]
        assert {node_of(client.sid) for client in clients} == {"n1", "n2", "n3"}
        for client in clients:
            assert client.cookies()["NODE"] == node_of(client.sid)
        if transport != "polling":
            for client in clients:
                wait_until(lambda client=client: client.transport_now == "websocket", "the upgrade")  # type: ignore[misc]
        for _ in range(5):
            for client in clients:
                assert client.call("rooms")["rooms"]
        assert [client.disconnects for client in clients] == [[]] * len(clients)
    finally:
        people.close()


def test_the_session_wins_over_the_cookie(nginx: Nginx) -> None:
    """A session lives on one node, whatever the cookie says by now, and leaves it alone."""
    with Visitor(nginx) as visitor:
        poller = Poller(visitor)
        other = "n1" if node_of(poller.sid) != "n1" else "n2"
        visitor.bind(other)
        poller.exchange()
        assert visitor.cookie == other


@pytest.mark.parametrize("forged", ["n9", "", "to_n1", "pool", "N1", "n11", '"n1"', "a" * 2000])
def test_a_cookie_that_names_no_node_is_replaced(nginx: Nginx, forged: str) -> None:
    answer = requests.get(f"{nginx.url}/healthz", headers={"Cookie": f"NODE={forged}"}, timeout=5)
    assert answer.status_code == 200
    assert answer.cookies["NODE"] == answer.json()["node"]


def test_of_two_cookies_the_first_counts(nginx: Nginx) -> None:
    answer = requests.get(f"{nginx.url}/healthz", headers={"Cookie": "NODE=n2; NODE=n1"}, timeout=5)
    assert answer.json()["node"] == "n2"


def test_a_dead_node_costs_its_own_clients_their_place_and_nobody_elses(
    before: Before, nodes: list[ClusterNode]
) -> None:
    """Where nobody listens, the next node is asked at once; and who had to move stays there."""
    nobody = f"127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as exits:
        nginx = exits.enter_context(before([nodes[0].address, nodes[1].address, nobody]))
        crowd = [exits.enter_context(Visitor(nginx)) for _ in range(60)]
        bound = [("n1", "n2", "n3")[number % 3] for number in range(60)]
        for visitor, node in zip(crowd, bound, strict=True):
            visitor.bind(node)
        after = [visitor.node() for visitor in crowd]
        moved = [new for new, old in zip(after, bound, strict=True) if old == "n3"]
        assert [new for new, old in zip(after, bound, strict=True) if old != "n3"] == ["n1", "n2"] * 20
        assert spread(moved) == [10, 10]
        assert [visitor.cookie for visitor in crowd] == after
        assert [visitor.node() for visitor in crowd] == after
        # And it takes clients again when it is there.
        nginx.configure([node.address for node in nodes])
        nginx.reload()
        wait_until(lambda: "n3" in {Visitor(nginx).node() for _ in range(3)}, "the third node to be used")
        assert [visitor.node() for visitor in crowd] == after, "nobody is pulled back"


class Fragile(socketserver.StreamRequestHandler):
    """A node that hangs up on /fatal, as a defect would have it."""

    def handle(self) -> None:
        path = self.rfile.readline().split()[1]
        while self.rfile.readline().strip():
            pass
        if path != b"/fatal":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")


@contextlib.contextmanager
def fragile_nodes(count: int) -> Iterator[list[str]]:
    """Such nodes, and where they are."""
    with contextlib.ExitStack() as exits:
        servers = [
            exits.enter_context(socketserver.ThreadingTCPServer((HOST, 0), Fragile)) for _ in range(count)
        ]
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            exits.callback(server.shutdown)
        yield [f"{HOST}:{server.server_address[1]}" for server in servers]


def test_a_request_that_no_node_survives_takes_no_node_from_others(before: Before) -> None:
    """nginx could give up a node for some seconds that has failed. Who likes could make it give up all."""
    with contextlib.ExitStack() as exits:
        nginx = exits.enter_context(before(exits.enter_context(fragile_nodes(3))))
        attacker, other = (exits.enter_context(Visitor(nginx)) for _ in range(2))
        for _ in range(20):
            assert attacker.request("/fatal").status_code == 503
            assert [other.request("/").status_code for _ in range(3)] == [200] * 3
        assert "temporarily disabled" not in nginx.log()


def test_a_machine_that_has_vanished_is_waited_for_once(before: Before, nodes: list[ClusterNode]) -> None:
    """Whoever was there has the cookie of another node then."""
    with socket.create_server((HOST, 0), backlog=0) as vanished, contextlib.ExitStack() as exits:
        # Nobody accepts, and nobody refuses: connecting takes for ever once its queue is full.
        address = vanished.getsockname()
        for _ in range(3):
            queued = exits.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(address)
        nginx = exits.enter_context(before([nodes[0].address, f"{HOST}:{address[1]}"]))
        visitor = exits.enter_context(Visitor(nginx))
        visitor.bind("n2")
        assert [visitor.node(), visitor.node()] == ["n1", "n1"]
        assert visitor.cookie == "n1"
        assert nginx.log().count("upstream timed out") == 1


def test_the_session_of_a_dead_node_ends_at_once(before: Before, nodes: list[ClusterNode]) -> None:
    """Nobody else knows it: the client hears that, and begins a new one."""
    with before([nodes[0].address, f"127.0.0.1:{free_port()}"]) as nginx, Visitor(nginx) as visitor:
        answer = visitor.request(f"{POLL}&sid=n2.abcdefgh")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["Content-Type"].startswith("text/plain")
        # An id of nobody's goes to any node, which says the same in its way.
        assert visitor.request(f"{POLL}&sid=n7.abcdefgh").status_code == 400
        assert node_of(Poller(visitor).sid) == "n1"


def test_a_node_that_leaves_gets_no_new_clients_and_keeps_the_old(
    before: Before, nodes: list[ClusterNode]
) -> None:
    """It refuses by 503, which no client sees; those that it has are served on."""
    with contextlib.ExitStack() as exits:
        leaving = exits.enter_context(
            ClusterNode("n2", DRAIN_WAIT_SECONDS="60", GRACEFUL_TIMEOUT_SECONDS="120")
        )
        # It would take its time.
        exits.callback(leaving.kill)
        nginx = exits.enter_context(before([nodes[0].address, leaving.address]))
        crowd = [exits.enter_context(Visitor(nginx)) for _ in range(20)]
        pollers = [Poller(visitor) for visitor in crowd]
        old = [poller for poller in pollers if node_of(poller.sid) == "n2"]
        assert len(old) == 10
        leaving.signal(signal.SIGTERM)
        wait_until(lambda: not leaving.ready(), "the node to drain")
        # Newcomers, and those that it had: all find a place.
        for visitor in (*crowd, *(exits.enter_context(Visitor(nginx)) for _ in range(20))):
            assert node_of(Poller(visitor).sid) == "n1"
            assert visitor.cookie == "n1"
        for poller in old:
            poller.exchange()


def test_a_reload_cuts_nobody_off(nginx: Nginx, addresses: list[str]) -> None:
    """A node joins or leaves the list, and whoever has a WebSocket notices nothing."""
    with contextlib.ExitStack() as exits:
        people = People(nginx.url)
        exits.callback(people.close)
        clients = [people.join("Ada") for _ in range(6)]
        workers = {child.pid for child in psutil.Process(nginx.pid).children()}
        nginx.configure(addresses[:2])
        nginx.reload()
        visitor = exits.enter_context(Visitor(nginx))
        visitor.bind("n3")
        wait_until(lambda: visitor.node() != "n3", "the new list to be used")
        assert any(psutil.pid_exists(worker) for worker in workers), "the old workers hold the WebSockets"
        for client in clients:
            assert client.call("rooms")["rooms"]
            assert client.disconnects == []


@pytest.fixture(scope="module")
def unix_nodes() -> Iterator[list[ClusterNode]]:
    with ClusterNode("n1", unix=True) as first, ClusterNode("n2", unix=True) as second:
        yield [first, second]


def test_nodes_by_unix_socket(before: Before, unix_nodes: list[ClusterNode]) -> None:
    with contextlib.ExitStack() as exits:
        nginx = exits.enter_context(before([node.address for node in unix_nodes]))
        crowd = [exits.enter_context(Visitor(nginx)) for _ in range(40)]
        bound = [visitor.node() for visitor in crowd]
        assert spread(bound) == [20, 20]
        assert [visitor.node() for visitor in crowd] == bound
        assert [node_of(visitor.open_socket()) for visitor in crowd] == bound
        pollers = [Poller(exits.enter_context(Visitor(nginx, cookies=False))) for _ in range(10)]
        for poller in pollers:
            poller.exchange()
        # A unix socket has no address of the client: it is what nginx says.
        number = ("n1", "n2").index(bound[0])
        crowd[0].request("/sign-in")
        assert "address=127.0.0.1" in unix_nodes[number].log()
