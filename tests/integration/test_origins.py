"""Pages of other sites: refused unless they are listed, for sockets and for the REST API."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import requests
import websocket

from tests.integration.conftest import assert_no_traceback
from tests.support.clients import People, RawClient, cookie_header
from tests.support.servers import Node
from tests.support.waiting import WAIT_SECONDS, wait_until

Gather = Callable[[Node], People]

LISTED = "https://partner.example"


@pytest.fixture(scope="module")
def open_node() -> Iterator[Node]:
    """A node that lists another site."""
    with Node(CORS_ORIGINS=LISTED) as node:
        yield node
        assert_no_traceback(node)


def handshake(node: Node, origin: str | None) -> requests.Response:
    """The first request of a polling connection."""
    headers = {"Origin": origin} if origin else {}
    return requests.get(
        f"{node.url}/socket.io/?EIO=4&transport=polling", headers=headers, timeout=WAIT_SECONDS
    )


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1", "https://partner.example.evil.example"]
)
def test_another_site_may_not_open_a_socket(open_node: Node, gather: Gather, origin: str) -> None:
    cookie = cookie_header(gather(open_node).sign_in("Ada"))
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        RawClient(open_node.url, cookie=cookie, origin=origin)
    assert refused.value.status_code in (400, 403)
    assert handshake(open_node, origin).status_code in (400, 403)
    wait_until(
        lambda: any(origin in line and "CORS_ORIGINS" in line for line in open_node.log().splitlines()),
        lambda: f"a line that names {origin} and CORS_ORIGINS in:\n{open_node.log()}",
    )


def test_the_page_itself_and_programs_may(open_node: Node, gather: Gather) -> None:
    people = gather(open_node)
    for origin in (None, open_node.url, LISTED):
        cookie = cookie_header(people.sign_in("Ada"))
        with RawClient(open_node.url, cookie=cookie, origin=origin) as raw:
            packets = [raw.join_namespace("/chat")]
            if not packets[0].startswith("40/chat"):
                packets.append(raw.receive_until("40/chat"))
            assert '"sid"' in packets[-1], (origin, packets)
        assert handshake(open_node, origin).status_code == 200, origin


def test_a_refused_site_is_logged_once(open_node: Node) -> None:
    for _ in range(3):
        handshake(open_node, "https://again.example")
    assert open_node.log().count("'https://again.example'") == 1


def test_sockets_get_no_cors_headers_for_others(open_node: Node) -> None:
    assert "Access-Control-Allow-Origin" not in handshake(open_node, "https://evil.example").headers
    assert handshake(open_node, LISTED).headers["Access-Control-Allow-Origin"] == LISTED


def test_cors_of_the_rest_api_is_off_by_default(node: Node) -> None:
    answer = requests.get(f"{node.url}/api/v1/rooms", headers={"Origin": LISTED}, timeout=WAIT_SECONDS)
    assert not [name for name in answer.headers if name.startswith("Access-Control-")]


def test_cors_of_the_rest_api_for_listed_sites(open_node: Node) -> None:
    url = f"{open_node.url}/api/v1/rooms"
    asked = {"Origin": LISTED, "Access-Control-Request-Method": "GET"}
    preflight = requests.options(url, headers=asked, timeout=WAIT_SECONDS)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == LISTED
    # Without credentials: another site's script never acts for a user.
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    answer = requests.get(url, headers={"Origin": LISTED}, timeout=WAIT_SECONDS)
    assert answer.headers["Access-Control-Allow-Origin"] == LISTED
    other = requests.get(url, headers={"Origin": "https://evil.example"}, timeout=WAIT_SECONDS)
    assert "Access-Control-Allow-Origin" not in other.headers
    page = requests.get(f"{open_node.url}/sign-in", headers={"Origin": LISTED}, timeout=WAIT_SECONDS)
    assert "Access-Control-Allow-Origin" not in page.headers


def test_every_answer_carries_the_security_headers(node: Node) -> None:
    for path in ("/sign-in", "/healthz", "/api/v1/rooms", "/nowhere", "/api/docs", "/static/img/logo.svg"):
        answer = requests.get(f"{node.url}{path}", timeout=WAIT_SECONDS)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert answer.headers["X-Request-ID"], path
