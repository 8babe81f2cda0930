"""Fixtures of the end-to-end tests: a browser, a node, people with a window each."""

from __future__ import annotations

import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gevent import monkey
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.support.browser import Person, launch
from tests.support.proxy import TcpProxy
from tests.support.servers import HOST, ROOT, Node

RESULTS = ROOT / "test-results"
FAILED = pytest.StashKey[bool]()

Meet = Callable[..., Person]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stop before the first test where none could work."""
    here = Path(__file__).parent
    if monkey.is_module_patched("socket") and any(here in item.path.parents for item in items):
        pytest.exit(
            "The end-to-end tests cannot run in a process whose sockets are monkey-patched, for Playwright "
            "runs an event loop of its own. Run them alone: python -m pytest tests/e2e",
            returncode=2,
        )


def pytest_sessionstart() -> None:
    """A runner that gives up sends SIGTERM: let the fixtures end their servers then, as at a Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call":  # type: ignore[attr-defined]
        item.stash[FAILED] = report.failed  # type: ignore[attr-defined]
    return report


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = launch(playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def shared_node() -> Iterator[Node]:
    """A node for all tests that leave it as it is. Each test has people and rooms of its own."""
    settings = {
        "MARKET_SOURCE": "random-walk",
        "MARKET_HISTORY_POINTS": "5000",  # all that the tests take
        "CHAT_NAME_LEASE_SECONDS": "0",
    }
    with Node(**settings) as node:
        yield node
        _, found, rest = node.log().partition("Traceback")
        assert not found, found + rest[:4000]


def reconnect_by_keyboard(person: Person, road: TcpProxy) -> None:
    """Cut somebody off, and let them press "Reconnect now" by the keyboard when the way is free again."""
    with person.watch.outage():
        road.refuse()
        road.cut()
        expect(person.find("reconnect-now")).to_be_visible()
        person.find("reconnect-now").focus()
        road.resume()
        person.page.keyboard.press("Enter")
        expect(person.find("connection-banner")).to_be_hidden()


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Node:
    """The node that the test's people visit; a test that stops it overrides this by an own one."""
    node: Node = request.getfixturevalue("own_node" if "own_node" in request.fixturenames else "shared_node")
    return node


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A node for a test that stops it."""
    with Node(MARKET_SOURCE="random-walk", CHAT_NAME_LEASE_SECONDS="0") as node:
        yield node


@pytest.fixture
def road(node: Node) -> Iterator[TcpProxy]:
    """A way to the node that a test may hold up or cut, for those whom it lets take it."""
    with TcpProxy(node.port) as road:
        yield road


@pytest.fixture
def meet(request: pytest.FixtureRequest, browser: Browser, node: Node) -> Iterator[Meet]:
    """Let somebody new open the site, by a `road` of the test or none. In the end no page may complain."""
    met: list[Person] = []

    def meet(
        base: str,
        *,
        signed_in: bool = True,
        tab_of: Person | None = None,
        road: TcpProxy | None = None,
        **options: object,
    ) -> Person:
        if tab_of is not None:
            person = tab_of.open_tab()
        else:
            url = f"http://{HOST}:{road.port}" if road else node.url
            person = Person(browser, url, f"{base} {secrets.token_hex(3)}", **options)
            if signed_in:
                person.sign_in()
        met.append(person)
        return person

    yield meet
    complaints = {person.name: person.watch.complaints() for person in met if person.watch.complaints()}
    if request.node.stash.get(FAILED, True) or complaints:
        folder = RESULTS / re.sub(r"[^\w.-]+", "-", request.node.nodeid.split("::", 1)[-1])
        for number, person in enumerate(met):
            person.save(folder, f"{number}-{person.name.split()[0]}")
        folder.mkdir(parents=True, exist_ok=True)  # nobody may have got as far as a window
        (folder / "node.log").write_text(node.log(), "utf-8")
        print(f"Pictures and logs: {folder}", file=sys.stderr)
    for person in met:
        person.close()
    assert not complaints, complaints


@pytest.fixture
def new_name() -> Callable[[str], str]:
    """Make names of rooms that no other test uses."""
    return lambda base: f"{base}-{secrets.token_hex(3)}"
