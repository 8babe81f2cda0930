"""Two people, two browsers: what one does, the other sees."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Route, expect

from tests.e2e.conftest import Meet
from tests.support.browser import Person
from tests.support.waiting import wait_until

NewName = Callable[[str], str]


def in_a_room(meet: Meet, name: str) -> tuple[Person, Person]:
    """Two people in a room of their own."""
    ada, bob = meet("Ada"), meet("Bob")
    ada.create_room(name)
    bob.join_room(name)
    return ada, bob


def test_messages_go_both_ways(meet: Meet, new_name: NewName) -> None:
    ada, bob = in_a_room(meet, new_name("plans"))
    ada.send("Are you there?")
    expect(bob.message("Are you there?")).to_have_attribute("data-seq", "1")
    bob.send("Yes! ☀️")
    expect(ada.message("Yes! ☀️")).to_have_attribute("data-seq", "2")
    assert ada.messages() == bob.messages() == ["Are you there?", "Yes! ☀️"]
    # One row each: the sender's own copy and the server's became one.
    expect(ada.find("message")).to_have_count(2)
    expect(bob.find("message")).to_have_count(2)


def test_a_quick_writer_keeps_the_order(meet: Meet, new_name: NewName) -> None:
    ada, bob = in_a_room(meet, new_name("order"))
    texts = [f"Message {number}" for number in range(1, 21)]
    for text in texts:
        ada.write(text)
    expect(bob.find("message")).to_have_count(20)
    assert bob.messages() == texts
    assert ada.messages() == texts
    expect(ada.page.locator('[data-testid="message"][data-state="sent"]')).to_have_count(20)


def test_a_reload_keeps_the_history(meet: Meet, new_name: NewName) -> None:
    name = new_name("history")
    ada, bob = in_a_room(meet, name)
    ada.send("Before the reload.")
    bob.send("I am here.")
    expect(ada.message("I am here.")).to_be_visible()
    ada.page.reload()
    ada.wait_until_ready()
    expect(ada.find("room-title")).to_have_text(name)
    expect(ada.find("message")).to_have_count(2)
    assert ada.messages() == ["Before the reload.", "I am here."]
    expect(ada.find("beginning")).to_be_visible()


def test_edit_and_delete_are_seen_by_the_other(meet: Meet, new_name: NewName) -> None:
    ada, bob = in_a_room(meet, new_name("edit"))
    row = ada.send("Helo Bob.")
    expect(bob.message("Helo Bob.")).to_be_visible()

    row.hover()
    row.get_by_test_id("message-edit").click()
    expect(ada.find("composer")).to_have_value("Helo Bob.")
    ada.find("composer").fill("Hello Bob.")
    ada.find("composer").press("Enter")
    changed = bob.find("message").first
    expect(changed.get_by_test_id("message-text")).to_contain_text("Hello Bob.")
    expect(changed).to_contain_text("(edited)")
    expect(bob.find("message-edit")).to_have_count(0)

    mine = ada.find("message").first
    expect(mine).to_contain_text("(edited)")
    mine.hover()
    mine.get_by_test_id("message-delete").click()
    ada.find("confirm-yes").click()
    expect(bob.find("message").first).to_contain_text("This message was deleted")
    expect(bob.page.get_by_text("Hello Bob.")).to_have_count(0)
    expect(ada.find("message").first).to_contain_text("This message was deleted")


def test_rooms_are_created_joined_and_left(meet: Meet, new_name: NewName) -> None:
    name = new_name("garden")
    ada, bob = meet("Ada"), meet("Bob")
    ada.create_room(name)
    # Bob hears of it without a reload.
    bob.join_room(name)
    expect(ada.find("person")).to_have_count(2)
    bob.find("leave-room").click()
    expect(bob.find(f"join-{name}")).to_be_visible()
    expect(bob.find("room-title")).to_have_text("general")
    expect(ada.find("person")).to_have_count(1)
    ada.send("Alone now.")
    bob.join_room(name)
    expect(bob.message("Alone now.")).to_be_visible()


def test_a_room_that_exists_is_explained(meet: Meet, new_name: NewName) -> None:
    name = new_name("twice")
    ada, bob = meet("Ada"), meet("Bob")
    ada.create_room(name)
    bob.find("create-room").click()
    bob.find("create-room-name").fill(name)
    bob.find("create-room-submit").click()
    expect(bob.find("create-room-error")).to_contain_text(name)


def test_two_tabs_show_the_same(meet: Meet, new_name: NewName) -> None:
    name = new_name("tabs")
    ada = meet("Ada")
    ada.create_room(name)
    tab = meet("Ada", tab_of=ada)
    tab.open_room(name)
    ada.send("In both.")
    expect(tab.message("In both.")).to_have_count(1)
    tab.find("leave-room").click()
    expect(ada.find(f"join-{name}")).to_be_visible()


def test_what_is_typed_before_the_room_is_there_stays(meet: Meet) -> None:
    ada = meet("Ada")
    # The script that opens the room comes late, as on a slow line.
    held: list[Route] = []
    ada.page.route("**/js/chat/page.js*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright looks at it
    ada.page.goto(ada.url, wait_until="commit")
    wait_until(lambda: held or ada.page.wait_for_timeout(20), "the page asks for its script")
    ada.page.evaluate("document.getElementById('composer').value = 'early bird'")
    held[0].continue_()
    ada.wait_until_ready()
    expect(ada.find("composer")).to_have_value("early bird")
