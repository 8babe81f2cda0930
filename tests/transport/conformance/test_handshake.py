"""Engine.IO, "Handshake" and "Query parameters"; errors as the reference server words them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.small import SmallServer
from tests.support.wire import Answer, fetch, query
from tests.support.wire_socketio import Polling
from tests.support.wire_websocket import WebSocket
from tests.transport.conformance.conftest import SMALL_BYTES, Open, alive

UNKNOWN_TRANSPORT = {"code": 0, "message": "Transport unknown"}
UNKNOWN_SID = {"code": 1, "message": "Session ID unknown"}
BAD_METHOD = {"code": 2, "message": "Bad handshake method"}
BAD_REQUEST = {"code": 3, "message": "Bad request"}
UNSUPPORTED_VERSION = {"code": 5, "message": "Unsupported protocol version"}


def refused(answer: Answer, error: dict[str, Any]) -> None:
    """Check an answer.

    :raises AssertionError: when it is not this refusal.
    """
    assert answer.status == 400
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    assert answer.json() == error


def test_polling_opens_a_session(server: SmallServer) -> None:
    with Polling(server.url) as polling:
        opened = polling.open()
        assert sorted(opened) == ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]
        assert isinstance(opened["sid"], str)
        assert opened["sid"]
        assert opened["upgrades"] == ["websocket"]
        assert (opened["pingInterval"], opened["pingTimeout"]) == (25_000, 20_000)
        assert opened["maxPayload"] == 1_000_000


def test_websocket_opens_a_session(server: SmallServer) -> None:
    with WebSocket(server.url) as websocket:
        opened = websocket.open()
        assert sorted(opened) == ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]
        assert opened["upgrades"] == []
        assert (opened["pingInterval"], opened["pingTimeout"]) == (25_000, 20_000)
        assert opened["maxPayload"] == 1_000_000


def test_the_fields_are_what_was_set(impatient: SmallServer, strict: SmallServer) -> None:
    with Polling(impatient.url) as polling:
        opened = polling.open()
        assert (opened["pingInterval"], opened["pingTimeout"]) == (300, 200)
    with Polling(strict.url) as polling:
        opened = polling.open()
        assert opened["maxPayload"] == SMALL_BYTES
        assert opened["upgrades"] == []


def test_sids_differ(server: SmallServer) -> None:
    with Polling(server.url) as one, Polling(server.url) as other, WebSocket(server.url) as third:
        assert len({each.open()["sid"] for each in (one, other, third)}) == 3


@pytest.mark.parametrize("transport", [None, "", "abc", "websockets", "Polling", "webtransport"])
def test_transport_must_be_known(server: SmallServer, transport: str | None) -> None:
    refused(fetch(server.url, "GET", query(transport=transport)), UNKNOWN_TRANSPORT)


@pytest.mark.parametrize("version", [None, "", "abc", "3", "5", "04"])
def test_version_must_be_4(server: SmallServer, version: str | None) -> None:
    refused(fetch(server.url, "GET", query(transport="polling", EIO=version)), UNSUPPORTED_VERSION)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_session_begins_with_get(server: SmallServer, method: str) -> None:
    refused(fetch(server.url, method, query(transport="polling"), body=""), BAD_METHOD)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_do_nothing_to_a_session(server: SmallServer, opened: Open, method: str) -> None:
    client = opened.join(server, "polling")
    assert isinstance(client.engine, Polling)
    assert fetch(server.url, method, client.engine.target(), body="1").status >= 400
    assert alive(client)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("sid", ["abc", "../..", "0", "\N{EURO SIGN}", "x" * 3000])
def test_sid_must_be_known(server: SmallServer, method: str, sid: str) -> None:
    body = "4hello" if method == "POST" else None
    refused(fetch(server.url, method, query(transport="polling", sid=sid), body=body), UNKNOWN_SID)


def test_websocket_without_an_upgrade(server: SmallServer) -> None:
    refused(fetch(server.url, "GET", query(transport="websocket")), BAD_REQUEST)


@pytest.mark.parametrize("version", ["3", None])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_session_keeps_its_version(
    server: SmallServer, opened: Open, version: str | None, method: str
) -> None:
    client = opened.join(server, "polling")
    target = query(transport="polling", sid=client.eio_sid, EIO=version)
    refused(fetch(server.url, method, target, body="4hello" if method == "POST" else None), BAD_REQUEST)
    assert alive(client)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("transport", ["websocket", "upgrade"])
def test_polling_in_a_session_with_a_websocket(
    server: SmallServer, opened: Open, transport: str, method: str
) -> None:
    client = opened.join(server, transport)
    target = query(transport="polling", sid=client.eio_sid)
    refused(fetch(server.url, method, target, body="1" if method == "POST" else None), BAD_REQUEST)
    assert alive(client)


@pytest.mark.parametrize(
    "parameters",
    [
        {"transport": "websocket", "EIO": None},
        {"transport": "websocket", "EIO": "abc"},
        {"transport": "websocket", "EIO": "3"},
        {"transport": None},
        {"transport": "abc"},
        {"transport": "polling"},
        {"transport": "websocket", "sid": "abc"},
    ],
    ids=str,
)
def test_websocket_with_a_wrong_query(server: SmallServer, parameters: dict[str, Any]) -> None:
    with WebSocket(server.url) as websocket:
        answer = websocket.handshake(query(**parameters), check=False)
        assert answer.status == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": None}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Connection": "keep-alive"}, 400),
    ],
    ids=str,
)
def test_websocket_with_a_wrong_handshake(
    server: SmallServer, headers: dict[str, str | None], status: int
) -> None:
    # RFC 6455, 4.2.1 and 4.4
    with WebSocket(server.url) as websocket:
        answer = websocket.handshake(None, headers, check=False)
        assert answer.status == status
        if status == 426:
            assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "keep-alive, Upgrade"},
        {"Upgrade": "WebSocket"},
        {"Connection": "upgrade"},
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"Sec-WebSocket-Protocol": "chat"},
    ],
    ids=str,
)
def test_websocket_with_unusual_headers(server: SmallServer, headers: dict[str, str | None]) -> None:
    with WebSocket(server.url) as websocket:
        answer = websocket.handshake(None, headers)
        assert "sec-websocket-extensions" not in answer.headers
        assert str(websocket.receive()).startswith("0{")
