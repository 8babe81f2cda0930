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


def test_older_messages_come_when_they_are_wanted(meet: Meet, new_name: NewName) -> None:
    ada, bob = in_a_room(meet, new_name("long"))
    for number in range(1, 131):
        ada.write(f"Line {number}")
    expect(ada.page.locator('[data-testid="message"][data-state="sent"]')).to_have_count(130)
    bob.page.reload()
    bob.wait_until_ready()
    expect(bob.message("Line 130")).to_be_visible()

    def first_is_loaded() -> bool:
        bob.find("timeline").evaluate("element => { element.scrollTop = 0; }")
        return bob.message("Line 1").count() == 1

    wait_until(first_is_loaded, "the first message")
    assert bob.messages() == [f"Line {number}" for number in range(1, 131)]


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


def test_a_message_elsewhere_is_counted(meet: Meet, new_name: NewName) -> None:
    name = new_name("quiet")
    ada, bob = in_a_room(meet, name)
    bob.open_room("general")
    ada.send("One.")
    ada.send("Two.")
    expect(bob.find(f"room-{name}").get_by_test_id("unread")).to_have_text("2")
    bob.open_room(name)
    expect(bob.message("Two.")).to_be_visible()
    expect(bob.find(f"room-{name}").get_by_test_id("unread")).to_have_count(0)


def test_typing_is_shown_to_the_other_only(meet: Meet, new_name: NewName) -> None:
    ada, bob = in_a_room(meet, new_name("typing"))
    ada.find("composer").press_sequentially("I am thinking")
    expect(bob.find("typing")).to_have_text(f"{ada.name} is typing…")
    expect(ada.find("typing")).to_have_text("")
    ada.find("composer").press("Enter")
    expect(bob.find("typing")).to_have_text("")
    expect(bob.message("I am thinking")).to_be_visible()


def test_the_people_list_follows_who_is_there(meet: Meet, new_name: NewName) -> None:
    ada, bob = in_a_room(meet, new_name("people"))
    expect(ada.people_here()).to_have_text([ada.name, bob.name])
    tab = meet("Bob", tab_of=bob)
    bob.page.close()
    # Bob is still here by his other tab.
    tab.open_room(tab.find("room-title").inner_text())
    ada.send("Still here?")
    expect(ada.find("person")).to_have_count(2)
    tab.page.close()
    expect(ada.people_here()).to_have_text([ada.name])


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


def test_html_in_a_message_is_text(meet: Meet, new_name: NewName) -> None:
    ada, bob = in_a_room(meet, new_name("html"))
    text = "<img src=x onerror=\"document.title='hacked'\"><b>bold</b><script>alert(1)</script>"
    ada.write(text)
    for person in (ada, bob):
        expect(person.find("message-text")).to_have_text(text)
        expect(person.find("message-text").locator("img, b, script")).to_have_count(0)
        assert "hacked" not in person.page.title()


def test_links_are_links_and_nothing_else(meet: Meet, new_name: NewName) -> None:
    ada, bob = in_a_room(meet, new_name("links"))
    ada.send("See https://example.org/a?b=1&c=2 and javascript:alert(1) too.")
    link = bob.find("message-text").locator("a")
    expect(link).to_have_count(1)
    expect(link).to_have_attribute("href", "https://example.org/a?b=1&c=2")
    assert "noopener" in (link.get_attribute("rel") or "") or link.get_attribute("target") is None


def test_what_is_typed_before_the_room_is_there_stays(meet: Meet) -> None:
    ada = meet("Ada")
    # The script that opens the room comes late, as on a slow line.
    held: list[Route] = []
    ada.page.route("**/js/main.js*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright looks at it
    ada.page.goto(ada.url, wait_until="commit")
    wait_until(lambda: held or ada.page.wait_for_timeout(20), "the page asks for its script")
    ada.page.evaluate("document.getElementById('composer').value = 'early bird'")
    held[0].continue_()
    ada.wait_until_ready()
    expect(ada.find("composer")).to_have_value("early bird")
