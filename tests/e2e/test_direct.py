"""Direct conversations: two people, and nobody else."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.support.browser import Person


def write_to(person: Person, other: Person) -> None:
    """Open the conversation from the list of people."""
    person.page.get_by_role("button", name=f"Write to {other.name}").click()
    expect(person.find("room-title")).to_have_text(other.name)
    expect(person.find("composer")).to_be_focused()


def test_two_people_talk_and_a_third_sees_nothing(meet: Meet) -> None:
    ada, bob, eve = meet("Ada"), meet("Bob"), meet("Eve")
    write_to(ada, bob)
    expect(ada.find("leave-room")).to_be_hidden()
    expect(ada.find("beginning")).to_contain_text(f"conversation with {bob.name}")
    expect(ada.find("composer")).to_have_attribute("placeholder", f"Message {bob.name}")
    expect(bob.find("directs")).to_be_hidden()

    ada.send("Psst, Bob.")
    # With the first message it is there, unread, by the other's name.
    expect(bob.find(f"direct-{ada.name}").get_by_test_id("unread")).to_have_text("1")
    expect(bob.page).to_have_title(re.compile(r"^\(1\) "))
    bob.find(f"direct-{ada.name}").click()
    expect(bob.message("Psst, Bob.")).to_be_visible()
    expect(bob.find(f"direct-{ada.name}").get_by_test_id("unread")).to_have_count(0)
    expect(bob.page).to_have_title(re.compile(rf"^{ada.name} · "))
    bob.send("Yes?")
    expect(ada.message("Yes?")).to_be_visible()
    ada.find("composer").press_sequentially("Well")
    expect(bob.find("typing")).to_have_text(f"{ada.name} is typing…")

    expect(eve.find("directs")).to_be_hidden()
    eve.page.goto(ada.page.url)
    eve.page.reload()
    expect(eve.page.get_by_text("There is no such room")).to_be_visible()


def test_it_survives_a_reload_and_shows_who_is_online(meet: Meet) -> None:
    ada, bob = meet("Ada"), meet("Bob")
    write_to(ada, bob)
    ada.send("Are you there?")
    ada.page.reload()
    ada.wait_until_ready()
    expect(ada.find("room-title")).to_have_text(bob.name)
    expect(ada.message("Are you there?")).to_be_visible()
    row = ada.find(f"direct-{bob.name}")
    expect(row).to_contain_text("online")
    bob.page.close()
    expect(row).to_contain_text("offline")


def test_both_open_the_same_conversation_by_keyboard(meet: Meet) -> None:
    ada, bob = meet("Ada"), meet("Bob")
    write_to(ada, bob)
    button = bob.page.get_by_role("button", name=f"Write to {ada.name}")
    button.focus()
    bob.page.keyboard.press("Enter")
    expect(bob.find("room-title")).to_have_text(ada.name)
    assert ada.page.url == bob.page.url
    bob.send("Found you.")
    expect(ada.message("Found you.")).to_be_visible()
    expect(bob.find("directs").get_by_role("listitem")).to_have_count(1)
