"""Who types, and who is there."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.e2e.ux.clock import Clock
from tests.e2e.ux.people import history
from tests.e2e.ux.wire import Sent
from tests.support.proxy import TcpProxy

NewName = Callable[[str], str]

# Whoever goes on says so again after this; whoever says nothing for longer has stopped.
TELL_EVERY_MS = 3_000
EXPIRES_MS = 6_000


def test_17_typing_is_throttled(meet: Meet, new_name: NewName) -> None:
    ada = meet("Ada", signed_in=False)
    clock, sent = Clock(ada), Sent(ada)
    ada.sign_in()
    ada.create_room(new_name("throttled"))
    clock.stop()
    composer = ada.find("composer")
    composer.press_sequentially("Many letters and one notice")
    assert [notice["active"] for notice in sent("typing")] == [True]
    clock.run(TELL_EVERY_MS + 1)
    composer.press_sequentially(", and another one, for it takes so long")
    assert [notice["active"] for notice in sent("typing")] == [True, True]
    composer.fill("")
    assert [notice["active"] for notice in sent("typing")] == [True, True, False]


def test_17_typing_is_for_the_others_and_is_not_stored(meet: Meet, new_name: NewName) -> None:
    name = new_name("typing")
    ada, bob = meet("Ada"), meet("Bob")
    ada.create_room(name)
    bob.join_room(name)
    tab = meet("Ada", tab_of=ada)
    tab.open_room(name)
    ada.find("composer").press_sequentially("I am thinking")
    expect(bob.find("typing")).to_have_text(f"{ada.name} is typing…")
    for own in (ada, tab):
        expect(own.find("typing")).to_have_text("")
    assert history(bob) == []
    ada.find("composer").press("Enter")
    expect(bob.message("I am thinking")).to_be_visible()
    expect(bob.find("typing")).to_have_text("")
    assert [message["text"] for message in history(bob)] == ["I am thinking"]


def test_17_typing_expires_without_a_stop(meet: Meet, road: TcpProxy, new_name: NewName) -> None:
    name = new_name("expires")
    bob = meet("Bob", signed_in=False)
    clock = Clock(bob)
    bob.sign_in()
    bob.create_room(name)
    ada = meet("Ada", road=road)
    ada.join_room(name)
    ada.find("composer").press_sequentially("I was about to say")
    typing = bob.find("typing")
    expect(typing).to_have_text(f"{ada.name} is typing…")
    road.blackhole("requests")  # she can say nothing more, and is not known to be gone
    clock.stop()
    clock.within(2 * EXPIRES_MS, lambda: not typing.inner_text(), "it expires", 500)
    expect(bob.find("person")).to_have_count(2)
    road.resume()


def test_18_closing_one_of_two_tabs_is_no_departure(meet: Meet, new_name: NewName) -> None:
    name = new_name("tabs")
    ada, bob = meet("Ada"), meet("Bob")
    ada.create_room(name)
    bob.join_room(name)
    expect(ada.people_here()).to_have_text([ada.name, bob.name])
    tab = meet("Bob", tab_of=bob)
    tab.open_room(name)
    ada.page.evaluate(
        """() => {
            window.fewest = 2;
            const list = document.getElementById('people-list');
            new MutationObserver(() => { window.fewest = Math.min(window.fewest, list.children.length); })
                .observe(list, {childList: true});
        }"""
    )
    bob.page.close()
    # What comes after the end of the first tab's connection.
    tab.send("Still here.")
    expect(ada.message("Still here.")).to_be_visible()
    expect(ada.people_here()).to_have_text([ada.name, bob.name])
    assert ada.page.evaluate("window.fewest") == 2
    tab.page.close()
    expect(ada.people_here()).to_have_text([ada.name])
