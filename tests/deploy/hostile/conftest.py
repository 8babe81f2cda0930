"""Real nodes behind the shipped nginx, for clients that mean them harm."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.deploy.front import ClusterNode, running
from tests.deploy.hostile.wire import Nodes, new_address
from tests.support.certificates import Certificate
from tests.support.nginx import Nginx

# What one address may do at each node; a test that comes to that has an address of its own.
SIGN_INS = 4
CONNECTS = 4
# Another site that is listed.
PARTNER = "https://partner.example"
# The one of the nodes that listens on a unix socket; the others have ports.
UNIX_NODE = "n3"


@pytest.fixture(scope="package")
def nodes() -> Iterator[Nodes]:
    """Three nodes."""
    three = [
        ClusterNode(
            node_id,
            unix=node_id == UNIX_NODE,
            RATE_SIGN_IN=f"{SIGN_INS}/hour",
            CORS_ORIGINS=PARTNER,
            RATE_CONNECT=f"{CONNECTS}/hour",
        )
        for node_id in ("n1", "n2", "n3")
    ]
    with running(three) as started:
        yield started


def start(nodes: Nodes, tls: Certificate | None) -> Iterator[Nginx]:
    with Nginx([node.address for node in nodes], tls=tls) as server:
        yield server
        # A request at which a node hung up would take the node from everybody: nginx counts its failures.
        said = [line for line in server.log().splitlines() if not line.startswith("{")]
        assert not [line for line in said if "upstream" in line], said


@pytest.fixture(scope="package")
def nginx(nodes: Nodes) -> Iterator[Nginx]:
    yield from start(nodes, None)


@pytest.fixture(scope="package")
def https(nodes: Nodes, certificate: Certificate) -> Iterator[Nginx]:
    yield from start(nodes, certificate)


@pytest.fixture(params=["http", "https"])
def either(request: pytest.FixtureRequest) -> Nginx:
    server: Nginx = request.getfixturevalue("nginx" if request.param == "http" else "https")
    return server


@pytest.fixture
def source() -> str:
    """The address that a test comes from, and no other does."""
    return new_address()


@pytest.fixture
def path() -> str:
    """A page that nobody else asks for. It is not there; the node that is asked logs that."""
    return f"/nowhere-{secrets.token_hex(6)}"
