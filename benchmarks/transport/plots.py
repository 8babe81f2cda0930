"""How cost grows, as pictures: processor time of a delivery against clients, rooms and namespaces."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.transport.peers import LABELS
from benchmarks.transport.results import Results
from benchmarks.transport.scenarios.broadcast import BURST

# Okabe and Ito's colours, which everybody can tell apart.
COLOURS = {"native": "#0072B2", "library": "#D55E00", "node": "#009E73", "raw": "#6E6E6E"}
COST = "µs of processor time per delivery"


def draw(results: Results, folder: Path) -> list[str]:
    """Draw what there are figures for, and return the names of the files."""
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    drawings = {
        "bench-clients.png": _clients,
        "bench-rooms.png": _rooms,
        "bench-namespaces.png": _namespaces,
    }
    drawn = []
    for name, drawing in drawings.items():
        figure = drawing(results)
        if figure is not None:
            figure.savefig(folder / name, dpi=120, facecolor="white", metadata={"Software": None})
            drawn.append(name)
    return drawn


def _clients(results: Results) -> Figure | None:
    if not results.table("clients-1-processor"):
        return None
    figure, panels = _figure(2)
    at_once = (1, BURST)
    for axes, events in zip(panels, at_once, strict=True):
        _lines(axes, results, f"clients-{events}-processor")
    costs = [cost for axes in panels for line in axes.lines for cost in np.asarray(line.get_ydata())]
    for axes, events in zip(panels, at_once, strict=True):
        axes.set_ylim(min(costs) / 1.5, max(costs) * 1.5)
        title = "one event at a time" if events == 1 else f"{events} events at a time"
        _finish(axes, title, "clients that get each event", COST)
    return figure


def _rooms(results: Results) -> Figure | None:
    if not results.table("rooms-processor"):
        return None
    figure, (axes,) = _figure(1)
    _lines(axes, results, "rooms-processor")
    _finish(
        axes, "5,000 clients in more and smaller rooms, events to one room after the other", "rooms", COST
    )
    return figure


def _namespaces(results: Results) -> Figure | None:
    if not results.table("namespaces-processor"):
        return None
    figure, (left, right) = _figure(2)
    _lines(left, results, "namespaces-processor")
    _finish(left, "500 clients, events to one namespace after the other", "namespaces of each client", COST)
    _lines(right, results, "namespaces-memory", kinds=("native", "library", "node"))
    _finish(right, "and what each client takes", "namespaces of each client", "KB per client")
    return figure


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(8.4 if panels == 1 else 12.0, 4.8), layout="constrained")
    return figure, [figure.add_subplot(1, panels, number + 1) for number in range(panels)]


def _lines(axes: Axes, results: Results, table: str, kinds: Iterable[str] = tuple(COLOURS)) -> None:
    for kind in kinds:
        points = [(row.x, row.value(kind)) for row in results.table(table)]
        known = [(x, y) for x, y in points if x is not None and y is not None]
        if len(known) > 1:
            axes.plot(
                *zip(*known, strict=True),
                marker="o",
                markersize=4.5,
                color=COLOURS[kind],
                label=LABELS[kind],
            )


def _finish(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(title=title, xlabel=x, ylabel=y)
    # A tick where something was measured, and none between.
    axes.set_xticks(sorted({each for line in axes.lines for each in np.asarray(line.get_xdata())}))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.grid(visible=True, which="major", color="#E2E2E2", linewidth=0.8)
    _name(axes)


def _name(axes: Axes) -> None:
    """Write the name of each line at its end, none over another."""
    ends = [(np.asarray(line.get_ydata())[-1], line) for line in axes.lines]
    low, high = np.log10(axes.get_ylim())
    least = (high - low) / 18
    above = -np.inf
    for y, line in sorted(ends, key=lambda end: float(end[0])):
        above = max(np.log10(y), above + least)
        axes.annotate(
            str(line.get_label()),
            (np.asarray(line.get_xdata())[-1], 10**above),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=line.get_color(),
            annotation_clip=False,
        )
