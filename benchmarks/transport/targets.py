"""What the native transport is to reach, as ratios of figures of one run."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.transport.results import Results, Row


@dataclass(frozen=True)
class Target:
    """A bound of native's figure in a row.

    :param row: the key of the row.
    :param factor: times the other figure; with no peer, the bound itself.
    :param peer: whose figure; "": nobody's.
    :param other: the row of the other figure, when it is another.
    """

    row: str
    factor: float
    peer: str = ""
    other: str = ""

    def text(self, row: Row) -> str:
        """Say it in a few words."""
        sign = ">=" if row.better == "more" else "<="
        if not self.peer:
            return f"{sign} {self.factor:g} {row.unit}"
        what = {"raw": "raw", "library": "stock", "node": "Node"}[self.peer]
        return f"{sign} {self.factor:g} x {what}{' one by one' if self.other else ''}"

    def bound(self, results: Results) -> float | None:
        """The figure that native is held against; None: it was not measured."""
        if not self.peer:
            return self.factor
        other = results.rows.get(self.other or self.row)
        theirs = other.value(self.peer) if other else None
        return None if theirs is None else theirs * self.factor

    def met(self, results: Results) -> bool | None:
        """Whether it is; None: there are no figures to tell."""
        row = results.rows.get(self.row)
        ours = row.value("native") if row else None
        bound = self.bound(results)
        if row is None or ours is None or bound is None:
            return None
        return ours >= bound if row.better == "more" else ours <= bound


BROADCASTS = ("broadcast-500", "broadcast-5000")
TARGETS = (
    *(Target(row, 0.85, "raw") for row in BROADCASTS),
    *(Target(row, 4.0, "library") for row in BROADCASTS),
    *(Target(row, 1.4, "node") for row in BROADCASTS),
    Target("burst-500", 10.0, "raw", "broadcast-500"),
    Target("memory-5000", 8.0),
    Target("connections", 1.5, "node"),
    Target("latency-own-50-p99", 1.0, "node"),
    Target("latency-same-50-p99", 1.0, "node"),
)


def of(row: Row) -> list[Target]:
    """The targets of a row."""
    return [target for target in TARGETS if target.row == row.key]
