"""Whether the market page stays smooth: frames, long tasks and draws in a browser, at 20 and 200 ticks/s.

Run it from the project's root with `python -m benchmarks.market_page`; it takes half a minute. Browser and
node share the machine, so run it on a quiet one.
"""

from __future__ import annotations

import argparse
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.support.browser import launch
from tests.support.servers import Node

SYMBOLS = 10  # of the built-in list
RATES = (2, 20)  # ticks/s of each
WARM_UP_MS = 3_000  # loading and compiling are another matter

# Frames are counted by requestAnimationFrame, draws by what changes in the table: once for all of one frame.
MEASURE = """seconds => new Promise(done => {
    const rows = document.querySelector('[data-testid=market-table] tbody');
    const total = () => [...rows.children].reduce((sum, row) => sum + Number(row.dataset.seq), 0);
    const gaps = [], tasks = [];
    let draws = 0, last = performance.now();
    const begun = last, ticks = total();
    new MutationObserver(() => { draws += 1; }).observe(rows, {subtree: true, attributeFilter: ['data-seq']});
    new PerformanceObserver(list => tasks.push(...list.getEntries().map(entry => entry.duration)))
        .observe({type: 'longtask'});
    const frame = now => {
        gaps.push(now - last);
        last = now;
        if (now - begun < seconds * 1000) requestAnimationFrame(frame);
        else done({gaps, tasks, draws, ticks: total() - ticks});
    };
    requestAnimationFrame(frame);
})"""


def measure(browser: Browser, rate: int, seconds: float) -> dict[str, Any]:
    """Look at the page while every symbol has so many ticks a second."""
    with Node(MARKET_SOURCE="random-walk", MARKET_TICKS_PER_SECOND=str(rate)) as node:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{node.url}/market")
        page.wait_for_function("() => document.querySelectorAll('tr[data-seq]').length === 10")
        page.wait_for_timeout(WARM_UP_MS)
        seen: dict[str, Any] = page.evaluate(MEASURE, seconds)
        page.close()
    gaps = sorted(seen["gaps"])
    return {
        "ticks/s": f"{seen['ticks'] / seconds:.0f}",
        "draws/s": f"{seen['draws'] / seconds:.0f}",
        "frames/s": f"{len(gaps) / seconds:.0f}",
        "frames over 50 ms": f"{100 * sum(gap > 50 for gap in gaps) / len(gaps):.2f} %",
        "longest frame": f"{gaps[-1]:.0f} ms",
        "long tasks (over 50 ms)": f"{len(seen['tasks'])}, {sum(seen['tasks']):.0f} ms in all",
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to look at each rate")
    seconds = parser.parse_args().seconds
    with sync_playwright() as playwright:
        browser = launch(playwright)
        columns = [measure(browser, rate, seconds) for rate in RATES]
        browser.close()
    print(f"| | {' | '.join(f'{rate * SYMBOLS} ticks/s' for rate in RATES)} |")
    print("| --- | --- | --- |")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")


if __name__ == "__main__":
    main()
