"""A server that takes only so many messages a second: the page waits its turn, and tells a long wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.support.servers import Node


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A slow node."""
    with Node(CHAT_NAME_LEASE_SECONDS="0", RATE_SEND="2/second;9/hour") as node:
        yield node


def test_quick_messages_wait_their_turn_and_keep_their_order(meet: Meet, own_node: Node) -> None:
    ada, bob = meet("Ada"), meet("Bob")
    quick = [f"Quick {number}" for number in range(6)]
    for text in quick:
        ada.write(text)
    for text in quick:
        expect(ada.message(text)).to_have_attribute("data-state", "sent")
        expect(bob.message(text)).to_be_visible()
    assert ada.messages() == bob.messages() == quick


def test_a_long_wait_is_told_and_the_text_is_kept(meet: Meet, own_node: Node) -> None:
    ada = meet("Ada")
    for number in range(9):
        ada.send(f"One of nine, {number}")
    ada.write("One too many.")
    row = ada.message("One too many.")
    expect(row).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("too fast")
    expect(row.get_by_test_id("message-retry")).to_be_visible()
