"""Take the pictures in docs/images: a node of its own, a few people, a short conversation.

Run it with `make screenshots`. The pictures are for people, so look at them before you commit them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.browser import DESKTOP, PHONE, Person, launch
from tests.support.servers import ROOT, Node
from tests.support.waiting import wait_until

IMAGES = ROOT / "docs" / "images"
# Enough of them for a trend to be seen.
MARKET = {"MARKET_SOURCE": "random-walk", "MARKET_TICKS_PER_SECOND": "8", "MARKET_SEED": "11"}
PRICES_SHOWN = 50

ROOM = "harbour"
TALK = (
    ("Noor", "Good morning! The tickets for Saturday's harbour walk are in."),
    ("Amara", "Lovely. How many did we get?"),
    ("Noor", "Twelve, so there are three left for friends."),
    ("Jonas", "I would love to bring my sister, if that is all right?"),
    ("Noor", "Of course, she is on the list now."),
    ("Amara", "The route, with the tide table:"),
    ("Amara", "https://example.org/harbour-walk"),
    ("Jonas", "Low tide at 14:20, so we can take the path below the lighthouse."),
    ("Amara", "Perfect. I bring the big thermos, you bring something sweet?"),
    ("Jonas", "Cinnamon buns. Always cinnamon buns."),
    ("Noor", "Then it is settled. Half past one at the old crane?"),
)
SIDE = (
    ("Jonas", "Has anybody seen the weather for the weekend?"),
    ("Amara", "Sunny, with a light breeze from the west."),
)


def main(images: Path = IMAGES) -> None:
    """Write the pictures."""
    images.mkdir(parents=True, exist_ok=True)
    with Node(**MARKET) as node, sync_playwright() as playwright:
        browser = launch(playwright)
        take_sign_in(browser, node, images)
        people = {name: Person(browser, node.url, name) for name in ("Noor", "Amara", "Jonas")}
        for person in people.values():
            person.sign_in()
        noor = people["Noor"]
        converse(people, SIDE)
        noor.create_room(ROOM)
        for name in ("Amara", "Jonas"):
            people[name].join_room(ROOM)
        converse(people, TALK)
        people["Amara"].open_room("general")
        people["Amara"].send("The ferry runs every twenty minutes, by the way.")
        state = noor.context.storage_state()
        settle(noor, people["Jonas"])
        picture(noor, images / "chat-light.png")

        # Noor again, in other windows.
        for label, options in (
            ("dark", {"color_scheme": "dark", "viewport": DESKTOP}),
            ("phone", {"viewport": PHONE, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}),
        ):
            window = Person(browser, node.url, "Noor", storage_state=state, **options)
            window.page.goto(noor.page.url)
            window.wait_until_ready()
            settle(window, people["Jonas"])
            picture(window, images / f"chat-{label}.png")
        browser.close()


def take_sign_in(browser: Browser, node: Node, images: Path) -> None:
    """The first page that everybody sees."""
    guest = Person(browser, node.url, "Noor")
    guest.page.goto(f"{node.url}/sign-in")
    guest.find("name-input").fill("Noor")
    picture(guest, images / "sign-in.png")
    guest.close()


def converse(people: dict[str, Person], lines: Sequence[tuple[str, str]]) -> None:
    """Let people write, each after having seen what was said before."""
    for name, text in lines:
        people[name].send(text)
        for other in people.values():
            expect(other.message(text)).to_have_count(1)


def settle(person: Person, typist: Person) -> None:
    """Wait until everything that a picture should show is there, and somebody is about to say something."""
    expect(person.message(TALK[-1][1])).to_be_attached()
    person.page.evaluate("document.fonts.ready")
    if person.find("market-table").is_visible():
        line = person.find("market-table").locator(".sparkline-line").first
        wait_until(
            lambda: (line.get_attribute("d") or "").count("L") >= PRICES_SHOWN, "enough prices for a trend"
        )

    def types() -> bool:
        typist.find("composer").press_sequentially("…")
        return "is typing" in person.find("typing").inner_text()

    wait_until(types, "the line that says who is typing")


def picture(person: Person, path: Path) -> None:
    """Write one picture, and fail when the page complained of something."""
    if person.watch.complaints():
        raise SystemExit(f"{path.name}: the page complains: {person.watch.complaints()}")
    person.page.mouse.move(0, 0)  # nothing is pointed at
    person.page.screenshot(path=path, animations="disabled", caret="hide")
    print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
