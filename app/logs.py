"""Structured logs: readable in development, one JSON object a line in production."""

from __future__ import annotations

import logging.config
import re
import time
import uuid
from typing import Any

import structlog
from flask import Flask, Response, g, request

from app.auth import current_user
from app.errors import EventError
from config import Settings

log = structlog.get_logger("app.http")

# What a proxy may hand over as a request's id; anything else could forge log lines.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Asked for every few seconds by machines, or many at once by browsers: of no interest unless they fail.
QUIET_ENDPOINTS = frozenset({"static", "health.healthz", "health.readyz"})


def _shared_processors(settings: Settings) -> list[Any]:
    """What every entry goes through, ours and the libraries'."""

    def add_node(_logger: Any, _method: str, entry: dict[str, Any]) -> dict[str, Any]:
        # All nodes of a machine may write into one stream.
        entry.setdefault("node", settings.node_id)
        return entry

    return [
        structlog.contextvars.merge_contextvars,
        *([add_node] if settings.node_id else []),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def logging_config(settings: Settings) -> dict[str, Any]:
    """Build the configuration of the standard library's logging; gunicorn takes the same."""
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=False)]
        if settings.log_format == "json"
        else [_on_one_line, structlog.dev.ConsoleRenderer(colors=False, pad_event_to=24)]
    )
    level = settings.log_level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _shared_processors(settings),
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
            }
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "structured",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            # They bring handlers of their own otherwise, and each line would come twice.
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
            # At "info" these name every packet, and every plug-in.
            "alembic.runtime.plugins": {"level": "WARNING"},
            "engineio.server": {"level": "WARNING"},
            # At "warning" it has a line for each event of a client that is not connected.
            "socketio.server": {"level": "ERROR"},
        },
    }


def _on_one_line(_logger: Any, _method: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Keep a line break in a message, which may come from a client, from looking like another entry."""
    entry["event"] = str(entry["event"]).replace("\r", "\\r").replace("\n", "\\n")
    return entry


def init_app(app: Flask, settings: Settings) -> None:
    """Set up logging, give each request an id, and log each request's end."""
    logging.config.dictConfig(logging_config(settings))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(settings),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=not settings.testing,
    )
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    g.started = time.perf_counter()
    try:
        user = current_user()
    except EventError:
        # Whoever needs to know says so.
        user = None
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id, user=user and user.name)


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    quiet = request.endpoint in QUIET_ENDPOINTS and response.status_code < 500  # noqa: PLR2004
    log.log(
        logging.DEBUG if quiet else logging.INFO,
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        elapsed_ms=round((time.perf_counter() - g.started) * 1000, 1),
        address=request.remote_addr,
    )
    # The greenlet lives on: its connection may become a WebSocket, whose events are not this request's.
    structlog.contextvars.clear_contextvars()
    return response
