"""The operations page, and how an operator signs in."""

from __future__ import annotations

import structlog
from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from app.errors import CODES, EventError
from app.extensions import socketio
from app.ops.access import Access, is_own_page
from app.ops.operators import Operators
from app.realtime import QueueError
from config import Settings
from config.ops import DEFAULT_ADMIN_TOKEN

log = structlog.get_logger(__name__)

REASONS = {
    "unauthorized": "Your time is over. Please show the token again.",
    "expired": "Your time is over. Please show the token again.",
    "signed_out": "You have signed out.",
    "ended": "You have signed out.",
}

ops = Blueprint("ops", __name__, url_prefix="/ops")


@ops.before_request
def refuse_when_off() -> None:
    """Say how it is turned on."""
    if "operator_access" not in current_app.extensions:
        raise NotFound(
            "The operations page is off here. Set ADMIN_TOKEN, at least 32 characters, to turn it on."
        )


@ops.before_request
def refuse_other_sites() -> None:
    """Nor may those in CORS_ORIGINS post here: what they may do is the chat's."""
    if request.method == "POST" and not is_own_page():
        raise EventError("forbidden", "This request was sent by a page of another site.")


def _kept(endpoint: str) -> str:
    """The address of a page, with what is kept of the one in hand: `?tour`, which `make cluster` prints."""
    return url_for(endpoint) + ("?tour" if "tour" in request.args else "")


def _access() -> Access:
    return current_app.extensions["operator_access"]  # type: ignore[no-any-return]


@ops.get("")
def index() -> ResponseReturnValue:
    """Show the state of all nodes."""
    if _access().remembered() is None:
        return redirect(_kept("ops.sign_in"))
    return render_template("ops.html")


@ops.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Ask for the token."""
    return _sign_in_page(REASONS.get(request.args.get("reason", "")), 200)


@ops.post("/sign-in")
def do_sign_in() -> ResponseReturnValue:
    """Let an operator in."""
    try:
        operator = _access().check(request.form.get("token", "").strip(), request.remote_addr or "")
    except EventError as error:
        return _sign_in_page(error.message, CODES[error.code].http_status)
    response = redirect(_kept("ops.index"), 303)
    _access().remember(response, operator)
    log.info("operator signed in", operator=operator.id, address=request.remote_addr)
    return response


@ops.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """Forget the operator, and end their connections on all nodes."""
    operator = _access().remembered()
    if operator is not None:
        operators: Operators = current_app.extensions["operators"]
        operators.leave(operator.id)
        try:
            socketio.tell_nodes("ops.signed_out", operator.id)
        except QueueError as error:
            log.warning("other nodes do not know who has signed out", operator=operator.id, error=str(error))
    response = redirect(url_for("ops.sign_in", reason="signed_out"), 303)
    _access().forget(response)
    return response


def _sign_in_page(error: str | None, status: int) -> ResponseReturnValue:
    settings: Settings = current_app.extensions["settings"]
    known = settings.admin_token if settings.admin_token == DEFAULT_ADMIN_TOKEN else None
    return render_template("ops_sign_in.html", error=error, known_token=known), status
