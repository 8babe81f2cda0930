"""The tour of /ops in a browser, around a real cluster: whatever it breaks, nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from config.ops import DEFAULT_ADMIN_TOKEN
from deploy import asking
from deploy.machine import Machine
from tests.support.axe import serious, serious_anywhere
from tests.support.browser import DESKTOP, Watch
from tests.support.servers import ROOMY_RATES, ROOT
from tests.support.waiting import wait_until

RESULTS = ROOT / "test-results"
SETTINGS = {
    "APP_ENV": "testing",
    **ROOMY_RATES,
    # Back to Redis quickly: the next step wants it in use.
    "QUEUE_FAILBACK_SECONDS": "1",
}
# A broker or a node that was killed is started again at once; RabbitMQ needs half a minute on a busy machine.
AGAIN_SECONDS = 90.0
AGAIN_MS = AGAIN_SECONDS * 1000
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Three nodes behind nginx, Redis and RabbitMQ."""
    with Machine(tmp_path_factory.mktemp("tour") / "c", settings=SETTINGS) as machine:
        yield machine
        for node in machine.nodes:
            log = machine.log(node.id).read_text("utf-8", "replace")
            assert "Traceback" not in log, log


class Operator:
    """Somebody who takes the tour, at first on one node."""

    def __init__(self, browser: Browser, machine: Machine, node: str) -> None:
        self.context = browser.new_context(viewport=DESKTOP)
        self.context.add_cookies([{"name": "NODE", "value": node, "url": machine.url}])
        self.page: Page = self.context.new_page()
        self.watch = Watch(self.page)
        self.page.goto(f"{machine.url}/ops/sign-in")
        self.page.locator("input[name=token]").fill(DEFAULT_ADMIN_TOKEN)
        self.page.keyboard.press("Enter")
        expect(self.find("ops")).to_be_visible()
        self.page.goto(f"{machine.url}/ops?tour")
        expect(self.find("node")).to_have_text(node)

    def find(self, testid: str) -> Locator:
        return self.page.get_by_test_id(testid)

    def press(self, what: str) -> None:
        """Press a step's button, as soon as the one before is over."""
        expect(self.find(f"tour-do-{what}")).to_be_enabled(timeout=AGAIN_MS)
        self.find(f"tour-do-{what}").click()

    def sees(self, what: str, words: str) -> None:
        """Wait until a step is over, and nothing was lost or doubled in it."""
        expect(self.find(f"tour-seen-{what}")).to_contain_text(re.compile(words), timeout=AGAIN_MS)
        expect(self.find(f"tour-seen-{what}")).to_contain_text("none lost, none doubled")
        expect(self.find(f"tour-verdict-{what}")).to_have_text("Nothing lost, nothing doubled")

    def sees_nothing_lost(self) -> None:
        """The counters on top: all that was ever counted."""
        expect(self.find("tour-lost")).to_have_text("0")
        expect(self.find("tour-doubled")).to_have_text("0")

    def all_seen(self) -> list[str]:
        """What is said of all steps."""
        return self.page.locator(".tour-seen").all_inner_texts()

    def pairs(self) -> dict[tuple[str, str], int]:
        """How many numbers each receiver has of each sender."""
        rows = self.find("tour-pairs").locator("tbody tr").all()
        cells = [row.locator("th, td").all_text_contents() for row in rows]
        return {(receiver, sender): int(count.replace(",", "")) for receiver, sender, count, *_ in cells}


@pytest.fixture
def operators(request: pytest.FixtureRequest, browser: Browser, machine: Machine) -> Iterator[list[Operator]]:
    """One on n1, and one on n3 who only watches. In the end nobody's page may have complained."""
    operators = [Operator(browser, machine, node) for node in ("n1", "n3")]
    failed = request.session.testsfailed
    yield operators
    complaints = [operator.watch.complaints() for operator in operators]
    if request.session.testsfailed > failed or any(complaints):
        folder = RESULTS / request.node.name
        folder.mkdir(parents=True, exist_ok=True)
        for number, operator in enumerate(operators):
            operator.page.screenshot(path=folder / f"{number}.png", full_page=True)
        print(f"Pictures: {folder}", file=sys.stderr)
    for operator in operators:
        operator.context.close()
    assert not any(complaints), complaints


def stopped(machine: Machine, program: str) -> bool:
    """Whether a program's process is held by SIGSTOP (proc(5): the state after the name in brackets)."""
    status = Path(f"/proc/{machine.control.pid(program)}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


def stays_away(machine: Machine, program: str) -> bool:
    """Stop a program that was just killed: between its end and its next start there is nothing to stop."""
    machine.control.stop(program, wait_seconds=0)
    return machine.control.program(program).state == "STOPPED"


def test_the_whole_tour(operators: list[Operator], browser: Browser, machine: Machine) -> None:
    guide, other = operators
    findings = serious_anywhere(guide.page)
    assert not findings, findings
    guide.press("start")
    for operator in operators:
        expect(operator.find("tour-received")).not_to_have_text("–")
        operator.sees("start", "Started at")

    guide.press("kill-redis")
    for operator in operators:
        operator.sees("kill-redis", "Redis was killed at .* was back after")

    expect(guide.find("tour-line")).to_contain_text("over Redis", timeout=AGAIN_MS)
    guide.press("freeze-redis")
    wait_until(lambda: stopped(machine, "redis"), "Redis is frozen")
    expect(other.find("tour-parts")).to_contain_text("frozen")
    assert not serious(other.page)
    for operator in operators:
        operator.sees("freeze-redis", "Redis was frozen at .* went on after")
    assert not stopped(machine, "redis")

    guide.press("kill-rabbitmq")
    for operator in operators:
        operator.sees("kill-rabbitmq", "RabbitMQ was killed at .* was back after")

    with contextlib.ExitStack() as outage:
        outage.enter_context(guide.watch.outage())
        guide.press("kill-node")
        expect(guide.find("node")).to_have_text(re.compile("n[23]"), timeout=AGAIN_MS)
        expect(guide.find("connection-banner")).to_be_hidden()
    for operator in operators:
        operator.sees("kill-node", "Node n1 was killed at .* was counting again after")
        # It hears and is heard, and whoever was there before still knows all that it has counted.
        wait_until(
            lambda operator=operator: {("n1", "n2"), ("n2", "n1"), ("n3", "n1")} <= operator.pairs().keys(),
            "n1 takes part again",
        )
        operator.sees("start", "Started at")
        operator.sees_nothing_lost()

    other.find("tour-stop").click()
    for operator in operators:
        expect(operator.find("tour-line")).to_have_text("The numbers have stopped.")
        assert not serious(operator.page)
        operator.sees_nothing_lost()
    # The last reports come after the stop, and whoever was started again knows those from before.
    newcomer = Operator(browser, machine, "n1")
    operators.append(newcomer)
    wait_until(
        lambda: guide.all_seen() == other.all_seen() == newcomer.all_seen(),
        lambda: f"all nodes tell the same: {[operator.all_seen() for operator in operators]}",
    )


def test_what_a_node_has_frozen_goes_on_when_the_node_dies(
    operators: list[Operator], machine: Machine
) -> None:
    guide, other = operators
    wait_until(lambda: asking.ready(machine.nodes[0].address)[0], "n1 is ready", AGAIN_SECONDS)
    with guide.watch.outage():
        guide.press("start")
        guide.press("freeze-redis")
        wait_until(lambda: stopped(machine, "redis"), "Redis is frozen")
        # The one that would have thawed it; it stays away until another one has.
        freezer = guide.find("node").inner_text()
        machine.kill(freezer)
        wait_until(lambda: stays_away(machine, freezer), "it stays away", AGAIN_SECONDS)
        other.sees("freeze-redis", "went on after")
        assert not stopped(machine, "redis")
        machine.control.start(freezer)
        expect(guide.find("connection-banner")).to_be_hidden(timeout=AGAIN_MS)
        guide.sees("freeze-redis", "went on after")
    # Its end thaws, too.
    other.press("freeze-redis")
    wait_until(lambda: stopped(machine, "redis"), "Redis is frozen")
    other.find("tour-stop").click()
    wait_until(lambda: not stopped(machine, "redis"), "Redis goes on")
    other.sees_nothing_lost()
