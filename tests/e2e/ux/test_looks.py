"""Light and dark, calm for those who want it, and on a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Meet
from tests.e2e.test_views import BRIGHTNESS, DARK_BELOW, fits, is_dark
from tests.support.axe import violations
from tests.support.browser import PHONE
from tests.support.proxy import TcpProxy
from tests.support.waiting import wait_until

NewName = Callable[[str], str]

# The brightness of the page at each frame from its first one on.
WATCH_FRAMES = """
    window.brightness = [];
    const look = () => {
        if (document.body) window.brightness.push((%s)());
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
"""
A_PHONE = {"viewport": PHONE, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_23_the_theme_follows_the_system_until_it_is_chosen(meet: Meet, scheme: str) -> None:
    ada = meet("Ada", color_scheme=scheme)
    other = "light" if scheme == "dark" else "dark"
    assert is_dark(ada.page) == (scheme == "dark")
    for changed in (other, scheme):
        ada.page.emulate_media(color_scheme=changed)
        wait_until(lambda dark=changed == "dark": is_dark(ada.page) == dark, f"it is {changed}")
    ada.find("theme-toggle").click()
    assert is_dark(ada.page) == (other == "dark")
    expect(ada.find("theme-toggle")).to_have_attribute("aria-pressed", str(other == "dark").lower())
    # It stays, and is there from the first frame on.
    ada.page.add_init_script(WATCH_FRAMES % BRIGHTNESS)
    ada.page.reload()
    ada.wait_until_ready()
    frames = ada.page.evaluate("window.brightness")
    assert frames
    assert {brightness < DARK_BELOW for brightness in frames} == {other == "dark"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_23_the_contrast_is_enough(meet: Meet, new_name: NewName, scheme: str) -> None:
    ada = meet("Ada", color_scheme=scheme)
    ada.create_room(new_name("contrast"))
    ada.send("See https://example.org/ for more.")
    found = violations(ada.page, "color-contrast")
    assert not found, "\n".join(map(str, found))


def test_23_reduced_motion_is_honoured(meet: Meet, road: TcpProxy) -> None:
    ada = meet("Ada", reduced_motion="reduce", road=road)
    with ada.watch.outage():
        road.refuse()
        road.cut()
        ada.write("What waits may fade, and does not here.")
        expect(ada.find("connection-banner")).to_be_visible()
        # None goes on for ever, and none takes longer than a moment.
        assert (
            ada.page.evaluate(
                """() => document.getAnimations().map(animation => animation.effect.getComputedTiming())
                .filter(timing => timing.endTime > timing.delay + 20).map(timing => timing.endTime)"""
            )
            == []
        )
        assert (
            ada.page.evaluate(
                "getComputedStyle(document.querySelector('.banner-dot')).animationIterationCount"
            )
            == "1"
        )
        road.resume()
        expect(ada.find("connection-banner")).to_be_hidden()


def test_24_a_phone_has_room_for_everything(meet: Meet, new_name: NewName) -> None:
    name = new_name("phone")
    bob = meet("Bob")
    bob.create_room(name)
    ada = meet("Ada", **A_PHONE)
    assert fits(ada.page)
    expect(ada.find("composer")).to_be_in_viewport()
    # As high as the window, also when the bars of the browser come and go.
    assert ada.page.evaluate("document.body.getBoundingClientRect().height") == PHONE["height"]
    assert ada.page.evaluate(
        """() => [...document.styleSheets].flatMap(sheet => [...sheet.cssRules])
            .some(rule => rule.selectorText === '.chat-page' && rule.style.height.includes('100dvh'))"""
    )

    ada.find("tab-rooms").tap()
    ada.find(f"join-{name}").tap()
    expect(ada.find("room-title")).to_have_text(name)
    ada.find("composer").fill("From the train.")
    ada.find("send").tap()
    expect(bob.message("From the train.")).to_be_visible()
    bob.send("Good " + "long " * 60 + "x" * 300)
    expect(ada.find("message")).to_have_count(2)
    assert fits(ada.page)
    ada.find("tab-chat").tap()
    expect(ada.find("composer")).to_be_in_viewport()


def test_24_the_composer_stays_above_the_keyboard(meet: Meet, new_name: NewName) -> None:
    ada = meet("Ada", **A_PHONE)
    ada.find("tab-rooms").tap()
    ada.create_room(new_name("keyboard"))
    for number in range(12):
        ada.send(f"Line {number}")
    ada.find("composer").tap()
    # Chromium and Firefox shrink the window, as the page asks them to.
    viewport = ada.page.locator("meta[name=viewport]").get_attribute("content") or ""
    assert "interactive-widget=resizes-content" in viewport
    ada.page.set_viewport_size({"width": PHONE["width"], "height": 420})
    expect(ada.find("composer")).to_be_in_viewport(ratio=1)
    expect(ada.message("Line 11")).to_be_in_viewport(ratio=1)
    ada.page.set_viewport_size(PHONE)
    # Safari leaves the window as it is, and says what is visible of it.
    ada.page.evaluate(
        """() => {
            Object.defineProperty(visualViewport, 'height', {value: 420, configurable: true});
            visualViewport.dispatchEvent(new Event('resize'));
        }"""
    )
    wait_until(
        lambda: ada.page.evaluate("document.body.getBoundingClientRect().height") == 420, "the page shrinks"
    )
    box = ada.find("composer").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 420
    ada.page.evaluate(
        "() => { delete visualViewport.height; visualViewport.dispatchEvent(new Event('resize')); }"
    )
    wait_until(
        lambda: ada.page.evaluate("document.body.getBoundingClientRect().height") == PHONE["height"],
        "the page grows again",
    )


def test_24_nothing_makes_a_phone_zoom_or_forbids_it(meet: Meet) -> None:
    ada = meet("Ada", signed_in=False, **A_PHONE)
    for sign_in in (None, ada.sign_in):
        if sign_in:
            sign_in()
        else:
            ada.page.goto(f"{ada.url}/sign-in")
        # Phones zoom into a box with smaller letters, and leave the page so.
        sizes = ada.page.locator("input:not([type=hidden]), textarea, select").evaluate_all(
            "boxes => boxes.map(box => parseFloat(getComputedStyle(box).fontSize))"
        )
        assert sizes
        assert min(sizes) >= 16
        viewport = ada.page.locator("meta[name=viewport]").get_attribute("content") or ""
        assert "width=device-width" in viewport
        assert "user-scalable" not in viewport
        assert "maximum-scale" not in viewport


@pytest.mark.parametrize("window", [{}, A_PHONE], ids=["desktop", "phone"])
def test_24_the_other_pages_are_in_reach(meet: Meet, window: dict[str, object]) -> None:
    ada = meet("Ada", **window)

    def show(view: str) -> None:
        if window:
            ada.find(f"tab-{view}").tap()

    show("rooms")
    expect(ada.find("go-chat")).to_have_attribute("aria-current", "page")
    for page in ("market", "api", "operations"):
        expect(ada.find(f"go-{page}")).to_be_in_viewport(ratio=1)
        answer = ada.context.request.get(f"{ada.url}{ada.find(f'go-{page}').get_attribute('href')}")
        assert answer.ok, answer.url
    show("market")
    ada.find("open-market").click()
    expect(ada.page).to_have_url(f"{ada.url}/market")


@pytest.mark.parametrize("width", [320, 768, 1920])
def test_24_no_window_scrolls_sideways(meet: Meet, width: int) -> None:
    ada = meet("Ada", viewport={"width": width, "height": 700})
    ada.send(f"{ada.name} {'w' * 400}")
    assert fits(ada.page)
    expect(ada.find("composer")).to_be_in_viewport()
