"""The tour's events: operators start it and break things, and are shown what it does to the numbers."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import ClassVar

import structlog
from flask import Flask
from pydantic import BaseModel

from app.ops.operators import OperatorNamespace, Operators
from app.realtime import Client, Nothing, Rates, SocketIO, event
from app.tour import schemas
from app.tour.breaking import Breaker
from app.tour.runner import TourRunner
from app.tour.tour import CHAPTERS
from config import Settings

log = structlog.get_logger(__name__)


class TourNamespace(OperatorNamespace):
    """`/tour`: for operators, in a cluster on one machine."""

    # A node tells its own clients what it knows.
    emits: ClassVar[dict[str, type[BaseModel]]] = {"tour": schemas.TourState, "step": schemas.TourStep}

    def __init__(self, socketio: SocketIO, breaker: Breaker, node: str, rates: Rates) -> None:
        super().__init__("/tour", rates)
        self._runner = TourRunner(socketio, breaker, node, self)

    def connected(self, client: Client) -> None:
        """Show how it is."""
        self._runner.watch()

    def here(self) -> bool:
        """Whether this node serves an operator."""
        return bool(self._clients)

    def show(self, name: str, payload: BaseModel) -> None:
        """Show this node's operators something."""
        self.tell(name, payload, here=True)

    @event()
    def on_start(self, client: Client, payload: Nothing) -> None:
        """Let all nodes send and count numbers; nothing, when they do. It ends by itself after 15 minutes."""
        self.note(client, "start the tour")
        self._runner.start()

    @event()
    def on_stop(self, client: Client, payload: Nothing) -> None:
        """Let them stop; what is frozen goes on."""
        self.note(client, "stop the tour")
        self._runner.stop()

    @event(schemas.Break, schemas.BreakAnswer)
    def on_break(self, client: Client, payload: schemas.Break) -> schemas.BreakAnswer:
        """Kill or freeze something, a moment after it was announced to all nodes.

        Refused with `not_now` while no numbers run, or something else is not back yet; with `unavailable`
        when the program is not there to be broken.
        """
        self.note(client, payload.what, node=payload.node)
        return schemas.BreakAnswer(step=self._runner.break_(payload.what, payload.node).id)


def init_app(app: Flask, socketio: SocketIO, settings: Settings) -> None:
    """Register `/tour`, and let the pages offer it; only where supervisord's socket is."""
    control = settings.cluster_control
    if control is None:
        return
    if not _is_socket(control):
        log.warning("the tour is off: there is no supervisord", cluster_control=str(control))
        return
    rates = Rates({"default": settings.rate_default, "connect": settings.rate_connect})
    node = settings.node_id or "node"
    namespace = TourNamespace(socketio, Breaker(control), node, rates)
    socketio.on_namespace(namespace)
    operators: Operators = app.extensions["operators"]
    operators.add(namespace)
    app.jinja_env.globals.update(tour_enabled=True, tour_chapters=CHAPTERS)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False
