"""Fixtures of the hostile tests: servers, nginx before them, and the proof that nobody else was harmed.

HOSTILE_TRANSPORT=stock runs them against the library's transport, to see what they find there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.nginx import Nginx
from tests.support.servers import HOST
from tests.transport.hostile.people import Witness
from tests.transport.hostile.target import Target

Through = Callable[[Target], str]

TRANSPORT: Any = os.environ.get("HOSTILE_TRANSPORT", "native")

# A runner that gives up sends SIGTERM: let the fixtures end their servers then, as at a Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# Small, so that tests reach them quickly.
TIGHT = {
    "buffer_bytes": 512 * 1024,
    "volatile_bytes": 32 * 1024,
    "max_fragments": 20,
    "max_attachments": 3,
    "max_packets": 5,
    "connect_seconds": 1.0,
    "upgrade_seconds": 1.0,
    "post_seconds": 1.0,
}
TIGHT_MESSAGE_BYTES = 100_000


@pytest.fixture(scope="session")
def roomy() -> Iterator[Target]:
    """A server that waits for slow readers for long."""
    with Target(TRANSPORT, options={"buffer_bytes": 64 * 1024 * 1024}) as server:
        yield server


@pytest.fixture(scope="session")
def tight() -> Iterator[Target]:
    """A server with narrow bounds, and patience for a second."""
    arguments = ("--keep-alive", "1")
    with Target(
        TRANSPORT, options=TIGHT, arguments=arguments, max_http_buffer_size=TIGHT_MESSAGE_BYTES
    ) as server:
        yield server


@pytest.fixture(scope="session")
def deflating() -> Iterator[Target]:
    """A server that compresses."""
    options = {"per_message_deflate": True, "buffer_bytes": 64 * 1024 * 1024}
    with Target(TRANSPORT, options=options) as server:
        yield server


@pytest.fixture(scope="session")
def lively() -> Iterator[Target]:
    """A server as it comes, but for patience, so that nothing is left for long; it compresses."""
    options = {"connect_seconds": 2, "upgrade_seconds": 1, "post_seconds": 1, "per_message_deflate": True}
    arguments = ("--keep-alive", "1")
    with Target(TRANSPORT, options=options, arguments=arguments, ping_interval=2, ping_timeout=2) as server:
        yield server


@pytest.fixture(scope="session")
def impatient() -> Iterator[Target]:
    """A server that wants its pings answered within a second."""
    with Target(TRANSPORT, ping_interval=1, ping_timeout=1) as server:
        yield server


@pytest.fixture(scope="session")
def fronts() -> Iterator[Callable[[Target], Nginx]]:
    """nginx before a server, as it ships but for a patience that a test can wait for."""
    running: dict[str, Nginx] = {}

    def before(server: Target) -> Nginx:
        if server.url not in running:
            hurry = {"client_header_timeout 10s;": "client_header_timeout 1s;"}
            running[server.url] = Nginx([f"{HOST}:{server.port}"], replacements=hurry)
            running[server.url].__enter__()
        return running[server.url]

    yield before
    for nginx in running.values():
        nginx.close()


@pytest.fixture(params=["direct", "nginx"])
def through(request: pytest.FixtureRequest) -> Through:
    """The address of a server: its own, and that of nginx before it."""
    if request.param == "direct":
        return lambda server: server.url
    before: Callable[[Target], Nginx] = request.getfixturevalue("fronts")
    return lambda server: before(server).url


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: nobody is left, the same process answers, and it has logged no stack trace."""
    names = [
        name
        for name in ("roomy", "tight", "deflating", "lively", "impatient")
        if name in request.fixturenames
    ]
    servers: list[Target] = [request.getfixturevalue(name) for name in names]
    moments = [server.moment() for server in servers]
    yield
    for moment in moments:
        moment.assert_unharmed()


@pytest.fixture
def witness(request: pytest.FixtureRequest) -> Iterator[Callable[[Target], Witness]]:
    """Somebody who talks to a server all along."""
    talking: list[Witness] = []

    def talk(server: Target) -> Witness:
        talking.append(Witness(server.url))
        return talking[-1]

    yield talk
    for one in talking:
        one.leave()
