"""What a screen reader hears: messages as they come, and nothing of loaded history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.people import post
from tests.support.browser import Person

NewName = Callable[[str], str]

LINES = 80
# Notes for each row that comes whether the log speaks at that moment.
LISTEN = """() => {
    const log = document.querySelector('[role=log]');
    window.rows = [];
    new MutationObserver(changes => {
        for (const row of changes.flatMap(change => [...change.addedNodes])) {
            if (!row.matches?.('.message')) continue;
            window.rows.push({text: row.querySelector('.message-text').textContent,
                              loud: log.getAttribute('aria-live') !== 'off'});
        }
    }).observe(log, {childList: true, subtree: true});
}"""


def heard(person: Person) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = person.page.evaluate("window.rows.splice(0)")
    return rows


def test_22_history_is_silent_and_news_are_heard(meet: Meet, new_name: NewName) -> None:
    name = new_name("log")
    ada, bob = meet("Ada"), meet("Bob")
    bob.create_room(name)
    for number in range(1, LINES + 1):
        post(bob, f"Line {number}")
    timeline = ada.find("timeline")
    expect(timeline).to_have_attribute("role", "log")
    expect(timeline).to_have_attribute("aria-label", "Messages")
    ada.page.evaluate(LISTEN)

    # A room is opened.
    ada.join_room(name)
    expect(ada.message(f"Line {LINES}")).to_be_visible()
    opened = heard(ada)
    assert len(opened) > 20
    assert not [row for row in opened if row["loud"]]
    expect(timeline).to_have_attribute("aria-live", "polite")

    # Older messages are loaded.
    timeline.evaluate("element => { element.scrollTop = 0; }")
    expect(ada.find("message")).to_have_count(LINES)
    older = heard(ada)
    assert len(older) == LINES - len(opened)
    assert not [row for row in older if row["loud"]]
    expect(timeline).to_have_attribute("aria-live", "polite")

    # Somebody speaks.
    bob.send("Hello Ada.")
    expect(ada.message("Hello Ada.")).to_have_count(1)
    assert heard(ada) == [{"text": "Hello Ada.", "loud": True}]
