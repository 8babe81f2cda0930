"""A message on its way: at once on the screen, settled in place, never lost, never doubled."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.clock import Clock
from tests.e2e.ux.wire import Sent
from tests.support.browser import Person
from tests.support.proxy import TcpProxy
from tests.support.servers import Node

NewName = Callable[[str], str]

# Longer than the page waits for an acknowledgement.
TIMEOUT_MS = 10_000
# From the key to the row and the empty box, in frames.
FRAMES = """text => new Promise(resolve => {
    let frames = 0;
    const count = () => { frames += 1; requestAnimationFrame(count); };
    const look = () => {
        const row = [...document.querySelectorAll('.message')].find(row => row.textContent.includes(text));
        if (row) resolve({frames, state: row.dataset.state, left: document.getElementById('composer').value});
    };
    new MutationObserver(look).observe(document.getElementById('messages'), {childList: true, subtree: true});
    addEventListener('keydown', () => requestAnimationFrame(count), {capture: true, once: true});
})"""


def open_an_own_room(person: Person, name: str) -> None:
    """Create a room, and wait until it is loaded: the tests hold the network up then."""
    person.create_room(name)
    expect(person.find("beginning")).to_be_visible()


def test_01_a_message_appears_at_once_and_pending(meet: Meet, road: TcpProxy, new_name: NewName) -> None:
    ada = meet("Ada", road=road)
    open_an_own_room(ada, new_name("quick"))
    road.blackhole("answers")  # certainly not the acknowledgement
    ada.find("composer").fill("Already here.")
    seen = ada.page.evaluate_handle(f"text => ({{promise: ({FRAMES})(text)}})", "Already here.")
    ada.find("composer").press("Enter")
    row = seen.evaluate("seen => seen.promise")
    # Frames, for a busy machine draws them late: six of them are 100 ms.
    assert row["frames"] <= 2, row
    assert row["state"] == "pending"
    assert row["left"] == ""
    road.resume()


def test_02_the_acknowledgement_settles_the_row_in_place(
    meet: Meet, road: TcpProxy, new_name: NewName
) -> None:
    ada = meet("Ada", road=road)
    ada.create_room(new_name("place"))
    before = ada.send("Before.")
    road.blackhole("answers")
    ada.write("In place.")
    row = ada.message("In place.")
    expect(row).to_have_attribute("data-state", "pending")
    element = row.element_handle()
    places = (before.bounding_box(), row.bounding_box())
    road.resume()
    expect(row).to_have_attribute("data-state", "sent")
    expect(row).to_have_attribute("data-seq", "2")
    assert element.evaluate("(element, row) => element === row", row.element_handle())
    assert (before.bounding_box(), row.bounding_box()) == places
    assert ada.messages() == ["Before.", "In place."]


def test_03_what_fails_offers_retry_and_delete_and_keeps_the_text(
    meet: Meet, road: TcpProxy, new_name: NewName
) -> None:
    ada = meet("Ada", signed_in=False, road=road)
    clock = Clock(ada)
    ada.sign_in()
    open_an_own_room(ada, new_name("failed"))
    road.blackhole("requests")
    ada.write("Keep me.")
    ada.write("Drop me.")
    kept, dropped = ada.message("Keep me."), ada.message("Drop me.")
    for row in (kept, dropped):
        expect(row).to_have_attribute("data-state", "pending")
    clock.stop()
    with ada.watch.outage():
        clock.within(TIMEOUT_MS, lambda: kept.get_attribute("data-state") == "failed", "the timeout", 500)
        expect(kept.get_by_test_id("message-retry")).to_be_visible()
        expect(kept.get_by_test_id("message-reason")).to_contain_text("did not answer in time")
        # The connection is given up with that, and the second one waits for the next.
        clock.within(TIMEOUT_MS, dropped.get_by_test_id("message-delete").is_visible, "it waits", 500)
        expect(kept.get_by_test_id("message-delete")).to_be_visible()
        dropped.get_by_test_id("message-delete").click()
        clock.at_once(lambda: dropped.count() == 0, "the message is deleted")
        road.cut()
        road.resume()
        clock.go_on()
        ada.page.reload()
        ada.wait_until_ready()
    expect(ada.message("Keep me.")).to_have_attribute("data-state", "sent")
    expect(ada.message("Drop me.")).to_have_count(0)


def test_03_a_reload_keeps_what_was_not_sent(meet: Meet, road: TcpProxy, new_name: NewName) -> None:
    """A reload while the server does nothing, and the message goes out once, afterwards."""
    bob, ada = meet("Bob"), meet("Ada", road=road)
    name = new_name("reload")
    open_an_own_room(ada, name)
    bob.join_room(name)
    road.blackhole("requests")
    ada.write("Not lost.")
    expect(ada.message("Not lost.")).to_have_attribute("data-state", "pending")
    with ada.watch.outage():
        road.cut()
        road.resume()
        ada.page.reload()
        ada.wait_until_ready()
    expect(ada.message("Not lost.")).to_have_attribute("data-state", "sent")
    expect(bob.message("Not lost.")).to_have_count(1)


def test_04_retry_reuses_the_message_id(meet: Meet, road: TcpProxy, node: Node, new_name: NewName) -> None:
    ada, bob = meet("Ada", signed_in=False, road=road), meet("Bob")
    clock, sent = Clock(ada), Sent(ada)
    ada.sign_in()
    name = new_name("retry")
    open_an_own_room(ada, name)
    bob.join_room(name)
    road.blackhole("answers")  # it is stored, and she does not hear of that
    ada.write("Only once.")
    expect(bob.message("Only once.")).to_have_count(1)
    row = ada.message("Only once.")
    expect(row).to_have_attribute("data-state", "pending")
    clock.stop()
    clock.within(TIMEOUT_MS, lambda: row.get_attribute("data-state") == "failed", "the timeout", 500)
    with ada.watch.outage():
        row.get_by_test_id("message-retry").click()
        road.resume()
        clock.within(TIMEOUT_MS, lambda: len(sent("send")) == 2, "it is sent again", 100)
    first, second = sent("send")
    assert first["client_id"] == second["client_id"]
    clock.at_once(lambda: row.get_attribute("data-state") == "sent", "the acknowledgement")
    # One copy at the server: what somebody sees who comes now.
    bob.page.reload()
    bob.wait_until_ready()
    expect(bob.message("Only once.")).to_have_count(1)
    expect(bob.find("message")).to_have_count(1)
    assert ada.messages() == ["Only once."]
