"""Pictures of the operations: all is well, a failover under way, the tour; of a real cluster behind nginx."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, expect

from config.ops import DEFAULT_ADMIN_TOKEN
from deploy.machine import Machine
from scripts.screenshots.studio import LIGHT, WINDOWS, picture
from tests.support.browser import Person

# People who come and talk, so that there is something to see.
GUESTS = ("Noor", "Amara", "Jonas")
LINES = 6
TALKS = 8  # until the small lines have something to say
SETTLE_MS = 2_000


def take(browser: Browser) -> None:
    """Take all of them."""
    with contextlib.ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="pictures-"))) / "c"
        machine = exits.enter_context(Machine(folder))
        guests = [Person(browser, machine.url, name) for name in GUESTS]
        for number, guest in enumerate(guests, 1):
            node = {"name": "NODE", "value": f"n{number}", "url": machine.url}
            guest.context.add_cookies([node])  # type: ignore[list-item]
            guest.sign_in()

        ships = itertools.count(1)

        def talk() -> None:
            for _ in range(LINES):
                for guest in guests:
                    guest.send(f"Ship number {next(ships)} is in sight.")

        for label, window in WINDOWS.items():
            operator = sign_in(browser, machine, **window)
            for _ in range(TALKS):
                talk()
                operator.page.wait_for_timeout(SETTLE_MS)
            picture(operator.page, operator.watch, f"ops-{label}")
            operator.close()

        operator = sign_in(browser, machine, **LIGHT)
        machine.control.stop("redis")
        talk()
        expect(operator.find("ops-timeline")).to_contain_text("RabbitMQ is used")
        expect(operator.find("ops-brokers")).to_contain_text("down for")
        picture(operator.page, operator.watch, "ops-failover")
        machine.control.start("redis")

        operator.page.goto(f"{machine.url}/ops?tour")
        expect(operator.find("tour-do-start")).to_be_enabled()
        operator.find("tour-do-start").click()
        expect(operator.find("tour-do-kill-redis")).to_be_enabled()
        operator.find("tour-do-kill-redis").click()
        expect(operator.find("tour-seen-kill-redis")).to_contain_text("was back", timeout=90_000)
        operator.find("tour-frame").evaluate("frame => frame.scrollIntoView()")
        picture(operator.page, operator.watch, "ops-tour")
        for person in (operator, *guests):
            person.close()


def sign_in(browser: Browser, machine: Machine, **window: object) -> Person:
    """Open the page as an operator."""
    operator = Person(browser, machine.url, "Operator", **window)
    operator.page.goto(f"{machine.url}/ops/sign-in")
    operator.find("token-input").fill(DEFAULT_ADMIN_TOKEN)
    operator.find("ops-sign-in-button").click()
    expect(operator.find("ops-headline")).to_contain_text("3 nodes")
    return operator
