"""What keeps people from using a page, as far as axe-core sees it: in every state and theme, wide and narrow.

It finds about half of what there is. That everything works by keyboard and is read aloud well, ux/ sees.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.clock import Clock
from tests.support.axe import serious
from tests.support.browser import DESKTOP, PHONE, Person
from tests.support.proxy import TcpProxy

# A dozen states, and axe looks at each for a second or two.
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("scheme", ["light", "dark"]),
    pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"]),
]

NewName = Callable[[str], str]
Size = dict[str, int]
# Longer than the page waits for an acknowledgement.
TIMEOUT_MS = 9_000


class Findings:
    """Looks at somebody's page in one state after the other."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self.found: list[str] = []

    def look(self, state: str) -> None:
        """Check the page as it is now."""
        self.found += [f"{state}: {violation}" for violation in serious(self._person.page)]


def show(person: Person, view: str) -> None:
    """On a phone, one thing is seen at a time."""
    tab = person.find(f"tab-{view}")
    if tab.is_visible():
        tab.click()


def test_the_chat(meet: Meet, road: TcpProxy, new_name: NewName, scheme: str, size: Size) -> None:
    ada = meet("Ada", signed_in=False, road=road, color_scheme=scheme, viewport=size)
    clock = Clock(ada)
    findings = Findings(ada)
    ada.page.goto(f"{ada.url}/sign-in")
    findings.look("sign-in")
    ada.page.goto(f"{ada.url}/sign-in?reason=signed_out")
    findings.look("signed out")
    ada.watch.allow(r"\b422\b")
    ada.find("name-input").fill("-")
    ada.find("sign-in-button").click()
    expect(ada.find("sign-in-error")).to_contain_text("A name has")
    findings.look("a name is refused")
    ada.sign_in()

    bob = meet("Bob")
    name = new_name("axe")
    bob.create_room(name)
    show(ada, "rooms")
    findings.look("rooms")
    ada.join_room(name)
    findings.look("empty room")

    ada.send("Have a look at https://example.org/.")
    ada.send("Not so good.")
    bob.send("Hello Ada.")
    for text, testid in (
        ("Not so good.", "message-delete"),
        ("Have a look at https://example.org/.", "message-edit"),
    ):
        row = ada.message(text)
        row.hover()
        row.get_by_test_id(testid).click()
        if testid == "message-delete":
            findings.look("delete a message")
            ada.find("confirm-yes").click()
            expect(ada.page.get_by_text("This message was deleted")).to_be_visible()
    findings.look("editing")
    ada.find("composer").press("Escape")
    bob.find("composer").press_sequentially("And")
    expect(ada.find("typing")).not_to_be_empty()
    findings.look("messages")

    show(ada, "rooms")
    ada.find("create-room").click()
    ada.find("create-room-submit").click()
    expect(ada.find("create-room-error")).to_be_visible()
    findings.look("create a room")
    ada.page.keyboard.press("Escape")
    show(ada, "chat")
    ada.find("timeline").focus()
    ada.page.keyboard.press("?")
    expect(ada.find("shortcuts-dialog")).to_be_visible()
    findings.look("shortcuts")
    ada.page.keyboard.press("Escape")

    road.blackhole("requests")
    ada.write("Not sent.")
    expect(ada.message("Not sent.")).to_have_attribute("data-state", "pending")
    clock.skip(TIMEOUT_MS)
    expect(ada.message("Not sent.")).to_have_attribute("data-state", "failed")
    findings.look("failed send")
    with ada.watch.outage():
        road.refuse()
        road.cut()
        expect(ada.find("connection-banner")).to_be_visible()
        ada.write("Written meanwhile.")
        findings.look("disconnected")
        road.resume()
        expect(ada.find("connection-banner")).to_be_hidden()
    assert not findings.found, "\n\n".join(findings.found)


def test_people_and_direct_messages(meet: Meet, scheme: str, size: Size) -> None:
    ada, bob = meet("Ada", color_scheme=scheme, viewport=size), meet("Bob")
    findings = Findings(ada)
    if size == PHONE:
        show(ada, "market")
        findings.look("people")
    ada.page.get_by_role("button", name=f"Write to {bob.name}").click()
    expect(ada.find("room-title")).to_have_text(bob.name)
    findings.look("empty conversation")
    ada.send("Psst.")
    findings.look("conversation")
    show(ada, "rooms")
    findings.look("rooms with a conversation")
    assert not findings.found, "\n\n".join(findings.found)


def test_the_other_pages(meet: Meet, scheme: str, size: Size) -> None:
    ada = meet("Ada", color_scheme=scheme, viewport=size)
    findings = Findings(ada)
    ada.watch.allow(r"\b404\b")
    ada.page.goto(f"{ada.url}/nowhere")
    findings.look("error page")
    ada.page.goto(f"{ada.url}/market")
    expect(ada.find("market")).to_have_attribute("data-state", "open")
    findings.look("market")
    ada.find("market-pause").click()
    findings.look("market, paused")
    ada.page.goto(f"{ada.url}/api/docs")
    operation = ada.page.locator(".opblock-post .opblock-summary-control").first
    expect(operation).to_be_visible()
    findings.look("API")
    operation.click()
    expect(ada.page.locator(".opblock-body")).to_be_visible()
    findings.look("API, one operation")
    ada.page.goto(f"{ada.url}/ops")
    findings.look("operations, sign-in")
    ada.find("ops-sign-in-button").click()
    expect(ada.find("ops-headline")).to_have_attribute("data-state", "good")
    findings.look("operations")
    assert not findings.found, "\n\n".join(findings.found)
