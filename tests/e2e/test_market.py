"""The market beside the chat: prices that move by themselves."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.conftest import Meet


def test_prices_move(meet: Meet) -> None:
    ada = meet("Ada")
    rows = ada.find("market-table").locator("tbody tr")
    expect(rows.first).to_be_visible()
    prices = ada.find("market-table").get_by_test_id("market-price")
    expect(prices.first).to_have_text(re.compile(r"\d"))
    before = prices.all_inner_texts()
    ada.page.wait_for_function(
        """before => [...document.querySelectorAll('[data-testid=market-price]')]
               .filter((cell, i) => cell.innerText !== before[i]).length >= 3""",
        arg=before,
    )
    # Nobody had to reload, and no row came twice.
    symbols = rows.evaluate_all("rows => rows.map(row => row.dataset.testid)")
    assert len(set(symbols)) == len(symbols) == len(before)
    assert all(symbol.startswith("market-row-") for symbol in symbols)


def test_each_row_tells_price_and_change(meet: Meet) -> None:
    ada = meet("Ada")
    row = ada.find("market-table").locator("tbody tr").first
    expect(row.get_by_test_id("market-price")).to_have_text(re.compile(r"^[\d,.\s]+$"))
    expect(row.get_by_test_id("market-change")).to_have_text(re.compile(r"^[+−-]?[\d.]+\s?%$"))
    expect(row.locator("svg path").first).to_have_attribute("d", re.compile("^M"))
