"""A node that goes and comes back: people see it, wait, and lose nothing."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.support.servers import Node


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_restart_loses_nothing(meet: Meet, own_node: Node, end: str) -> None:
    ada, bob = meet("Ada"), meet("Bob")
    ada.send("Before.")
    expect(bob.message("Before.")).to_be_visible()
    with ExitStack() as outages:
        for person in (ada, bob):
            outages.enter_context(person.watch.outage())
        if end == "kill":
            own_node.kill()
        else:
            assert own_node.terminate() == 0
        for person in (ada, bob):
            expect(person.find("connection-banner")).to_be_visible()

        ada.write("Meanwhile, from Ada.")
        bob.write("Meanwhile, from Bob.")
        expect(ada.message("Meanwhile, from Ada.")).to_have_attribute("data-state", "pending")

        own_node.start()
        for person in (ada, bob):
            expect(person.find("connection-banner")).to_be_hidden()
        for person in (ada, bob):
            expect(person.message("Meanwhile, from Ada.")).to_have_attribute("data-state", "sent")
            expect(person.message("Meanwhile, from Bob.")).to_have_attribute("data-state", "sent")
    ada.send("After.")
    expect(bob.message("After.")).to_be_visible()
    for person in (ada, bob):
        texts = person.messages()
        assert sorted(texts) == ["After.", "Before.", "Meanwhile, from Ada.", "Meanwhile, from Bob."]
        assert texts[0] == "Before."
    # Stored once, too: what a reload shows.
    ada.page.reload()
    ada.wait_until_ready()
    expect(ada.find("message")).to_have_count(4)


def test_what_others_wrote_meanwhile_is_fetched(meet: Meet, own_node: Node) -> None:
    """Bob alone loses his network; the chat goes on without him."""
    ada, bob = meet("Ada"), meet("Bob")
    ada.send("Before.")
    expect(bob.message("Before.")).to_be_visible()
    with ada.watch.outage(), bob.watch.outage():
        bob.watch.allow("ERR_INTERNET_DISCONNECTED|ERR_NETWORK")
        bob.context.set_offline(True)
        # For a second the old worker and the new one listen, and a poll may come to the wrong one.
        ada.watch.allow(r"response: 400 \w+ \S+transport=polling|status of 400 .*transport=polling")
        own_node.signal(signal.SIGHUP)  # cuts what is open: a real network takes long to tell
        expect(bob.find("connection-banner")).to_be_visible()
        ada.send("You are missing this.")
        ada.send("And this.")
        expect(ada.find("connection-banner")).to_be_hidden()
        bob.context.set_offline(False)
        expect(bob.message("And this.")).to_be_visible()
        expect(bob.find("new-divider")).to_have_count(1)
    assert bob.messages() == ["Before.", "You are missing this.", "And this."]
