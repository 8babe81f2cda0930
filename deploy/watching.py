"""What `python -m deploy status` and `watch` show: every program, and how each node serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deploy.asking import ready
from deploy.control import Control, Program
from deploy.nodes import Node
from deploy.readiness import trouble

HEADINGS = ("program", "state", "pid", "up", "clients", "")
# Whoever looks every second wants an answer in that time; a healthy node takes milliseconds.
ASK_SECONDS = 1.0
MINUTE, HOUR, DAY = 60, 3_600, 86_400


@dataclass(frozen=True)
class Row:
    """One program.

    :param ready: for a node: whether it wants clients; None: it is no node, or none that runs.
    :param clients: how many connections a node has; None: it does not say.
    :param note: what else is to be said.
    """

    program: Program
    ready: bool | None = None
    clients: int | None = None
    note: str = ""


def look(control: Control, nodes: Sequence[Node]) -> dict[str, Row]:
    """Ask supervisord, and all nodes at the same time.

    :returns: by program, in the order in which they start.
    :raises ControlError: when supervisord does not answer.
    """
    programs = control.states()
    asked = [node for node in nodes if node.id in programs and programs[node.id].alive]
    with ThreadPoolExecutor(max_workers=max(1, len(asked))) as pool:
        answers = pool.map(lambda node: ready(node.address, ASK_SECONDS), asked)
        rows = {
            node.id: _node_row(programs[node.id], *answer)
            for node, answer in zip(asked, answers, strict=True)
        }
    return {name: rows.get(name) or Row(program, note=program.reason) for name, program in programs.items()}


def _node_row(program: Program, is_ready: bool, said: dict[str, object]) -> Row:
    checks = said.get("checks")
    checks = checks if isinstance(checks, dict) else {}
    clients = checks.get("node", {}).get("clients")
    active = checks.get("queue", {}).get("active")
    note = trouble(is_ready, said)
    if is_ready:
        note = "; ".join(filter(None, ("ready", f"over {active}" if active else "", note)))
    return Row(program, is_ready, clients if isinstance(clients, int) else None, note)


def table(rows: Mapping[str, Row]) -> list[str]:
    """The rows as lines of text, with headings."""
    cells = [HEADINGS, *(_cells(name, row) for name, row in rows.items())]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS) - 1)]
    lines = []
    for line in cells:
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=False)]
        lines.append("  ".join([*padded, line[-1]]).rstrip())
    return lines


def _cells(name: str, row: Row) -> tuple[str, ...]:
    program = row.program
    return (
        name,
        program.state,
        str(program.pid or ""),
        uptime(program.uptime_seconds) if program.pid else "",
        "" if row.clients is None else str(row.clients),
        row.note,
    )


def uptime(seconds: int) -> str:
    """A time in one unit, the largest that is not too coarse."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def changes(before: Mapping[str, Row], after: Mapping[str, Row]) -> Iterator[str]:
    """What happened between two looks, a line each."""
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            yield f"{name} {'is gone' if new is None else 'is here'}"
            continue
        if old.program.state != new.program.state:
            yield f"{name} was {old.program.state}, is {new.program.state}"
        if new.program.pid and old.program.pid and new.program.pid != old.program.pid:
            yield f"{name} is another process: {new.program.pid} instead of {old.program.pid}"
        if new.note != old.note:
            yield f"{name}: {new.note or 'does not run'}"
        if old.clients is not None and new.clients is not None and old.clients != new.clients:
            yield f"{name} has {new.clients} client{'' if new.clients == 1 else 's'} instead of {old.clients}"
