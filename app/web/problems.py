"""Errors over HTTP: problem details for programs (RFC 9457), a page for people."""

from __future__ import annotations

import logging
import secrets

from flask import Flask, Response, g, json, render_template, request
from werkzeug.exceptions import HTTPException, default_exceptions

from app.errors import CODES, EventError

logger = logging.getLogger(__name__)


def problem(status: int, title: str, detail: str, **members: object) -> Response:
    """Build a problem details response.

    :param status: the HTTP status.
    :param title: the kind of problem, the same sentence each time.
    :param detail: what was wrong this time.
    :param members: further members of the object, for programs.
    """
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": g.get("request_id"),
        **members,
    }
    response = Response(json.dumps(body), status, mimetype="application/problem+json")
    retry_after_ms = members.get("retry_after_ms")
    if isinstance(retry_after_ms, int):
        # Flask-Limiter takes up to a second off again, and "0" would be no wait at all.
        response.headers["Retry-After"] = str(-(-retry_after_ms // 1000) + 1)
    return response


def init_app(app: Flask) -> None:
    """Answer every error, expected or not."""
    app.register_error_handler(EventError, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _defect)


def _wants_json() -> bool:
    return request.path.startswith("/api/") or not request.accept_mimetypes.accept_html


def _refused(error: EventError) -> Response | tuple[str, int]:
    code = CODES[error.code]
    if not _wants_json():
        page = render_template(
            "error.html", status=code.http_status, title=code.meaning, detail=error.message
        )
        return page, code.http_status
    return problem(code.http_status, code.meaning, error.message, code=error.code, **error.details)


def _http_error(error: HTTPException) -> Response | tuple[str, int, list[tuple[str, str]]]:
    if error.response is not None:
        # A response that was made elsewhere and raised, a redirect for one.
        return error.response  # type: ignore[return-value]
    status = error.code or 500
    headers = [(k, v) for k, v in error.get_headers() if k.lower() != "content-type"]
    if _wants_json():
        response = problem(status, error.name, error.description or error.name)
        response.headers.extend(headers)
        return response
    page = render_template("error.html", status=status, title=error.name, detail=error.description)
    return page, status, headers


def _defect(error: Exception) -> Response | tuple[str, int, list[tuple[str, str]]]:
    incident = secrets.token_hex(4)
    logger.error("request failed, incident %s", incident, exc_info=error)
    failure = default_exceptions[500](f"Something went wrong on our side. It is logged as {incident}.")
    return _http_error(failure)
