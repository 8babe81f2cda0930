"""A real browser for tests and pictures: people with a window each, and what their pages complain of."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Playwright,
    Request,
    Response,
    expect,
)

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    # Chromium refuses to start as root with its sandbox, and build machines are root.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Generous, for a machine that does other things too.
EXPECT_MS = 20_000
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
# What a page says while its server is down.
OUTAGE = re.compile(
    r"ERR_CONNECTION_|ERR_EMPTY_RESPONSE|ERR_SOCKET|WebSocket connection to"
    r"|status of 50[234]|response: 50[234]"
)
# A page that is left gives up what it was loading.
LEAVING = re.compile(r"ERR_ABORTED")


def launch(playwright: Playwright) -> Browser:
    """Start Chromium."""
    expect.set_options(timeout=EXPECT_MS)
    return playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))


class Watch:
    """Collects what goes wrong in a page: errors of the console and of scripts, failed and refused requests.

    Violations of the content security policy are errors of the console.
    """

    def __init__(self, page: Page) -> None:
        self.console: list[str] = []
        self._complaints: list[str] = []
        self._allowed: list[re.Pattern[str]] = [LEAVING]
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._complain(f"script error: {error}"))
        page.on("requestfailed", self._on_request_failed)
        page.on("response", self._on_response)

    def allow(self, pattern: str) -> None:
        """Say that complaints which match are expected from now on."""
        self._allowed.append(re.compile(pattern))

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """The server is down, or comes and goes, while this lasts."""
        self._allowed.append(OUTAGE)
        try:
            yield
        finally:
            self._allowed.remove(OUTAGE)

    def complaints(self) -> list[str]:
        """What nobody expected."""
        return list(self._complaints)

    def _complain(self, complaint: str) -> None:
        self.console.append(complaint)
        if not any(pattern.search(complaint) for pattern in self._allowed):
            self._complaints.append(complaint)

    def _on_console(self, message: ConsoleMessage) -> None:
        line = f"console {message.type}: {message.text} ({message.location.get('url', '')})"
        if message.type in ("error", "warning"):
            self._complain(line)
        else:
            self.console.append(line)

    def _on_request_failed(self, request: Request) -> None:
        self._complain(f"request failed: {request.method} {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self._complain(f"response: {response.status} {response.request.method} {response.url}")


class Person:
    """Somebody with a window of their own, cookies and storage apart from everybody else's.

    :param options: of `Browser.new_context`, for example `color_scheme="dark"`.
    """

    def __init__(self, browser: Browser, url: str, name: str, **options: Any) -> None:
        self.url = url
        self.name = name
        self.context: BrowserContext = browser.new_context(**{"viewport": DESKTOP, **options})
        self.page: Page = self.context.new_page()
        self.watch = Watch(self.page)

    def close(self) -> None:
        """Close the window."""
        self.context.close()

    def find(self, testid: str) -> Locator:
        """Whatever carries a data-testid."""
        return self.page.get_by_test_id(testid)

    def sign_in(self) -> None:
        """Sign in through the form, and wait until the chat is in step with the server."""
        self.page.goto(f"{self.url}/sign-in")
        self.find("name-input").fill(self.name)
        self.find("sign-in-button").click()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until the chat shows a room to write in."""
        expect(self.find("room-list").locator("[data-open]").first).to_be_attached()
        expect(self.find("composer")).to_be_visible()

    def open_tab(self) -> Person:
        """Open another tab of the same person."""
        tab = Person.__new__(Person)
        tab.url, tab.name, tab.context = self.url, self.name, self.context
        tab.page = self.context.new_page()
        tab.watch = Watch(tab.page)
        tab.page.goto(self.url)
        tab.wait_until_ready()
        return tab

    def create_room(self, name: str) -> None:
        """Create a room, which then is open."""
        self.find("create-room").click()
        self.find("create-room-name").fill(name)
        self.find("create-room-submit").click()
        expect(self.find("room-title")).to_have_text(name)

    def join_room(self, name: str) -> None:
        """Join a room of the list, which then is open."""
        self.find(f"join-{name}").click()
        expect(self.find("room-title")).to_have_text(name)
        expect(self.find("composer")).to_be_visible()

    def open_room(self, name: str) -> None:
        """Open a joined room."""
        self.find(f"room-{name}").click()
        expect(self.find("room-title")).to_have_text(name)

    def write(self, text: str) -> None:
        """Write a message and press Enter; do not wait for the server."""
        self.find("composer").fill(text)
        self.find("composer").press("Enter")

    def send(self, text: str) -> Locator:
        """Write a message and wait until the server has it; returns its row."""
        self.write(text)
        row = self.message(text)
        expect(row).to_have_attribute("data-state", "sent")
        return row

    def message(self, text: str) -> Locator:
        """The rows of the open room whose text is exactly this."""
        exactly = self.page.get_by_test_id("message-text").get_by_text(text, exact=True)
        whole = self.page.get_by_test_id("message-text").filter(has_text=re.compile(f"^{re.escape(text)}$"))
        return self.find("message").filter(has=exactly.or_(whole))

    def people_here(self) -> Locator:
        """The names of those who are in the open room."""
        return self.find("person").locator(".person-name")

    def messages(self) -> list[str]:
        """The texts of the open room, from top to bottom."""
        return self.find("message-text").all_inner_texts()

    def save(self, folder: Path, label: str) -> None:
        """Keep a picture of the window and what its page has said."""
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(Exception):
            self.page.screenshot(path=folder / f"{label}.png")
        (folder / f"{label}.console.txt").write_text("\n".join(self.watch.console) + "\n", "utf-8")
