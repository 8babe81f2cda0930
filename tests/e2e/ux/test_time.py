"""When something was said: days, groups of one author's messages, the reader's own clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.support.servers import Node

NewName = Callable[[str], str]

ZONE = "Asia/Kolkata"  # half an hour beside everybody else


def date_back(node: Node, times: Mapping[str, datetime]) -> None:
    """Let the server believe that messages were sent at other times."""
    with (
        closing(sqlite3.connect(node.database_url.removeprefix("sqlite:///"), timeout=30)) as database,
        database,
    ):
        for text, time in times.items():
            sent_at_ms = int(time.timestamp() * 1000)
            changed = database.execute(
                "UPDATE messages SET sent_at_ms = ? WHERE text = ?", (sent_at_ms, text)
            )
            assert changed.rowcount == 1, text


def test_16_days_groups_and_local_times(meet: Meet, node: Node, new_name: NewName) -> None:
    ada, bob = meet("Ada", locale="en-GB", timezone_id=ZONE), meet("Bob")
    ada.create_room(new_name("days"))
    bob.join_room(ada.find("room-title").inner_text())
    mark = ada.name
    # Noon in Kolkata; in UTC it is half past six.
    noon = datetime.now(ZoneInfo(ZONE)).replace(hour=12, minute=0, second=0, microsecond=0)
    yesterday = noon - timedelta(days=1)
    past = datetime(2024, 2, 29, 23, 59, tzinfo=ZoneInfo(ZONE))
    times = {
        f"Leap day {mark}": past,
        f"A minute later {mark}": past + timedelta(minutes=1),
        f"First {mark}": yesterday,
        f"Soon after {mark}": yesterday + timedelta(minutes=4, seconds=59),
        f"Five minutes later {mark}": yesterday + timedelta(minutes=9, seconds=59),
        f"Another one {mark}": yesterday + timedelta(minutes=10),
        f"Today {mark}": noon,
    }
    for text in times:
        (bob if text.startswith("Another") else ada).send(text)
    expect(ada.find("message")).to_have_count(len(times))
    date_back(node, times)
    ada.page.reload()
    ada.wait_until_ready()
    expect(ada.find("message")).to_have_count(len(times))

    days = ada.page.locator(".timeline-day")
    expect(days).to_have_text(["29 February 2024", "1 March 2024", "Yesterday", "Today"])
    for day in days.all():
        expect(day).to_have_attribute("role", "separator")
    # One author's messages stand under one name, until five minutes pass, another speaks, or a day begins.
    shown = ["is-continued" in (row.get_attribute("class") or "") for row in ada.find("message").all()]
    assert shown == [False, False, False, True, False, False, False]
    first = ada.message(f"First {mark}").locator("time")
    expect(first).to_have_text("12:00")
    title = first.get_attribute("title") or ""
    assert yesterday.strftime("%A") in title
    assert yesterday.strftime("%-d %B %Y") in title
    assert "12:00:00" in title
    assert first.get_attribute("datetime") == yesterday.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    # Where the name is left out, the time is still there to be asked for.
    hidden = ada.message(f"Soon after {mark}")
    hidden.hover()
    expect(hidden.locator(".message-clock")).to_be_visible()
    expect(hidden.locator(".message-clock")).to_have_text("12:04")
    assert "12:04:59" in (hidden.locator(".message-clock").get_attribute("title") or "")
