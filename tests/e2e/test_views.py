"""Other pages than the chat, and how to see whether a page is dark and fits its window."""

from __future__ import annotations

import requests
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Meet

BRIGHTNESS = """() => {
    const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number);
    return (r + g + b) / 3;
}"""
DARK_BELOW = 100


def is_dark(page: Page) -> bool:
    return float(page.evaluate(BRIGHTNESS)) < DARK_BELOW


def fits(page: Page) -> bool:
    """Whether nothing makes the page scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


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
