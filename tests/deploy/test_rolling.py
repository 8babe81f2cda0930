"""A rolling deploy under load: everybody reconnects by themselves, and nobody notices more than that."""

from __future__ import annotations

import time

import pytest

from deploy.machine import Machine
from tests.deploy.load import FULL, SHORT, Scale, assert_nothing_was_lost, command, run_to
from tests.support.crowd import Crowd

pytestmark = [
    pytest.mark.parametrize(
        "scale", [SHORT, pytest.param(FULL, marks=pytest.mark.soak)], ids=["short", "full"], scope="module"
    ),
    pytest.mark.timeout(300),
]

PAGES_PER_SECOND = 10
ROLL_SECONDS = 200.0


def test_a_rolling_deploy_goes_unnoticed(machine: Machine, crowd: Crowd, scale: Scale) -> None:
    crowd.talk(scale.per_second)
    crowd.visit(PAGES_PER_SECOND)
    run_to(crowd, scale.messages)
    before = {node.id: machine.control.pid(node.id) for node in machine.nodes}
    at = time.monotonic()
    done = command(machine, "roll", timeout_seconds=ROLL_SECONDS)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    run_to(crowd, scale.messages)
    report = crowd.settle()

    for node, pid in before.items():
        assert machine.control.pid(node) != pid
    assert report.moved(at) == {guest.name for guest in report.guests}
    absences = report.away(at)
    print(f"{len(absences)} absences of {absences[0]:.2f} to {absences[-1]:.2f} s")
    # Also no page and no request of the API, of which there were ten a second.
    assert_nothing_was_lost(report)
    # An answer may be late, on a machine that is busy; but it is no refusal.
    assert not report.refusals().keys() - {"timeout"}, report.refusals()
