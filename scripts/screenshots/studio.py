"""The camera: windows of three kinds, and a picture only of a page that has nothing to complain of."""

from __future__ import annotations

import sys
from typing import Any

from playwright.sync_api import Page

from tests.support.browser import DESKTOP, PHONE, Watch
from tests.support.servers import ROOT

IMAGES = ROOT / "docs" / "images"
# One pixel a point is blurred on many screens, and two would make the files four times as large.
SCALE = {"device_scale_factor": 1.5}
# How each page is seen: the label of the picture, and the options of the browser's window.
LIGHT: dict[str, Any] = {"viewport": DESKTOP, "color_scheme": "light", **SCALE}
DARK: dict[str, Any] = {"viewport": DESKTOP, "color_scheme": "dark", **SCALE}
PHONE_LIGHT: dict[str, Any] = {
    "viewport": PHONE,
    "color_scheme": "light",
    **SCALE,
    "is_mobile": True,
    "has_touch": True,
}
WINDOWS = {"light": LIGHT, "dark": DARK, "phone": PHONE_LIGHT}


def picture(page: Page, watch: Watch, label: str) -> None:
    """Write one picture.

    :raises SystemExit: when the page complained of something that nobody expected.
    """
    if watch.complaints():
        raise SystemExit(f"{label}: the page complains: {watch.complaints()}")
    if not page.evaluate("document.fonts.ready.then((fonts) => fonts.check('600 16px Inter'))"):
        raise SystemExit(f"{label}: the page goes without its typeface, for it came too late: try again")
    page.mouse.move(0, 0)  # nothing is pointed at
    path = IMAGES / f"{label}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, animations="disabled", caret="hide")
    print(path, file=sys.stderr)
