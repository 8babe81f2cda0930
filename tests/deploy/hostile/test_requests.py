"""Requests that are too large, ambiguous or of no kind that is served: refused, and no node stumbles."""

from __future__ import annotations

import contextlib
import json
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.deploy.hostile.conftest import PARTNER
from tests.deploy.hostile.wire import (
    PAGE_BYTES,
    POLLING,
    SID,
    SID_OR_REFUSAL,
    SOCKET_BYTES,
    UPGRADE,
    WEBSOCKET,
    Answer,
    Ear,
    Nodes,
    ask,
    chunked,
    head,
    heard_of,
    logged,
    never_left_nginx,
    send,
)
from tests.support.nginx import Nginx

# How much one sends.


@pytest.mark.parametrize(
    ("target", "limit"), [("/x", PAGE_BYTES), ("/api/v1/x", PAGE_BYTES), (POLLING, SOCKET_BYTES)]
)
@pytest.mark.parametrize("length", ["said", "not said"])
def test_an_oversized_body_does_not_reach_a_node(
    nginx: Nginx, source: str, target: str, limit: int, length: str
) -> None:
    def post(size: int) -> Answer:
        if length == "said":
            return ask(nginx, target, method="POST", body=b"x" * size, source=source)
        start = head(nginx, target, "Transfer-Encoding: chunked", method="POST")
        return send(nginx, start + chunked(size), source)

    answer = post(limit + 1)
    assert answer.status == 413
    if target.startswith("/api/"):
        assert answer.header("Content-Type") == "application/problem+json"
        assert json.loads(answer.body)["status"] == 413
    never_left_nginx(nginx, source)
    # One byte less is the node's matter.
    assert post(limit).status in (400, 404)
    assert logged(nginx, source, 2)[1]["upstream"]


def test_a_large_body_that_nobody_wants(nginx: Nginx, source: str) -> None:
    """It takes no node from the others: one that hung up while nginx still sends would count as failing."""

    def post(number: int) -> int:
        target = ("/x", "/api/v1/rooms", "/sign-out")[number % 3]
        body = b"x" * PAGE_BYTES
        return ask(nginx, target, "Origin: null", method="POST", body=body, source=source).status

    with ThreadPoolExecutor(10) as pool:
        statuses = set(pool.map(post, range(200)))
    assert statuses == {403}
    assert not [line for line in nginx.log().splitlines() if "[error]" in line and f": {source}," in line]


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize("target", [POLLING, "/api/v1/rooms", "/sign-in"])
@pytest.mark.parametrize(
    ("host", "fields"),
    [
        ("", (f"Access-Control-Request-Headers: {'x' * 7_900}",)),
        (
            "",
            (
                f"Access-Control-Request-Headers: {'x' * 7_900}",
                f"Origin: {PARTNER}",
                "Access-Control-Request-Method: GET",
            ),
        ),
        ("h" * 7_000, (f"Origin: http://{'h' * 7_000}",)),
        ("", (f"Sec-WebSocket-Protocol: {'p' * 7_900}",)),
    ],
    ids=["request headers", "request headers of a partner", "origin", "protocol"],
)
def test_nothing_that_is_echoed_is_too_large_for_nginx(
    nginx: Nginx, source: str, method: str, target: str, host: str, fields: tuple[str, ...]
) -> None:
    """It would count as a failure of the node, and three of them take the node from everybody."""
    request = f"{method} {target} HTTP/1.1\r\nHost: {host or 'x'}\r\nConnection: close\r\n"
    data = request.encode() + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n"
    assert send(nginx, data, source).status < 500
    assert not [line for line in nginx.log().splitlines() if "[error]" in line and f": {source}," in line]


@pytest.mark.parametrize("target", ["/x", "/api/v1/x", POLLING])
def test_a_request_at_which_nodes_hang_up_takes_them_from_nobody(target: str) -> None:
    """Should there be one after all: its sender gets an error, and everybody else a node."""
    with contextlib.ExitStack() as exits:
        ears = [exits.enter_context(Ear()) for _ in range(3)]
        nginx = exits.enter_context(Nginx([ear.address for ear in ears]))
        cookies = ["", *(f"Cookie: NODE=n{number}" for number in (1, 2, 3))]
        for cookie in cookies * 5:
            assert ask(nginx, target, Ear.HANG_UP, *filter(None, [cookie])).status == 503
        for cookie in cookies * 2:
            assert ask(nginx, target, *filter(None, [cookie])).status == 204, cookie


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"a":' * 100_000, b"9" * 900_000, b"[" * 50_000 + b"]" * 50_000]
)
def test_json_that_is_too_deep_or_too_long(nginx: Nginx, body: bytes) -> None:
    """The fixture of the nodes sees that they write no stack trace."""
    answer = ask(nginx, "/api/v1/rooms", "Content-Type: application/json", method="POST", body=body)
    assert answer.status in (400, 401, 422)


@pytest.mark.parametrize("size", [9_000, 60_000])
def test_a_head_that_is_too_large(nginx: Nginx, source: str, size: int) -> None:
    assert ask(nginx, "/healthz", f"X-Large: {'x' * size}", source=source).status == 400
    assert ask(nginx, f"/{'x' * size}", source=source).status == 414
    assert ask(nginx, "/healthz", f"Cookie: NODE={'n' * size}", source=source).status == 400
    never_left_nginx(nginx, source, 3)


def test_more_header_fields_or_a_longer_address_than_a_node_takes(nginx: Nginx) -> None:
    assert ask(nginx, "/healthz", *(f"X-Field-{number}: x" for number in range(300))).status == 431
    assert ask(nginx, f"/healthz?{'x' * 6000}").status == 414


# Requests within requests.


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 6", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 6"),
        ("Content-Length: 6", "Content-Length: 7"),
        ("Content-Length: 6", "Content-Length: 6"),
        ("Content-Length: 6, 6",),
        ("Content-Length: -6",),
        ("Content-Length: +6",),
        ("Content-Length: 0x6",),
        ("Content-Length: 6 6",),
        ("Content-Length: 99999999999999999999",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: identity", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: \x0bchunked",),
        ("Transfer-Encoding : chunked",),
        ("Content-Length : 6",),
        (" Content-Length: 6",),
        ("X-Field: a\r\n Content-Length: 6",),
        ("X-Field: a\rContent-Length: 6",),
        ("X-Field: a\0b",),
    ],
    ids=lambda headers: ascii(" and ".join(headers)),
)
def test_a_body_of_two_lengths_or_of_none(
    nginx: Nginx, nodes: Nodes, source: str, headers: tuple[str, ...]
) -> None:
    smuggled = f"/smuggled-{secrets.token_hex(6)}"
    data = head(nginx, "/x", *headers, method="POST", close=False) + b"0\r\n\r\n"
    data += head(nginx, smuggled)
    answer = send(nginx, data, source)
    assert answer.status in (400, 413, 501)
    never_left_nginx(nginx, source)
    assert not heard_of(nodes, smuggled)


@pytest.mark.parametrize("target", ["/x", f"{POLLING}&sid=n1.x"])
@pytest.mark.parametrize("length", ["said", "not said", "of a field that is dropped"])
def test_a_request_in_a_body_stays_a_body(
    nginx: Nginx, nodes: Nodes, source: str, path: str, target: str, length: str
) -> None:
    """And the one after it is one."""
    smuggled = f"/smuggled-{secrets.token_hex(6)}"
    body = head(nginx, smuggled)
    fields: tuple[str, ...]
    if length == "not said":
        fields = ("Transfer-Encoding: chunked",)
        body = f"{len(body):x};x=y\r\n".encode() + body + b"\r\n0\r\n\r\n"
    elif length == "said":
        fields = (f"Content-Length: {len(body)}",)
    else:
        # What has no plain name does not pass; a node might read the one for the other.
        fields = (f"Content-Length: {len(body)}", "Transfer_Encoding: chunked", "Content_Length: 0")
    for method in ("POST", "GET"):
        first = head(nginx, target, *fields, method=method, close=False) + body
        answer = send(nginx, first + head(nginx, path), source)
        assert len(answer.statuses) == 2, answer.raw[:2000]
        assert answer.statuses[1] == 404
    assert not heard_of(nodes, smuggled)
    assert len(heard_of(nodes, path)) == 2


# Other ways of asking.


def test_old_and_new_versions_of_http(nginx: Nginx, source: str) -> None:
    assert send(nginx, b"GET /healthz HTTP/1.0\r\n\r\n", source).status == 200
    assert send(nginx, b"GET /healthz HTTP/1.1\r\n\r\n", source).status == 400
    assert send(nginx, b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", source).status == 400
    assert send(nginx, b"GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n", source).status == 400
    assert send(nginx, b"GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n", source).status == 505
    assert send(nginx, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", source).status == 400
    assert send(nginx, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", source).status == 400
    assert b'"status":"ok"' in send(nginx, b"GET /healthz\r\n", source).raw, "HTTP/0.9 has no status"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get", "G\tT", "PROPFIND", "X" * 500])
def test_methods(nginx: Nginx, source: str, method: str) -> None:
    for target in ("/", "/static/img/logo.svg", "evil.example:443", "/socket.io/", "/api/v1/rooms"):
        answer = ask(nginx, target, "X-Field: whisper", method=method, source=source)
        assert answer.status in (400, 401, 405), target
        assert b"whisper" not in answer.raw
    if method in ("TRACE", "CONNECT"):
        never_left_nginx(nginx, source, 5)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/sign-in",
        "/healthz",
        "/api/v1/rooms",
        "/static/img/logo.svg",
        "/socket.io",
        "/x",
    ],
)
def test_only_socket_io_is_upgraded(nginx: Nginx, target: str) -> None:
    answer = send(
        nginx, head(nginx, target, *UPGRADE[1:], "Connection: Upgrade, close", close=False), until=SID
    )
    assert answer.status != 101


@pytest.mark.parametrize(
    "target",
    [
        "/x/../healthz",
        "/socket.io/../x",
        "/%73ocket.io/%2e%2e/x",
        "/./x",
        "/x/.",
        "/..",
        "/socket.io/..%2fx?y",
    ],
)
def test_a_path_that_nginx_and_a_node_would_read_differently(nginx: Nginx, source: str, target: str) -> None:
    """By its dots a request would come to the node past the rules of the place where it is served."""
    assert ask(nginx, target, source=source).status == 400
    never_left_nginx(nginx, source)
    # What only looks like it is served.
    assert ask(nginx, "/healthz?x=/../y", source=source).status == 200
    assert ask(nginx, "/.well-known/x..y/...", source=source).status == 404


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.0", "websocket2", ""])
def test_only_to_a_websocket(nginx: Nginx, protocol: str) -> None:
    headers = (
        "Connection: Upgrade, HTTP2-Settings, close",
        f"Upgrade: {protocol}",
        "HTTP2-Settings: AAMAAABk",
    )
    assert send(nginx, head(nginx, POLLING, *headers, close=False)).status == 200
    assert send(nginx, head(nginx, WEBSOCKET, *headers, close=False)).status == 400


@pytest.mark.parametrize("missing", ["Sec-WebSocket-Version", "Sec-WebSocket-Key"])
def test_a_websocket_that_is_asked_for_badly(nginx: Nginx, missing: str) -> None:
    """The fixture of the nodes sees that they write no stack trace."""
    headers = [header for header in UPGRADE if missing not in header]
    data = head(nginx, WEBSOCKET, *headers, close=False)
    assert send(nginx, data, until=SID_OR_REFUSAL).status in (400, 426)
