"""Commands: `flask node list|drain|resume`. docs/deployment.md shows them."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from app.realtime.outside import fail, nobody, outside, timeout
from app.realtime.queue.survey import Status, Survey, short
from app.realtime.socketio import SocketIO

COLORS = {"serving": "green", "draining": "yellow", "drained": "red"}

node = AppGroup("node", help="See the nodes, and let one send its clients to the others.")


@node.command("list")
@timeout
def list_nodes(timeout_seconds: float) -> None:
    """Show all nodes: name, state, clients. Fails when none answers."""
    with outside() as (_, channel):
        survey = Survey(channel)
        survey.ask_all(timeout_seconds)
        if not survey.answers:
            fail(nobody(survey))
        names = [_name(said) for said in survey.answers.values()]
        rows = sorted(
            (
                _name(said),
                _state(said),
                _clients(said),
                short(origin),
                _twice(said, names),
            )
            for origin, said in survey.answers.items()
        )
        rows.insert(0, ("node", "state", "clients", "origin", ""))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        for row in rows:
            cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
            cells[1] = click.style(cells[1], fg=COLORS.get(row[1]))
            click.echo("  ".join([*cells, row[4]]).rstrip())
        for origin in survey.silent:
            click.echo(f"{short(origin)} lives, and did not answer in time", err=True)


@node.command()
@click.argument("name")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(0.1, 3_600),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait; more than DRAIN_SECONDS.",
)
def drain(name: str, timeout_seconds: float) -> None:
    """Let a node send its clients to the others, and wait until they are gone.

    It takes no new ones until `flask node resume`, or a restart.
    """
    with outside() as (socketio, channel):
        _change(socketio, Survey(channel), name, True, "drained", timeout_seconds)


@node.command()
@click.argument("name")
@timeout
def resume(name: str, timeout_seconds: float) -> None:
    """Let a drained node take clients again."""
    with outside() as (socketio, channel):
        _change(socketio, Survey(channel), name, False, "serving", timeout_seconds)


def _change(
    socketio: SocketIO, survey: Survey, name: str, drain: bool, wanted: str, timeout_seconds: float
) -> None:
    survey.ask_all(timeout_seconds)
    if not survey.answers:
        fail(nobody(survey))
    if not _named(survey, name):
        there = ", ".join(sorted({_name(said) for said in survey.answers.values()}))
        fail(f"there is no node {name!r}: there are {there} (see NODE_ID)")
    socketio.drain_node(name, drain)
    told = ""

    def done() -> bool:
        nonlocal told
        nodes = _named(survey, name)
        text = ", ".join(f"{_state(said)}, {_clients(said)} clients" for said in nodes)
        if text != told:
            told = text
            click.echo(f"{name}: {text or 'is gone'}")
        return all(_state(said) == wanted for said in nodes)

    if not survey.ask_until(done, timeout_seconds):
        fail(f"{name} is not {wanted} after {timeout_seconds:g} s; see `flask node list`")


def _named(survey: Survey, name: str) -> list[Status]:
    return [said for said in survey.answers.values() if _name(said) == name]


def _about(said: Status) -> dict[str, object]:
    # A node of an older version says nothing of itself.
    return said.get("node") or {}


def _name(said: Status) -> str:
    return str(_about(said).get("id") or "-")


def _clients(said: Status) -> str:
    return str(_about(said).get("clients", "-"))


def _state(said: Status) -> str:
    return str(_about(said).get("state") or "-")


def _twice(said: Status, names: list[str]) -> str:
    name = _name(said)
    return "its NODE_ID is used twice" if name != "-" and names.count(name) > 1 else ""
