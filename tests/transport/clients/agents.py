"""Where tests/js/agent.js runs: in Node, and in pages of Chromium."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.support import node_js
from tests.support.browser import launch
from tests.support.servers import HOST
from tests.support.waiting import WAIT_SECONDS

Ask = Callable[..., Any]

SCRIPT = node_js.FOLDER / "node_agent.js"
# What an origin must answer with something. The small server does.
PATH = "/ready"
CALL = "async ([name, args]) => (await window.agent[name](...args)) ?? null"

names = (f"client {number}" for number in itertools.count(1))


class Chromium:
    """The browser, started when somebody wants to see something."""

    def __init__(self) -> None:
        self._exits = contextlib.ExitStack()
        self._browser: Browser | None = None

    def browser(self) -> Browser:
        """It runs."""
        if self._browser is None:
            self._browser = launch(self._exits.enter_context(sync_playwright()))
            self._exits.callback(self._browser.close)
        return self._browser

    def close(self) -> None:
        """End it, if it runs."""
        self._exits.close()


class Pages:
    """Pages in one window, one for each origin.

    :param chromium: shows them.
    """

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium
        self._context: BrowserContext | None = None
        self._asks: dict[str, Ask] = {}

    @property
    def context(self) -> BrowserContext:
        """The window they are in, with its cookies."""
        if self._context is None:
            self._context = self._chromium.browser().new_context()
        return self._context

    def ask(self, origin: str) -> Ask:
        """The agent in a page of an origin.

        :param origin: http://HOST:PORT. Somebody must listen there: Chromium lets only pages of this machine
            talk to it.
        """
        if origin not in self._asks:
            self._asks[origin] = self._open(origin)
        return self._asks[origin]

    def close(self) -> None:
        """Close them."""
        if self._context is not None:
            self._context.close()

    def _open(self, origin: str) -> Ask:
        page = self.context.new_page()
        page.goto(origin + PATH)
        page.add_script_tag(path=node_js.packages() / "socket.io-client" / "dist" / "socket.io.min.js")
        page.add_script_tag(path=node_js.FOLDER / "agent.js")
        page.evaluate("window.agent = makeAgent(io)")

        def ask(name: str, *args: Any, timeout_seconds: float = WAIT_SECONDS) -> Any:
            return page.evaluate(CALL, [name, list(args)])

        return ask


class _Blank(BaseHTTPRequestHandler):
    """Answers everything with an empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def another_origin() -> Iterator[str]:
    """A place for pages that is not the server's."""
    with ThreadingHTTPServer((HOST, 0), _Blank) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()
        thread.join()
