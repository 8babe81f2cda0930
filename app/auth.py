"""Who the user is: a guest with a display name, or a user of another site, known by a token.

This is the seam for users of your own: replace what is below, and nothing else asks how they are known.
docs/users.md says what there is without replacing anything.

A token that a program presents (in the `auth` of a socket, or as Authorization: Bearer) is taken or refused
with a reason. One in a cookie goes along with every request, wanted or not: it is taken or passed over, and
comes before a guest's session.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from flask import current_app, request, session

from app.errors import EventError
from app.user import GUEST_PREFIX, User

if TYPE_CHECKING:
    from app.users.sessions import Sessions
    from app.users.tokens import Tokens
    from config import Settings

# 96 random bits: nobody guesses or meets another guest's id.
ID_BYTES = 12


def current_user() -> User | None:
    """Say who sends the request, or opened the connection, in hand.

    :raises EventError: `unauthorized` for a token in Authorization: Bearer that is refused; `unavailable`
        while tokens cannot be checked.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and _tokens() and not is_api_token(token):
        return by_token(token)
    try:
        return by_cookie() or current_guest()
    except EventError as error:
        guest = current_guest()
        if guest is None and error.code == "unavailable":
            # Whoever it is will be let in when the keys can be read: nobody to send to the sign-in.
            raise
        return guest


def connecting_user(auth: object) -> User | None:
    """Say who opens a socket.

    :param auth: what the client sent along. Its `token` counts, if there is one; else it is as with a page.
    :raises EventError: `unauthorized` for a token that is refused.
    """
    token = auth.get("token") if isinstance(auth, dict) else None
    return current_user() if token is None else by_token(token)


def by_token(token: object) -> User:
    """Say whose a token is. :raises EventError: `unauthorized`, with what is wrong; `unavailable`."""
    tokens = _tokens()
    if tokens is None:
        raise EventError(
            "unauthorized", "This server takes no tokens: set AUTH_JWT_SECRET or AUTH_JWT_JWKS there."
        )
    user = tokens.read(token)
    if _sessions().ended(user):
        raise EventError("unauthorized", "This session was ended: sign in again.", reason="ended")
    return user


def by_cookie() -> User | None:
    """Say whose token is in the other site's cookie. :raises EventError: why it is passed over."""
    name = _settings().auth_jwt_cookie
    token = request.cookies.get(name) if name else None
    return by_token(token) if token else None


def current_guest() -> User | None:
    """Say which guest's session is in the cookie."""
    guest = _kept_guest()
    return guest if guest and not _sessions().ended(guest) else None


def ended(user: User) -> bool:
    """Whether a user's session was ended before its time."""
    return _sessions().ended(user)


def was_ended() -> bool:
    """Whether the cookies carry a session that was ended before its time."""
    guest = _kept_guest()
    if guest and _sessions().ended(guest):
        return True
    try:
        by_cookie()
    except EventError as error:
        return error.details.get("reason") == "ended"
    return False


def _kept_guest() -> User | None:
    kept = session.get("user")
    if not kept or not _settings().auth_guests:
        return None
    guest = User(**kept, began_at=session.get("began_at", 0.0))
    if _tokens() and not guest.id.startswith(GUEST_PREFIX):
        # From before guests' ids had it: a token may have the same one.
        return None
    return guest if guest.expires_at > time.time() else None


def new_guest(name: str) -> User:
    """Make a guest who is not signed in yet."""
    lifetime: timedelta = current_app.config["PERMANENT_SESSION_LIFETIME"]
    now = time.time()
    return User(GUEST_PREFIX + secrets.token_urlsafe(ID_BYTES), name, now + lifetime.total_seconds(), now)


def renamed_guest(guest: User, name: str) -> User:
    """Let a guest go on under another name."""
    return replace(guest, name=name)


def sign_in(guest: User) -> None:
    """Keep a guest in the session cookie; whoever was signed in before is not any more."""
    session.clear()
    kept = asdict(guest)
    # Beside the user: while nodes are upgraded one by one, those of before must be able to read it.
    session["began_at"] = kept.pop("began_at")
    session["user"] = kept
    session.permanent = True


def sign_out() -> None:
    """Forget the guest in the cookie. `Sessions.end` is what makes copies of the cookie worthless."""
    session.clear()


def is_api_token(token: str) -> bool:
    """Whether this is API_TOKEN, which programs carry where users carry theirs."""
    wanted = _settings().api_token
    return wanted is not None and secrets.compare_digest(token.encode(), wanted.encode())


def _settings() -> Settings:
    return current_app.extensions["settings"]  # type: ignore[no-any-return]


def _tokens() -> Tokens | None:
    return current_app.extensions["tokens"]  # type: ignore[no-any-return]


def _sessions() -> Sessions:
    return current_app.extensions["sessions"]  # type: ignore[no-any-return]
