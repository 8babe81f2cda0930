"""A server that offers one transport only."""

from __future__ import annotations

from tests.support.small import SmallServer, Transport, Worker
from tests.support.wire import fetch, query
from tests.support.wire_websocket import WebSocket
from tests.transport.conformance.conftest import Open, alive
from tests.transport.conformance.test_handshake import UNKNOWN_TRANSPORT, refused


def test_only_websockets(kind: Transport, worker: Worker | None, opened: Open) -> None:
    with SmallServer(kind, worker=worker, transports="websocket") as server:
        refused(fetch(server.url, "GET", query(transport="polling")), UNKNOWN_TRANSPORT)
        assert alive(opened.join(server, "websocket"))
        opened.close()


def test_only_polling(kind: Transport, worker: Worker | None, opened: Open) -> None:
    with SmallServer(kind, worker=worker, transports=["polling"]) as server:
        with WebSocket(server.url) as websocket:
            assert websocket.handshake(check=False).status == 400
        client = opened.join(server, "polling")
        assert client.opened["upgrades"] == []
        with WebSocket(server.url) as websocket:
            target = query(transport="websocket", sid=client.eio_sid)
            assert websocket.handshake(target, check=False).status == 400
        assert alive(client)
        opened.close()
