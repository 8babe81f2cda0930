"""Writes what follows from the list of nodes: nginx's upstreams and maps, and supervisor's programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deploy.nodes import Node, NodesError, check, of_machine, parse

Balance = Literal["cookie", "ip_hash", "sticky"]

NODES_FILE = Path("config/nodes.txt")
# A variant stands beside the one in use, so that changing over is copying a file.
TEMPLATES: Mapping[Balance, str] = {
    "cookie": "nodes.conf.j2",
    "ip_hash": "ip_hash.conf.j2",
    "sticky": "sticky.conf.j2",
}
# Of shared memory, for the state of an upstream's servers: 64k hold 56 of them, 128k hold 128.
ZONE_KB_MIN = 64
ZONE_KB_PER_NODE = 2


def load(root: Path) -> list[Node]:
    """Read the list of nodes of a checkout.

    :raises NodesError: when it is missing or wrong.
    """
    path = root / NODES_FILE
    try:
        return parse(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NodesError(
            f"there is no {path}: write one node a line, for example: n1 127.0.0.1:5001"
        ) from None


def render_nginx(root: Path, nodes: Sequence[Node], balance: Balance = "cookie") -> dict[Path, str]:
    """Make nginx's files: the one in use, and the variants.

    :param root: of the checkout; the files' paths begin with it.
    :param balance: what the one in use does.
    :raises NodesError: when the nodes cannot be in one cluster.
    """
    check(nodes)
    folder = root / "nginx"
    zone_kb = max(ZONE_KB_MIN, ZONE_KB_PER_NODE * len(nodes))
    environment = _environment(folder / "templates")
    texts = {
        name: environment.get_template(template).render(nodes=nodes, zone=f"{zone_kb}k")
        for name, template in TEMPLATES.items()
    }
    return {
        folder / "nodes.conf": texts[balance],
        folder / "variants" / "ip_hash.conf": texts["ip_hash"],
        folder / "variants" / "sticky.conf": texts["sticky"],
    }


def render_supervisor(root: Path, nodes: Sequence[Node], machine: str | None = None) -> dict[Path, str]:
    """Make supervisor's file: the nodes that one machine runs.

    :param root: of the checkout; the file's path begins with it.
    :param machine: which one; None when the list names none.
    :raises NodesError: when the list names machines and not this one.
    """
    folder = root / "supervisor"
    template = _environment(folder / "templates").get_template("node.conf.j2")
    return {folder / "nodes.conf": template.render(nodes=of_machine(nodes, machine))}


def render_all(
    root: Path, nodes: Sequence[Node], machine: str | None = None, balance: Balance = "cookie"
) -> dict[Path, str]:
    """Make every file that follows from the list; see `render_nginx` and `render_supervisor`."""
    return render_nginx(root, nodes, balance) | render_supervisor(root, nodes, machine)


def stale(files: Mapping[Path, str]) -> list[Path]:
    """Say which files on the disk are missing or differ."""
    return [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]


def write(files: Mapping[Path, str]) -> list[Path]:
    """Write the files that are missing or differ, each at once and as a whole; say which.

    :raises OSError: when one cannot be written.
    """
    changed = stale(files)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A program that reads it in this moment gets the old one or the new one.
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(files[path], "utf-8")
        fresh.replace(path)
    return changed


def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["re_escape"] = re.escape
    return environment
