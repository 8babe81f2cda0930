"""What a scenario is, who takes part in it unless it says otherwise, and what is required of everybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.judge import percentile
from tests.faults.stage import QUIET_SECONDS, Outcome, Stage

# Any thread may have to wait for a lock (the interpreter's, in an external emitter) whose holder the system
# does not let run: one call in a hundred may wait, and more where idle calls do. Who waits for a broker does
# so in every call while it is away. And none may wait for as long as a broker takes to time out.
NOISY_SHARE = 0.01
NOISY_IDLE_FACTOR = 3
NOISY_WAIT_SECONDS = 0.1
# The bound on 99 % of the delays while one broker is well.
HEALTHY_P99_SECONDS = 0.5
# Fewer than this and the scenario did not test anything.
_FEWEST_EVENTS = 100

Play = Callable[[Stage], None]
Setup = Callable[[Stage, "Scenario"], None]
Judge = Callable[[Stage, "Scenario", Outcome], list[str]]


def two_nodes_and_an_external_emitter(stage: Stage, scenario: Scenario) -> None:
    """Nodes a and b and the external emitter x, each with all brokers; all emit."""
    urls = stage.urls(scenario.queue)
    for name in ("a", "b"):
        stage.add(name, urls, **scenario.node_options())
    stage.add("x", urls, external=True, **scenario.node_options())
    stage.warm_up()
    stage.emit_from("a", "b", "x")


def complaints_about_delivery(outcome: Outcome) -> list[str]:
    """0 lost, 0 doubled, in order per origin."""
    found = [str(pair) for pair in outcome.pairs if not pair.clean]
    found += [f"too few events: {pair}" for pair in outcome.pairs if pair.sent < _FEWEST_EVENTS]
    return found


def complaints_about_calls(outcome: Outcome) -> list[str]:
    """No emit() is refused, and none waits for a broker."""
    found = [f"refused: {calls}" for calls in outcome.calls if calls.refused]
    for calls in outcome.calls:
        noise = calls.count * NOISY_SHARE + calls.idle_waits * NOISY_IDLE_FACTOR
        if calls.waits > noise or calls.longest_wait_seconds > NOISY_WAIT_SECONDS:
            found.append(f"emit() waits: {calls}")
    return found


def complaints_about_delay(outcome: Outcome) -> list[str]:
    """With a healthy second broker, 99 % of the events arrive within half a second."""
    return [
        f"p99 delay above {HEALTHY_P99_SECONDS} s: {pair}"
        for pair in outcome.pairs
        if percentile(pair.delays, 99) > HEALTHY_P99_SECONDS
    ]


def general(stage: Stage, scenario: Scenario, outcome: Outcome) -> list[str]:
    """What is required unless a scenario says otherwise; complaints, none when all is well."""
    found = complaints_about_delivery(outcome) + complaints_about_calls(outcome)
    return found + (complaints_about_delay(outcome) if scenario.healthy_second else [])


@dataclass(frozen=True)
class Scenario:
    """One line of the fault table, in one variant.

    :param number: of the line.
    :param title: what happens.
    :param variant: what tells it from the line's other variants.
    :param play: what happens while everybody emits; when it returns, the run ends.
    :param queue: names of the brokers, in order of preference.
    :param healthy_second: one broker is always well, so the bound on the delay holds.
    :param short: run it in the short form too.
    :param stock: run it with the stock classes too; they use the first broker alone.
    :param options: arguments of `QueueOptions`.
    :param secret: to sign messages with.
    :param quiet_seconds: events that have not come when so long nothing has come are lost.
    """

    number: int
    title: str
    variant: str
    play: Play
    queue: Sequence[str] = ("redis",)
    strategy: str = "failover"
    healthy_second: bool = False
    short: bool = False
    stock: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    secret: str | None = None
    quiet_seconds: float = QUIET_SECONDS
    setup: Setup = two_nodes_and_an_external_emitter
    judge: Judge = general

    @property
    def id(self) -> str:
        """A name for the command line."""
        words = f"{self.number:02} {self.variant}".lower()
        return "-".join("".join(letter if letter.isalnum() else " " for letter in words).split())

    def node_options(self) -> dict[str, Any]:
        """What its processes have in common."""
        return {"strategy": self.strategy, "secret": self.secret, "queue_options": dict(self.options)}
