"""What a page loads before it can be used, with nothing in the browser's cache."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

from playwright.sync_api import Browser, Response

from tests.support.browser import Person

# nginx's, in nginx/realtime.conf.
GZIP_LEVEL = 5
# Notes what moves without the user's doing, from the beginning on.
WATCH_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) {
            const places = entry.sources.map(source => source.node?.outerHTML?.slice(0, 120) ?? '');
            window.shifts.push(`${entry.value}: ${places.join(' | ')}`);
        }
    }).observe({type: 'layout-shift', buffered: true});
"""


@dataclass(frozen=True)
class FirstLoad:
    """How much was loaded, by address and compressed, and after what time the chat was usable."""

    bytes: dict[str, int]
    usable_ms: float

    @property
    def total_bytes(self) -> int:
        """All together."""
        return sum(self.bytes.values())


def first_load(browser: Browser, person: Person, **options: object) -> tuple[FirstLoad, Person]:
    """Open the chat as somebody who is signed in, in a new window; returns that, too, for who closes it.

    :param options: of `Browser.new_context`.
    """
    visitor = Person(browser, person.url, person.name, **options)
    visitor.context.add_cookies(person.context.cookies())  # type: ignore[arg-type]
    visitor.page.add_init_script(WATCH_SHIFTS)
    responses: list[Response] = []
    # Playwright cannot take a method of a list.
    visitor.page.on("response", lambda response: responses.append(response))  # noqa: PLW0108
    visitor.page.goto(visitor.url)
    visitor.wait_until_ready()
    usable_ms = float(visitor.page.evaluate("performance.now()"))
    sizes = {response.url: len(gzip.compress(response.body(), GZIP_LEVEL)) for response in responses}
    return FirstLoad(sizes, usable_ms), visitor
