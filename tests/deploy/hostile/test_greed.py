"""Clients that take more than their share of connections, requests, patience: nobody else notices."""

from __future__ import annotations

import contextlib
import json
import resource
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.deploy.hostile.wire import POLLING, Answer, Nodes, Wire, ask, head, heard_of, logged, shake_hands
from tests.support.nginx import Nginx
from tests.support.servers import HOST, free_port
from tests.support.waiting import wait_until

# Of the shipped configuration (nginx/realtime.conf), which says why: what one address may.
CONNECTIONS = 2000
# The timeouts are 10 s; nginx has to find them out one by one.
CUT_SECONDS = 45.0
# Slow clients of each kind.
SLOW = 60
# What a flood of pages or of sockets' requests comes to at the most, before it must have met its limit.
FLOOD = 40_000
PIPELINED = 250


@pytest.fixture
def neighbour() -> str:
    """Somebody else, at an address that every test shares: what others do is not counted there."""
    return HOST


def are_served(nginx: Nginx, neighbour: str) -> None:
    """See that others get pages, the API and WebSockets."""
    assert ask(nginx, "/sign-in", source=neighbour).status == 200
    assert ask(nginx, "/api/v1/rooms", source=neighbour).status == 401
    assert shake_hands(nginx, source=neighbour).status == 101


def still_there(wires: list[Wire]) -> list[Wire]:
    for wire in wires:
        wire.heard()
    return [wire for wire in wires if not wire.ended]


def test_slow_clients_are_cut_off_and_keep_nobody_waiting(
    nginx: Nginx, https: Nginx, nodes: Nodes, source: str, path: str, neighbour: str
) -> None:
    """300 at once: some say nothing, some a part of the head, or of the body, some a byte now and then."""
    beginning = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
    body = head(nginx, path, "Content-Length: 10", method="POST", close=False)
    with contextlib.ExitStack() as exits:

        def slow(server: Nginx, says: bytes) -> list[Wire]:
            wires = [exits.enter_context(Wire(server, source, handshake=False)) for _ in range(SLOW)]
            for wire in wires:
                wire.send(says)
            return wires

        dripping = slow(nginx, beginning + b"X-Field: ")
        left = [
            *dripping,
            *slow(nginx, b""),
            *slow(nginx, beginning),
            *slow(nginx, body + b"12345"),
            # The beginning of a TLS record, and no more.
            *slow(https, b"\x16\x03\x01"),
        ]
        for server in (nginx, https):
            are_served(server, neighbour)
        assert still_there(left), "they were all gone before anybody was served"

        def all_are_cut_off() -> bool:
            for wire in dripping:
                wire.send(b"x")
            left[:] = still_there(left)
            return not left

        wait_until(all_are_cut_off, lambda: f"the end of {len(left)} slow clients", CUT_SECONDS)
    assert not heard_of(nodes, path)
    assert {entry["upstream"] for entry in logged(nginx, source, SLOW)} == {""}
    are_served(nginx, neighbour)


def flood(nginx: Nginx, target: str, source: str) -> Counter[int]:
    """Ask as fast as it goes until that is too much, and count the statuses."""
    request = head(nginx, target, close=False)
    last = head(nginx, target)
    statuses: Counter[int] = Counter()
    while statuses.total() < FLOOD and not statuses[429]:
        with contextlib.ExitStack() as exits:
            wires = [exits.enter_context(Wire(nginx, source)) for _ in range(8)]
            for wire in wires:
                wire.send(request * (PIPELINED - 1) + last)
            for wire in wires:
                statuses.update(Answer(wire.read()).statuses)
    return statuses


@pytest.mark.parametrize("target", ["/healthz", "/api/v1/rooms"])
def test_more_requests_than_are_served_to_one_address(
    nginx: Nginx, source: str, neighbour: str, target: str
) -> None:
    statuses = flood(nginx, target, source)
    assert statuses[429], statuses
    # Everybody of an office loads the page at once, and nobody is refused.
    assert statuses.total() - statuses[429] > 1000
    are_served(nginx, neighbour)
    if target.startswith("/api/"):
        refused = flood_answer(nginx, target, source)
        assert refused.header("Content-Type") == "application/problem+json"
        assert refused.header("Retry-After") == "1"
        assert json.loads(refused.body)["status"] == 429
    wait_until(lambda: ask(nginx, target, source=source).status != 429, "the next request is served")


def flood_answer(nginx: Nginx, target: str, source: str) -> Answer:
    """One whole answer to a request too many."""

    def refused() -> Answer | None:
        flood(nginx, target, source)
        answer = ask(nginx, target, source=source)
        return answer if answer.status == 429 else None

    answer = wait_until(refused, "a refusal")
    assert answer
    return answer


@pytest.fixture
def with_a_dead_node(nodes: Nodes) -> Iterator[Nginx]:
    """One node more, n4, where nobody listens: it refuses faster than any serves."""
    with Nginx([*(node.address for node in nodes), f"{HOST}:{free_port()}"]) as server:
        yield server


def test_more_of_socket_io_than_is_served_to_one_address(
    with_a_dead_node: Nginx, source: str, neighbour: str
) -> None:
    """1,000 clients who poll, and come back at once, are welcome; ten times as many are not."""
    statuses = flood(with_a_dead_node, f"{POLLING}&sid=n4.x", source)
    assert statuses[429], statuses
    assert statuses[503] > 5000
    are_served(with_a_dead_node, neighbour)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open more files than a shell usually allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * CONNECTIONS:
        pytest.skip(
            f"a process may open {hard} files here, and this takes {2 * CONNECTIONS}: raise `ulimit -Hn`"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CONNECTIONS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_connections_than_one_address_may_have(
    nginx: Nginx, nodes: Nodes, source: str, neighbour: str, many_files: None
) -> None:
    # Each is in use while nginx waits for the body: up to 10 s, and no node hears of it.
    request = head(nginx, POLLING, "Content-Length: 5", method="POST")
    with contextlib.ExitStack() as exits:
        wires: list[Wire] = []

        def hold(count: int) -> None:
            new = [exits.enter_context(Wire(nginx, source)) for _ in range(count)]
            for wire in new:
                wire.send(request)
            wires.extend(new)

        hold(CONNECTIONS - 10)
        assert ask(nginx, "/healthz", source=source).status == 200
        hold(20)
        wait_until(lambda: ask(nginx, "/healthz", source=source).status == 429, "the limit")
        refused = [wire for wire in wires if b" 429 " in wire.heard()]
        assert 10 <= len(refused) <= 11
        are_served(nginx, neighbour)
    wait_until(lambda: ask(nginx, "/healthz", source=source).status == 200, "to be served again")
