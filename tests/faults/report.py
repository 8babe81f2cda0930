"""Write down what came of the fault table: for people at the terminal, and for docs/reliability.md."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from string import Template

from tests.faults.judge import percentile
from tests.faults.scenario import Scenario
from tests.faults.stage import Engine, Outcome

_TEMPLATE = Path(__file__).with_name("reliability.md.in")
_PACKAGES = ("Flask-SocketIO", "python-socketio", "gevent", "redis", "kombu")


@dataclass(frozen=True)
class Row:
    """One run, in figures."""

    scenario: Scenario
    engine: Engine
    failed: bool
    sent: int
    received: int
    lost: int
    doubled: int
    disordered: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    emit_ms: float

    @classmethod
    def of(cls, scenario: Scenario, engine: Engine, outcome: Outcome, *, failed: bool) -> Row:
        """Add up all pairs of an emitter and another node."""
        delays = outcome.delays
        return cls(
            scenario,
            engine,
            failed,
            sent=sum(pair.sent for pair in outcome.pairs),
            received=sum(pair.received for pair in outcome.pairs),
            lost=sum(len(pair.lost) for pair in outcome.pairs),
            doubled=sum(len(pair.doubled) for pair in outcome.pairs),
            disordered=sum(len(pair.disordered) for pair in outcome.pairs),
            p50_ms=percentile(delays, 50) * 1000,
            p99_ms=percentile(delays, 99) * 1000,
            max_ms=max(delays, default=0.0) * 1000,
            emit_ms=max((calls.longest_wait_seconds for calls in outcome.calls), default=0.0) * 1000,
        )


class Report:
    """All runs of one session."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def add(self, scenario: Scenario, engine: Engine, outcome: Outcome, *, failed: bool) -> None:
        """Write a run down."""
        self.rows.append(Row.of(scenario, engine, outcome, failed=failed))

    def note(self, text: str) -> None:
        """Say something about the session."""
        self.notes.append(text)

    def plain(self) -> str:
        """A table for the terminal."""
        lines = [
            f"{'scenario':52} {'sent':>6} {'received':>8} {'lost':>5} {'twice':>5} {'order':>5} "
            f"{'p50 ms':>7} {'p99 ms':>7} {'max ms':>7} {'emit ms':>8}"
        ]
        for row in self.rows:
            name = row.scenario.id if row.engine == "engine" else f"{row.scenario.id} (stock)"
            lines.append(
                f"{name[:52]:52} {row.sent:6} {row.received:8} {row.lost:5} {row.doubled:5} "
                f"{row.disordered:5} "
                f"{row.p50_ms:7.1f} {row.p99_ms:7.0f} {row.max_ms:7.0f} {row.emit_ms:8.2f}"
                + ("  FAILED" if row.failed else "")
            )
        return "\n".join([*lines, *self.notes]) + "\n"

    def markdown(self) -> str:
        """docs/reliability.md."""
        stock = {row.scenario.id: row for row in self.rows if row.engine == "stock"}
        lines = []
        for row in sorted(
            (row for row in self.rows if row.engine == "engine"), key=lambda row: row.scenario.number
        ):
            scenario, beside = row.scenario, stock.get(row.scenario.id)
            name = f"{scenario.title}: {scenario.variant}" + (" (**failed**)" if row.failed else "")
            cells = [
                str(scenario.number),
                name,
                *(f"{count:,}" for count in (row.sent, row.received, row.lost, row.doubled, row.disordered)),
                f"{row.p50_ms:.1f}",
                f"{row.p99_ms:,.0f}",
                f"{row.max_ms:,.0f}",
                f"{row.emit_ms:.2f}",
                *(
                    (f"{beside.lost:,} of {beside.sent:,}", f"{beside.doubled:,}", f"{beside.emit_ms:,.0f}")
                    if beside
                    else ("", "", "")
                ),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        versions = [f"{name} {version(name)}" for name in _PACKAGES]
        return Template(_TEMPLATE.read_text("utf-8")).substitute(
            table="\n".join(lines),
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
            python=platform.python_version(),
            versions=", ".join(versions),
            seed=self.seed,
            notes=self._notes(),
        )

    def _notes(self) -> str:
        lines = "".join(f"- {note}\n" for note in self.notes)
        return f"\n{lines}" if lines else ""
