"""A server that takes only so much: the page waits its turn, and tells what is too long and a long wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.support.servers import Node


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A slow node."""
    with Node(CHAT_NAME_LEASE_SECONDS="0", RATE_SEND="2/second;9/hour", CHAT_TEXT_MAX_CHARS="100") as node:
        yield node


def test_25_quick_messages_wait_their_turn_and_keep_their_order(meet: Meet, own_node: Node) -> None:
    ada, bob = meet("Ada"), meet("Bob")
    quick = [f"Quick {number}" for number in range(6)]
    for text in quick:
        ada.write(text)
    for text in quick:
        expect(ada.message(text)).to_have_attribute("data-state", "sent")
        expect(bob.message(text)).to_be_visible()
    assert ada.messages() == bob.messages() == quick


def test_25_a_long_wait_is_told_and_the_text_is_kept(meet: Meet, own_node: Node) -> None:
    ada = meet("Ada")
    for number in range(9):
        ada.send(f"One of nine, {number}")
    ada.write("One too many.")
    row = ada.message("One too many.")
    expect(row).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("too fast")
    expect(row.get_by_test_id("message-retry")).to_be_visible()


def test_25_a_text_that_is_too_long_is_told_and_kept(meet: Meet, own_node: Node) -> None:
    ada = meet("Ada")
    composer, count = ada.find("composer"), ada.find("composer-count")
    composer.fill("x" * 80)
    expect(count).to_be_hidden()
    composer.fill("x" * 95)
    expect(count).to_have_text("5 left")
    composer.fill("x" * 101)
    expect(count).to_have_text("1 too many")
    expect(ada.find("send")).to_be_disabled()
    composer.press("Enter")
    expect(ada.find("composer-notice")).to_have_text("A message may have 100 characters. This one has 101.")
    expect(composer).to_have_value("x" * 101)
    # The server counts an emoji as one character, and so does the page.
    composer.fill("🙂" * 100)
    expect(ada.find("composer-notice")).to_be_hidden()
    composer.press("Enter")
    expect(ada.message("🙂" * 100)).to_have_attribute("data-state", "sent")
