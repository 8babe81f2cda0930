"""Long absences: what was missed is shown as missing, and what was changed is seen."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.support.browser import Person
from tests.support.proxy import TcpProxy
from tests.support.servers import Node
from tests.support.waiting import WAIT_SECONDS, wait_until

NewName = Callable[[str], str]

# More than the page fetches by itself.
MISSED = 281
PAGE = 50


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A node that deletes old messages."""
    with Node(CHAT_NAME_LEASE_SECONDS="0", CHAT_KEEP_DAYS="1") as node:
        yield node


def together(meet: Meet, road: TcpProxy, name: str) -> tuple[Person, Person]:
    """Ada, whose connection can be cut, and Bob, in a room of their own."""
    ada, bob = meet("Ada", road=road), meet("Bob")
    bob.create_room(name)
    ada.join_room(name)
    return ada, bob


def cut_off(person: Person, road: TcpProxy) -> None:
    """Take somebody's connection away until the road is open again."""
    road.refuse()
    road.cut()
    expect(person.find("connection-banner")).to_be_visible()


def say(node: Node, person: Person, count: int) -> None:
    """Store so many messages in the room that is open in somebody's page; nobody hears of them."""
    room = int(person.page.evaluate("location.hash.replace('#room-', '')"))
    database = sqlite3.connect(node.database_url.removeprefix("sqlite:///"), timeout=WAIT_SECONDS)
    with database:
        (last,) = database.execute("SELECT last_seq FROM rooms WHERE id = ?", (room,)).fetchone()
        rows = [
            (room, seq, "other", "Other", f"m{room}-{seq}", f"Line {seq}", time.time_ns() // 1_000_000)
            for seq in range(last + 1, last + 1 + count)
        ]
        columns = "room_id, seq, author_id, author_name, client_id, text, sent_at_ms"
        database.executemany(f"INSERT INTO messages ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        database.execute("UPDATE rooms SET last_seq = last_seq + ? WHERE id = ?", (count, room))
    database.close()


def missing(count: int) -> re.Pattern[str]:
    """What a gap says of so many messages."""
    return re.compile(rf"^{count} messages are missing here\.")


def shown(person: Person) -> list[int]:
    """The numbers of the messages on the page, from top to bottom."""
    numbers: list[int] = person.find("message").evaluate_all(
        "rows => rows.map((row) => Number(row.dataset.seq))"
    )
    return numbers


def test_09_too_much_missed_is_a_gap_that_can_be_loaded(
    meet: Meet, node: Node, road: TcpProxy, new_name: NewName
) -> None:
    ada, bob = together(meet, road, new_name("absence"))
    bob.send("Before.")
    expect(ada.message("Before.")).to_be_visible()
    with ada.watch.outage():
        cut_off(ada, road)
        say(node, bob, MISSED)
        road.resume()
        expect(ada.find("connection-banner")).to_be_hidden()
    gap = ada.find("gap")
    expect(gap).to_have_text(missing(MISSED - PAGE))
    # What was there stays, what is newest is there, and live messages come as ever.
    bob.send("After.")
    expect(ada.message("After.")).to_be_visible()
    assert shown(ada) == [1, *range(MISSED - PAGE + 2, MISSED + 3)]
    expect(ada.find("new-divider")).to_have_count(1)

    # By keyboard, from the older side; who reads there stays there.
    load = gap.get_by_role("button")
    load.focus()
    first = ada.message("Before.")
    expect(first).to_be_in_viewport()
    place = first.bounding_box()
    ada.page.keyboard.press("Enter")
    expect(gap).to_have_text(missing(MISSED - PAGE - 100))
    expect(load).to_be_focused()
    expect(ada.message("Line 2")).to_be_in_viewport()
    assert first.bounding_box() == place
    for left in (31, 0):
        ada.page.keyboard.press("Enter")
        if left:
            expect(gap).to_have_text(missing(left))
    expect(gap).to_have_count(0)
    expect(ada.find("timeline")).to_be_focused()
    assert shown(ada) == list(range(1, MISSED + 3))


def test_very_much_unread_begins_at_the_first_one(
    meet: Meet, node: Node, road: TcpProxy, new_name: NewName
) -> None:
    name = new_name("unread")
    ada, bob = together(meet, road, name)
    bob.send("Before.")
    expect(ada.message("Before.")).to_be_visible()
    ada.open_room("general")
    ada.page.reload()
    ada.wait_until_ready()
    say(node, bob, MISSED)
    bob.send("The last one.")
    ada.open_room(name)
    expect(ada.find("new-divider")).to_be_in_viewport()
    expect(ada.message("Line 2")).to_be_in_viewport()
    expect(ada.find("gap")).to_have_text(missing(MISSED + 1 - 100 - PAGE))
    assert shown(ada) == [*range(1, 52), *range(MISSED + 2 - 99, MISSED + 3)]
    expect(ada.find(f"room-{name}").get_by_test_id("unread")).to_have_text("99+")
    ada.find("new-messages").click()
    expect(ada.message("The last one.")).to_be_in_viewport()
    expect(ada.find(f"room-{name}").get_by_test_id("unread")).to_have_count(0)


def test_08_an_edit_far_up_is_seen_after_an_absence(
    meet: Meet, node: Node, road: TcpProxy, new_name: NewName
) -> None:
    name = new_name("edits")
    ada, bob = together(meet, road, name)
    row = bob.send("The first one.")
    ada.open_room("general")
    say(node, bob, 70)
    bob.send("The last one.")
    # Opened with so much unread, it shows all of it.
    ada.open_room(name)
    expect(ada.find("message")).to_have_count(72)
    with ada.watch.outage():
        cut_off(ada, road)
        row.hover()
        row.get_by_test_id("message-edit").click()
        bob.find("composer").fill("The very first one.")
        bob.find("composer").press("Enter")
        expect(bob.find("message").first).to_contain_text("The very first one.")
        road.resume()
        expect(ada.find("connection-banner")).to_be_hidden()
    expect(ada.find("message").first).to_contain_text("The very first one.")
    expect(ada.find("message").first).to_contain_text("(edited)")


def test_09_what_is_not_kept_is_not_waited_for(meet: Meet, own_node: Node, new_name: NewName) -> None:
    """Retention deletes the beginning of a room while Ada's page is away."""
    with TcpProxy(own_node.port) as road:
        ada, bob = together(meet, road, new_name("trimmed"))
        for number in range(1, 6):
            bob.send(f"Line {number}")
        expect(ada.message("Line 5")).to_be_visible()
        with ada.watch.outage(), bob.watch.outage():
            cut_off(ada, road)
            say(own_node, bob, MISSED)
            road.resume()
            expect(ada.find("gap")).to_have_text(missing(MISSED - PAGE))
            cut_off(ada, road)
            own_node.kill()
            database = sqlite3.connect(own_node.database_url.removeprefix("sqlite:///"))
            with database:
                database.execute("UPDATE messages SET sent_at_ms = 1 WHERE seq <= 100")
            database.close()
            own_node.start()
            road.resume()
            for person in (ada, bob):
                expect(person.find("connection-banner")).to_be_hidden()
        expect(ada.page.get_by_text("95 messages are no longer available.")).to_be_visible()
        gap = ada.find("gap")
        expect(gap).to_have_text(missing(136))
        gap.get_by_role("button").click()
        expect(gap).to_have_text(missing(36))
        gap.get_by_role("button").click()
        expect(gap).to_have_count(0)
        assert shown(ada) == [*range(1, 6), *range(101, MISSED + 6)]
        bob.send("The newest.")
        expect(ada.message("The newest.")).to_be_visible()

        ada.page.reload()
        ada.wait_until_ready()
        expect(ada.message("The newest.")).to_be_visible()

        def beginning_is_loaded() -> bool:
            ada.find("timeline").evaluate("element => { element.scrollTop = 0; }")
            return ada.find("beginning").count() == 1

        wait_until(beginning_is_loaded, "the first message that is kept")
        expect(ada.find("beginning")).to_contain_text("Older messages are not kept.")
        assert shown(ada) == list(range(101, MISSED + 7))
