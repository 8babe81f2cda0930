"""The message box: what Enter does, editing, drafts."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.wire import Sent
from tests.support.proxy import TcpProxy

NewName = Callable[[str], str]


def test_19_enter_sends_and_shift_enter_breaks_the_line(meet: Meet, new_name: NewName) -> None:
    ada = meet("Ada")
    ada.create_room(new_name("enter"))
    expect(ada.find("composer")).to_be_focused()
    ada.page.keyboard.type("First line")
    ada.page.keyboard.press("Shift+Enter")
    ada.page.keyboard.type("second line")
    expect(ada.find("composer")).to_have_value("First line\nsecond line")
    expect(ada.find("message")).to_have_count(0)
    ada.page.keyboard.press("Enter")
    expect(ada.find("composer")).to_have_value("")
    expect(ada.find("message-text")).to_have_text("First line\nsecond line")
    expect(ada.find("message")).to_have_attribute("data-state", "sent")


def test_19_enter_while_composing_does_not_send(meet: Meet, new_name: NewName) -> None:
    """An input method for Japanese shows what it makes of the keys, and Enter accepts it."""
    ada = meet("Ada", signed_in=False)
    sent = Sent(ada)
    ada.sign_in()
    ada.create_room(new_name("ime"))
    composer = ada.find("composer")
    composer.focus()
    keys = ada.context.new_cdp_session(ada.page)
    keys.send("Input.imeSetComposition", {"text": "日本", "selectionStart": 2, "selectionEnd": 2})
    expect(composer).to_have_value("日本")
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    keys.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    keys.send("Input.insertText", {"text": "日本"})
    keys.send("Input.dispatchKeyEvent", {"type": "keyUp", **enter})
    expect(composer).to_have_value("日本")
    expect(ada.find("message")).to_have_count(0)
    composer.press("Enter")
    expect(ada.message("日本")).to_have_attribute("data-state", "sent")
    assert [message["text"] for message in sent("send")] == ["日本"]


def test_20_up_edits_the_last_message_and_escape_cancels(meet: Meet, new_name: NewName) -> None:
    ada, bob = meet("Ada"), meet("Bob")
    ada.create_room(new_name("edit"))
    bob.join_room(ada.find("room-title").inner_text())
    ada.send("My first.")
    ada.send("My lats.")
    bob.send("Not hers.")
    expect(ada.message("Not hers.")).to_be_visible()
    composer = ada.find("composer")
    composer.press("ArrowUp")
    expect(composer).to_have_value("My lats.")
    composer.press("Escape")
    expect(composer).to_have_value("")
    expect(composer).to_be_focused()
    # In a box that is not empty it moves the cursor, as everywhere.
    composer.fill("x")
    composer.press("ArrowUp")
    expect(composer).to_have_value("x")
    composer.fill("")
    composer.press("ArrowUp")
    composer.fill("My last.")
    composer.press("Enter")
    expect(bob.find("message-text")).to_have_text(["My first.", "My last. (edited)", "Not hers."])


def test_20_a_question_mark_lists_the_shortcuts(meet: Meet) -> None:
    ada = meet("Ada")
    composer, shortcuts = ada.find("composer"), ada.find("shortcuts-dialog")
    composer.focus()
    composer.press("?")
    expect(composer).to_have_value("?")
    expect(shortcuts).to_be_hidden()
    composer.fill("")
    ada.find("timeline").focus()
    ada.page.keyboard.press("?")
    expect(shortcuts).to_be_visible()
    expect(shortcuts.locator("kbd").filter(has_text="Enter").first).to_be_visible()
    ada.page.keyboard.press("Escape")
    expect(shortcuts).to_be_hidden()


def test_20_drafts_survive_a_reload(meet: Meet, new_name: NewName) -> None:
    name = new_name("draft")
    ada = meet("Ada")
    ada.create_room(name)
    composer = ada.find("composer")
    composer.fill("Not yet sent")
    # Each room has its own.
    ada.open_room("general")
    expect(composer).to_have_value("")
    composer.fill("In general")
    ada.page.reload()
    ada.wait_until_ready()
    expect(composer).to_have_value("In general")
    ada.open_room(name)
    expect(composer).to_have_value("Not yet sent")
    composer.press("Enter")
    expect(ada.message("Not yet sent")).to_have_attribute("data-state", "sent")
    ada.page.reload()
    ada.wait_until_ready()
    expect(composer).to_have_value("")


def test_20_editing_leaves_the_draft_alone(meet: Meet, new_name: NewName) -> None:
    ada = meet("Ada")
    ada.create_room(new_name("both"))
    row = ada.send("A mesage.")
    composer = ada.find("composer")
    composer.fill("A draft")
    row.hover()
    row.get_by_test_id("message-edit").click()
    composer.fill("A message.")
    ada.page.reload()
    ada.wait_until_ready()
    expect(composer).to_have_value("A draft")


def test_20_an_edit_waits_while_another_room_is_open(meet: Meet, new_name: NewName) -> None:
    name = new_name("left")
    ada = meet("Ada")
    ada.create_room(name)
    ada.send("A mesage.")
    ada.send("Another one.")
    composer, mode = ada.find("composer"), ada.page.locator("#composer-mode")
    composer.fill("A draft")
    row = ada.message("A mesage.")
    row.hover()
    row.get_by_test_id("message-edit").click()
    composer.fill("A message.")
    ada.open_room("general")
    expect(composer).to_have_value("")
    expect(mode).to_be_hidden()
    ada.open_room(name)
    expect(composer).to_have_value("A message.")
    expect(mode).to_be_visible()
    composer.press("Enter")
    expect(ada.find("message-text")).to_have_text(["A message. (edited)", "Another one."])
    expect(composer).to_have_value("A draft")
    # What is given up does not wait.
    composer.fill("")
    composer.press("ArrowUp")
    composer.fill("Nothing.")
    composer.press("Escape")
    ada.open_room("general")
    ada.open_room(name)
    expect(composer).to_have_value("")
    expect(mode).to_be_hidden()


def test_20_an_edit_that_is_being_saved_keeps_nobody_from_writing(
    meet: Meet, road: TcpProxy, new_name: NewName
) -> None:
    name = new_name("saving")
    ada = meet("Ada", road=road)
    ada.create_room(name)
    ada.send("A mesage.")
    composer = ada.find("composer")
    composer.press("ArrowUp")
    composer.fill("A message.")
    with ada.watch.outage():
        road.blackhole()
        composer.press("Enter")
        ada.open_room("general")
        text = f"In general, from {name}"
        ada.write(text)
        expect(ada.message(text)).to_have_attribute("data-state", "pending")
        expect(composer).to_have_value("")
        road.resume()
        expect(ada.message(text)).to_have_attribute("data-state", "sent")
        ada.open_room(name)
        expect(ada.find("message-text")).to_have_text("A message. (edited)")
        expect(composer).to_have_value("")
