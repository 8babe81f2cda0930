"""Cookies, and pages of other origins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.transport.clients.agents import Chromium, Pages, another_origin
from tests.transport.clients.conftest import Meet, Serve
from tests.transport.clients.peers import TRANSPORTS, JavaScript, Kind, Transport


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    with another_origin() as origin:
        yield origin


@pytest.fixture
def pages(chromium: Chromium) -> Iterator[Pages]:
    """A window of its own for each test, with its own cookies."""
    pages = Pages(chromium)
    yield pages
    pages.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ["node", "python", "asyncio"])
def test_programs_send_the_headers_that_they_are_told_to(
    kind: Kind, transport: Transport, meet: Meet, roomy: SmallServer
) -> None:
    peer = meet(kind, transport, roomy.url, headers={"Cookie": "flavour=vanilla", "X-More": "1"})
    (info,) = peer.call("info")
    assert info["cookies"] == {"flavour": "vanilla"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_page_of_the_same_origin_sends_its_cookies(
    transport: Transport, meet: Meet, pages: Pages, roomy: SmallServer
) -> None:
    pages.context.add_cookies([{"name": "flavour", "value": "vanilla", "url": roomy.url}])
    (info,) = meet("chromium", transport, roomy.url).call("info")
    assert info["cookies"] == {"flavour": "vanilla"}
    # A browser names the origin of each WebSocket.
    assert info["origin"] == (None if info["origin"] is None else roomy.url)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_cookie_of_the_server_comes_back(
    transport: Transport, meet: Meet, pages: Pages, serve: Serve
) -> None:
    server = serve(cookie={"name": "io", "path": "/", "SameSite": "Lax", "HttpOnly": True})
    first = meet("chromium", transport, server.url)
    (cookie,) = (each for each in pages.context.cookies(server.url) if each["name"] == "io")
    assert cookie["value"] == first.engine_id()
    assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == ("/", True, "Lax")
    (info,) = meet("chromium", transport, server.url).call("info")
    assert info["cookies"] == {"io": first.engine_id()}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_page_of_another_origin_is_refused(
    transport: Transport, meet: Meet, elsewhere: str, roomy: SmallServer
) -> None:
    peer = meet("chromium", transport, roomy.url, wait=False, origin=elsewhere)
    assert isinstance(peer, JavaScript)
    errors = wait_until(peer.errors, "a refusal")
    assert errors[0]["message"] == ("websocket error" if transport == "websocket" else "xhr poll error")
    assert not peer.connected("/")
    roomy.wait_until_empty()


@pytest.mark.parametrize("credentials", [False, True])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_page_of_an_origin_that_is_allowed_is_welcome(
    transport: Transport, credentials: bool, meet: Meet, pages: Pages, elsewhere: str, serve: Serve
) -> None:
    server = serve(cors_allowed_origins=[elsewhere])
    pages.context.add_cookies([{"name": "flavour", "value": "vanilla", "url": server.url}])
    peer = meet("chromium", transport, server.url, origin=elsewhere, withCredentials=credentials)
    assert peer.call("message-with-ack", "text", b"binary") == ["text", b"binary"]
    (info,) = peer.call("info")
    assert info["origin"] == elsewhere
    if credentials or transport == "websocket":
        # Cookies know no ports: it is the same site.
        assert info["cookies"] == {"flavour": "vanilla"}


def test_a_page_of_a_third_origin_is_refused_beside_one_that_is_allowed(
    meet: Meet, elsewhere: str, serve: Serve
) -> None:
    server = serve(cors_allowed_origins=[elsewhere])
    with another_origin() as third:
        for transport in TRANSPORTS:
            peer = meet("chromium", transport, server.url, wait=False, origin=third)
            assert isinstance(peer, JavaScript)
            wait_until(peer.errors, "a refusal")
            assert not peer.connected("/")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_origin_may_be_welcome(transport: Transport, meet: Meet, elsewhere: str, serve: Serve) -> None:
    server = serve(cors_allowed_origins="*")
    peer = meet("chromium", transport, server.url, origin=elsewhere)
    assert peer.call("message-with-ack", "text") == ["text"]
