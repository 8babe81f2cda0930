"""What is on its way says so, and what waits for the connection: calmly, and without moving anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.clock import Clock
from tests.support.axe import violations
from tests.support.proxy import TcpProxy

NewName = Callable[[str], str]

# A quicker answer is not told to have been waited for.
QUICK_MS = 350
# Longer than the page waits for an acknowledgement.
TIMEOUT_MS = 9_000
DELAY = "element => element.getAnimations()[0].effect.getComputedTiming().delay"


def see_it_wait(row: Locator) -> None:
    """It goes out by itself: there is nothing to retry."""
    expect(row.get_by_test_id("message-reason")).to_have_text("Waiting for the connection")
    expect(row.get_by_test_id("message-retry")).to_be_hidden()
    expect(row.get_by_test_id("message-delete")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_02_a_slow_send_is_told_and_moves_nothing(
    meet: Meet, road: TcpProxy, new_name: NewName, scheme: str
) -> None:
    ada = meet("Ada", road=road, color_scheme=scheme)
    ada.create_room(new_name("slow"))
    expect(ada.find("beginning")).to_be_visible()
    road.blackhole("answers")
    for text in ("Under a name.", "And without one."):
        ada.write(text)
    rows = [ada.message(text) for text in ("Under a name.", "And without one.")]
    signs = [row.get_by_test_id("message-sending") for row in rows]
    for sign in signs:
        expect(sign).to_be_attached()
        assert sign.evaluate(DELAY) == QUICK_MS
    places = [row.bounding_box() for row in rows]
    for sign in signs:
        expect(sign).to_be_visible()
    expect(signs[0]).to_have_text("Sending…")
    found = violations(ada.page, "color-contrast")
    assert not found, "\n".join(map(str, found))
    assert [row.bounding_box() for row in rows] == places
    road.resume()
    for row, sign in zip(rows, signs, strict=True):
        expect(row).to_have_attribute("data-state", "sent")
        expect(sign).to_have_count(0)
    assert [row.bounding_box() for row in rows] == places


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_03_what_waits_for_the_connection_needs_no_retry(
    meet: Meet, road: TcpProxy, new_name: NewName, scheme: str
) -> None:
    ada = meet("Ada", signed_in=False, road=road, color_scheme=scheme)
    clock = Clock(ada)
    ada.sign_in()
    ada.create_room(new_name("away"))
    expect(ada.find("beginning")).to_be_visible()
    road.blackhole("requests")
    ada.write("Timed out.")
    timed_out, away, dropped = (ada.message(text) for text in ("Timed out.", "Away.", "Dropped."))
    expect(timed_out).to_have_attribute("data-state", "pending")
    clock.skip(TIMEOUT_MS)
    expect(timed_out.get_by_test_id("message-retry")).to_be_visible()
    with ada.watch.outage():
        road.refuse()
        road.cut()
        expect(ada.find("connection-banner")).to_be_visible()
        for text in ("Away.", "Dropped."):
            ada.write(text)
        for row in (timed_out, away, dropped):
            see_it_wait(row)
        found = violations(ada.page, "color-contrast")
        assert not found, "\n".join(map(str, found))
        dropped.get_by_test_id("message-delete").click()
        expect(dropped).to_have_count(0)
        clock.run(2 * TIMEOUT_MS)  # it does not give up
        see_it_wait(away)
        road.resume()
        for row in (timed_out, away):
            expect(row).to_have_attribute("data-state", "sent")
            expect(row.get_by_test_id("message-reason")).to_have_count(0)
    assert ada.messages() == ["Timed out.", "Away."]


def test_18_nobody_is_said_to_be_here_while_that_is_not_known(
    meet: Meet, road: TcpProxy, new_name: NewName
) -> None:
    ada, bob = meet("Ada", road=road), meet("Bob")
    name = new_name("presence")
    ada.create_room(name)
    bob.join_room(name)
    ada.page.get_by_role("button", name=f"Write to {bob.name}").click()
    presence = ada.find("room-presence")
    expect(presence).to_have_text("online")
    expect(ada.page.locator("#here")).to_be_hidden()
    dot = """row => getComputedStyle(row.querySelector('.room-face'), '::after').backgroundColor"""
    row = ada.find(f"direct-{bob.name}")
    green = row.evaluate(dot)
    with ada.watch.outage():
        road.refuse()
        road.cut()
        expect(ada.find("connection-banner")).to_be_visible()
        expect(presence).to_be_hidden()
        assert row.evaluate(dot) != green
        assert "online" not in row.inner_text()
        ada.open_room(name)
        expect(ada.page.locator(".here-count")).to_be_hidden()
        expect(ada.find("people").get_by_role("heading")).to_have_text("Last seen here — 2")
        road.resume()
        expect(ada.find("connection-banner")).to_be_hidden()
    expect(ada.page.locator(".here-count")).to_have_text("2 here")
    expect(ada.find("people").get_by_role("heading")).to_have_text("People here — 2")
    assert row.evaluate(dot) == green
    bob.page.close()
    ada.find(f"direct-{bob.name}").click()
    expect(presence).to_have_text("offline")
