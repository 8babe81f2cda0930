"""Command: `flask users disconnect`. docs/users.md shows it."""

from __future__ import annotations

import time

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import EventError
from app.extensions import db
from app.names import name_key
from app.realtime.outside import EXTENSION, fail, outside, timeout
from app.users import store
from app.users.endings import by_id, by_name
from app.users.models import Person
from app.users.sessions import TOPIC
from config import Settings

# Of people, while a name is looked for.
ROWS_AT_ONCE = 1_000

users = AppGroup("users", help="See to the people who use the application.")


def init_app(app: Flask) -> None:
    """Register the commands."""
    app.cli.add_command(users)


@users.command()
@click.argument("name", required=False)
@click.option("--id", "user_id", help="Whoever has this id, instead of a name.")
@timeout
@with_appcontext
def disconnect(name: str | None, user_id: str | None, timeout_seconds: float) -> None:
    """End all sessions of NAME, on all nodes: pages, sockets and copies of cookies.

    Whoever is meant may sign in again. Works without a broker too; nodes find out a moment later then. A name
    that nobody is known by is recorded all the same: somebody may be about to come in under it.
    """
    if (name is None) == (user_id is None):
        raise click.UsageError("say who: a NAME, or --id ID")
    whom = repr(name) if user_id is None else f"the id {user_id!r}"
    who = by_name(name or "") if user_id is None else by_id(user_id)
    ended_at_ms = time.time_ns() // 1_000_000
    try:
        known = db.read(_is_known, name, user_id)
        db.write(store.record, {who: ended_at_ms}, ended_at_ms)
    except EventError as error:
        fail(f"nothing was done: {error.message}")
    click.echo(f"Sessions of {whom} that began until now are over; stored.")
    if not known:
        click.echo(f"Nobody is known by {whom}: is it spelled so?", err=True)
    click.echo(_tell([who, ended_at_ms], timeout_seconds))


def _is_known(session: Session, name: str | None, user_id: str | None) -> bool:
    if user_id is not None:
        return session.get(Person, user_id) is not None
    # What is stored is the name as it is shown.
    names = session.scalars(select(Person.name), execution_options={"yield_per": ROWS_AT_ONCE})
    wanted = name_key(name or "")
    return any(name_key(found) == wanted for found in names)


def _tell(told: list[object], timeout_seconds: float) -> str:
    """Tell all nodes; returns how they get to know."""
    settings: Settings = current_app.extensions["settings"]
    soon = f"each node finds it in the database within {settings.session_check_seconds:g} s."
    if not current_app.extensions[EXTENSION]["message_queue"]:
        return f"Without MESSAGE_QUEUE, {soon}"
    try:
        with outside() as (socketio, channel):
            socketio.tell_nodes(TOPIC, told)
            if socketio.flush(timeout_seconds):
                return f"No broker took it within {timeout_seconds:g} s, so {soon}"
            return f"The nodes were told over {channel.status()['active'] or 'a broker'}."
    except click.ClickException as error:
        # What is stored is stored, whatever is wrong with the queue.
        return f"The nodes were not told ({error.message}), so {soon}"
