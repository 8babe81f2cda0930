"""Other windows: dark, a phone, the API's documentation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Meet
from tests.support.browser import PHONE

BRIGHTNESS = """() => {
    const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number);
    return (r + g + b) / 3;
}"""


def is_dark(page: Page) -> bool:
    return float(page.evaluate(BRIGHTNESS)) < 100


def fits(page: Page) -> bool:
    """Whether nothing makes the page scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_it_is_chosen(meet: Meet, scheme: str) -> None:
    ada = meet("Ada", color_scheme=scheme)
    assert is_dark(ada.page) == (scheme == "dark")
    ada.find("theme-toggle").click()
    assert is_dark(ada.page) == (scheme != "dark")
    ada.page.reload()
    ada.wait_until_ready()
    assert is_dark(ada.page) == (scheme != "dark")


def test_a_phone(meet: Meet, new_name: Callable[[str], str]) -> None:
    name = new_name("phone")
    bob = meet("Bob")
    bob.create_room(name)
    ada = meet("Ada", viewport=PHONE, device_scale_factor=2, has_touch=True, is_mobile=True)
    assert fits(ada.page)
    expect(ada.find("composer")).to_be_in_viewport()

    ada.find("tab-rooms").tap()
    ada.find(f"join-{name}").tap()
    expect(ada.find("room-title")).to_have_text(name)
    ada.find("composer").fill("From the train.")
    ada.find("send").tap()
    expect(bob.message("From the train.")).to_be_visible()
    bob.send("Good " + "long " * 60 + "x" * 300)
    expect(ada.find("message")).to_have_count(2)
    assert fits(ada.page)

    ada.find("tab-market").tap()
    expect(ada.find("market-table")).to_be_in_viewport()
    assert fits(ada.page)
    ada.find("tab-chat").tap()
    expect(ada.find("composer")).to_be_in_viewport()


@pytest.mark.parametrize("width", [320, 768, 1920])
def test_no_window_scrolls_sideways(meet: Meet, width: int) -> None:
    ada = meet("Ada", viewport={"width": width, "height": 700})
    ada.send(f"{ada.name} {'w' * 400}")
    assert fits(ada.page)
    expect(ada.find("composer")).to_be_in_viewport()


def test_the_keyboard_is_enough(meet: Meet, new_name: Callable[[str], str]) -> None:
    ada = meet("Ada")
    ada.create_room(new_name("keys"))
    expect(ada.find("composer")).to_be_focused()
    ada.page.keyboard.type("First line")
    ada.page.keyboard.press("Shift+Enter")
    ada.page.keyboard.type("second line")
    ada.page.keyboard.press("Enter")
    expect(ada.find("message-text")).to_have_text("First line\nsecond line")
    expect(ada.find("message")).to_have_attribute("data-state", "sent")
    ada.page.keyboard.press("ArrowUp")
    expect(ada.find("composer")).to_have_value("First line\nsecond line")
    ada.page.keyboard.press("Escape")
    expect(ada.find("composer")).to_have_value("")


def test_the_api_documentation_shows_every_operation(meet: Meet) -> None:
    ada = meet("Ada", signed_in=False)
    ada.page.goto(f"{ada.url}/api/docs")
    spec = ada.page.locator("#api-docs").get_attribute("data-spec-url")
    document = requests.get(f"{ada.url}{spec}", timeout=30).json()
    count = sum(len(methods) for methods in document["paths"].values())
    operations = ada.page.locator(".opblock")
    expect(operations).to_have_count(count)
    operations.first.locator("button").first.click()
    expect(operations.first.locator(".opblock-body")).to_be_visible()
    assert fits(ada.page)


def test_a_page_that_does_not_exist_leads_back(meet: Meet) -> None:
    ada = meet("Ada", signed_in=False)
    ada.watch.allow(r"\b404\b")
    ada.page.goto(f"{ada.url}/nowhere")
    expect(ada.page.get_by_role("link")).to_have_attribute("href", "/")
