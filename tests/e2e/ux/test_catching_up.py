"""What was said while somebody was away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.people import post
from tests.e2e.ux.wire import Late
from tests.support.proxy import TcpProxy
from tests.support.waiting import wait_until

NewName = Callable[[str], str]

# More than a page of the history has.
MISSED = 130
# More than a window holds.
LINES = 30
# Longer than the page takes to draw what it has.
SLOW_SECONDS = 0.3


def test_08_missed_messages_come_in_order_and_once(meet: Meet, road: TcpProxy, new_name: NewName) -> None:
    bob, ada = meet("Bob"), meet("Ada", road=road)
    name = new_name("missed")
    bob.create_room(name)
    ada.join_room(name)
    bob.send("Before.")
    expect(ada.message("Before.")).to_be_visible()
    missed = [f"Missed {number}" for number in range(MISSED)]
    with ada.watch.outage():
        road.refuse()
        road.cut()
        expect(ada.find("connection-banner")).to_be_visible()
        for text in missed:
            post(bob, text)
        expect(bob.message(missed[-1])).to_be_visible()
        assert ada.messages() == ["Before."]
        road.resume()
        expect(ada.find("connection-banner")).to_be_hidden()
    bob.send("After.")
    expect(ada.find("message")).to_have_count(MISSED + 2)
    assert ada.messages() == ["Before.", *missed, "After."]
    expect(ada.find("new-divider")).to_have_count(1)


@pytest.mark.parametrize("heard", [0, 2])
def test_14_a_room_opened_after_an_absence_begins_at_the_first_unread(
    meet: Meet, road: TcpProxy, new_name: NewName, heard: int
) -> None:
    """The page has the room's messages of before: it does not take the last of them for the end.

    :param heard: how many unread ones it has already.
    """
    name = new_name("opened")
    bob, ada = meet("Bob"), meet("Ada", road=road)
    bob.create_room(name)
    ada.join_room(name)
    for number in range(1, LINES + 1):
        post(bob, f"Line {number}")
    expect(ada.message(f"Line {LINES}")).to_be_in_viewport()
    ada.open_room("general")
    badge = ada.find(f"room-{name}").get_by_test_id("unread")
    for number in range(1, heard + 1):
        post(bob, f"News {number}")
        expect(badge).to_have_text(str(number))
    with ada.watch.outage():
        road.refuse()
        road.cut()
        expect(ada.find("connection-banner")).to_be_visible()
        for number in range(heard + 1, LINES + 1):
            post(bob, f"News {number}")
        road.resume()
        expect(badge).to_have_text(str(LINES))
    road.delay(answers_seconds=SLOW_SECONDS)
    ada.open_room(name)
    expect(ada.message(f"News {LINES}")).to_have_count(1)
    expect(ada.find("new-divider")).to_be_in_viewport()
    expect(ada.message("News 1")).to_be_in_viewport()
    expect(ada.message(f"News {LINES}")).not_to_be_in_viewport()
    expect(badge).to_have_text(str(LINES))
    ada.find("new-messages").click()
    expect(badge).to_have_count(0)


def test_08_what_happens_while_the_page_gets_in_step_stays(
    meet: Meet, road: TcpProxy, new_name: NewName
) -> None:
    """The server's answer was made before a room was; it comes after the event that tells of it."""
    bob, ada = meet("Bob"), meet("Ada", signed_in=False, road=road)
    hello = Late(ada, "hello")
    ada.sign_in()
    made, joined = new_name("made"), new_name("joined")
    bob.create_room(joined)
    expect(ada.find(f"join-{joined}")).to_be_visible()
    other = meet("Ada", tab_of=ada)
    hello.holds = True
    with ada.watch.outage(), other.watch.outage():
        road.cut()
        wait_until(lambda: hello.held or ada.page.wait_for_timeout(20), "the answer")
        expect(other.find("connection-banner")).to_be_hidden()
        bob.create_room(made)
        other.join_room(joined)
        for person in (ada, other):
            expect(person.find(f"join-{made}")).to_be_visible()
            expect(person.find(f"room-{joined}")).to_be_visible()
        hello.release()
        ada.page.wait_for_timeout(500)
    expect(ada.find(f"join-{made}")).to_be_visible()
    expect(ada.find(f"room-{joined}")).to_be_visible()
    # And it hears what is said there.
    other.open_room("general")
    bob.open_room(joined)
    bob.send("Welcome.")
    expect(ada.find(f"room-{joined}").get_by_test_id("unread")).to_have_text("1")
