"""The events of the operations page."""

from __future__ import annotations

import time
from typing import ClassVar

from pydantic import BaseModel

from app.ops import schemas
from app.ops.operators import OperatorNamespace
from app.ops.service import OpsService
from app.realtime import Client, Nothing, Rates, event


class OpsNamespace(OperatorNamespace):
    """`/ops`: the state of all nodes, for operators. `serve` says whose."""

    emits: ClassVar[dict[str, type[BaseModel]]] = {
        "figures": schemas.ClusterFigures,
        "happened": schemas.Happening,
    }

    def __init__(self, rates: Rates) -> None:
        super().__init__("/ops", rates)
        self._service: OpsService | None = None

    def serve(self, service: OpsService) -> None:
        """Answer from this service."""
        self._service = service

    @property
    def service(self) -> OpsService:
        """What knows all that is shown."""
        assert self._service is not None
        return self._service

    def connected(self, client: Client) -> None:
        """Let all nodes know that somebody watches."""
        self.announce(client)

    @event(answer=schemas.Overview)
    def on_overview(self, client: Client, payload: Nothing) -> schemas.Overview:
        """Tell everything that is known now. Ask after each connect; `figures` and `happened` go on."""
        return self.service.overview(time.monotonic(), _wall_ms())

    @event(schemas.Switch)
    def on_switch(self, client: Client, payload: schemas.Switch) -> None:
        """Let all nodes prefer a broker; `figures` show when they do. Nothing is lost or doubled by it."""
        self.note(client, "switch", broker=payload.broker)
        self.service.switch(payload.broker, _wall_ms())

    @event(schemas.NodeChoice)
    def on_drain(self, client: Client, payload: schemas.NodeChoice) -> None:
        """Let a node send its clients to the others, and take no new ones. Not the last that serves."""
        self.note(client, "drain", origin=payload.origin)
        self.service.drain(payload.origin, True, time.monotonic(), _wall_ms())

    @event(schemas.NodeChoice)
    def on_resume(self, client: Client, payload: schemas.NodeChoice) -> None:
        """Let a node take clients again."""
        self.note(client, "resume", origin=payload.origin)
        self.service.drain(payload.origin, False, time.monotonic(), _wall_ms())


def _wall_ms() -> int:
    return int(time.time() * 1000)
