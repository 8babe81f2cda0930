"""Is this node alive, and should it get traffic?"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue

from app import schema
from app.extensions import db, socketio
from app.lifecycle import Lifecycle
from app.realtime import Emitter
from app.realtime.drain import Drain
from config import Settings

# A load balancer asks every few seconds and gives up soon; a check that hangs tells it nothing.
CHECK_TIMEOUT_SECONDS = 2.0
# A full emitter is normal in a burst, for its producers wait; one that stands still is not.
LAG_MAX_SECONDS = 5.0


class NotReady(Exception):
    """A part cannot do its work; the message is the reason."""


health = Blueprint("health", __name__)


@health.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Say that the process answers. Nothing else is asked: restarting it would mend nothing else."""
    return {"status": "ok", "node": _settings().node_id}


@health.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Say whether this node can serve, with the reasons."""
    checks = {
        "node": _check(_node),
        "database": _check(_database),
        "queue": _check(_queue),
        "emitter": _check(_emitter),
    }
    ready = all(check["ok"] for check in checks.values())
    status = "ready" if ready else "not ready"
    return {"status": status, "node": _settings().node_id, "checks": checks}, 200 if ready else 503


def _settings() -> Settings:
    return current_app.extensions["settings"]  # type: ignore[no-any-return]


def _check(ask: Callable[[], dict[str, object]]) -> dict[str, object]:
    started = time.perf_counter()
    try:
        with gevent.Timeout(CHECK_TIMEOUT_SECONDS, NotReady(f"no answer in {CHECK_TIMEOUT_SECONDS} s")):
            outcome: dict[str, object] = {"ok": True, "reason": None, **ask()}
    except NotReady as error:
        outcome = {"ok": False, "reason": str(error)}
    except Exception as error:
        # Whatever is wrong with a part, this page must be able to say it: in one line, and what lies below.
        cause = getattr(error.__cause__, "orig", None) or error.__cause__ or error
        details = str(cause).strip().splitlines() or ["no details"]
        outcome = {"ok": False, "reason": f"{type(cause).__name__}: {details[0]}"}
    return {**outcome, "elapsed_ms": round((time.perf_counter() - started) * 1000, 2)}


def _node() -> dict[str, object]:
    lifecycle: Lifecycle = current_app.extensions["lifecycle"]
    drain: Drain = current_app.extensions["drain"]
    if lifecycle.stopping:
        raise NotReady("this node is stopping")
    if drain.state != "serving":
        raise NotReady(f"this node is {drain.state}: it takes no new clients, and has {drain.clients}")
    return {
        "clients": drain.clients,
        "refused": drain.refused,
        "transport": socketio.transport_status(),
        "presence": socketio.server.manager.presence.status(),
    }


def _database() -> dict[str, object]:
    found = db.read(schema.current)
    if not schema.fits(found):
        raise NotReady(f"the schema is at {found}, the code wants {schema.wanted()}: alembic upgrade head")
    return {"dialect": db.engine.dialect.name, "schema": found}


def _queue() -> dict[str, object]:
    status = socketio.queue_status()
    if status["active"] is None:
        errors = [f"{name}: {broker['error']}" for name, broker in status["brokers"].items()]
        raise NotReady("no broker answers: " + "; ".join(errors))
    states = {name: broker["state"] for name, broker in status["brokers"].items()}
    return {"active": status["active"], "strategy": status["strategy"], "brokers": states}


def _emitter() -> dict[str, object]:
    emitter: Emitter = current_app.extensions["emitter"]
    stats = emitter.stats()
    if not stats.running:
        raise NotReady("the emitter is not running")
    if stats.lag_seconds > LAG_MAX_SECONDS:
        raise NotReady(f"the emitter is stuck: {stats.depth} events wait, one for {stats.lag_seconds:.1f} s")
    return {"depth": stats.depth, "lag_ms": round(stats.lag_seconds * 1000, 2), "dropped": stats.dropped}
