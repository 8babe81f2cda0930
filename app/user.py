"""Who is signed in, as all parts know them; app/auth.py finds out who it is."""

from __future__ import annotations

from dataclasses import dataclass

# What guests' ids begin with, and those of tokens may not: others see ids, and nobody becomes a guest by one.
GUEST_PREFIX = "guest."


@dataclass(frozen=True)
class User:
    """Somebody who is signed in.

    :param id: opaque, unique, up to 64 characters. Others see it.
    :param name: to be shown to others.
    :param expires_at: when the session ends, in seconds since 1970; checked on each request and event.
    :param began_at: when it began, likewise. 0 is before everything that could have ended it.
    """

    id: str
    name: str
    expires_at: float
    began_at: float = 0.0
