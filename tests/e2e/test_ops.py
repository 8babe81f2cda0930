"""The operations page: two nodes, Redis and RabbitMQ, seen, switched and drained by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Locator, expect

from config.ops import DEFAULT_ADMIN_TOKEN
from tests.e2e.conftest import reconnect_by_keyboard
from tests.e2e.test_views import fits, is_dark
from tests.support.axe import serious_anywhere
from tests.support.browser import PHONE, Person
from tests.support.proxy import TcpProxy
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.servers import HOST, Node

# Two nodes and two brokers on a busy machine.
pytestmark = pytest.mark.timeout(240)
Operate = Callable[..., Person]
# Three seconds without figures, and a little for the machine; as long again, and the page connects anew.
SILENT_MS = 8_000


@pytest.fixture(scope="module")
def brokers() -> Iterator[tuple[Redis, RabbitMQ]]:
    with Redis() as redis, RabbitMQ() as rabbitmq:
        yield redis, rabbitmq


@pytest.fixture(scope="module")
def nodes(brokers: tuple[Redis, RabbitMQ]) -> Iterator[list[Node]]:
    settings = {
        "MESSAGE_QUEUE": ",".join([brokers[0].url, brokers[1].url()]),
        "CHANNEL_SECRET": "a-secret-of-the-channel-for-the-tests-of-this-file",
        "CHAT_NAME_LEASE_SECONDS": "0",
        "QUEUE_FAILBACK_SECONDS": "1",
    }
    with (
        Node(NODE_ID="n1", **settings) as first,
        Node(first.database_url, NODE_ID="n2", **settings) as second,
    ):
        yield [first, second]
        for node in (first, second):
            assert "Traceback" not in node.log(), node.log()[-4000:]


@pytest.fixture
def operate(browser: Browser, nodes: list[Node]) -> Iterator[Operate]:
    """Open the page as an operator. In the end no page may have complained."""
    operators: list[Person] = []

    def operate(url: str = nodes[0].url, **options: object) -> Person:
        operator = Person(browser, url, "Operator", **options)
        operators.append(operator)
        operator.page.goto(f"{url}/ops")
        operator.find("ops-sign-in-button").click()
        expect(operator.find("ops-headline")).to_contain_text("All is well: 2 nodes")
        return operator

    yield operate
    complaints = [complaint for operator in operators for complaint in operator.watch.complaints()]
    for operator in operators:
        operator.close()
    assert not complaints, complaints


def card(operator: Person, node: str) -> Locator:
    return operator.page.locator(f"[data-testid=ops-node][data-node={node}]")


def broker(operator: Person, name: str) -> Locator:
    return operator.page.locator(f"[data-testid=ops-broker][data-broker={name}]")


def happened(operator: Person, words: str | re.Pattern[str]) -> Locator:
    return operator.find("ops-happening").filter(has_text=words)


def confirm(operator: Person, title: str) -> None:
    expect(operator.find("confirm-dialog")).to_contain_text(title)
    operator.find("confirm-yes").click()


def test_signing_in_and_out(browser: Browser, nodes: list[Node]) -> None:
    operator = Person(browser, nodes[0].url, "Operator")
    page = operator.page
    page.goto(f"{nodes[0].url}/ops")
    expect(operator.find("known-token")).to_contain_text(DEFAULT_ADMIN_TOKEN)
    operator.watch.allow("401")
    operator.find("token-input").fill("a guess")
    operator.find("token-input").press("Enter")
    expect(operator.find("ops-sign-in-error")).to_contain_text("not the value of ADMIN_TOKEN")
    operator.find("token-input").fill(DEFAULT_ADMIN_TOKEN)
    operator.find("token-input").press("Enter")
    expect(operator.find("ops-headline")).to_contain_text("2 nodes")
    expect(operator.find("go-operations")).to_have_attribute("aria-current", "page")
    page.goto(f"{nodes[0].url}/ops?tour")
    operator.context.clear_cookies()
    page.reload()
    operator.find("ops-sign-in-button").click()
    expect(operator.find("ops-headline")).to_contain_text("2 nodes")
    assert page.url == f"{nodes[0].url}/ops?tour"
    operator.find("ops-sign-out").click()
    expect(operator.find("ops-sign-in-error")).to_have_text("You have signed out.")
    page.goto(f"{nodes[0].url}/ops")
    expect(operator.find("token-input")).to_be_visible()
    assert operator.watch.complaints() == []
    operator.close()


def test_every_node_has_a_card_and_every_figure_a_place(operate: Operate) -> None:
    operator = operate()
    expect(operator.find("ops-node")).to_have_count(2)
    for name in ("n1", "n2"):
        expect(card(operator, name).get_by_test_id("node-state")).to_have_text("serving")
        for table in ("ops-messages", "latency-handling", "latency-lateness", "latency-delivery"):
            expect(operator.find(table).get_by_role("rowheader", name=name, exact=True)).to_have_count(1)
        expect(operator.find("latency-lateness").locator("tr", has_text=name)).to_contain_text(
            re.compile(r"\d")
        )
        expect(operator.find("latency-delivery").locator("tr", has_text=name)).to_contain_text("ms")
    expect(card(operator, "n1").get_by_text("serves you")).to_be_visible()
    expect(card(operator, "n2").get_by_text("serves you")).to_be_hidden()
    expect(broker(operator, "redis").get_by_test_id("broker-state")).to_have_text("in use")
    expect(broker(operator, "rabbitmq").get_by_test_id("broker-state")).to_have_text("healthy, in reserve")
    expect(broker(operator, "redis")).to_contain_text("ms")
    expect(operator.find("tile-clients")).to_have_text(re.compile(r"^[1-9]\d*$"))
    expect(operator.find("tile-events")).to_have_text(re.compile(r"^\d+\.\d$"))
    expect(happened(operator, "n2: Started.")).to_have_count(1)
    expect(card(operator, "n1").locator("[title^=Start]")).to_have_text(re.compile(r"^code \w+$"))
    expect(operator.find("switch-auto")).to_be_hidden()


SHIFTS = """() => { window.shift = 0; new PerformanceObserver(list => {
    for (const entry of list.getEntries()) window.shift += entry.value;
}).observe({type: 'layout-shift', buffered: false}); }"""


def test_nothing_moves_when_figures_change(operate: Operate) -> None:
    operator = operate()
    page = operator.page
    page.evaluate("document.fonts.ready")
    page.evaluate(SHIFTS)
    # Three more seconds have come, which the line of each node shows.
    page.wait_for_function(
        """() => { const path = () => document.querySelector('.ops-node path:last-child').getAttribute('d');
                   window.drawn ??= new Set(); window.drawn.add(path()); return window.drawn.size >= 4; }"""
    )
    assert page.evaluate("window.shift") < 0.01


def test_a_broker_dies_and_comes_back(operate: Operate, brokers: tuple[Redis, RabbitMQ]) -> None:
    operator = operate()
    brokers[0].kill()
    expect(broker(operator, "redis").get_by_test_id("broker-state")).to_contain_text("down for")
    expect(broker(operator, "rabbitmq").get_by_test_id("broker-state")).to_have_text("in use")
    expect(operator.find("ops-headline")).to_have_text("Redis is down; messages go over RabbitMQ.")
    expect(operator.find("ops-headline")).to_have_attribute("data-state", "warning")
    findings = serious_anywhere(operator.page)
    assert not findings, findings
    for name in ("n1", "n2"):
        expect(happened(operator, re.compile(f"{name}.*: RabbitMQ is used")).first).to_be_visible()
        expect(happened(operator, re.compile(f"{name}.*: Redis is down")).first).to_be_visible()
    brokers[0].start()
    expect(broker(operator, "redis").get_by_test_id("broker-state")).to_have_text("in use")
    expect(operator.find("ops-headline")).to_contain_text("All is well")


def test_no_broker_works(operate: Operate, brokers: tuple[Redis, RabbitMQ]) -> None:
    operator = operate()
    for each in brokers:
        each.kill()
    try:
        expect(operator.find("ops-headline")).to_contain_text("No broker works: you see n1 alone")
        findings = serious_anywhere(operator.page)
        assert not findings, findings
        expect(card(operator, "n2").get_by_test_id("node-state")).to_contain_text("silent for")
        expect(card(operator, "n2").get_by_test_id("node-drain")).to_be_disabled()
    finally:
        for each in brokers:
            each.start()
    expect(operator.find("ops-headline")).to_contain_text("All is well")


def test_switching_the_queue(operate: Operate) -> None:
    operator = operate()
    # By keyboard alone.
    prefer = broker(operator, "rabbitmq").get_by_test_id("broker-prefer")
    prefer.focus()
    operator.page.keyboard.press("Enter")
    expect(operator.find("confirm-dialog")).to_contain_text("Prefer RabbitMQ on all nodes?")
    operator.page.keyboard.press("Escape")
    expect(operator.find("confirm-dialog")).to_be_hidden()
    expect(prefer).to_be_focused()
    expect(broker(operator, "redis").get_by_test_id("broker-state")).to_have_text("in use")
    operator.page.keyboard.press("Enter")
    confirm(operator, "Prefer RabbitMQ on all nodes?")
    expect(operator.find("ops-outcome")).to_have_text("Done: all nodes prefer RabbitMQ, and use it.")
    expect(broker(operator, "rabbitmq").get_by_test_id("broker-state")).to_have_text("in use")
    expect(operator.find("queue-note")).to_contain_text("RabbitMQ is preferred by hand")
    expect(happened(operator, "An operator asked all nodes to prefer RabbitMQ.").first).to_be_visible()
    operator.find("switch-auto").click()
    confirm(operator, "Back to the configured order?")
    expect(operator.find("ops-outcome")).to_have_text("Done: all nodes prefer Redis, and use it.")
    expect(operator.find("queue-note")).to_have_text("Failover, in the configured order.")
    expect(operator.find("switch-auto")).to_be_hidden()


def test_draining_a_node_and_letting_it_serve_again(operate: Operate) -> None:
    operator = operate()
    card(operator, "n2").get_by_test_id("node-drain").click()
    confirm(operator, "Drain n2?")
    expect(operator.find("ops-outcome")).to_contain_text("Done: n2 is drained")
    expect(card(operator, "n2").get_by_test_id("node-state")).to_have_text("drained")
    expect(operator.find("ops-headline")).to_have_text("n2 is drained.")
    card(operator, "n1").get_by_test_id("node-drain").click()
    confirm(operator, "Drain n1?")
    expect(operator.find("ops-outcome")).to_contain_text("Not done. Let another node serve first")
    card(operator, "n2").get_by_test_id("node-drain").click()
    confirm(operator, "Resume n2?")
    expect(operator.find("ops-outcome")).to_have_text("Done: n2 serves again.")
    expect(operator.find("ops-headline")).to_contain_text("All is well")


def test_the_page_goes_on_at_another_node_when_its_own_dies(operate: Operate, nodes: list[Node]) -> None:
    with TcpProxy(nodes[0].port) as road:
        operator = operate(f"http://{HOST}:{road.port}")
        before = operator.find("ops-happening").all_inner_texts()
        with operator.watch.outage():
            nodes[0].kill()
            expect(operator.find("connection-banner")).to_be_visible()
            # What a load balancer does.
            road.kill()
            road.target = (HOST, nodes[1].port)
            road.start()
            expect(card(operator, "n2").get_by_text("serves you")).to_be_visible()
            expect(card(operator, "n1").get_by_test_id("node-state")).to_contain_text("silent for")
            expect(happened(operator, "n1: Not heard for 3 s.").first).to_be_visible()
            nodes[0].start()
            expect(operator.find("ops-headline")).to_contain_text("All is well")
        after = operator.find("ops-happening").all_inner_texts()
        assert set(before) <= set(after), "what happened is known to all nodes"
        expect(operator.find("ops-node")).to_have_count(2)


def test_a_node_that_freezes_is_not_taken_for_one_where_nothing_happens(browser: Browser) -> None:
    with Node() as node:
        operator = Person(browser, node.url, "Operator")
        operator.page.goto(f"{node.url}/ops")
        operator.find("ops-sign-in-button").click()
        expect(operator.find("ops-headline")).to_contain_text("One node")
        page, stale = operator.find("ops"), re.compile(r"\bis-stale\b")
        expect(page).not_to_have_class(stale)
        (worker,) = psutil.Process(node.pid).children()
        with operator.watch.outage():
            worker.suspend()
            try:
                expect(page).to_have_class(stale, timeout=SILENT_MS)
                expect(operator.find("connection-banner")).to_be_visible(timeout=SILENT_MS)
            finally:
                worker.resume()
            expect(operator.find("connection-banner")).to_be_hidden()
            expect(page).not_to_have_class(stale)
        assert operator.watch.complaints() == []
        operator.close()


def test_reconnecting_leaves_the_focus_on_the_heading(operate: Operate, nodes: list[Node]) -> None:
    with TcpProxy(nodes[0].port) as road:
        operator = operate(f"http://{HOST}:{road.port}")
        reconnect_by_keyboard(operator, road)
        expect(operator.page.get_by_role("heading", name="Operations", level=1)).to_be_focused()


def test_a_session_that_ends_asks_for_the_token(browser: Browser) -> None:
    with Node(OPERATOR_HOURS="0.004") as node:
        operator = Person(browser, node.url, "Operator")
        operator.page.goto(f"{node.url}/ops")
        operator.find("ops-sign-in-button").click()
        expect(operator.find("ops-headline")).to_contain_text("One node")
        expect(operator.find("queue-note")).to_contain_text("MESSAGE_QUEUE is not set")
        # Nobody touches anything: the server ends it.
        expect(operator.find("ops-sign-in-error")).to_contain_text("Your time is over")
        operator.close()


SAYINGS = """async entries => {
    const {drawTimeline} = await import('/static/js/ops/timeline.js');
    drawTimeline({timeline: entries.map(([at_ms, node, kind, state, words], at) =>
        ({key: `${at}`, at_ms, node, kind, state, words, broker: kind === 'state' ? 'redis' : null}))});
    return [...document.querySelectorAll('.ops-happening')]
        .map(row => `${row.dataset.tone} ${row.querySelector('.ops-happening-body').innerText}`);
}"""


def test_what_several_nodes_saw_at_once_is_one_row(operate: Operate) -> None:
    operator = operate()
    newest_first = [
        (9_000, "n1", "state", "up", "redis is up"),
        (8_500, "n1", "state", "silent", "redis is silent: nothing came back"),
        (8_000, "n1", "state", "up", "redis is up"),
        (4_000, "n3", "state", "down", "redis is down: refused"),  # too late
        (2_500, "n1", "state", "down", "redis is down: closed"),
        (2_000, "n1", "active", "up", "rabbitmq is used: redis is down"),
        (1_900, "n2", "active", "up", "rabbitmq is used: redis is silent"),
        (1_000, "n2", "state", "down", "redis is down: redis://h failed"),
    ]
    assert operator.page.evaluate(SAYINGS, newest_first) == [
        "good n1: Redis is up",
        "warning n1: Redis is silent: nothing came back",
        "good n1: Redis is up",
        "bad n3: Redis is down: refused",
        "used n1: RabbitMQ is used: Redis is down",
        "used n2: RabbitMQ is used: Redis is silent",
        "bad n1, n2: Redis is down: redis://h failed",
    ]


PROBLEMS = """async states => {
    const {drawOverview} = await import('/static/js/ops/overview.js');
    const node = (name, redis) => ({origin: name, seen: name === 'n1' ? 'here' : 'heard', figures: {
        node: name, state: 'serving', queue: {active: redis === 'up' ? 'redis' : 'rabbitmq',
        brokers: [{name: 'redis', state: redis}, {name: 'rabbitmq', state: 'up'}]}}});
    const nodes = states.map((state, at) => node(`n${at + 1}`, state));
    drawOverview({nodes, living: nodes, history: new Map()});
    return document.getElementById('ops-headline').innerText;
}"""


def test_the_headline_says_what_fails_and_where(operate: Operate) -> None:
    operator = operate()
    for states, words in {
        ("up", "up"): "All is well: 2 nodes; messages go over Redis.",
        ("up", "down"): "Redis is down on n2; messages go over Redis and RabbitMQ.",
        ("silent", "down", "up"): "Redis is down on n1 and n2; messages go over RabbitMQ and Redis.",
        ("connecting", "silent"): "Redis is silent; messages go over RabbitMQ.",
    }.items():
        assert operator.page.evaluate(PROBLEMS, list(states)) == words


HEADLINE = """() => {
    const top = () => document.querySelector('.ops-tiles').getBoundingClientRect().top;
    const [line, after] = [document.getElementById('ops-headline'), top()];
    line.textContent = 'Waiting for the first figures.';
    return [top(), after];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(operate: Operate, scheme: str) -> None:
    operator = operate(
        viewport=PHONE, device_scale_factor=2, has_touch=True, is_mobile=True, color_scheme=scheme
    )
    page = operator.page
    assert is_dark(page) == (scheme == "dark")
    assert fits(page)
    expect(operator.find("ops-node")).to_have_count(2)
    waiting, well = page.evaluate(HEADLINE)
    assert waiting == well, "the first figures push nothing down"
    card(operator, "n2").get_by_test_id("node-drain").tap()
    expect(operator.find("confirm-yes")).to_be_in_viewport()
    operator.find("confirm-cancel").tap()
    expect(operator.find("ops-outcome")).to_have_text("")
    assert fits(page)
    page.wait_for_function("document.getElementById('ops-timeline').ariaLive === 'polite'")
