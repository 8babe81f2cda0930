"""Pictures of the market's page."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from scripts.screenshots.studio import WINDOWS, picture
from tests.support.browser import Person
from tests.support.servers import Node
from tests.support.waiting import wait_until

SETTINGS = {"MARKET_SOURCE": "random-walk", "MARKET_TICKS_PER_SECOND": "8", "MARKET_SEED": "11"}
# Of the chosen symbol: half a minute of prices.
TICKS_SHOWN = 240


def take(browser: Browser) -> None:
    """Take all of them."""
    with Node(**SETTINGS) as node:
        for label, window in WINDOWS.items():
            visitor = Person(browser, node.url, "Visitor", **window)
            visitor.page.goto(f"{node.url}/market#HALO")
            expect(visitor.find("market-table")).to_be_visible()

            def enough(visitor: Person = visitor) -> bool:
                row = visitor.find("market-row-HALO")
                return int(row.get_attribute("data-seq") or 0) >= TICKS_SHOWN

            wait_until(enough, "enough prices for a chart", 60)
            picture(visitor.page, visitor.watch, f"market-{label}")
            visitor.close()
