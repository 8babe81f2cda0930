"""Fixtures of the tests with real clients: small servers, and whoever connects to them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from gevent import monkey

from tests.support import small
from tests.support.node_js import Script
from tests.support.small import SmallServer
from tests.transport.clients.agents import SCRIPT, Ask, Chromium, Pages, names
from tests.transport.clients.peers import JavaScript, Kind, Peer, Transport
from tests.transport.clients.python_peers import AsyncPeer, Loop, SyncPeer

Meet = Callable[..., Peer]
Serve = Callable[..., SmallServer]
# Another transport, to compare.
SERVED = cast(small.Transport, os.environ.get("SMALL_TRANSPORT", "native"))
# Long-polling sends bytes as base64.
LARGE_BYTES = 10_000_000
ROOMY_BYTES = 16_000_000


@pytest.fixture(scope="session", autouse=True)
def _unpatched() -> None:
    if monkey.is_module_patched("socket"):
        pytest.exit(
            "The tests with real clients cannot run in a process whose sockets are monkey-patched, for "
            "Playwright runs an event loop of its own. Run them alone: python -m pytest tests/transport",
            returncode=2,
        )


def assert_no_traceback(server: SmallServer) -> None:
    """Nothing has failed in the server's code."""
    before, found, after = server.log().partition("Traceback")
    assert not found, before[-500:] + found + after[:3000]


# Scopes are the package: Playwright's loop is in the way of other tests.


@pytest.fixture(scope="package")
def chromium() -> Iterator[Chromium]:
    chromium = Chromium()
    yield chromium
    chromium.close()


@pytest.fixture(scope="package")
def node_agent() -> Iterator[Script]:
    with Script(SCRIPT) as script:
        yield script


@pytest.fixture(scope="package")
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


@pytest.fixture(scope="package")
def pages(chromium: Chromium) -> Iterator[Pages]:
    pages = Pages(chromium)
    yield pages
    pages.close()


@pytest.fixture
def meet(request: pytest.FixtureRequest, pages: Pages) -> Iterator[Meet]:
    """Connects clients, and lets them leave in the end."""
    peers: list[Peer] = []

    def make(
        kind: Kind, transport: Transport, url: str, *, origin: str | None = None, **options: Any
    ) -> Peer:
        if kind == "python":
            return SyncPeer(url, transport, **options)
        if kind == "asyncio":
            return AsyncPeer(request.getfixturevalue("loop"), url, transport, **options)
        ask: Ask
        if kind == "node":
            ask, bytes_type = request.getfixturevalue("node_agent").ask, "Buffer"
        else:
            ask, bytes_type = pages.ask(origin or url), "ArrayBuffer"
        return JavaScript(ask, next(names), bytes_type, url, transport, **options)

    def meet(kind: Kind, transport: Transport, url: str, *, wait: bool = True, **options: Any) -> Peer:
        peer = make(kind, transport, url, **options)
        peers.append(peer)
        peer.open()
        if wait:
            peer.wait_until_connected()
        return peer

    yield meet
    for peer in reversed(peers):
        peer.close()


@pytest.fixture(scope="package")
def roomy() -> Iterator[SmallServer]:
    """A server that takes large messages, for all tests that leave it as it is."""
    with SmallServer(SERVED, max_http_buffer_size=ROOMY_BYTES) as server:
        yield server
        assert_no_traceback(server)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts servers, each kind once for the tests of a module."""
    servers: dict[str, SmallServer] = {}
    with contextlib.ExitStack() as exits:

        def serve(**options: Any) -> SmallServer:
            key = repr(sorted(options.items()))
            if key not in servers:
                servers[key] = exits.enter_context(SmallServer(SERVED, **options))
            return servers[key]

        yield serve
        for server in servers.values():
            assert_no_traceback(server)
