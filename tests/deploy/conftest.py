"""Fixtures of the deployment's tests."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from deploy.machine import Machine
from tests.deploy.load import Scale, wait_for_new_clients
from tests.support.browser import launch
from tests.support.certificates import Certificate, make_certificate
from tests.support.crowd import Crowd
from tests.support.nginx import sticky_program
from tests.support.servers import ROOMY_RATES

# A runner that gives up sends SIGTERM: let the fixtures end their servers then, as at a Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For nginx on this machine."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def new_nginx() -> str:
    """An nginx that knows `sticky`."""
    return sticky_program()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Playwright runs an event loop in this thread, so no longer than these tests need it."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


# Under load: hundreds of clients around a whole cluster. What `scale` is, the tests say (load.py).


@pytest.fixture(scope="module")
def machine(scale: Scale, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Three nodes behind nginx, with Redis, on this machine."""
    folder = tmp_path_factory.mktemp("load") / "c"
    settings = {"APP_ENV": "testing", **ROOMY_RATES, **scale.settings}
    with Machine(folder, brokers=("redis",), settings=settings) as machine:
        yield machine


@pytest.fixture
def new_crowd(machine: Machine) -> Iterator[Callable[[], Crowd]]:
    """Make crowds around the cluster."""
    with contextlib.ExitStack() as crowds:
        yield lambda: crowds.enter_context(Crowd(machine.url))


@pytest.fixture
def crowd(new_crowd: Callable[[], Crowd], machine: Machine, scale: Scale) -> Crowd:
    """A crowd that is connected, to all three nodes.

    Those who come at once are not spread evenly, for nginx counts the requests under way. In test_routing.py
    one comes after the other.
    """
    wait_for_new_clients(machine, "n1", "n2", "n3")
    crowd = new_crowd()
    crowd.connect(scale.guests)
    found = crowd.report().nodes()
    assert len(found) == 3
    assert min(found.values()) >= scale.guests / 3 * 0.5, found
    return crowd
