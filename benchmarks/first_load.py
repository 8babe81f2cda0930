"""How long the first visit takes until one can write, and how much it loads: node and browser on loopback.

Run it from the project's root with `python -m benchmarks.first_load`; it takes about 15 s. The size has a
bound in the tests; a time says something only on a machine that does nothing else.
"""

from __future__ import annotations

import statistics

from playwright.sync_api import sync_playwright

from tests.support.browser import Person, launch
from tests.support.first_load import first_load
from tests.support.servers import Node

VISITS = 10
# What a visitor waits without noticing.
GOAL_MS = 1_000


def main() -> None:
    """Print the figures."""
    with Node() as node, sync_playwright() as playwright:
        browser = launch(playwright)
        person = Person(browser, node.url, "Ada")
        person.sign_in()
        loads = []
        for _ in range(VISITS):
            load, visitor = first_load(browser, person)
            visitor.close()
            loads.append(load)
        browser.close()
    times = [load.usable_ms for load in loads]
    print(
        f"first load: {loads[-1].total_bytes / 1000:.0f} KB compressed in {len(loads[-1].bytes)} files; "
        f"usable after {statistics.median(times):.0f} ms, the median of {VISITS} "
        f"({min(times):.0f} to {max(times):.0f}; "
        f"the goal is {GOAL_MS})"
    )


if __name__ == "__main__":
    main()
