"""Signing in and out in a browser."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.conftest import Meet


def test_nobody_sees_the_chat_without_a_name(meet: Meet) -> None:
    ada = meet("Ada", signed_in=False)
    ada.page.goto(ada.url)
    expect(ada.page).to_have_url(f"{ada.url}/sign-in")
    expect(ada.find("name-input")).to_be_focused()


def test_the_first_page_says_where_one_is(meet: Meet) -> None:
    ada = meet("Ada", signed_in=False)
    ada.page.goto(f"{ada.url}/sign-in")
    expect(ada.page.get_by_role("main")).to_contain_text("Realtime")
    ada.find("go-market").click()
    expect(ada.page).to_have_url(f"{ada.url}/market")
    expect(ada.find("market-table")).to_be_visible()


def test_signing_in_and_out(meet: Meet) -> None:
    ada = meet("Ada")
    expect(ada.page).to_have_url(re.compile(rf"^{re.escape(ada.url)}/"))
    expect(ada.find("room-title")).to_have_text("general")
    expect(ada.people_here().get_by_text(ada.name, exact=True)).to_be_visible()
    ada.find("sign-out-button").click()
    expect(ada.page).to_have_url(re.compile(r"/sign-in\?reason=signed_out"))
    expect(ada.page.get_by_text("You have signed out.")).to_be_visible()
    ada.page.goto(ada.url)
    expect(ada.page).to_have_url(f"{ada.url}/sign-in")


def test_signing_out_in_one_tab_ends_the_other(meet: Meet) -> None:
    ada = meet("Ada")
    other = meet("Ada", tab_of=ada)
    ada.find("sign-out-button").click()
    expect(other.page).to_have_url(re.compile(r"/sign-in\?reason=ended"))
    expect(other.page.get_by_text("You were signed out.")).to_be_visible()


def test_a_name_that_is_none_is_explained(meet: Meet) -> None:
    ada = meet("Ada", signed_in=False)
    ada.watch.allow(r"\b422\b")
    ada.page.goto(f"{ada.url}/sign-in")
    ada.find("name-input").fill("<script>")
    ada.find("sign-in-button").click()
    expect(ada.find("sign-in-error")).to_contain_text("letters and digits")
    # What was typed is there to be corrected, as text.
    expect(ada.find("name-input")).to_have_value("<script>")


def test_a_name_that_somebody_has_is_explained(meet: Meet) -> None:
    ada = meet("Ada")
    eve = meet("Eve", signed_in=False)
    eve.watch.allow(r"\b409\b")
    eve.page.goto(f"{eve.url}/sign-in")
    eve.find("name-input").fill(ada.name.lower())
    eve.find("sign-in-button").click()
    expect(eve.find("sign-in-error")).to_contain_text("Somebody else is online with that name")


def test_signing_in_works_without_scripts(meet: Meet) -> None:
    ada = meet("Ada", signed_in=False, java_script_enabled=False)
    ada.watch.allow(r"\.js: csp")  # scripts are to be loaded early, and may not run
    ada.page.goto(f"{ada.url}/sign-in")
    ada.find("name-input").fill(ada.name)
    ada.find("sign-in-button").click()
    expect(ada.page).to_have_url(f"{ada.url}/")
    expect(ada.page.locator(".me-name")).to_have_text(ada.name)
    expect(ada.page.locator("noscript")).to_have_count(1)
