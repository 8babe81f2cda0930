"""Write docs/benchmarks.md: the text of page.md.in, with the tables and pictures of a run."""

from __future__ import annotations

from pathlib import Path
from string import Template

from benchmarks.transport import targets
from benchmarks.transport.peers import LABELS
from benchmarks.transport.plots import draw
from benchmarks.transport.results import Cell, Results, Row
from tests.support.servers import ROOT

TEMPLATE = Path(__file__).parent / "page.md.in"
# What a profile means, for rows that may miss a target; written by hand.
WHY = Path(__file__).parent / "why"
PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"
COLUMNS = ("native", "raw", "node", "library", "stock")
NOTHING = "not measured in this run"


def write(results: Results) -> None:
    """Write the page and its pictures."""
    IMAGES.mkdir(exist_ok=True)
    drawn = draw(results, IMAGES)
    PAGE.write_text(_page(results, drawn), "utf-8")


def _page(results: Results, drawn: list[str]) -> str:
    tables = {row.table.replace("-", "_") for row in results.rows.values()}
    template = Template(TEMPLATE.read_text("utf-8"))
    texts = dict.fromkeys(template.get_identifiers(), f"({NOTHING})")
    texts |= {table: _table(results.table(table.replace("_", "-"))) for table in tables}
    texts |= {name.removesuffix(".png").replace("-", "_"): f"![{name}](images/{name})" for name in drawn}
    texts |= {"targets": _targets(results), "profiles": _profiles(results), **results.about}
    return template.substitute(texts)


def _table(rows: list[Row]) -> str:
    kinds = [kind for kind in COLUMNS if any(kind in row.cells for row in rows)]
    compared = "native" in kinds and not rows[0].table.endswith("-joined")
    ratios = [kind for kind in kinds if kind != "native"] if compared else []
    head = ["", *(LABELS[kind] for kind in kinds), *(f"native / {LABELS[kind]}" for kind in ratios)]
    lines = [_line(head), _line(["---", *["--:"] * (len(head) - 1)])]
    notes: list[str] = []
    for row in rows:
        cells = [_cell(row.cells.get(kind), notes) for kind in kinds]
        lines.append(_line([f"{row.label}, {row.unit}", *cells, *(_ratio(row, kind) for kind in ratios)]))
    return "\n".join([*lines, *(f"\n({number}) {note}" for number, note in enumerate(notes, 1))])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell | None, notes: list[str]) -> str:
    if cell is None:
        return ""
    if cell.value is None:
        if cell.failed not in notes:
            notes.append(cell.failed)
        return f"({notes.index(cell.failed) + 1})"
    return figure(cell.value) + ("!" if cell.bottleneck else "")


def figure(value: float) -> str:
    """Write a figure with three digits that count."""
    if value >= 1e6:
        return f"{value / 1e6:.3g} M"
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def _ratio(row: Row, kind: str) -> str:
    ours, theirs = row.value("native"), row.value(kind)
    return figure(ours / theirs) if ours and theirs else ""


def _targets(results: Results) -> str:
    lines = [
        _line(["", "to reach", "native", "bound", "reached", ""]),
        _line(["---", "---", *["--:"] * 3, "---"]),
    ]
    for target in targets.TARGETS:
        row = results.rows.get(target.row)
        bound = target.bound(results)
        ours = row.value("native") if row else None
        if row is None or ours is None or bound is None:
            continue
        verdict = "met" if target.met(results) else "**not met**"
        reached = figure(ours / bound * target.factor) + (" x" if target.peer else f" {row.unit}")
        what = f"{row.table.split('-')[0]}: {row.label}, {row.unit}"
        lines.append(_line([what, target.text(row), figure(ours), figure(bound), reached, verdict]))
    return "\n".join(lines)


def _profiles(results: Results) -> str:
    if not results.profiles:
        return "Every target that was measured is met."
    parts = []
    for key, profile in results.profiles.items():
        row = results.rows[key]
        why = WHY / f"{key}.md"
        text = f"{why.read_text('utf-8')}\n" if why.exists() else ""
        parts.append(f"### {row.table}: {row.label}\n{text}\n```\n{profile}\n```")
    return "\n\n".join(parts)
