"""Options and fixtures of the fault tests."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.brokers import Brokers
from tests.faults.report import Report
from tests.faults.table import SCENARIOS

# A runner that gives up sends SIGTERM: let the fixtures end their servers then, as at a Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption(
        "--full", action="store_true", help="every scenario, and the stock classes beside the engine"
    )
    group.addoption("--fault-seed", type=int, help="repeat the random choices of another run")
    group.addoption("--fault-report", type=Path, help="write a table of the results to this file (Markdown)")


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("--fault-seed", None)
    config.stash[SEED] = random.randrange(1_000_000) if seed is None else seed
    config.stash[REPORT] = Report(config.stash[SEED])


def pytest_report_header(config: pytest.Config) -> str:
    return f"fault seed: {config.stash[SEED]} (repeat with --fault-seed={config.stash[SEED]})"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "scenario" not in metafunc.fixturenames:
        return
    full = metafunc.config.getoption("--full", False)
    runs = [(scenario, "engine") for scenario in SCENARIOS if full or scenario.short]
    runs += [(scenario, "stock") for scenario in SCENARIOS if full and scenario.stock]
    ids = [scenario.id if engine == "engine" else f"{scenario.id}-{engine}" for scenario, engine in runs]
    metafunc.parametrize(("scenario", "engine"), runs, ids=ids)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[REPORT]
    if report.rows:
        terminalreporter.section(f"faults (seed {report.seed})")
        terminalreporter.write(report.plain())
    path = config.getoption("--fault-report", None)
    if path and report.rows:
        path.write_text(report.markdown(), "utf-8")
        terminalreporter.write_line(f"wrote {path}")


SEED = pytest.StashKey[int]()
REPORT = pytest.StashKey[Report]()


@pytest.fixture(scope="session")
def fault_seed(pytestconfig: pytest.Config) -> int:
    return pytestconfig.stash[SEED]


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    return pytestconfig.stash[REPORT]


@pytest.fixture(scope="session")
def all_brokers() -> Iterator[Brokers]:
    brokers = Brokers()
    yield brokers
    brokers.close()


@pytest.fixture
def brokers(all_brokers: Brokers, request: pytest.FixtureRequest) -> Iterator[Brokers]:
    """The brokers, well."""
    failed = request.session.testsfailed
    yield all_brokers
    all_brokers.put_right(thoroughly=request.session.testsfailed != failed)
