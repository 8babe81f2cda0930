"""What the tests under load have in common: how much there is of everything, and what must hold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import requests

from deploy.machine import Machine
from tests.support.crowd import Crowd, Report
from tests.support.servers import ROOT, child_environment
from tests.support.waiting import wait_until

# A request that fails because its session has ended may do so before the client knows of the end: first its
# other request must be over, and that has 10 s.
END_SECONDS = 10.0
# nginx goes on asking a node that is down; this is for a node that starts on a busy machine.
AGAIN_SECONDS = 60.0
RUN_SECONDS = 90.0
ASKED = 8


@dataclass(frozen=True)
class Scale:
    """How much there is of everything.

    :param guests: clients.
    :param per_second: messages a second, of all together.
    :param messages: how many to wait for before and after what happens.
    :param drain_seconds: over how long a stopping node lets its clients go.
    :param back_seconds: after how long everybody who was cut off must be back.
    """

    guests: int
    per_second: float
    messages: int
    drain_seconds: float
    back_seconds: float

    @property
    def settings(self) -> dict[str, str]:
        """The nodes' settings."""
        return {
            "DRAIN_SECONDS": f"{self.drain_seconds:g}",
            "GRACEFUL_TIMEOUT_SECONDS": "30",
            # On a machine that is busy with other things an answer may come late, but it comes.
            "DATABASE_TIMEOUT_SECONDS": "20",
        }


# 5 s is what we promise. After a cut the library waits for 0.5 to 1.5 s, and if that attempt fails, for
# another 1.5 to 2.5 s: two attempts come within 4.0 s, and leave one for the handshakes of a third of all
# clients. (nginx sends the first attempt to another node at once, so a second one is the exception.) It is
# measured where the machine has nothing else to do; the tests of every day give three times that.
SHORT = Scale(guests=90, per_second=20, messages=40, drain_seconds=2, back_seconds=15)
FULL = Scale(guests=300, per_second=50, messages=250, drain_seconds=10, back_seconds=5)


def run_to(crowd: Crowd, messages: int) -> None:
    """Wait until so many more messages of the crowd have been accepted."""
    wanted = crowd.state()["accepted"] + messages
    wait_until(
        lambda: crowd.state()["accepted"] >= wanted,
        lambda: f"{wanted} messages accepted: {crowd.state()}, refused {crowd.report().refusals()}",
        RUN_SECONDS,
    )


def wait_for_new_clients(machine: Machine, *nodes: str) -> None:
    """Wait until new clients come to each of these nodes, and stay there."""

    def answering(node: str = "") -> str:
        cookies = {"NODE": node} if node else None
        answer = requests.get(f"{machine.url}/healthz", cookies=cookies, timeout=10)
        return str(answer.json()["node"]) if answer.ok else ""

    def ready() -> bool:
        chosen = {answering() for _ in range(ASKED)}
        return chosen >= set(nodes) and all(answering(node) == node for node in nodes)

    wait_until(ready, f"new clients come to {', '.join(nodes)}", AGAIN_SECONDS)


def wait_for_restart(machine: Machine, node: str, before: int) -> None:
    """Wait until supervisor has started a node again.

    :param before: the process id that it had.
    """
    program = machine.control.program
    wait_until(
        lambda: program(node).state == "RUNNING" and program(node).pid != before,
        lambda: f"{node} is started again: {program(node)}",
        RUN_SECONDS,
    )


def command(machine: Machine, *arguments: str, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
    """Run `python -m deploy` for this cluster."""
    return subprocess.run(
        [sys.executable, "-m", "deploy", *arguments, "--folder", str(machine.folder)],
        cwd=ROOT,
        env=child_environment({}),
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def assert_only_its_clients_moved(report: Report, node: str, at: float, back_seconds: float) -> None:
    """Whoever was on a node is back in time; nobody else has noticed anything.

    :param at: just before it happened.
    :param back_seconds: how long each may have been away.
    """
    victims = report.on(node, at)
    assert victims, "nobody was there"
    absences = report.away(at)
    print(f"{len(victims)} of {node} were away for {absences[0]:.2f} to {absences[-1]:.2f} s")
    assert report.moved(at) == victims, report.moved(at) ^ victims
    assert len(absences) == len(victims), "somebody was cut off twice"
    assert absences[-1] < back_seconds, absences
    others = {guest.name for guest in report.guests} - victims
    assert not report.unheard(others), report.unheard(others)


def assert_nothing_was_lost(report: Report, frozen: str | None = None) -> None:
    """Everybody shows each message that the cluster has accepted, once and in order, and met no odd error.

    :param frozen: a node that was; those who polled it were not answered for a while.
    """
    print(report)
    assert not report.lost(), report.lost()
    assert not report.doubled(), report.doubled()
    assert not report.disordered(), report.disordered()
    # A page and a new session never meet an error: nginx goes on to the next node.
    failed = report.errors("page", "handshake")
    assert not failed, failed
    # Who polls learns from an error that the session has ended, then and never else.
    odd = report.errors_out_of_place(END_SECONDS)
    if frozen is not None:
        odd = [e for e in odd if e.outcome != "TimeoutError" or not e.where.startswith(f"{frozen}.")]
    assert not odd, odd
