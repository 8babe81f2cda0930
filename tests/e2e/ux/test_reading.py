"""Reading: the page scrolls for those who are at the end, keeps the others' place, and knows what is new."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.people import post
from tests.e2e.ux.wire import Sent
from tests.support.browser import Person
from tests.support.proxy import TcpProxy
from tests.support.servers import Node
from tests.support.waiting import WAIT_SECONDS, wait_until

NewName = Callable[[str], str]

# More than a window holds, and more than one page of the history.
LINES = 130
# So many messages a page keeps here of a room that is not open.
KEPT = 30
HIDE = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); "
HIDE += "document.dispatchEvent(new Event('visibilitychange')); }"
SCROLL_TOP = "element => element.scrollTop"
FROM_END = "element => element.scrollHeight - element.scrollTop - element.clientHeight"


def with_history(meet: Meet, name: str, lines: int = LINES) -> tuple[Person, Person]:
    """Ada and Bob in a room of their own, where Bob has written much."""
    ada, bob = meet("Ada"), meet("Bob")
    bob.create_room(name)
    ada.join_room(name)
    for number in range(1, lines + 1):
        post(bob, f"Line {number}")
    for person in (ada, bob):
        expect(person.message(f"Line {lines}")).to_be_in_viewport()
    return ada, bob


def scroll_up(person: Person, pixels: int = 600) -> None:
    """Turn the wheel over the messages, until they have moved."""
    timeline = person.find("timeline")
    before = timeline.evaluate(SCROLL_TOP)
    timeline.hover()
    person.page.mouse.wheel(0, -pixels)
    wait_until(
        lambda: timeline.evaluate(SCROLL_TOP) < before or person.page.wait_for_timeout(20), "it scrolls"
    )


def keep_fewer(person: Person, node: Node) -> None:
    """Let somebody's page keep `KEPT` messages of a room that is not open, and not its hundreds."""
    program = requests.get(f"{node.url}/static/js/chat/chat.js", timeout=WAIT_SECONDS).text
    fewer, found = re.subn(r"(?<=const KEEP_MESSAGES = )\d+", str(KEPT), program)
    assert found == 1
    person.page.route(
        re.compile(r"/js/chat/chat\.js"),
        lambda route: route.fulfill(body=fewer, content_type="text/javascript"),
    )


def test_11_new_messages_scroll_only_who_is_at_the_end(meet: Meet, new_name: NewName) -> None:
    ada, bob = with_history(meet, new_name("follow"), 40)
    scroll_up(ada)
    place = ada.find("timeline").evaluate(SCROLL_TOP)
    carl = meet("Carl")
    carl.join_room(bob.find("room-title").inner_text())
    carl.send("Who reads this?")
    expect(bob.message("Who reads this?")).to_be_in_viewport()
    expect(ada.message("Who reads this?")).to_have_count(1)
    expect(ada.message("Who reads this?")).not_to_be_in_viewport()
    assert ada.find("timeline").evaluate(SCROLL_TOP) == place
    # What one writes oneself one wants to see.
    ada.send("I do.")
    expect(ada.message("I do.")).to_be_in_viewport()


def test_12_a_button_tells_how_many_are_new_and_jumps(meet: Meet, new_name: NewName) -> None:
    ada, bob = with_history(meet, new_name("jump"), 40)
    button = ada.find("new-messages")
    expect(button).to_be_hidden()
    scroll_up(ada)
    for number in range(1, 4):
        bob.send(f"News {number}")
        expect(button).to_have_text(f"{number} new")
    button.click()
    expect(ada.message("News 3")).to_be_in_viewport()
    expect(button).to_be_hidden()
    assert ada.find("timeline").evaluate(FROM_END) <= 1
    # From there on she follows again.
    bob.send("News 4")
    expect(ada.message("News 4")).to_be_in_viewport()


def test_13_older_pages_come_without_a_jump_and_end_at_the_beginning(
    meet: Meet, road: TcpProxy, new_name: NewName
) -> None:
    name = new_name("older")
    bob, ada = meet("Bob"), meet("Ada", road=road)
    bob.create_room(name)
    for number in range(1, LINES + 1):
        post(bob, f"Line {number}")
    ada.join_room(name)
    expect(ada.message(f"Line {LINES}")).to_be_in_viewport()
    loaded = ada.find("message").count()
    assert loaded < LINES
    while loaded < LINES:
        road.blackhole("answers")
        ada.find("timeline").evaluate("element => { element.scrollTop = 100; }")
        expect(ada.find("older-loading")).to_be_attached()
        row = ada.find("message").nth(3)
        seq = row.get_attribute("data-seq")
        place = row.bounding_box()
        road.resume()
        expect(ada.find("message")).not_to_have_count(loaded)
        loaded = ada.find("message").count()
        assert ada.page.locator(f'[data-testid="message"][data-seq="{seq}"]').bounding_box() == place
    assert ada.messages() == [f"Line {number}" for number in range(1, LINES + 1)]
    expect(ada.find("beginning")).to_be_attached()
    expect(ada.find("beginning")).to_contain_text("beginning of the room")
    ada.find("timeline").evaluate("element => { element.scrollTop = 0; }")
    expect(ada.find("beginning")).to_be_in_viewport()


def test_14_a_room_opens_at_the_first_unread_message(meet: Meet, new_name: NewName) -> None:
    ada, bob = with_history(meet, new_name("unread"), 30)
    name = bob.find("room-title").inner_text()
    ada.open_room("general")
    for number in range(31, 91):
        post(bob, f"Line {number}")
    badge = ada.find(f"room-{name}").get_by_test_id("unread")
    expect(badge).to_have_text("60")
    ada.open_room(name)
    divider = ada.find("new-divider")
    expect(divider).to_be_in_viewport()
    expect(divider).to_have_text("New")
    expect(ada.message("Line 31")).to_be_in_viewport()
    expect(ada.message("Line 90")).not_to_be_in_viewport()
    following = divider.locator("xpath=following-sibling::*[1]")
    expect(following.get_by_test_id("message-text")).to_have_text("Line 31")
    # Read to the end, and it is not new any more.
    ada.find("new-messages").click()
    expect(badge).to_have_count(0)
    ada.open_room("general")
    ada.open_room(name)
    expect(ada.message("Line 90")).to_be_in_viewport()
    expect(divider).to_have_count(0)


def test_14_more_heard_than_is_kept_begins_at_the_first_unread(
    meet: Meet, node: Node, new_name: NewName
) -> None:
    """Of a room that is not looked at, the page keeps the newest messages only; here, fewer than ever."""
    ada, bob = meet("Ada", signed_in=False), meet("Bob")
    keep_fewer(ada, node)
    ada.sign_in()
    name = new_name("heard")
    bob.create_room(name)
    ada.join_room(name)
    post(bob, "Before.")
    expect(ada.message("Before.")).to_be_visible()
    ada.open_room("general")
    for number in range(1, 2 * KEPT + 1):
        post(bob, f"News {number}")
    badge = ada.find(f"room-{name}").get_by_test_id("unread")
    expect(badge).to_have_text(str(2 * KEPT))
    ada.open_room(name)
    divider = ada.find("new-divider")
    expect(divider).to_be_in_viewport()
    following = divider.locator("xpath=following-sibling::*[1]")
    expect(following.get_by_test_id("message-text")).to_have_text("News 1")
    expect(ada.message("News 1")).to_be_in_viewport()
    expect(ada.find("message")).to_have_count(2 * KEPT + 1)
    expect(badge).to_have_text(str(2 * KEPT))


def forget(node: Node, person: Person, before: int) -> None:
    """Do what retention does to the room that is open in somebody's page: delete what is before a seq."""
    room = int(person.page.evaluate("location.hash.replace('#room-', '')"))
    database = sqlite3.connect(node.database_url.removeprefix("sqlite:///"), timeout=WAIT_SECONDS)
    with database:
        database.execute("DELETE FROM messages WHERE room_id = ? AND seq < ?", (room, before))
        database.execute("UPDATE rooms SET first_seq = ? WHERE id = ?", (before, room))
    database.close()


@pytest.mark.parametrize("first_seq", [1, 12])
def test_14_a_tab_that_nobody_looks_at_keeps_a_few_and_begins_at_the_first_unread(
    meet: Meet, node: Node, new_name: NewName, first_seq: int
) -> None:
    """The room is open the whole time, and its page hidden; perhaps the server keeps less at the end."""
    ada, bob = meet("Ada", signed_in=False), meet("Bob")
    keep_fewer(ada, node)
    sent = Sent(ada)
    ada.sign_in()
    bob.create_room(new_name("hidden"))
    ada.join_room(bob.find("room-title").inner_text())
    post(bob, "Before.")
    expect(ada.message("Before.")).to_be_visible()
    ada.page.evaluate(HIDE, True)
    for number in range(1, 3 * KEPT + 1):
        post(bob, f"News {number}")
    expect(ada.message(f"News {3 * KEPT}")).to_have_count(1)
    expect(ada.page).to_have_title(re.compile(rf"^\({3 * KEPT}\)"))
    expect(ada.find("message")).to_have_count(KEPT)
    forget(node, bob, first_seq)
    loads = len(sent("history"))
    ada.page.evaluate(HIDE, False)
    divider = ada.find("new-divider")
    expect(divider).to_be_in_viewport()
    following = divider.locator("xpath=following-sibling::*[1]")
    first_unread = f"News {max(first_seq - 1, 1)}"
    expect(following.get_by_test_id("message-text")).to_have_text(first_unread)
    expect(ada.message(first_unread)).to_be_in_viewport()
    expect(ada.find("message")).to_have_count(3 * KEPT + 2 - first_seq)
    assert len(sent("history")) == loads + 1
    ada.find("new-messages").click()
    expect(ada.page).not_to_have_title(re.compile(r"^\("))
    # And she follows again.
    bob.send("One more.")
    expect(ada.message("One more.")).to_be_in_viewport()


def test_15_unread_counts_agree_in_two_tabs(meet: Meet, new_name: NewName) -> None:
    name = new_name("count")
    ada, bob = meet("Ada"), meet("Bob")
    bob.create_room(name)
    ada.join_room(name)
    ada.open_room("general")
    other = meet("Ada", tab_of=ada)
    other.open_room("general")
    for number in range(1, 4):
        bob.send(f"News {number}")
        for tab in (ada, other):
            expect(tab.find(f"room-{name}").get_by_test_id("unread")).to_have_text(str(number))
            expect(tab.page).to_have_title(re.compile(rf"^\({number}\) #general"))
    other.open_room(name)
    for tab in (ada, other):
        expect(tab.find(f"room-{name}").get_by_test_id("unread")).to_have_count(0)
        expect(tab.page).to_have_title(re.compile(r"^#"))
