"""A node joins a running cluster, and leaves it again, while people talk."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from deploy.machine import Machine
from tests.deploy.load import (
    SHORT,
    Scale,
    assert_nothing_was_lost,
    assert_only_its_clients_moved,
    run_to,
    wait_for_new_clients,
)
from tests.support.crowd import Crowd

PEOPLE = replace(SHORT, guests=60)
NEWCOMERS = 40

pytestmark = [
    pytest.mark.parametrize("scale", [PEOPLE], ids=["short"], scope="module"),
    # The machine may be busy; it is done in a tenth of that.
    pytest.mark.timeout(300),
]


def test_a_node_joins_and_leaves(machine: Machine, crowd: Crowd, scale: Scale) -> None:
    crowd.talk(scale.per_second)
    run_to(crowd, scale.messages)
    before = {name: program.pid for name, program in machine.control.states().items()}

    def assert_nobody_was_restarted() -> None:
        now = machine.control.states()
        assert {name: now[name].pid for name in before} == before

    began = time.monotonic()
    joined = machine.add_node().id
    wait_for_new_clients(machine, joined)
    assert_nobody_was_restarted()
    # A message that comes at the very moment of somebody's first join is asked for rather than heard.
    crowd.settle()
    crowd.connect(NEWCOMERS)
    crowd.talk(scale.per_second)
    # Everybody writes in turn: once.
    run_to(crowd, scale.guests + NEWCOMERS)
    report = crowd.settle()
    assert not report.moved(began)
    there = report.on(joined, time.monotonic())
    assert len(there) >= NEWCOMERS / 4 * 0.8
    # They hear the others, and the others hear them, by themselves.
    assert any(guest.accepted for guest in report.guests if guest.name in there)
    assert not report.unheard({guest.name for guest in report.guests})
    assert_nothing_was_lost(report)

    crowd.talk(scale.per_second)
    run_to(crowd, scale.messages)
    began = time.monotonic()
    machine.remove_node(joined)
    run_to(crowd, scale.messages)
    assert joined not in machine.control.states()
    assert_nobody_was_restarted()
    report = crowd.settle()
    assert_only_its_clients_moved(report, joined, began, scale.back_seconds)
    assert joined not in report.nodes()
    assert_nothing_was_lost(report)
