"""axe-core in a page: what keeps people with disabilities from using it, as far as a program can see that."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page

from tests.support.browser import DESKTOP, PHONE
from tests.support.node_js import packages

# Beside the rules of WCAG 2.2 A and AA those that axe calls best practice.
SERIOUS = ("serious", "critical")


@dataclass(frozen=True)
class Violation:
    """One rule that a page breaks. `where` are its elements."""

    rule: str
    impact: str
    help: str
    where: tuple[str, ...]

    def __str__(self) -> str:
        places = "\n  ".join(self.where)
        return f"{self.impact}: {self.rule}: {self.help}\n  {places}"


def violations(page: Page, *rules: str) -> list[Violation]:
    """Check what a page shows now.

    :param rules: by axe's names; none: all of them.
    """
    page.evaluate(_source())
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = page.evaluate(f"axe.run(document, {json.dumps(options)}).then(result => result.violations)")
    return [
        Violation(
            entry["id"],
            entry["impact"] or "",
            entry["help"],
            tuple(_place(node) for node in entry["nodes"]),
        )
        for entry in found
    ]


# A change of the theme, too, begins with the next frame.
REST = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
    .then(() => Promise.all(document.getAnimations()
        .filter(animation => animation.effect.getComputedTiming().endTime !== Infinity)
        .map(animation => animation.finished.catch(() => {}))))"""


def serious(page: Page) -> list[str]:
    """What of it is serious or critical, in words. What moves comes to rest first."""
    page.evaluate(REST)
    return [str(violation) for violation in violations(page) if violation.impact in SERIOUS]


def serious_anywhere(page: Page) -> list[str]:
    """The same in both themes, wide and narrow, of a page that follows the system's theme."""
    before = page.viewport_size
    assert before is not None
    found = []
    for size in (DESKTOP, PHONE):
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found += [f"{scheme}, {size['width']} wide: {violation}" for violation in serious(page)]
    page.set_viewport_size(before)
    return found


def _place(node: dict[str, Any]) -> str:
    return f"{node['html'][:200]} ({(node['failureSummary'] or '')[:300]})"


@functools.cache
def _source() -> str:
    return (packages() / "axe-core" / "axe.min.js").read_text("utf-8")
