"""The market page: open to everybody, in step with the feed whatever happens to the connection."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocket, expect

from tests.e2e.conftest import Meet, reconnect_by_keyboard
from tests.support.browser import DESKTOP, PHONE, Person
from tests.support.proxy import TcpProxy
from tests.support.redis import Redis
from tests.support.servers import Node

FAST = {
    "MARKET_SOURCE": "random-walk",
    "MARKET_TICKS_PER_SECOND": "20",
    "MARKET_HISTORY_POINTS": "5000",  # so that nothing of a run is forgotten during a test
}
SEQS = (
    "() => [...document.querySelectorAll('[data-testid=market-table] tbody tr')].map(row => +row.dataset.seq)"
)

# What most of the chart's painted pixels have: the area below the line.
MAIN_COLOUR = """() => {
    const canvas = document.querySelector('canvas');
    const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const seen = {};
    for (let i = 0; i < image.length; i += 4) {
        const colour = image.slice(i, i + 3).join();
        if (image[i + 3] === 255) seen[colour] = (seen[colour] ?? 0) + 1;
    }
    return Object.entries(seen).sort((a, b) => b[1] - a[1])[0]?.[0];
}"""


def visit(meet: Meet, symbol: str = "", **options: object) -> Person:
    """Somebody without a name opens the page, and sees prices."""
    visitor = meet("Visitor", signed_in=False, **options)
    visitor.page.goto(f"{visitor.url}/market{symbol}")
    see_prices(visitor)
    return visitor


def see_prices(visitor: Person) -> None:
    expect(visitor.find("market-status")).to_have_text("Live")
    expect(visitor.find("market-price").first).to_have_text(re.compile(r"\d"))


def symbols(visitor: Person) -> list[str]:
    return visitor.find("market-table").locator("tbody a").all_inner_texts()


def wait_for_a_whole_chart(page: Page, more_than: int = 1) -> None:
    """Until the chart has every price of the feed's run, from the first one to that of its last seq."""
    page.wait_for_function(
        """more => {
            const {points, seq} = document.querySelector('[data-testid=chart-box]').dataset;
            return points === seq && +points > more;
        }""",
        arg=more_than,
    )


def test_the_table_moves_and_a_click_chooses_the_chart(meet: Meet) -> None:
    visitor = visit(meet)
    before = visitor.page.evaluate(SEQS)
    assert len(before) == 10
    visitor.page.wait_for_function(
        f"before => ({SEQS})().filter((seq, i) => seq > before[i]).length >= 3", arg=before
    )
    expect(visitor.find("chart-symbol")).to_have_text(symbols(visitor)[0])
    visitor.find("market-row-NOVA").get_by_test_id("market-change").click()
    expect(visitor.find("chart-symbol")).to_have_text("NOVA")
    expect(visitor.find("chart-box")).to_have_attribute("data-points", re.compile(r"\d"))
    expect(visitor.find("chart-box")).to_have_attribute(
        "aria-label", re.compile(r"^Chart of NOVA, Nova Robotics: [\d.,]+, .*since the opening\. Between")
    )
    assert visitor.page.url.endswith("/market#NOVA")
    visitor.page.go_back()
    expect(visitor.find("chart-symbol")).to_have_text("ACME")


def test_chart_and_table_share_the_height_of_the_window(meet: Meet) -> None:
    visitor = visit(meet)
    chart, table = visitor.find("market-chart").bounding_box(), visitor.page.locator(".quotes").bounding_box()
    assert chart is not None
    assert table is not None
    assert (chart["y"], chart["height"]) == (table["y"], table["height"])
    bottom = chart["y"] + chart["height"]
    assert DESKTOP["height"] - 40 < bottom < DESKTOP["height"], "little is left, and nothing to scroll to"
    assert visitor.page.evaluate("document.documentElement.scrollHeight") == DESKTOP["height"]


def test_the_address_names_the_symbol(meet: Meet) -> None:
    visitor = visit(meet, "#ORCA")
    expect(visitor.find("chart-symbol")).to_have_text("ORCA")
    expect(visitor.find("market-row-ORCA").locator("a")).to_have_attribute("aria-current", "true")
    expect(visitor.find("go-market")).to_have_attribute("aria-current", "page")
    # A symbol that is not there is nobody's mistake: the first one is shown.
    for name in ("GONE", "%"):
        visitor.page.goto(f"{visitor.url}/market#{name}")
        visitor.page.reload()
        expect(visitor.find("chart-symbol")).to_have_text("ACME")


def test_the_keyboard_chooses_and_sorts(meet: Meet) -> None:
    visitor = visit(meet)
    page = visitor.page
    visitor.find("market-row-ACME").locator("a").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(visitor.find("chart-symbol")).to_have_text("CLDR")
    page.keyboard.press("End")
    expect(visitor.find("market-row-TIDE").locator("a")).to_be_focused()

    visitor.find("sort-symbol").focus()
    page.keyboard.press("Enter")
    expect(visitor.find("market-table").locator("th").first).to_have_attribute("aria-sort", "descending")
    assert symbols(visitor) == sorted(symbols(visitor), reverse=True)
    # Held still, so that what is read and what was sorted by are the same.
    visitor.find("market-pause").click()
    for name, column in {"price": "market-price", "change": "market-change"}.items():
        visitor.find(f"sort-{name}").press("Enter")
        shown = [
            float(text.replace("−", "-").strip("%").replace(",", ""))
            for text in visitor.find(column).all_inner_texts()
        ]
        assert shown == sorted(shown, reverse=True), name
        visitor.find(f"sort-{name}").press(" ")
        assert symbols(visitor)[0] != symbols(visitor)[-1]
    expect(visitor.page.locator("th[aria-sort=ascending]")).to_have_text("Change")


def test_a_paused_page_stands_still_counts_and_catches_up(meet: Meet) -> None:
    visitor = visit(meet)
    wait_for_a_whole_chart(visitor.page)
    visitor.find("market-pause").click()
    expect(visitor.find("market-status")).to_have_text(re.compile(r"^Paused, \d+ ticks? behind$"))
    shown = visitor.page.evaluate(SEQS), visitor.find("chart-box").get_attribute("data-seq")
    visitor.page.wait_for_function(
        "() => +document.querySelector('[data-testid=market-status]').innerText.match(/\\d+/)[0] > 20"
    )
    assert (visitor.page.evaluate(SEQS), visitor.find("chart-box").get_attribute("data-seq")) == shown
    # Another symbol is shown as far as its row.
    visitor.find("market-row-NOVA").click()
    row = visitor.find("market-row-NOVA").get_attribute("data-seq")
    expect(visitor.find("chart-box")).to_have_attribute("data-seq", str(row))

    visitor.find("market-pause").click()
    expect(visitor.find("market-status")).to_have_text("Live")
    visitor.page.wait_for_function(
        f"before => ({SEQS})().reduce((sum, seq, i) => sum + seq - before[i], 0) > 20", arg=shown[0]
    )
    wait_for_a_whole_chart(visitor.page)


@pytest.fixture
def fast_node() -> Iterator[Node]:
    """Two hundred ticks a second."""
    with Node(**FAST) as node:
        yield node


def test_nothing_is_lost_at_200_ticks_a_second_and_frames_take_many(
    browser: Browser, fast_node: Node
) -> None:
    visitor = Person(browser, fast_node.url, "Visitor")
    newest: dict[str, int] = {}

    def note(payload: str | bytes) -> None:
        if isinstance(payload, str) and payload.startswith('42/market,["tick"'):
            tick = json.loads(payload.removeprefix("42/market,"))[1]
            newest[tick["symbol"]] = tick["seq"]

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", note)

    visitor.page.on("websocket", listen)
    visitor.page.goto(f"{visitor.url}/market#HALO")
    see_prices(visitor)
    wait_for_a_whole_chart(visitor.page)
    drawn = visitor.page.evaluate(
        """() => new Promise(done => {
            const rows = document.querySelector('[data-testid=market-table] tbody');
            const total = () => [...rows.children].reduce((sum, row) => sum + +row.dataset.seq, 0);
            const before = total();
            let draws = 0;
            // Called once for all that one frame has changed.
            const observer = new MutationObserver(() => {
                draws += 1;
                if (total() - before > 400) {
                    observer.disconnect();
                    done({draws, ticks: total() - before});
                }
            });
            observer.observe(rows, {subtree: true, attributeFilter: ['data-seq']});
        })"""
    )
    assert drawn["draws"] < drawn["ticks"] / 2, drawn
    assert len(newest) == 10
    for symbol, seq in newest.items():
        visitor.page.wait_for_function(
            "([row, seq]) => +document.querySelector(`[data-testid=${row}]`).dataset.seq >= seq",
            arg=[f"market-row-{symbol}", seq],
        )
    wait_for_a_whole_chart(visitor.page, newest["HALO"] - 1)
    assert not visitor.watch.complaints()
    visitor.close()


Cluster = tuple[Node, Node]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A node with the feed, and one without."""
    with Redis() as redis:
        settings = {**FAST, "MESSAGE_QUEUE": redis.url, "MARKET_NODE": "n1"}
        with Node(NODE_ID="n1", **settings) as feed, Node(NODE_ID="n2", **settings) as other:
            yield feed, other


def test_the_chart_misses_nothing_after_its_node_was_away(browser: Browser, cluster: Cluster) -> None:
    """The page is at the node without the feed, whose memory is gone with it."""
    feed, other = cluster
    visitor = Person(browser, other.url, "Visitor")
    visitor.page.goto(f"{visitor.url}/market#HALO")
    see_prices(visitor)
    wait_for_a_whole_chart(visitor.page)
    expect(visitor.find("node")).to_have_text("n2")
    with visitor.watch.outage():
        other.kill()
        expect(visitor.find("connection-banner")).to_contain_text("The prices stand still until it is back.")
        expect(visitor.find("market-status")).to_have_text("No connection")
        before = int(visitor.find("chart-box").get_attribute("data-seq") or 0)
        other.start()
        expect(visitor.find("connection-banner")).to_be_hidden()
        see_prices(visitor)
    wait_for_a_whole_chart(visitor.page, before)

    # The feed begins anew, with numbers from 1, and the page goes on from what it has.
    points = int(visitor.find("chart-box").get_attribute("data-points") or 0)
    feed.kill()
    feed.start()
    visitor.page.wait_for_function(
        """before => {
            const {points, seq} = document.querySelector('[data-testid=chart-box]').dataset;
            return +seq > 5 && +seq < before && +points > before;
        }""",
        arg=points,
    )
    assert not visitor.watch.complaints()
    visitor.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_chart_and_table_in_either_theme(meet: Meet, scheme: str) -> None:
    visitor = visit(meet, "#LARK", viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    wait_for_a_whole_chart(visitor.page)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    chart, table = visitor.find("market-chart").bounding_box(), visitor.find("market-table").bounding_box()
    assert chart is not None
    assert table is not None
    assert chart["y"] + chart["height"] <= table["y"]
    visitor.find("market-row-FERN").tap()
    expect(visitor.find("chart-symbol")).to_have_text("FERN")

    # The canvas follows the theme, too, also of a page that stands still.
    visitor.watch.allow("getImageData")  # says how to make it faster
    wait_for_a_whole_chart(visitor.page, 20)
    visitor.find("market-pause").tap()
    before = visitor.page.evaluate(f"({MAIN_COLOUR})()")
    visitor.find("theme-toggle").tap()
    other = "light" if scheme == "dark" else "dark"
    expect(visitor.page.locator("html")).to_have_attribute("data-theme", other)
    visitor.page.wait_for_function(f"before => ({MAIN_COLOUR})() !== before", arg=before)


HISTORIES = {
    # what the page has, what the server tells, how much is kept: what the page has then
    "a reconnect": ([[1, 1], [1, 2]], [[1, 2], [1, 3], [1, 4]], 9, [[1, 1], [1, 2], [1, 3], [1, 4]]),
    "a page that is ahead": ([[1, 2], [1, 3], [1, 4]], [[1, 1], [1, 2]], 9, [[1, 1], [1, 2], [1, 3], [1, 4]]),
    "a server that was alone and began anew": ([[1, 6], [1, 7]], [[2, 1]], 9, [[1, 6], [1, 7], [2, 1]]),
    "a page that was away too long": ([[1, 1], [1, 2]], [[1, 5], [1, 6]], 9, [[1, 5], [1, 6]]),
    "a server that knows nothing yet": ([[1, 1]], [], 9, [[1, 1]]),
    "what is kept is bounded": ([[1, 1], [1, 2]], [[1, 3], [1, 4]], 3, [[1, 2], [1, 3], [1, 4]]),
}


def test_histories_are_merged_without_a_line_across_a_hole(meet: Meet) -> None:
    visitor = visit(meet)
    for name, (has, told, most, expected) in HISTORIES.items():
        merged = visitor.page.evaluate(
            """async ([has, told, most]) => {
                const {PriceHistory} = await import('/static/js/market/price-history.js');
                const history = new PriceHistory();
                for (const [run, seq] of has) history.add({run, seq, time_ms: seq, price: seq});
                history.merge(told.map(([run, seq]) => [run, seq, seq, seq]), most);
                return {points: history.points.map(point => [point.run, point.seq]), hole: history.hasHole};
            }""",
            [has, told, most],
        )
        assert merged == {"points": expected, "hole": False}, name


@pytest.fixture
def closed_node() -> Iterator[Node]:
    with Node(MARKET_SOURCE="off") as node:
        yield node


def test_without_a_feed_the_page_says_so(browser: Browser, closed_node: Node) -> None:
    visitor = Person(browser, closed_node.url, "Visitor")
    visitor.page.goto(f"{visitor.url}/market")
    expect(visitor.find("market-note")).to_have_text(
        "No symbols are traded right now: this server runs no market feed."
    )
    expect(visitor.find("market-status")).to_have_text("Closed")
    expect(visitor.find("market-chart")).to_be_hidden()
    expect(visitor.find("market-pause")).to_be_hidden()
    assert not visitor.watch.complaints()
    visitor.close()


def test_a_recording_may_have_more_symbols_than_one_may_ask_for_at_once(
    browser: Browser, tmp_path: Path
) -> None:
    names = [f"SYM{number:02}" for number in range(60)]
    recording = tmp_path / "session.csv"
    lines = [f"{number},{name},Number {number},{number + 1}" for number, name in enumerate(names)]
    recording.write_text("\n".join(["time_ms,symbol,name,price", *lines]) + "\n", "utf-8")
    with Node(MARKET_SOURCE="replay", MARKET_REPLAY_FILE=str(recording)) as node:
        visitor = Person(browser, node.url, "Visitor")
        visitor.page.goto(f"{visitor.url}/market")
        see_prices(visitor)
        assert symbols(visitor) == names
        # The last one moves, too.
        last = visitor.find("market-row-SYM59")
        before = str(last.get_attribute("data-seq"))
        expect(last).not_to_have_attribute("data-seq", before)
        assert not visitor.watch.complaints()
        visitor.close()


def test_all_times_are_of_24_hours(meet: Meet) -> None:
    visitor = visit(meet, locale="en-US")
    clock = r"\d\d:\d\d:\d\d"
    expect(visitor.find("chart-box")).to_have_attribute("aria-label", re.compile(rf"since {clock}\.$"))
    visitor.find("chart-box").hover()
    expect(visitor.page.locator(".chart-readout")).to_have_text(re.compile(rf"^{clock} · "))


def test_reconnecting_leaves_the_focus_on_the_heading(meet: Meet, road: TcpProxy) -> None:
    visitor = visit(meet, road=road)
    reconnect_by_keyboard(visitor, road)
    expect(visitor.page.get_by_role("heading", name="Market", level=1)).to_be_focused()


def test_the_chat_and_the_market_lead_to_each_other(meet: Meet) -> None:
    ada = meet("Ada")
    ada.find("go-market").click()
    expect(ada.page).to_have_title(re.compile("^Market"))
    see_prices(ada)
    ada.find("go-chat").click()
    ada.wait_until_ready()
