"""Pictures of the sign-in and of the chat: as it should be, empty, in private, cut off, and not sent."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Sequence

from playwright.sync_api import Browser, expect

from scripts.screenshots.studio import DARK, LIGHT, PHONE_LIGHT, WINDOWS, picture
from tests.support.browser import Person
from tests.support.servers import Node
from tests.support.waiting import wait_until

# Enough prices for a trend to be seen beside the chat.
MARKET = {"MARKET_SOURCE": "random-walk", "MARKET_TICKS_PER_SECOND": "8", "MARKET_SEED": "11"}
IMPATIENT = {"DATABASE_TIMEOUT_SECONDS": "1"}
PRICES_SHOWN = 50

ROOM = "harbour"
# What is so old in the pictures was said yesterday.
EVENING = 5
TALK = (
    ("Noor", "Good morning! The tickets for Saturday's harbour walk are in."),
    ("Amara", "Lovely. How many did we get?"),
    ("Noor", "Twelve, so there are three left for friends."),
    ("Jonas", "I would love to bring my sister, if that is all right?"),
    ("Noor", "Of course, she is on the list now."),
    ("Amara", "The route, with the tide table:"),
    ("Amara", "https://example.org/harbour-walk"),
    ("Jonas", "Low tide at 14:20, so we can take the path below the lighthouse."),
    ("Noor", "Perfect. I bring the big thermos, you bring something sweet?"),
)
# Said while Noor looks elsewhere.
NEWS = (
    ("Jonas", "Cinnamon buns. Always cinnamon buns."),
    ("Amara", "Then it is settled. Half past one at the old crane?"),
)
SIDE = (
    ("Jonas", "Has anybody seen the weather for the weekend?"),
    ("Amara", "Sunny, with a light breeze from the west."),
)
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


def take(browser: Browser) -> None:
    """Take all of them."""
    with Node(**MARKET, **IMPATIENT) as node:
        take_sign_in(browser, node)
        people = {name: Person(browser, node.url, name, **LIGHT) for name in ("Noor", "Amara", "Jonas")}
        for person in people.values():
            person.sign_in()
        noor, amara, jonas = people.values()
        converse(people, SIDE)
        for name in ("book-club", "kitchen-garden"):
            amara.create_room(name)
            noor.join_room(name)
        jonas.create_room("night-sky")
        noor.create_room(ROOM)
        for other in (amara, jonas):
            other.join_room(ROOM)
        converse(people, TALK)
        edit(jonas, TALK[7][1], "Low tide is at 14:25, so we can take the path below the lighthouse.")
        noor.open_room("book-club")
        for name, text in NEWS:
            people[name].send(text)
        open_direct(jonas, noor).send("Do you still have my umbrella?")
        jonas.open_room(ROOM)
        amara.open_room("general")
        amara.send("The ferry runs every twenty minutes, by the way.")
        grow_old(node)
        noor.page.reload()
        noor.open_room(ROOM)
        state = noor.context.storage_state()
        settle(noor, jonas)
        expect(noor.find("new-divider")).to_be_visible()
        picture(noor.page, noor.watch, "chat-light")

        # Noor again, in other windows.
        for label, window in (("dark", DARK), ("phone", PHONE_LIGHT)):
            again = Person(browser, node.url, "Noor", storage_state=state, **window)
            again.page.goto(noor.page.url)
            again.wait_until_ready()
            settle(again, jonas)
            picture(again.page, again.watch, f"chat-{label}")
            if label == "phone":
                again.find("tab-rooms").tap()
                picture(again.page, again.watch, "chat-phone-rooms")
            again.close()
        take_direct(noor, amara)
        noor.create_room("weekend-plans")
        expect(noor.find("beginning")).to_be_visible()
        picture(noor.page, noor.watch, "chat-empty")
        take_failure(node, noor)
        take_outage(node, noor)


def edit(person: Person, old: str, new: str) -> None:
    """Correct somebody's own last message."""
    person.find("composer").press("ArrowUp")
    expect(person.find("composer")).to_have_value(old)
    person.write(new)
    expect(person.find("message").filter(has_text=new)).to_be_visible()


def open_direct(person: Person, other: Person) -> Person:
    """Begin, or go on with, a conversation of two."""
    person.find("person").filter(has_text=other.name).get_by_role("button").click()
    expect(person.find("room-title")).to_have_text(other.name)
    return person


def grow_old(node: Node) -> None:
    """Let some of what was said have been said yesterday, and the rest a few minutes apart."""
    with contextlib.closing(sqlite3.connect(node.folder / "chat.db", timeout=10)) as database, database:
        newest = database.execute("SELECT max(id) FROM messages").fetchone()[0]
        first = database.execute("SELECT min(id) FROM messages WHERE text = ?", TALK[0][1:]).fetchone()[0]
        for number in range(1, newest + 1):
            age_ms = (newest - number) * 4 * MINUTE_MS + (DAY_MS if number < first + EVENING else 0)
            database.execute("UPDATE messages SET sent_at_ms = sent_at_ms - ? WHERE id = ?", (age_ms, number))


def take_sign_in(browser: Browser, node: Node) -> None:
    """The first page that everybody sees."""
    for label, window in WINDOWS.items():
        guest = Person(browser, node.url, "Noor", **window)
        guest.page.goto(f"{node.url}/sign-in")
        guest.find("name-input").fill("Noor")
        picture(guest.page, guest.watch, f"sign-in-{label}")
        guest.close()


def take_direct(noor: Person, amara: Person) -> None:
    """A conversation of two."""
    open_direct(noor, amara).send("Shall we surprise Jonas? It is his birthday on Saturday.")
    amara.page.get_by_role("button", name=re.compile("^Noor")).first.click()
    expect(amara.find("room-title")).to_have_text("Noor")
    amara.send("Yes! Cake at eight. I bring the candles.")
    expect(noor.message("Yes! Cake at eight. I bring the candles.")).to_be_visible()
    picture(noor.page, noor.watch, "chat-direct")


def take_failure(node: Node, noor: Person) -> None:
    """The database is locked: what is written was not sent, and says so."""
    noor.open_room(ROOM)
    with contextlib.closing(sqlite3.connect(node.folder / "chat.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        noor.write("Shall I bring the binoculars, too?")
        expect(noor.find("message").last).to_have_attribute("data-state", "failed")
        picture(noor.page, noor.watch, "chat-failed")
        database.execute("ROLLBACK")
    noor.page.get_by_role("button", name="Retry").click()
    expect(noor.find("message").last).to_have_attribute("data-state", "sent")


def take_outage(node: Node, noor: Person) -> None:
    """The node is gone: what is written waits."""
    with noor.watch.outage():
        node.kill()
        expect(noor.find("connection-banner")).to_be_visible()
        noor.write("I will be five minutes late, the tram stands still.")
        expect(noor.find("message").last).to_have_attribute("data-state", "pending")
        expect(noor.find("message").last).to_contain_text("Waiting for the connection")
        picture(noor.page, noor.watch, "chat-disconnected")
        noor.close()


def converse(people: dict[str, Person], lines: Sequence[tuple[str, str]]) -> None:
    """Let people write, each after having seen what was said before."""
    for name, text in lines:
        people[name].send(text)
        for other in people.values():
            expect(other.message(text)).to_have_count(1)


def settle(person: Person, typist: Person) -> None:
    """Wait until everything that a picture should show is there, and somebody is about to say something."""
    expect(person.message(NEWS[-1][1])).to_be_attached()
    if person.find("market-table").is_visible():
        line = person.find("market-table").locator(".sparkline-line").first
        wait_until(
            lambda: (line.get_attribute("d") or "").count("L") >= PRICES_SHOWN, "enough prices for a trend"
        )

    def types() -> bool:
        typist.find("composer").press_sequentially("…")
        return "is typing" in person.find("typing").inner_text()

    wait_until(types, "the line that says who is typing")
