"""Three people in real browsers, each bound to another node: they hear each other, whatever dies."""

from __future__ import annotations

import contextlib
import re
import secrets
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from deploy import asking
from deploy.machine import Machine
from tests.support.browser import OUTAGE, Person
from tests.support.servers import ROOMY_RATES, ROOT
from tests.support.waiting import wait_until

RESULTS = ROOT / "test-results"
NODES = ("n1", "n2", "n3")
# A broker or a node that was killed is started again at once, and found again soon after.
AGAIN_SECONDS = 60.0
# A start of a cluster with RabbitMQ takes 10 s, and half a minute on a busy machine.
pytestmark = pytest.mark.timeout(300)
SETTINGS = {
    "APP_ENV": "testing",
    **ROOMY_RATES,
    "CHAT_NAME_LEASE_SECONDS": "0",
    # Back to Redis quickly, so that both ways are seen.
    "QUEUE_FAILBACK_SECONDS": "1",
}
# How much is written before, while and after something dies.
LINES = 8

Brokers = tuple[str, ...]


def with_brokers(*choices: Brokers) -> pytest.MarkDecorator:
    """Run a test around a cluster with each of these."""
    return pytest.mark.parametrize("machine", choices, indirect=True, ids="+".join)


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Three nodes behind nginx, with these brokers."""
    brokers: Brokers = request.param
    with Machine(tmp_path_factory.mktemp("browsers") / "c", brokers=brokers, settings=SETTINGS) as machine:
        yield machine
        for node in NODES:
            log = machine.log(node).read_text("utf-8", "replace")
            assert "Traceback" not in log, log


class Meeting:
    """Ada on n1, Bea on n2 and Cid on n3, in a room of their own."""

    def __init__(self, browser: Browser, machine: Machine) -> None:
        self.people: list[Person] = []
        self._written: list[str] = []
        room = f"room-{secrets.token_hex(3)}"
        for name, node in zip(("Ada", "Bea", "Cid"), NODES, strict=True):
            person = Person(browser, machine.url, f"{name} {secrets.token_hex(3)}")
            self.people.append(person)
            person.context.add_cookies([{"name": "NODE", "value": node, "url": machine.url}])
            person.sign_in()
            expect(person.find("node")).to_have_text(node)
            if name == "Ada":
                person.create_room(room)
            else:
                person.join_room(room)

    def write(self, *writers: Person) -> None:
        """Let each write a line, and wait for nobody."""
        for person in writers or self.people:
            text = f"{person.name.split()[0]} says {len(self._written) + 1}"
            self._written.append(text)
            person.write(text)

    def all_have_all(self) -> None:
        """See that what was written is at everybody's, once and in one order, which is each writer's own."""
        for person in self.people:
            expect(person.page.locator('[data-testid="message"][data-state="sent"]')).to_have_count(
                len(self._written)
            )
        orders = [person.messages() for person in self.people]
        assert orders[0] == orders[1] == orders[2]
        assert sorted(orders[0]) == sorted(self._written)
        for person in self.people:
            mine = re.compile(rf"^{person.name.split()[0]} ")
            assert list(filter(mine.match, orders[0])) == list(filter(mine.match, self._written))
            numbers = [int(row.get_attribute("data-seq") or 0) for row in person.find("message").all()]
            assert numbers == list(range(1, len(self._written) + 1))

    def complaints(self) -> dict[str, list[str]]:
        """What the pages have complained of that nobody expected."""
        return {person.name: person.watch.complaints() for person in self.people if person.watch.complaints()}


@pytest.fixture
def meeting(request: pytest.FixtureRequest, browser: Browser, machine: Machine) -> Iterator[Meeting]:
    """In the end nobody's page may have complained."""
    meeting = Meeting(browser, machine)
    failed = request.session.testsfailed
    yield meeting
    complaints = meeting.complaints()
    if request.session.testsfailed > failed or complaints:
        folder = RESULTS / re.sub(r"[^\w.-]+", "-", request.node.nodeid.split("::", 1)[-1])
        for person in meeting.people:
            person.save(folder, person.name.split()[0])
        print(f"Pictures and consoles: {folder}", file=sys.stderr)
    for person in meeting.people:
        person.close()
    assert not complaints, complaints


def all_use(machine: Machine, broker: str) -> bool:
    """Whether every node publishes on a broker."""
    for node in machine.nodes:
        answer = asking.get(node.address, "/readyz")
        if answer.body.get("checks", {}).get("queue", {}).get("active") != broker:
            return False
    return True


def keep_writing(meeting: Meeting, until: Callable[[], bool], *writers: Person) -> None:
    """Let people write all the time until something holds, and some lines more."""
    after = 0

    def enough() -> bool:
        nonlocal after
        meeting.write(*writers)
        after += bool(after or until())
        return after > LINES

    wait_until(enough, "what the writers wait for", AGAIN_SECONDS)


@with_brokers(("redis",), ("rabbitmq",), ("redis", "rabbitmq"))
def test_what_one_writes_all_read(meeting: Meeting) -> None:
    for person in meeting.people:
        meeting.write(person)
        meeting.all_have_all()
    for _ in range(LINES):
        meeting.write()
    meeting.all_have_all()


@with_brokers(("redis",), ("redis", "rabbitmq"))
def test_a_broker_dies_and_comes_back_while_people_write(meeting: Meeting, machine: Machine) -> None:
    """With another one beside it, or alone: nothing is lost, doubled, or out of order, and nobody notices."""
    first, *others = machine.brokers
    wait_until(lambda: all_use(machine, first), f"{first} is in use", AGAIN_SECONDS)
    before = machine.control.pid(first)
    read = {node: len(machine.log(node).read_text("utf-8")) for node in NODES}
    for _ in range(LINES):
        meeting.write()
    machine.kill(first)
    keep_writing(meeting, lambda: machine.control.program(first).pid not in (0, before))
    keep_writing(meeting, lambda: all_use(machine, first))
    meeting.all_have_all()
    for node in NODES:
        said = machine.log(node).read_text("utf-8")[read[node] :]
        assert f"queue state {first} down" in said, said
        for other in others:
            assert f"queue active {other} up" in said, said


@with_brokers(("redis", "rabbitmq"))
def test_a_node_dies_and_its_person_is_back_by_itself(meeting: Meeting, machine: Machine) -> None:
    ada, bea, cid = meeting.people
    meeting.write()
    before = machine.control.pid("n1")
    with contextlib.ExitStack() as outages:
        outages.enter_context(ada.watch.outage())
        machine.kill("n1")
        # Ada does not see these now, and writes while she is cut off.
        for _ in range(LINES):
            meeting.write(bea, cid)
            meeting.write(ada)
        expect(ada.find("node")).to_have_text(re.compile("n[23]"))
        expect(ada.find("connection-banner")).to_be_hidden()
        meeting.all_have_all()
    refuge = ada.find("node").inner_text()
    assert {cookie["name"]: cookie["value"] for cookie in ada.context.cookies()}["NODE"] == refuge
    # What her page has complained of is the end of the connection, and at most one try that came too early.
    assert len([line for line in ada.watch.console if OUTAGE.search(line)]) <= 2, ada.watch.console
    expect(bea.find("node")).to_have_text("n2")
    expect(cid.find("node")).to_have_text("n3")

    wait_until(
        lambda: machine.control.program("n1").pid not in (0, before), "n1 is started again", AGAIN_SECONDS
    )
    wait_until(lambda: asking.ready(machine.nodes[0].address)[0], "n1 is ready", AGAIN_SECONDS)
    meeting.write()
    meeting.all_have_all()
    # She stays, also when she loads the page anew.
    ada.page.reload()
    ada.wait_until_ready()
    expect(ada.find("node")).to_have_text(refuge)
    meeting.write()
    meeting.all_have_all()
