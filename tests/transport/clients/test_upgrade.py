"""Events that are under way while a connection goes from long-polling to a WebSocket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.proxy import TcpProxy
from tests.support.servers import HOST
from tests.support.small import SmallServer
from tests.transport.clients.conftest import Meet
from tests.transport.clients.peers import JavaScript, Kind, Peer

EVENTS = 500
DELAY_SECONDS = 0.02
# A client counts on until it has been upgraded, should that take long.
MOST_EVENTS = 20_000


@contextlib.contextmanager
def slow_road(port: int) -> Iterator[str]:
    """A way to a server where an upgrade takes its time, and much is under way meanwhile."""
    with TcpProxy(port) as proxy:
        proxy.delay(requests_seconds=DELAY_SECONDS, answers_seconds=DELAY_SECONDS)
        yield f"http://{HOST}:{proxy.port}"


@pytest.fixture(scope="module")
def slow_url(roomy: SmallServer) -> Iterator[str]:
    with slow_road(roomy.port) as url:
        yield url


def assert_nothing_is_lost(peer: Peer) -> None:
    """Let a client that is about to be upgraded, and the server, talk all the time."""
    assert isinstance(peer, JavaScript)
    peer.emit("stream", "down", EVENTS, 0.001)
    counted = peer.ask("count", peer.name(), "message", EVENTS, MOST_EVENTS, timeout_seconds=60)
    peer.wait_until_connected()

    assert peer.wait_for("message-back", counted["sent"]) == [[number] for number in range(counted["sent"])]
    assert peer.wait_for("down", EVENTS) == [[number] for number in range(EVENTS)]
    # Otherwise this has tested nothing.
    came = peer.received()
    assert {each.via for each in came} == {"polling", "websocket"}
    assert min(counted["left"].values()) > 0
    assert peer.disconnects() == []


@pytest.mark.parametrize("kind", ["node", "chromium"])
@pytest.mark.parametrize("attempt", range(3))
def test_no_event_is_lost_or_doubled_or_overtaken_during_an_upgrade(
    kind: Kind, attempt: int, meet: Meet, slow_url: str
) -> None:
    assert_nothing_is_lost(meet(kind, "upgrade", slow_url, wait=False))


@pytest.mark.parametrize("kind", ["python", "asyncio"])
def test_python_clients_upgrade_before_they_speak(kind: Kind, meet: Meet, roomy: SmallServer) -> None:
    peer = meet(kind, "upgrade", roomy.url)
    peer.emit("stream", "down", EVENTS, 0.001)
    peer.emit_all([("message", [number]) for number in range(EVENTS)])
    assert peer.wait_for("message-back", EVENTS) == [[number] for number in range(EVENTS)]
    assert peer.wait_for("down", EVENTS) == [[number] for number in range(EVENTS)]
    assert peer.disconnects() == []


@pytest.mark.parametrize("kind", ["node", "chromium", "python", "asyncio"])
def test_a_connection_is_the_same_before_and_after_its_upgrade(
    kind: Kind, meet: Meet, roomy: SmallServer
) -> None:
    peer = meet(kind, "upgrade", roomy.url, namespaces=("/", "/custom"))
    (info,) = peer.call("info")
    assert (info["transport"], info["sid"], info["eio_sid"]) == ("websocket", peer.sid(), peer.engine_id())
    assert [peer.connects(namespace) for namespace in peer.namespaces] == [1, 1]
    assert [peer.wait_for("auth", namespace=namespace) for namespace in peer.namespaces] == [[[{}]], [[{}]]]
