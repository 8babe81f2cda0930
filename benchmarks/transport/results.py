"""What was measured: rows of a table, a figure for each peer, and how they are kept in a file."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

# Above it the generator, and not the server, is what was measured.
BUSY_LIMIT = 0.9


@dataclass
class Cell:
    """A peer's figure, the median of its runs; or why there is none.

    :param busy: the largest share of its core that the generator used.
    """

    runs: list[float] = field(default_factory=list)
    busy: float = 0.0
    failed: str = ""

    @property
    def value(self) -> float | None:
        """The median; None: it failed."""
        return None if self.failed or not self.runs else statistics.median(self.runs)

    @property
    def bottleneck(self) -> bool:
        """Whether the generator held it up."""
        return self.busy > BUSY_LIMIT


@dataclass
class Row:
    """A line of a table.

    :param key: names it in targets, and among all rows.
    :param table: which one it belongs to.
    :param label: what was done.
    :param unit: of the figures.
    :param better: which figures are.
    :param x: where it is in a plot.
    """

    key: str
    table: str
    label: str
    unit: str
    better: Literal["more", "less"] = "more"
    x: float | None = None
    cells: dict[str, Cell] = field(default_factory=dict)

    def value(self, kind: str) -> float | None:
        """A peer's figure."""
        return self.cells[kind].value if kind in self.cells else None

    def add(self, kind: str, figure: float, busy: float = 0.0) -> None:
        """Note down a run."""
        cell = self.cells.setdefault(kind, Cell())
        cell.runs.append(figure)
        cell.busy = max(cell.busy, busy)

    def fail(self, kind: str, why: str) -> None:
        """Note down why there is no figure."""
        self.cells.setdefault(kind, Cell()).failed = why


@dataclass
class Results:
    """Everything of a run.

    :param about: machine, versions, command, date.
    :param profiles: where the native server's time went, for rows that missed a target.
    """

    about: dict[str, str] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    profiles: dict[str, str] = field(default_factory=dict)

    def row(self, row: Row) -> Row:
        """Add a row."""
        self.rows[row.key] = row
        return row

    def table(self, name: str) -> list[Row]:
        """The rows of a table."""
        return [row for row in self.rows.values() if row.table == name]

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read them again."""
        saved: dict[str, Any] = json.loads(path.read_text("utf-8"))
        rows = {
            key: Row(**{**row, "cells": {kind: Cell(**cell) for kind, cell in row["cells"].items()}})
            for key, row in saved["rows"].items()
        }
        return cls(saved["about"], rows, saved["profiles"])
