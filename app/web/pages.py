"""The pages: sign in, chat, and the API's documentation."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from flask import Blueprint, Flask, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import auth
from app.chat.namespace import ChatNamespace
from app.errors import CODES, EventError
from app.extensions import limiter, openapi
from app.names import name_key, person_name
from app.users.sessions import Sessions
from app.web.modules import imported_modules
from config import Settings

REASONS = {
    "name_taken": "Somebody else is online with that name. Please choose another.",
    "account_name_taken": "Somebody else is online here with your account's name. Try again when they have "
    "left, or change the name of your account.",
    "unauthorized": "Your session has ended. Please sign in again.",
    "expired": "Your session has ended. Please sign in again.",
    "ended": "You were signed out.",
    "signed_out": "You have signed out.",
}

# Not for ever: while a version is deployed, an address of before already has the new contents, and after a
# rollback caches would go on with them.
STATIC_MAX_AGE_SECONDS = 600

pages = Blueprint("pages", __name__)


def init_app(app: Flask, settings: Settings) -> None:
    """Register the pages."""

    @cache
    def version(path: str) -> str:
        return hashlib.sha256(Path(app.static_folder or "", path).read_bytes()).hexdigest()[:12]

    def asset(path: str) -> str:
        """The address of a static file, which changes with its contents."""
        if settings.app_env == "development":
            return url_for("static", filename=path)
        return url_for("static", filename=path, v=version(path))

    @cache
    def known_modules(script: str) -> list[str]:
        return imported_modules(Path(app.static_folder or ""), script)

    def modules(script: str) -> list[str]:
        """The addresses of what a script imports, as it imports them: without a version."""
        if settings.app_env == "development":
            known_modules.cache_clear()
        return [url_for("static", filename=path) for path in known_modules(script)]

    def max_age_seconds(_filename: str | None) -> int | None:
        # A module that another one imports has no version in its address: the browser asks each time whether
        # it has changed, and old and new ones never meet.
        return STATIC_MAX_AGE_SECONDS if "v" in request.args else None

    app.get_send_file_max_age = max_age_seconds  # type: ignore[method-assign,assignment]
    app.jinja_env.globals.update(asset=asset, modules=modules, app_name=settings.app_name)
    app.register_blueprint(pages)


def _chat() -> ChatNamespace:
    return current_app.extensions["chat"]  # type: ignore[no-any-return]


def _sessions() -> Sessions:
    return current_app.extensions["sessions"]  # type: ignore[no-any-return]


@pages.get("/")
def index() -> ResponseReturnValue:
    """Show the chat, with the market beside it."""
    user = auth.current_user()
    if user is None:
        return redirect(url_for("pages.sign_in", reason="ended" if auth.was_ended() else None))
    return render_template("chat.html", user=user)


@pages.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Ask for a name, or lead to where users sign in."""
    settings: Settings = current_app.extensions["settings"]
    reason = request.args.get("reason", "")
    message = REASONS.get(reason)
    if message is None or reason in ("name_taken", "expired"):
        try:
            account = auth.by_cookie()
        except EventError as error:
            # The other site would only send the user back with it.
            message = message or error.message
        else:
            if account and reason != "name_taken":
                # Also when the other site has renewed the cookie since the page's session expired.
                return redirect(url_for("pages.index"))
            if account:
                # Whose name is chosen elsewhere.
                message = REASONS["account_name_taken"]
    if message is None and settings.auth_sign_in_url and not settings.auth_guests:
        return redirect(settings.auth_sign_in_url)
    return _sign_in_page("", message, 200)


@pages.post("/sign-in")
@limiter.limit(lambda: current_app.extensions["settings"].rate_sign_in)
def do_sign_in() -> ResponseReturnValue:
    """Sign a guest in."""
    settings: Settings = current_app.extensions["settings"]
    if not settings.auth_guests:
        raise EventError("forbidden", "Guests are not let in here: sign in where your account is.")
    typed = request.form.get("name", "")
    before = auth.current_guest()
    try:
        name, key = person_name(typed, settings.chat_name_max_chars)
        if before and name_key(before.name) == key:
            # The form was sent twice, or from another tab.
            return redirect(url_for("pages.index"), 303)
        # Whose name was taken stays the same guest: their rooms, and what they could not send, wait for them.
        goes_on = before is not None and request.form.get("reason") == "name_taken"
        user = auth.renamed_guest(before, name) if before and goes_on else auth.new_guest(name)
        if not _chat().claim_name(user):
            return _sign_in_page(typed, REASONS["name_taken"], 409)
        try:
            _chat().service.welcome(user)
        except BaseException:
            _chat().forget_name(user)
            raise
    except EventError as error:
        return _sign_in_page(typed, error.message, CODES[error.code].http_status)
    if before and not goes_on:
        _sessions().end(before)
        _chat().forget(before)
    auth.sign_in(user)
    return redirect(url_for("pages.index"), 303)


@pages.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """Sign out, and end the user's session on all nodes, in all tabs, and in copies of the cookie."""
    user, guest = auth.current_user(), auth.current_guest()
    auth.sign_out()
    if user is not None:
        _sessions().end(user)
    if guest is not None:
        _sessions().end(guest)
        _chat().forget(guest)
    return redirect(url_for("pages.sign_in", reason="signed_out"), 303)


@pages.get("/market")
def market() -> ResponseReturnValue:
    """Show the market, to everybody."""
    return render_template("market.html")


@pages.get("/api/docs")
def api_docs() -> ResponseReturnValue:
    """Show the REST API's documentation."""
    return render_template("api_docs.html", spec_url=openapi.config.spec_url)


@pages.get("/favicon.ico")
def favicon() -> ResponseReturnValue:
    """Browsers ask for this name whatever the page says."""
    return redirect(url_for("static", filename="img/favicon.svg"), 301)


def _sign_in_page(name: str, error: str | None, status: int) -> ResponseReturnValue:
    settings: Settings = current_app.extensions["settings"]
    page = render_template(
        "sign_in.html",
        name=name,
        error=error,
        reason=request.values.get("reason"),
        name_max_chars=settings.chat_name_max_chars,
        guests=settings.auth_guests,
        sign_in_url=settings.auth_sign_in_url,
        sign_in_host=settings.auth_sign_in_url and urlsplit(settings.auth_sign_in_url).hostname,
    )
    return page, status
