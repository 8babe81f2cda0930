"""Commands: `flask emit`, and `flask queue status|switch|watch`. docs/external.md shows them."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import deque
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup, with_appcontext

from app.realtime.errors import QueueError
from app.realtime.node_cli import node
from app.realtime.outside import EXTENSION, fail, nobody, outside, timeout
from app.realtime.queue.survey import Survey, changes, clock, figures, line, rtt, short, trouble

# Whoever listens has answered by then.
HEARD_SECONDS = 0.5
WATCH_SECONDS = 1.0
CHANGES_SHOWN = 12
COLORS = {"up": "green", "connecting": "yellow", "silent": "yellow", "down": "red"}


def init_app(app: Flask, **arguments: Any) -> None:
    """Register the commands.

    :param arguments: those of the nodes' `SocketIO` that concern the queue: message_queue, queue_strategy,
        channel, channel_secret, stock_channel, queue_options.
    """
    app.extensions[EXTENSION] = arguments
    app.cli.add_command(emit)
    app.cli.add_command(queue)
    app.cli.add_command(node)


# flask emit


@click.command()
@click.argument("event")
@click.argument("data", required=False, metavar="[JSON]")
@click.option("--namespace", "-n", default="/", show_default=True, help="For example /chat.")
@click.option("--room", "-r", "rooms", multiple=True, help="Only to this room, or sid; repeat for more.")
@click.option("--skip-sid", "skip", multiple=True, help="Not to this client; repeat for more.")
@timeout
@with_appcontext
def emit(
    event: str,
    data: str | None,
    namespace: str,
    rooms: tuple[str, ...],
    skip: tuple[str, ...],
    timeout_seconds: float,
) -> None:
    """Emit EVENT, with data as JSON, to the clients of all nodes; - reads the JSON from the input.

    The exit status says whether it was delivered: to a broker, and back from there.
    """
    if not namespace.startswith("/"):
        raise click.UsageError(f"--namespace {namespace}: begins with a slash, as in /{namespace}")
    values = () if data is None else (_read_json(data),)
    to = " and ".join(rooms) if rooms else "everybody"
    with outside() as (socketio, channel):
        begun = time.monotonic()
        try:
            socketio.emit(event, *values, namespace=namespace, to=list(rooms) or None, skip_sid=list(skip))
        except QueueError as error:
            fail(str(error))
        left = socketio.flush(timeout_seconds)
        elapsed_ms = (time.monotonic() - begun) * 1000
        survey = Survey(channel)
        if left:
            taken = not survey.own["outbox"]["depth"]
            fate = "a broker took it, so it may still arrive" if taken else "it is given up"
            fail(f"not delivered within {timeout_seconds:g} s, {fate}: {trouble(survey.own)}")
        over = survey.own["active"] or "a broker"
        click.echo(f"{event!r} to {to} in {namespace}: delivered over {over} in {elapsed_ms:.0f} ms")
        if not survey.ask_until(lambda: bool(survey.answers or survey.silent), HEARD_SECONDS):
            click.echo(f"But {nobody(survey)}", err=True)


def _read_json(text: str) -> Any:
    source = "the input" if text == "-" else repr(text)
    if text == "-":
        text = sys.stdin.read()
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(
            f"{source} is not JSON: {error}. In a shell, put JSON into single quotes: "
            """'{"text": "Hello"}', and a text into both kinds: '"Hello"'"""
        ) from None


# flask queue


queue = AppGroup("queue", help="See and switch the message queue of all nodes.")


@queue.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: everything that the nodes know.")
@timeout
def status(as_json: bool, timeout_seconds: float) -> None:
    """Ask all nodes how the queue is. Fails when none answers."""
    with outside() as (_, channel):
        survey = Survey(channel)
        survey.ask_all(timeout_seconds)
        answers, silent = survey.answers, survey.silent
        if as_json:
            found = {"channel": channel.name, "nodes": list(answers.values()), "silent": silent}
            click.echo(json.dumps(found, indent=2))
        elif answers:
            _show(survey)
        if not answers:
            fail(nobody(survey))


def _show(survey: Survey) -> None:
    """The table of all nodes."""
    answers = survey.answers
    count = f"{len(answers)} node{'s' if len(answers) > 1 else ''}"
    click.echo(f"{count} on channel {survey.channel.name!r}, {next(iter(answers.values()))['strategy']}")
    rows: list[tuple[str, ...]] = [("node", "broker", "state", "since", "rtt", "published", "received", "")]
    for origin, said in answers.items():
        for number, (name, link) in enumerate(said["brokers"].items()):
            notes = [
                "in use" if name == said["active"] else "",
                "preferred" if name == said["preferred"] != said["active"] else "",
                link["error"] if link["error"] and link["state"] != "up" else "",
            ]
            rows.append(
                (
                    "" if number else short(origin),
                    name,
                    link["state"],
                    clock(link["since"]),
                    rtt(link),
                    str(link["published"]),
                    str(link["received"]),
                    ", ".join(note for note in notes if note),
                )
            )
        rows.append(("", figures(said)))
    widths = [max(len(row[i]) for row in rows if len(row) > i + 1) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)] + list(row[7:])
        if len(row) == len(rows[0]):
            cells[2] = click.style(cells[2], fg=COLORS.get(row[2]))
        click.echo("  ".join(cells).rstrip())
    for origin in survey.silent:
        click.echo(f"{short(origin)}  lives, and did not answer in time", err=True)


@queue.command()
@click.argument("name", metavar="NAME|auto")
@click.option("--force", is_flag=True, help="Prefer a broker that is not up: it is used as soon as it is.")
@timeout
def switch(name: str, force: bool, timeout_seconds: float) -> None:
    """Let all nodes prefer a broker; auto is the configured order. Waits until they do.

    Nodes that start later begin with the configured order.
    """
    with outside() as (socketio, channel):
        survey = Survey(channel)
        names = list(survey.own["brokers"])
        if name not in (*names, "auto"):
            raise click.UsageError(f"there is no broker {name!r}: there are {', '.join(names)}, and auto")
        wanted = names[0] if name == "auto" else name
        survey.ask_all(timeout_seconds)
        before = survey.answers
        if not before:
            fail(nobody(survey))
        if not force and name != "auto":
            _refuse_unless_up(wanted, survey)
        socketio.switch_queue(None if name == "auto" else name, everywhere=True)

        def behind() -> list[str]:
            return [
                origin
                for origin in before
                if (said := survey.answers.get(origin)) is None
                or said["preferred"] != wanted
                or (said["active"] != wanted and said["brokers"][wanted]["state"] == "up")
            ]

        survey.ask_until(lambda: not behind(), timeout_seconds)
        for origin, said in survey.answers.items():
            if origin not in behind():
                uses = said["active"] or "none, for none is up"
                click.echo(f"{short(origin)} prefers {said['preferred']}, uses {uses}")
        if behind():
            left = ", ".join(map(short, behind()))
            fail(f"not confirmed within {timeout_seconds:g} s by {left}: see `flask queue status`")


def _refuse_unless_up(name: str, survey: Survey) -> None:
    bad = [
        f"{short(origin)}: {trouble(said, [name])}"
        for origin, said in survey.answers.items()
        if said["brokers"].get(name, {}).get("state") != "up"
    ]
    if bad:
        fail(
            f"{name} does not work for {len(bad)} of {len(survey.answers)} nodes ({'; '.join(bad)}). --force "
            "prefers it all the same: it is used as soon as it is up"
        )


@queue.command()
def watch() -> None:
    """Show every second how the queue is, and what changes, until Ctrl-C."""
    interrupted: list[int] = []
    # In a patched process the exception would end whichever greenlet runs.
    signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    with outside() as (_, channel):
        survey = Survey(channel)
        survey.ask_until(lambda: bool(survey.answers or interrupted), 2 * WATCH_SECONDS)
        before = survey.answers
        happened: deque[str] = deque(maxlen=CHANGES_SHOWN)
        while not interrupted:
            now = clock(time.time())
            new = [f"{now} {change}" for change in changes(before, survey.answers)]
            before = survey.answers
            happened.extend(new)
            if sys.stdout.isatty():
                click.clear()
                if before:
                    _show(survey)
                new = ["", *happened]
            else:
                new += [f"{now} {short(origin)}: {line(said)}" for origin, said in before.items()]
            if not before:
                new.append(f"{now} {nobody(survey)}")
            click.echo("\n".join(new))
            survey.ask_until(lambda: bool(interrupted), WATCH_SECONDS)
