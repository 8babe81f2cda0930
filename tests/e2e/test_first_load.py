"""The first visit is small, and nothing on the page jumps."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Browser, expect

from tests.e2e.conftest import Meet
from tests.support.first_load import first_load

NewName = Callable[[str], str]

# Two seconds on a slow 3G line, and a third of what comparable pages take.
FIRST_LOAD_MAX_BYTES = 150_000
LINES = 30


def test_the_first_load_is_small(meet: Meet, browser: Browser) -> None:
    load, visitor = first_load(browser, meet("Ada"))
    visitor.close()
    sizes = "\n".join(f"{size:8} {url}" for url, size in sorted(load.bytes.items(), key=lambda it: -it[1]))
    assert any("chat/page.js" in url for url in load.bytes), sizes
    assert any("socket.io" in url for url in load.bytes), sizes
    assert sum("inter.woff2" in url for url in load.bytes) == 1, f"one address of the typeface:\n{sizes}"
    assert load.total_bytes < FIRST_LOAD_MAX_BYTES, sizes


def test_nothing_jumps(meet: Meet, browser: Browser, new_name: NewName) -> None:
    """Neither while the page loads, nor while messages arrive."""
    ada, bob = meet("Ada"), meet("Bob")
    bob.create_room(new_name("still"))
    ada.join_room(bob.find("room-title").inner_text())
    bob.send("Before.")
    _, visitor = first_load(browser, ada)
    visitor.page.goto(ada.page.url)
    visitor.page.reload()
    expect(visitor.message("Before.")).to_be_visible()
    for number in range(LINES):
        bob.write(f"Line {number}\nand a second one" if number % 3 else f"Line {number}")
    bob.find("composer").press_sequentially("And")
    expect(visitor.find("message")).to_have_count(LINES + 1)
    expect(visitor.find("typing")).not_to_be_empty()
    shifts = visitor.page.evaluate("window.shifts")
    assert not shifts, "\n".join(shifts)
    visitor.close()
