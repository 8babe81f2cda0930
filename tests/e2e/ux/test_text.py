"""Text is text, links are harmless, and a limit says what it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Meet

NewName = Callable[[str], str]


def test_25_html_is_shown_and_never_run(meet: Meet, new_name: NewName) -> None:
    ada, bob = meet("Ada"), meet("Bob")
    ada.create_room(new_name("html"))
    bob.join_room(ada.find("room-title").inner_text())
    text = "<img src=x onerror=\"document.title='hacked'\"><b>bold</b><script>alert(1)</script> &amp; &lt;"
    ada.write(text)
    for person in (ada, bob):
        expect(person.find("message-text")).to_have_text(text)
        expect(person.find("message-text").locator("*")).to_have_count(0)
        assert "hacked" not in person.page.title()
    # In the dialog that quotes it, too.
    row = ada.find("message")
    row.hover()
    row.get_by_test_id("message-delete").click()
    expect(ada.page.locator("#confirm-quote")).to_have_text(text)
    expect(ada.page.locator("#confirm-quote *")).to_have_count(0)


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("See https://example.org/a?b=1&c=2 and ftp://x.org.", {"https://example.org/a?b=1&c=2": None}),
        ("javascript:alert(1) data:text/html,x //example.org", {}),
        ("(as in https://example.org/a_(b)).", {"https://example.org/a_(b)": None}),
        ("https://exa<b>mple.org/", {"https://exa": "https://exa/"}),
        ('http://example.org/"onclick="alert(1)', {"http://example.org/": None}),
    ],
)
def test_25_links_are_made_safely(
    meet: Meet, new_name: NewName, text: str, links: dict[str, str | None]
) -> None:
    ada = meet("Ada")
    ada.create_room(new_name("links"))
    ada.send(text)
    found = ada.find("message-text").locator("a")
    assert {link.inner_text(): link.get_attribute("href") for link in found.all()} == {
        shown: address or shown for shown, address in links.items()
    }
    for link in found.all():
        # It can neither reach back into this page nor tell where the reader comes from.
        assert set((link.get_attribute("rel") or "").split()) >= {"noopener", "noreferrer"}
        expect(link).to_have_attribute("target", "_blank")
