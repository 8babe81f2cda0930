"""Who the user is: a guest with a display name, kept in the signed session cookie.

This is the seam for users of your own: replace what is below, and nothing else asks how they are known.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, dataclass
from datetime import timedelta

from flask import current_app, session

# 96 random bits: nobody guesses or meets another guest's id.
ID_BYTES = 12


@dataclass(frozen=True)
class User:
    """Somebody who is signed in.

    :param id: opaque, unique, up to 64 characters.
    :param name: to be shown to others.
    :param expires_at: when the session ends, in seconds since 1970; checked on each request and event.
    """

    id: str
    name: str
    expires_at: float


def current_user() -> User | None:
    """Say who sends the request, or opened the connection, in hand."""
    kept = session.get("user")
    user = User(**kept) if kept else None
    return user if user and user.expires_at > time.time() else None


def new_guest(name: str) -> User:
    """Make a guest who is not signed in yet."""
    lifetime: timedelta = current_app.config["PERMANENT_SESSION_LIFETIME"]
    return User(secrets.token_urlsafe(ID_BYTES), name, time.time() + lifetime.total_seconds())


def sign_in(user: User) -> None:
    """Keep a user in the session cookie; whoever was signed in before is not any more."""
    session.clear()
    session["user"] = asdict(user)
    session.permanent = True


def sign_out() -> None:
    """Forget the user."""
    session.clear()
