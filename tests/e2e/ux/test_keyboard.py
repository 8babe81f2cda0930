"""Without a mouse: everything can be reached and done, it is seen where one is, and the focus comes back."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.support.browser import Person
from tests.support.waiting import wait_until

NewName = Callable[[str], str]

# What can be worked with: what a mouse can press, and the boxes to write in.
CONTROLS = """() => [...document.querySelectorAll('button, a[href], input, textarea, select, [tabindex="0"]')]
    .filter(element => element.checkVisibility({visibilityProperty: true}) && !element.disabled)
    .map((element, number) => {
        window.names ??= new Map();
        window.names.set(element, `${number} ${element.outerHTML.slice(0, 160)}`);
        return window.names.get(element);
    })"""
# Which one has the focus, and whether that shows: by an outline, or by the frame around the message box.
FOCUSED = """() => {
    const element = document.activeElement;
    const style = getComputedStyle(element.closest('.composer-box') ?? element);
    const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
    const opacity = parseFloat(getComputedStyle(element.closest('.message-actions') ?? element).opacity);
    return {
        name: element === document.body ? '' : window.names?.get(element),
        seen: (outlined || style.boxShadow !== 'none') && opacity === 1,
    };
}"""


def walk(person: Person) -> list[str]:
    """Press Tab until it begins anew; returns what had the focus. All of it showed that."""
    visited: list[str] = []
    while True:
        person.page.keyboard.press("Tab")
        focused = person.page.evaluate(FOCUSED)
        if focused["name"] in visited:
            return visited
        if focused["name"]:  # at the end of the page it is nowhere, once
            assert focused["seen"], focused["name"]
            visited.append(focused["name"])


def test_21_tab_reaches_everything_and_is_seen(meet: Meet, new_name: NewName) -> None:
    ada = meet("Ada")
    ada.create_room(new_name("keys"))
    ada.send("With buttons to edit and delete.")
    expect(ada.find("message-edit")).to_have_count(1)
    controls = ada.page.evaluate(CONTROLS)
    assert len(controls) > 10
    assert sorted(set(controls) - set(walk(ada))) == []


def test_21_a_room_is_made_left_and_joined_by_keyboard(meet: Meet, new_name: NewName) -> None:
    ada = meet("Ada")
    keyboard, composer = ada.page.keyboard, ada.find("composer")
    name = new_name("made")
    ada.find("create-room").focus()
    keyboard.press("Enter")
    expect(ada.find("create-room-name")).to_be_focused()
    keyboard.type(name)
    keyboard.press("Enter")
    expect(ada.find("room-title")).to_have_text(name)
    expect(composer).to_be_focused()
    keyboard.press("Alt+ArrowDown")
    expect(ada.find("room-title")).not_to_have_text(name)
    expect(composer).to_be_focused()
    ada.find(f"room-{name}").focus()
    keyboard.press("Enter")
    expect(ada.find("room-title")).to_have_text(name)
    expect(composer).to_be_focused()
    ada.find("leave-room").focus()
    keyboard.press("Enter")
    expect(ada.find("room-title")).not_to_have_text(name)
    expect(composer).to_be_focused()
    ada.find(f"join-{name}").focus()
    keyboard.press("Enter")
    expect(ada.find("room-title")).to_have_text(name)
    expect(composer).to_be_focused()


def test_21_the_focus_returns_to_the_message_box(meet: Meet, new_name: NewName) -> None:
    ada = meet("Ada")
    keyboard, composer = ada.page.keyboard, ada.find("composer")
    ada.create_room(new_name("focus"))
    ada.send("To be edited and deleted.")
    expect(composer).to_be_focused()
    ada.find("message-edit").focus()
    keyboard.press("Enter")
    expect(composer).to_be_focused()
    keyboard.press("Escape")
    expect(composer).to_be_focused()

    # A dialog keeps the focus until it is closed.
    ada.find("message-delete").focus()
    keyboard.press("Enter")
    expect(ada.find("confirm-dialog")).to_be_visible()
    for _ in range(4):
        keyboard.press("Tab")
        assert ada.page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('#confirm-dialog')"
        )
    keyboard.press("Escape")
    expect(ada.find("confirm-dialog")).to_be_hidden()
    expect(composer).to_be_focused()
    expect(ada.message("To be edited and deleted.")).to_be_visible()

    ada.find("message-delete").focus()
    keyboard.press("Enter")
    ada.find("confirm-yes").focus()
    keyboard.press("Enter")
    expect(ada.page.get_by_text("This message was deleted")).to_be_visible()
    expect(composer).to_be_focused()

    # From the messages, a key leads back to the box; so does closing the list of shortcuts.
    ada.find("timeline").focus()
    keyboard.press("/")
    expect(composer).to_be_focused()
    ada.find("timeline").focus()
    keyboard.press("?")
    expect(ada.find("shortcuts-dialog")).to_be_visible()
    keyboard.press("Escape")
    expect(ada.find("timeline")).to_be_focused()


def test_21_jumping_to_the_newest_gives_the_focus_back(meet: Meet, new_name: NewName) -> None:
    ada, bob = meet("Ada"), meet("Bob")
    name = new_name("newest")
    bob.create_room(name)
    ada.join_room(name)
    bob.send("\n".join(["A long one"] * 60))
    bob.send("And more.")
    ada.find("timeline").focus()
    ada.page.keyboard.press("Home")
    top = "document.getElementById('timeline').scrollTop === 0"
    wait_until(lambda: ada.page.evaluate(top) or ada.page.wait_for_timeout(20), "the beginning")
    bob.send("News.")
    expect(ada.find("new-messages")).to_be_visible()
    ada.find("new-messages").focus()
    ada.page.keyboard.press("Enter")
    expect(ada.message("News.")).to_be_in_viewport()
    expect(ada.find("composer")).to_be_focused()


def test_21_arrows_scroll_the_messages(meet: Meet, new_name: NewName) -> None:
    """Keys scroll in small steps, and slowly at first: the page does not take that back."""
    ada = meet("Ada")
    ada.create_room(new_name("arrows"))
    ada.send("\n".join(["A long one"] * 60))
    ada.send("The end.")
    timeline = ada.find("timeline")
    timeline.focus()
    from_end = "element => element.scrollHeight - element.scrollTop - element.clientHeight"

    def is_far_up() -> bool:
        ada.page.keyboard.press("ArrowUp")
        return bool(timeline.evaluate(from_end) > 200)

    wait_until(is_far_up, "the arrows to scroll up")
    ada.page.keyboard.press("End")
    wait_until(
        lambda: timeline.evaluate(from_end) <= 1 or ada.page.wait_for_timeout(20), "the end, by its key"
    )
