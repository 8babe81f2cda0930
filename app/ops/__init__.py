"""The operations page: what all nodes do, and how to switch and drain them (see docs/operations.md)."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask

from app.ops.access import Access
from app.ops.namespace import OpsNamespace
from app.ops.node import ThisNode
from app.ops.operators import Operators
from app.ops.pages import ops
from app.ops.pulse import Pulse, wall_ms
from app.ops.service import OpsService
from app.realtime import Emitter, Rates, SocketIO
from app.realtime.drain import Drain
from config import Settings


def init_app(
    app: Flask, socketio: SocketIO, drain: Drain, emitter: Emitter, settings: Settings
) -> Pulse | None:
    """Register `/ops`, the page and the namespace, and build its clock, which the caller starts and stops.

    :returns: None when there is no ADMIN_TOKEN: then the page says so, and there is nothing else.
    """
    app.register_blueprint(ops)
    app.jinja_env.globals["ops_enabled"] = settings.admin_token is not None
    manager = socketio.manager
    if settings.admin_token is None or manager is None:
        return None
    namespace = OpsNamespace(Rates({"default": settings.rate_default, "connect": settings.rate_connect}))
    service = OpsService(ThisNode(socketio, manager, namespace, drain, emitter))
    namespace.serve(service)
    socketio.on_namespace(namespace)
    manager.subscribe(service.queue_event)
    operators = Operators()
    operators.add(namespace)
    _listen(socketio, service, operators)
    app.extensions.update(operator_access=Access(settings), operators=operators)
    return Pulse(service, operators, manager.meters)


def _listen(socketio: SocketIO, service: OpsService, operators: Operators) -> None:
    """Take what other nodes tell."""

    def figures(origin: str, data: Any) -> None:
        service.take_figures(origin, data, time.monotonic(), wall_ms())

    def signed_out(_origin: str, data: Any) -> None:
        # A disconnect handler may wait.
        socketio.start_background_task(operators.leave, str(data))

    socketio.on_nodes("ops.figures", figures)
    socketio.on_nodes("ops.happened", service.take_happenings)
    socketio.on_nodes("ops.hello", lambda origin, _: service.take_hello(origin))
    socketio.on_nodes("ops.name", service.take_name)
    socketio.on_nodes("ops.bye", lambda origin, _: service.take_bye(origin))
    socketio.on_nodes("ops.signed_out", signed_out)
