"""What was said while somebody was away."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.people import post
from tests.support.proxy import TcpProxy

NewName = Callable[[str], str]

# More than a page of the history has.
MISSED = 130


def test_08_missed_messages_come_in_order_and_once(meet: Meet, road: TcpProxy, new_name: NewName) -> None:
    bob, ada = meet("Bob"), meet("Ada", road=road)
    name = new_name("missed")
    bob.create_room(name)
    ada.join_room(name)
    bob.send("Before.")
    expect(ada.message("Before.")).to_be_visible()
    missed = [f"Missed {number}" for number in range(MISSED)]
    with ada.watch.outage():
        road.refuse()
        road.cut()
        expect(ada.find("connection-banner")).to_be_visible()
        for text in missed:
            post(bob, text)
        expect(bob.message(missed[-1])).to_be_visible()
        assert ada.messages() == ["Before."]
        road.resume()
        expect(ada.find("connection-banner")).to_be_hidden()
    bob.send("After.")
    expect(ada.find("message")).to_have_count(MISSED + 2)
    assert ada.messages() == ["Before.", *missed, "After."]
    expect(ada.find("new-divider")).to_have_count(1)
