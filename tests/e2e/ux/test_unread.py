"""How far somebody has read: the same in all tabs, and on the server."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.support.browser import Person
from tests.support.proxy import TcpProxy

NewName = Callable[[str], str]


def another_device(person: Person, url: str) -> Person:
    """Let somebody look from elsewhere: the session is the same, and nothing else that a browser keeps."""
    browser = person.context.browser
    assert browser is not None
    cookies = [{"name": c["name"], "value": c["value"], "url": url} for c in person.context.cookies()]
    device = Person(browser, url, person.name)
    device.context.add_cookies(cookies)  # type: ignore[arg-type]
    device.page.goto(url)
    device.wait_until_ready()
    return device


def test_15_two_windows_count_alike(meet: Meet, new_name: NewName) -> None:
    name = new_name("reading")
    ada, bob = meet("Ada"), meet("Bob")
    ada.create_room(name)
    bob.join_room(name)
    bob.open_room("general")
    device = another_device(bob, bob.url)
    device.open_room("general")
    for number in range(1, 4):
        ada.send(f"News {number}")
    for window in (bob, device):
        expect(window.find(f"room-{name}").get_by_test_id("unread")).to_have_text("3")
        expect(window.page).to_have_title(re.compile(r"^\(3\) "))

    device.open_room(name)
    expect(device.message("News 3")).to_be_visible()
    expect(device.find("new-divider")).to_be_visible()
    for window in (bob, device):
        expect(window.find(f"room-{name}").get_by_test_id("unread")).to_have_count(0)
        expect(window.page).not_to_have_title(re.compile(r"^\("))
    device.close()

    # And nothing is new after a reload.
    bob.page.reload()
    bob.wait_until_ready()
    expect(bob.find(f"room-{name}")).to_be_visible()
    expect(bob.find(f"room-{name}").get_by_test_id("unread")).to_have_count(0)


def test_15_what_was_read_offline_is_told_afterwards(meet: Meet, road: TcpProxy, new_name: NewName) -> None:
    name = new_name("offline")
    ada, bob = meet("Ada"), meet("Bob", road=road)
    ada.create_room(name)
    bob.join_room(name)
    bob.open_room("general")
    device = another_device(bob, ada.url)
    device.open_room("general")
    ada.send("Read me.")
    for window in (bob, device):
        expect(window.find(f"room-{name}").get_by_test_id("unread")).to_have_text("1")
    with bob.watch.outage():
        road.refuse()
        road.cut()
        expect(bob.find("connection-banner")).to_be_visible()
        # The page has the message, and shows it without a connection.
        bob.open_room(name)
        expect(bob.message("Read me.")).to_be_visible()
        expect(bob.find(f"room-{name}").get_by_test_id("unread")).to_have_count(0)
        expect(device.find(f"room-{name}").get_by_test_id("unread")).to_have_text("1")
        road.resume()
        expect(bob.find("connection-banner")).to_be_hidden()
    expect(device.find(f"room-{name}").get_by_test_id("unread")).to_have_count(0)
    device.close()
