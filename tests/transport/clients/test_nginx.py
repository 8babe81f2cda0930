"""The same through nginx, with the configuration that ships."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.nginx import Nginx
from tests.support.servers import HOST
from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.support.wire_socketio import SocketIO
from tests.support.wire_websocket import WebSocket
from tests.transport.clients import test_messages as messages
from tests.transport.clients.agents import Pages
from tests.transport.clients.conftest import LARGE_BYTES, ROOMY_BYTES, SERVED, Meet, Serve
from tests.transport.clients.peers import KINDS, TRANSPORTS, JavaScript, Kind, Peer, Transport
from tests.transport.clients.test_large import LARGE_SECONDS
from tests.transport.clients.test_upgrade import assert_nothing_is_lost, slow_road

# The application's SOCKET_MAX_MESSAGE_BYTES, which nginx must be told, too.
LIMIT = "client_max_body_size 100000;"
VANISHING = 200


@pytest.fixture(scope="module")
def front(roomy: SmallServer) -> Iterator[Nginx]:
    roomy_limit = {LIMIT: f"client_max_body_size {ROOMY_BYTES};"}
    with Nginx([f"{HOST}:{roomy.port}"], replacements=roomy_limit) as nginx:
        yield nginx


@pytest.fixture(params=[(kind, transport) for kind in KINDS for transport in TRANSPORTS], ids="-".join)
def peer(request: pytest.FixtureRequest, meet: Meet, front: Nginx) -> Peer:
    kind, transport = request.param
    return meet(
        kind, transport, front.url, namespaces=("/", "/custom"), auth={"who": "me", "token": "ünique"}
    )


def test_every_client_says_and_hears_what_it_does_without_nginx(peer: Peer, roomy: SmallServer) -> None:
    messages.test_what_the_client_says_when_it_connects_arrives(peer)
    messages.test_every_json_value_comes_back_as_it_was(peer)
    peer.received().clear()
    messages.test_the_server_acknowledges(peer)
    messages.test_the_client_acknowledges(peer)
    messages.test_an_acknowledgement_that_is_late_is_a_timeout_and_no_more(peer)
    messages.test_a_client_gets_many_events_of_one_moment_in_their_order(peer)
    messages.test_a_client_that_leaves_leaves_nothing_behind(peer, roomy)


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("kind", ["chromium", "python"])
def test_large_messages(kind: Kind, transport: Transport, meet: Meet, front: Nginx) -> None:
    peer = meet(kind, transport, front.url)
    assert peer.echoes("bytes", LARGE_BYTES, LARGE_SECONDS)
    assert peer.disconnects() == []


@pytest.mark.parametrize("kind", ["node", "chromium"])
def test_no_event_is_lost_during_an_upgrade(kind: Kind, meet: Meet, front: Nginx) -> None:
    with slow_road(front.port) as url:
        assert_nothing_is_lost(meet(kind, "upgrade", url, wait=False))


def test_the_cookie_of_nginx_comes_with_every_transport(meet: Meet, pages: Pages, front: Nginx) -> None:
    for transport in TRANSPORTS:
        pages.context.clear_cookies()
        peer = meet("chromium", transport, front.url)
        assert peer.call("message-with-ack", "here") == ["here"]
        assert {each["name"] for each in pages.context.cookies(front.url)} == {"NODE"}
        peer.close()


@pytest.mark.parametrize("kind", ["node", "chromium"])
def test_what_is_compressed_passes(kind: Kind, meet: Meet, serve: Serve) -> None:
    server = serve(options={"per_message_deflate": True})
    with Nginx([f"{HOST}:{server.port}"]) as nginx:
        peer = meet(kind, "upgrade", nginx.url)
        assert peer.extensions().startswith("permessage-deflate")
        content = ["again and again, " * 3000, bytes(50_000)]
        for _ in range(20):
            assert peer.call("message-with-ack", *content) == content


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_message_above_the_limit_ends_a_connection_and_the_client_makes_another(
    transport: Transport, meet: Meet, serve: Serve
) -> None:
    server = serve(max_http_buffer_size=100_000)
    with Nginx([f"{HOST}:{server.port}"]) as nginx:
        peer = meet("chromium", transport, nginx.url)
        peer.emit("message", "x" * 100_001)
        peer.wait_until_connected(connects=2)
        assert isinstance(peer, JavaScript)
        # 1009 passes nginx; of a POST it is nginx itself that refuses, and the server hears of it no more.
        assert peer.state()["codes"] == [413 if transport == "polling" else 1009]
        assert peer.call("message-with-ack", "again") == ["again"]


def test_clients_come_back_when_the_server_does(meet: Meet) -> None:
    with (
        SmallServer(SERVED, ping_interval=1, ping_timeout=2) as server,
        Nginx([f"{HOST}:{server.port}"]) as nginx,
    ):
        peers = [meet(kind, transport, nginx.url) for kind in KINDS for transport in TRANSPORTS]
        server.terminate()
        server.start()
        for peer in peers:
            wait_until(lambda peer=peer: peer.connects() >= 2, lambda peer=peer: f"not back: {peer!r}", 30)  # type: ignore[misc]
            peer.wait_until_connected(2)
            assert peer.call("message-with-ack", "again") == ["again"]


def test_clients_that_vanish_behind_nginx_leave_nothing(front: Nginx, roomy: SmallServer) -> None:
    before = roomy.status()["descriptors"]
    for number in range(VANISHING):
        with WebSocket(front.url) as client:
            SocketIO(client).join(auth={"rooms": ["a room"]})
            if number % 2:
                client.reset()
    roomy.wait_until_empty()
    wait_until(lambda: roomy.status()["descriptors"] <= before + 3, "descriptors to be closed")
