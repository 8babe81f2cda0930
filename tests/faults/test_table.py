"""Run the fault table: `table.py` says what there is, `scenario.py` what is required."""

from __future__ import annotations

import random

import pytest

from tests.faults.brokers import Brokers
from tests.faults.report import Report
from tests.faults.scenario import Scenario
from tests.faults.stage import Engine, Outcome, Stage

# The longest scenario lasts 35 s, its settling 120 s, and the stock classes block for long.
pytestmark = pytest.mark.timeout(400)

# Above this, the machine itself was busy with something else, and bounds on time say little of the engine.
NOISE_SECONDS = 0.1


def run(scenario: Scenario, engine: Engine, brokers: Brokers, seed: int) -> tuple[Outcome, list[str], str]:
    """Run a scenario once: what came of it, what there is to complain of, and everything that explains it."""
    choices = random.Random(f"{seed} {scenario.id}")
    with Stage(engine, brokers, choices) as stage:
        try:
            scenario.setup(stage, scenario)
            scenario.play(stage)
            outcome = stage.finish(scenario.quiet_seconds)
            complaints = scenario.judge(stage, scenario, outcome) if engine == "engine" else []
        except BaseException as error:
            error.add_note(stage.report())
            raise
        return outcome, complaints, stage.report() if complaints else "\n".join(stage.notes)


def test_fault(scenario: Scenario, engine: Engine, brokers: Brokers, fault_seed: int, report: Report) -> None:
    """Of the stock classes nothing is required; what they do stands beside the engine's figures."""
    outcome, complaints, explanation = run(scenario, engine, brokers, fault_seed)
    if complaints and outcome.noise_seconds > NOISE_SECONDS and all(pair.clean for pair in outcome.pairs):
        report.note(
            f"{scenario.id}: run twice, for this machine stood still for {outcome.noise_seconds:.2f} s"
        )
        outcome, complaints, explanation = run(scenario, engine, brokers, fault_seed)
    report.add(scenario, engine, outcome, failed=bool(complaints))
    assert not complaints, "\n".join([scenario.id, *complaints, f"seed {fault_seed}", explanation])
