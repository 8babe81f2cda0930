"""Reads the production guide: its blocks of commands, its tables, and what it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.servers import ROOT

GUIDE = ROOT / "docs" / "deployment.md"
# An HTML comment before a block says what the tests do with it.
MARKED = re.compile(r"^<!-- (run|check|not run): ([a-z]+) -->\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")

Mark = Literal["run", "check", "not run"]


@dataclass(frozen=True)
class Block:
    """A block of the guide, and what the tests do with it."""

    mark: Mark
    name: str
    text: str


def text() -> str:
    """The whole guide."""
    return GUIDE.read_text("utf-8")


def blocks() -> dict[str, Block]:
    """The marked blocks, by their names, in their order."""
    found = [Block(mark, name, body) for mark, name, body in MARKED.findall(text())]
    by_name = {block.name: block for block in found}
    assert len(by_name) == len(found), "two blocks have one name"
    return by_name


def code() -> list[str]:
    """Every line of every block, with continued lines joined, and every piece of code in the running text."""
    lines: list[str] = []
    for body in FENCED.findall(text()):
        lines += body.replace("\\\n", " ").splitlines()
    return lines + [" ".join(piece.split()) for piece in INLINE.findall(FENCED.sub("", text()))]


def table(first: str) -> list[list[str]]:
    """The rows of the table whose head begins with this cell, without the head."""
    rows: list[list[str]] = []
    inside = False
    for line in text().splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and cells[0] == first:
            inside = True
        elif inside and not cells:
            return rows
        elif inside and set(cells[0]) != {"-"}:
            rows.append(cells)
    raise AssertionError(f"the guide has no table that begins with {first!r}")


def replaced(body: str, replacements: dict[str, str]) -> str:
    """A block with something of ours in it; what is to be replaced must be there."""
    for canonical, ours in replacements.items():
        assert canonical in body, f"{canonical!r} should be in:\n{body}"
        body = body.replace(canonical, ours)
    return body


def directive(path: Path, name: str, separator: str = r"[ =]+") -> str:
    """The one value that a configuration file gives a name, wherever it does, without what ends the line.

    :raises AssertionError: when it gives none, or several.
    """
    found: set[str] = set(
        re.findall(rf"^\s*{re.escape(name)}{separator}([^;\n]+)", path.read_text("utf-8"), re.MULTILINE)
    )
    assert len(found) == 1, f"{path} gives {name} these values: {found or 'none'}"
    return found.pop().strip()
