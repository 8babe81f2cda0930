"""The chat in real browsers, through nginx, on three nodes: what people expect of it where that is hard.

The numbers are those of tests/e2e/ux.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from deploy import asking
from deploy.machine import Machine
from tests.support.browser import Person
from tests.support.proxy import TcpProxy
from tests.support.servers import HOST, ROOMY_RATES, ROOT
from tests.support.waiting import wait_until

RESULTS = ROOT / "test-results"
# A node that was killed is started again at once; its people are gone when the others miss its signs of life.
AGAIN_SECONDS = 60.0
pytestmark = pytest.mark.timeout(300)
SETTINGS = {"APP_ENV": "testing", **ROOMY_RATES, "CHAT_NAME_LEASE_SECONDS": "0"}

Arrive = Callable[..., Person]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Three nodes behind nginx, with Redis."""
    with Machine(tmp_path_factory.mktemp("chat") / "c", brokers=["redis"], settings=SETTINGS) as machine:
        yield machine
        for node in machine.nodes:
            log = machine.log(node.id).read_text("utf-8", "replace")
            assert "Traceback" not in log, log


@pytest.fixture
def road(machine: Machine) -> Iterator[TcpProxy]:
    """A way to nginx that a test may hold up or cut."""
    with TcpProxy(machine.port) as road:
        yield road


@pytest.fixture
def arrive(request: pytest.FixtureRequest, browser: Browser, machine: Machine) -> Iterator[Arrive]:
    """Let somebody sign in, bound to a node. In the end no page may have complained."""
    people: list[Person] = []

    def arrive(base: str, node: str, road: TcpProxy | None = None, again: Person | None = None) -> Person:
        url = f"http://{HOST}:{road.port}" if road else machine.url
        person = Person(browser, url, again.name if again else f"{base} {secrets.token_hex(3)}")
        people.append(person)
        if again:
            cookies = [cookie for cookie in again.context.cookies() if cookie["name"] != "NODE"]
            person.context.add_cookies(cookies)  # type: ignore[arg-type]
        person.context.add_cookies([{"name": "NODE", "value": node, "url": url}])
        if again:
            person.page.goto(url)
            person.wait_until_ready()
        else:
            person.sign_in()
        expect(person.find("node")).to_have_text(node)
        return person

    failed = request.session.testsfailed
    yield arrive
    complaints = [complaint for person in people for complaint in person.watch.complaints()]
    if request.session.testsfailed > failed or complaints:
        folder = RESULTS / re.sub(r"[^\w.-]+", "-", request.node.nodeid.split("::", 1)[-1])
        for number, person in enumerate(people):
            person.save(folder, f"{number}-{person.name.split()[0]}")
    for person in people:
        person.close()
    assert not complaints, complaints


def in_a_room(*people: Person) -> str:
    """Let them be in a room of their own; returns its name."""
    name = f"room-{secrets.token_hex(3)}"
    people[0].create_room(name)
    for person in people[1:]:
        person.join_room(name)
    for person in people:
        expect(person.find("person")).to_have_count(len({person.name for person in people}))
    return name


def test_05_and_08_a_reconnect_sends_what_waited_and_brings_what_was_missed(
    arrive: Arrive, road: TcpProxy
) -> None:
    ada, bea = arrive("Ada", "n1", road), arrive("Bea", "n2")
    in_a_room(bea, ada)
    bea.send("Before.")
    expect(ada.message("Before.")).to_be_visible()
    missed = [f"Missed {number}" for number in range(12)]
    with ada.watch.outage():
        road.refuse()
        road.cut()
        expect(ada.find("connection-banner")).to_be_visible()
        for text in missed:
            bea.send(text)
        for text in ("Waited.", "Waited, too."):
            ada.write(text)
            expect(ada.message(text)).to_have_attribute("data-state", "pending")
        road.resume()
        ada.find("reconnect-now").click()
        for text in ("Waited.", "Waited, too."):
            expect(ada.message(text)).to_have_attribute("data-state", "sent")
        expect(ada.find("connection-banner")).to_be_hidden()
    for person in (ada, bea):
        expect(person.find("message")).to_have_count(len(missed) + 3)
        assert person.messages() == ["Before.", *missed, "Waited.", "Waited, too."]


@pytest.mark.parametrize("lost", ["requests", "answers"])
def test_nothing_is_lost_or_doubled_when_the_network_goes_in_mid_send(
    arrive: Arrive, road: TcpProxy, lost: str
) -> None:
    """The message is on its way to the server, or its acknowledgement is on its way back."""
    ada, bea, cid = arrive("Ada", "n1", road), arrive("Bea", "n2"), arrive("Cid", "n3")
    in_a_room(bea, ada, cid)
    ada.send("Before.")
    with ada.watch.outage():
        ada.watch.allow("ERR_INTERNET_DISCONNECTED|ERR_NETWORK")
        road.blackhole(lost)  # type: ignore[arg-type]
        ada.write("In mid-send.")
        if lost == "answers":
            # It is stored, told, and not acknowledged.
            expect(bea.message("In mid-send.")).to_be_visible()
        expect(ada.message("In mid-send.")).to_have_attribute("data-state", "pending")
        ada.context.set_offline(True)
        road.cut()
        expect(ada.find("connection-banner")).to_be_visible()
        ada.write("While offline.")
        road.resume()
        ada.context.set_offline(False)
        expect(ada.message("While offline.")).to_have_attribute("data-state", "sent")
        expect(ada.find("connection-banner")).to_be_hidden()
    ada.send("After.")
    for person in (ada, bea, cid):
        expect(person.message("After.")).to_be_visible()
        assert person.messages() == ["Before.", "In mid-send.", "While offline.", "After."]
    # And one copy is stored.
    cid.page.reload()
    cid.wait_until_ready()
    expect(cid.message("After.")).to_be_visible()
    assert cid.messages() == ["Before.", "In mid-send.", "While offline.", "After."]


def test_15_unread_counts_agree_on_two_nodes(arrive: Arrive) -> None:
    ada, bea = arrive("Ada", "n1"), arrive("Bea", "n2")
    name = in_a_room(bea, ada)
    ada.open_room("general")
    phone = arrive("Ada", "n3", again=ada)
    phone.open_room("general")
    for number in range(1, 4):
        bea.send(f"News {number}")
        for window in (ada, phone):
            expect(window.find(f"room-{name}").get_by_test_id("unread")).to_have_text(str(number))
            expect(window.page).to_have_title(re.compile(rf"^\({number}\) "))
    phone.open_room(name)
    for window in (ada, phone):
        expect(window.find(f"room-{name}").get_by_test_id("unread")).to_have_count(0)
        expect(window.page).to_have_title(re.compile(r"^#"))


def test_18_a_tab_on_another_node_keeps_somebody_here(arrive: Arrive) -> None:
    ada, bea = arrive("Ada", "n1"), arrive("Bea", "n2")
    in_a_room(bea, ada)
    tab = arrive("Ada", "n3", again=ada)
    tab.open_room(bea.find("room-title").inner_text())
    ada.page.close()
    # What comes after the end of the first tab's connection, by its node and by the other one.
    tab.send("Still here.")
    expect(bea.message("Still here.")).to_be_visible()
    expect(bea.people_here()).to_have_text([ada.name, bea.name])
    tab.page.close()
    expect(bea.people_here()).to_have_text([bea.name])


def test_18_the_people_of_a_killed_node_disappear(arrive: Arrive, machine: Machine, road: TcpProxy) -> None:
    ada, bea = arrive("Ada", "n1", road), arrive("Bea", "n2")
    in_a_room(bea, ada)
    before = machine.control.pid("n1")
    with ada.watch.outage():
        road.blackhole()  # or she would be back on another node at once
        machine.kill("n1")
        expect(bea.people_here()).to_have_text([bea.name], timeout=AGAIN_SECONDS * 1000)
        wait_until(lambda: machine.control.program("n1").pid not in (0, before), "n1 is again", AGAIN_SECONDS)
        wait_until(lambda: asking.ready(machine.nodes[0].address)[0], "n1 is ready", AGAIN_SECONDS)
        road.cut()
        road.resume()
        expect(bea.people_here()).to_have_text([ada.name, bea.name])
        expect(ada.find("connection-banner")).to_be_hidden()
