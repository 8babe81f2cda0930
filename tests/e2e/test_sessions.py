"""What people see when their session ends, and when it comes from another site."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
import requests
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.people import history
from tests.support.browser import Person
from tests.support.jwks import claims_of
from tests.support.proxy import TcpProxy
from tests.support.servers import HOST, ROOT, Node

SECRET = "a-secret-of-another-site-with-40-letters"
SITE = "https://example.org/login"
# Whoever is on the page longer than this and not sent away would come back by himself.
LINGER_SECONDS = 2.0


def token(user_id: str, name: str, **more: Any) -> str:
    return jwt.encode(claims_of(user_id, name, **more), SECRET, "HS256")


def sign_out_elsewhere(person: Person) -> None:
    """Do what a copy of the cookie could do."""
    cookies = {cookie["name"]: cookie["value"] for cookie in person.context.cookies()}
    assert requests.post(f"{person.url}/sign-out", cookies=cookies, timeout=15).ok


def test_whoever_is_signed_out_elsewhere_is_told_and_stays_out(meet: Meet) -> None:
    ada = meet("Ada")
    sign_out_elsewhere(ada)
    expect(ada.page).to_have_url(f"{ada.url}/sign-in?reason=ended")
    expect(ada.find("sign-in-error")).to_have_text("You were signed out.")
    # The cookie is still there, and worth nothing.
    ada.page.goto(ada.url)
    expect(ada.page).to_have_url(f"{ada.url}/sign-in?reason=ended")
    ada.page.wait_for_timeout(LINGER_SECONDS * 1000)
    expect(ada.page).to_have_url(f"{ada.url}/sign-in?reason=ended")
    # And the name is free for whoever signs in again.
    ada.sign_in()
    expect(ada.page.locator(".me-name")).to_have_text(ada.name)


def test_whoever_was_offline_meanwhile_is_told_too(meet: Meet) -> None:
    ada = meet("Ada")
    with ada.watch.outage():
        ada.context.set_offline(True)
        sign_out_elsewhere(ada)
        ada.watch.allow("ERR_INTERNET_DISCONNECTED")
        ada.context.set_offline(False)
        expect(ada.page).to_have_url(f"{ada.url}/sign-in?reason=ended")
    expect(ada.find("sign-in-error")).to_have_text("You were signed out.")


# Users of another site.


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A node for users of another site only."""
    with Node(
        AUTH_JWT_SECRET=SECRET,
        AUTH_JWT_COOKIE="site",
        AUTH_JWT_LEEWAY_SECONDS="0",
        AUTH_GUESTS="false",
        AUTH_SIGN_IN_URL=SITE,
        CHAT_NAME_LEASE_SECONDS="0",
    ) as node:
        yield node


Visit = Callable[[str], Person]


@pytest.fixture
def visit(own_node: Node, meet: Meet) -> Visit:
    """Let somebody come whom the other site has given a cookie."""

    def visit(value: str) -> Person:
        person = meet("Ada", signed_in=False)
        person.context.add_cookies([{"name": "site", "value": value, "url": own_node.url}])
        return person

    return visit


def test_an_account_comes_in_by_its_cookie(visit: Visit) -> None:
    ada = visit(token("account-1", "Ada Lovelace"))
    ada.page.goto(ada.url)
    ada.wait_until_ready()
    expect(ada.page.locator(".me-name")).to_have_text("Ada Lovelace")
    expect(ada.find("room-title")).to_have_text("general")
    ada.send("from an account")
    ada.find("sign-out-button").click()
    expect(ada.page.get_by_text("You have signed out.")).to_be_visible()
    expect(ada.find("account-link")).to_have_attribute("href", SITE)


def test_an_idle_page_goes_to_the_sign_in_when_its_token_expires(visit: Visit) -> None:
    ada = visit(token("account-2", "Grace Hopper", seconds=20))
    ada.page.goto(ada.url)
    ada.wait_until_ready()
    expect(ada.page).to_have_url(re.compile(r"/sign-in\?reason=expired$"), timeout=40_000)
    expect(ada.find("sign-in-error")).to_have_text("Your session has ended. Please sign in again.")
    expect(ada.find("account-link")).to_have_text("Sign in")


def test_what_one_wrote_does_not_go_out_as_somebody_else(meet: Meet, own_node: Node, road: TcpProxy) -> None:
    """Somebody else signs in at the other site, in the same browser, while the page has no connection."""
    ada = meet("Ada", signed_in=False, road=road)

    def be(user_id: str, name: str) -> None:
        site = {"name": "site", "value": token(user_id, name), "url": own_node.url}
        ada.context.add_cookies([site])  # type: ignore[list-item]

    be("account-3", "Ada Lovelace")
    ada.page.goto(ada.url)
    ada.wait_until_ready()
    expect(ada.find("beginning")).to_be_attached()
    with ada.watch.outage():
        road.refuse()
        road.cut()
        expect(ada.find("connection-banner")).to_be_visible()
        ada.write("By Ada.")
        expect(ada.message("By Ada.")).to_have_attribute("data-state", "pending")
        be("account-4", "Bob Frankston")
        road.resume()
        expect(ada.page.locator(".me-name")).to_have_text("Bob Frankston")
    ada.wait_until_ready()
    expect(ada.find("beginning")).to_be_attached()
    assert history(ada) == []
    # It waits for its writer.
    be("account-3", "Ada Lovelace")
    ada.page.reload()
    expect(ada.message("By Ada.")).to_have_attribute("data-state", "sent")
    assert [message["author"]["name"] for message in history(ada)] == ["Ada Lovelace"]


# On a page of the other site.

PAGE = """<!doctype html><title>Another site</title><output></output><script type="module">
import { io } from '/socket.io.esm.min.js';
const socket = io('%s/chat', { auth: { token: '%s' }, transports: ['websocket'] });
const show = (text) => { document.querySelector('output').textContent = text; };
socket.on('connect_error', (error) => show(`${error.data?.code}: ${error.message}`));
socket.on('connect', () => socket.emit('hello', {}, ({ me }) => show(`Signed in as ${me.name}`)));
</script>"""


@contextmanager
def another_site() -> Iterator[tuple[str, list[str]]]:
    """Serve one page, which is put into the list, at another origin."""
    pages: list[str] = []
    module = (ROOT / "app/static/vendor/socket.io/socket.io.esm.min.js").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_script = self.path.endswith(".js")
            body = module if is_script else pages[-1].encode()
            self.send_response(200 if self.path in ("/", "/socket.io.esm.min.js") else 204)
            self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}", pages
        finally:
            server.shutdown()


def test_a_page_of_another_site_brings_its_user_along(browser: Browser) -> None:
    with another_site() as (site, pages), Node(AUTH_JWT_SECRET=SECRET, CORS_ORIGINS=site) as node:
        page = browser.new_page()
        pages.append(PAGE % (node.url, token("account-3", "Joan Clarke")))
        page.goto(site)
        expect(page.locator("output")).to_have_text("Signed in as Joan Clarke")
        pages.append(PAGE % (node.url, token("account-3", "Joan Clarke", seconds=-60)))
        page.reload()
        expect(page.locator("output")).to_have_text("unauthorized: The token has expired.")
        page.close()
