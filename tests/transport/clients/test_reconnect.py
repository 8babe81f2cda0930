"""Connections that break, servers that end them or stop, and clients that come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.proxy import TcpProxy
from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.transport.clients.conftest import SERVED, Meet, Serve, assert_no_traceback
from tests.transport.clients.peers import KINDS, TRANSPORTS, Peer

# A reconnect of a client that noticed nothing takes a ping and its timeout.
COMEBACK_SECONDS = 30.0
ALL = [(kind, transport) for kind in KINDS for transport in TRANSPORTS]


@pytest.fixture
def quick(serve: Serve) -> SmallServer:
    """A server that soon notices whom it hears nothing of."""
    return serve(ping_interval=1, ping_timeout=2)


@pytest.fixture
def proxy(quick: SmallServer) -> Iterator[TcpProxy]:
    with TcpProxy(quick.port) as proxy:
        yield proxy


def everybody(meet: Meet, url: str) -> list[Peer]:
    """A client of each kind over each transport."""
    return [meet(kind, transport, url, namespaces=("/", "/custom")) for kind, transport in ALL]


def assert_back(peers: list[Peer], engine_ids: list[str], connects: int) -> None:
    """Each has a new connection, in both namespaces, and it works."""
    for peer in peers:
        wait_until(
            lambda peer=peer: peer.connects() >= connects,  # type: ignore[misc]
            lambda peer=peer: f"did not come back: {peer!r}",  # type: ignore[misc]
            COMEBACK_SECONDS,
        )
        peer.wait_until_connected(connects)
        for namespace in peer.namespaces:
            assert peer.call("message-with-ack", "again", b"\x00", namespace=namespace) == ["again", b"\x00"]
    assert not set(engine_ids) & {peer.engine_id() for peer in peers}


def test_clients_come_back_when_the_network_cuts_them_off(
    meet: Meet, quick: SmallServer, proxy: TcpProxy
) -> None:
    peers = everybody(meet, f"http://127.0.0.1:{proxy.port}")
    for round_number in (2, 3):
        engine_ids = [peer.engine_id() for peer in peers]
        sids = {peer.sid() for peer in peers}
        assert proxy.cut() >= len(peers)
        assert_back(peers, engine_ids, round_number)
        ends = wait_until(lambda: _all_ended(quick, sids), "the server to notice")  # noqa: B023
        assert ends <= {"transport close", "transport error", "ping timeout"}
    for peer in peers:
        peer.close()
    quick.wait_until_empty()


def test_both_sides_notice_when_the_network_says_nothing(
    meet: Meet, quick: SmallServer, proxy: TcpProxy
) -> None:
    peers = everybody(meet, f"http://127.0.0.1:{proxy.port}")
    engine_ids = [peer.engine_id() for peer in peers]
    sids = {peer.sid() for peer in peers}
    proxy.blackhole()
    assert wait_until(lambda: _all_ended(quick, sids), "the server to notice") <= {"ping timeout"}
    quick.wait_until_empty()
    # Those that wait for an answer need not wait for ever, and what was sent does not count any more.
    proxy.cut()
    proxy.resume()
    assert_back(peers, engine_ids, 2)


def test_the_server_ends_a_connection(meet: Meet, quick: SmallServer) -> None:
    for kind, transport in ALL:
        peer = meet(kind, transport, quick.url, namespaces=("/", "/custom"))
        peer.emit("close_me")
        for namespace in peer.namespaces:
            wait_until(
                lambda peer=peer, namespace=namespace: peer.disconnects(namespace),  # type: ignore[misc]
                lambda peer=peer: f"{peer!r}",  # type: ignore[misc]
            )
        # JavaScript takes that for a fault and comes back; python-socketio takes it for the last word.
        if kind in ("node", "chromium"):
            peer.wait_until_connected(connects=2)
            assert peer.disconnects() == ["transport close"]
        else:
            assert peer.disconnects() == ["server disconnect"]
        peer.close()
    quick.wait_until_empty()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_clients_come_back_when_the_server_does(meet: Meet, how: str) -> None:
    with SmallServer(SERVED, ping_interval=1, ping_timeout=2) as server:
        peers = everybody(meet, server.url)
        engine_ids = [peer.engine_id() for peer in peers]
        if how == "killed":
            server.kill()
        else:
            server.terminate()
        wait_until(
            lambda: not any(peer.connected("/") for peer in peers),
            lambda: f"still connected: {[peer for peer in peers if peer.connected('/')]}",
        )
        server.start()
        assert_back(peers, engine_ids, 2)
        for peer in peers:
            peer.close()
        server.wait_until_empty()
        assert_no_traceback(server)


def _all_ended(server: SmallServer, sids: set[str]) -> set[str]:
    """The reasons for which clients ended; none as long as not all have."""
    ends = {sid: reason for sid, reason in server.status()["ends"] if sid in sids}
    return set(ends.values()) if len(ends) == len(sids) else set()
