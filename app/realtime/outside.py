"""What the commands share: each runs beside the nodes, as a process that emits and has no clients."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import click
from flask import current_app

from app.realtime.brokers import parse_message_queue
from app.realtime.queue.channel import Channel
from app.realtime.queue.options import QueueOptions
from app.realtime.queue.survey import Survey, trouble
from app.realtime.socketio import SocketIO

# Where the application keeps the nodes' own settings for them.
EXTENSION = "queue_arguments"

timeout = click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(0.1, 3_600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait.",
)


@contextlib.contextmanager
def outside() -> Iterator[tuple[SocketIO, Channel]]:
    """Stand beside the nodes for a while.

    :raises click.ClickException: when there is nothing to stand on.
    """
    arguments = current_app.extensions[EXTENSION]
    urls = parse_message_queue(arguments["message_queue"])
    if not urls:
        fail(
            "MESSAGE_QUEUE is not set: the application is one node, which nobody reaches from outside. Set "
            "it here as for the nodes, for example MESSAGE_QUEUE=redis://localhost:6379/0"
        )
    if all(url.startswith("memory:") for url in urls):
        fail(
            "MESSAGE_QUEUE=memory:// is inside each node, and nobody reaches it from outside: name a Redis "
            "or RabbitMQ"
        )
    # What a dead node left on disk is for its next start, not for a command that is over in a second.
    options = replace(arguments.get("queue_options") or QueueOptions(), spool=None)
    # The commands say themselves how the brokers are.
    engine = logging.getLogger("app.realtime")
    level = engine.level
    engine.setLevel(logging.ERROR)
    try:
        with contextlib.ExitStack() as stack:
            socketio = SocketIO(**{**arguments, "message_queue": urls, "queue_options": options})
            stack.callback(socketio.close, 0)
            assert socketio.manager is not None
            assert socketio.manager.channel is not None
            yield socketio, socketio.manager.channel
    finally:
        engine.setLevel(level)


def fail(message: str) -> NoReturn:
    """End the command with a message."""
    raise click.ClickException(message)


def nobody(survey: Survey) -> str:
    """Why no node answers, perhaps."""
    problems = trouble(survey.own)
    if survey.own["active"] is None:
        return f"no broker works from here: {problems}"
    more = f" ({problems})" if problems else ""
    return (
        f"no node answers on channel {survey.channel.name!r}: is one running, with the same MESSAGE_QUEUE, "
        f"CHANNEL and CHANNEL_SECRET?{more}"
    )
