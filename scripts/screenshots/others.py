"""Pictures of the API's page, of a page that is not there, and of the door to the operations."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from scripts.screenshots.studio import WINDOWS, picture
from tests.support.browser import Person
from tests.support.servers import Node


def take(browser: Browser) -> None:
    """Take all of them."""
    with Node(APP_ENV="development", FLASK_SKIP_DOTENV="1") as node:
        for label, window in WINDOWS.items():
            visitor = Person(browser, node.url, "Visitor", **window)
            visitor.page.goto(f"{node.url}/api/docs")
            expect(visitor.page.locator(".opblock-summary-control").first).to_be_visible()
            picture(visitor.page, visitor.watch, f"api-{label}")
            visitor.page.goto(f"{node.url}/ops/sign-in")
            picture(visitor.page, visitor.watch, f"ops-sign-in-{label}")
            visitor.watch.allow(r"\b404\b")
            visitor.page.goto(f"{node.url}/nowhere")
            picture(visitor.page, visitor.watch, f"error-{label}")
            visitor.close()
