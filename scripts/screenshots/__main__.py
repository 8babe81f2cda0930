"""`python -m scripts.screenshots [chat] [market] [operations] [others]`: all pictures, or only some.

They are for people, so look at them before you commit them.
"""

from __future__ import annotations

import sys

from playwright.sync_api import sync_playwright

from scripts.screenshots import chat, market, operations, others
from tests.support.browser import launch

SUBJECTS = {"chat": chat.take, "market": market.take, "operations": operations.take, "others": others.take}


def main(wanted: list[str]) -> None:
    """Write the pictures."""
    if unknown := set(wanted) - SUBJECTS.keys():
        raise SystemExit(
            f"There are no pictures of {', '.join(sorted(unknown))}, but of {', '.join(SUBJECTS)}"
        )
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for subject in wanted or SUBJECTS:
            SUBJECTS[subject](browser)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
