"""Which sessions were ended before their time. Pure: time is passed in.

A session is over when it began at or before the last end that was recorded for its user: by id, which is
whoever signed out, or by name, which is whoever was sent away. In doubt it is over. Guests' sessions begin
at a millisecond. A token's `iat` usually is whole seconds: one that was signed in the second of the end
counts as signed before it, and whoever signs in again gets a good one a second later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from app.names import name_key
from app.user import User

# Each end looks at all clients of a node, and to compare names takes longest.
NAMES_KEPT = 20_000


def by_id(user_id: str) -> str:
    """What an end of a user's sessions is recorded under."""
    return f"id:{user_id}"


@lru_cache(maxsize=NAMES_KEPT)
def by_name(name: str) -> str:
    """What an end of the sessions under a name, as the chat compares them, is recorded under."""
    return f"name:{name_key(name)}"


class Endings:
    """The ends that are known, in milliseconds since 1970, by what they are recorded under.

    About 200 bytes each, for as long as sessions last.
    """

    def __init__(self) -> None:
        self._ended_at_ms: dict[str, int] = {}
        self._names = 0

    def __len__(self) -> int:
        return len(self._ended_at_ms)

    def note(self, who: str, ended_at_ms: int) -> bool:
        """Take one in; False when it, or a later one, is known."""
        known = self._ended_at_ms.get(who)
        if known is not None and known >= ended_at_ms:
            return False
        if known is None and who.startswith("name:"):
            self._names += 1
        self._ended_at_ms[who] = ended_at_ms
        return True

    def ended(self, user: User) -> bool:
        """Whether a user's session was ended."""
        ended_at_ms = self._ended_at_ms.get(by_id(user.id), -1)
        # Most of the time nobody was sent away by name.
        if self._names:
            ended_at_ms = max(ended_at_ms, self._ended_at_ms.get(by_name(user.name), -1))
        return began_at_ms(user) <= ended_at_ms

    def ended_by(self, who: str) -> Callable[[User], bool]:
        """Say how to tell whose session was ended by one of them: quicker, for all clients are looked at."""
        kind, _, value = who.partition(":")
        if kind == "id":
            return lambda user: user.id == value and self.ended(user)
        return lambda user: by_name(user.name) == who and self.ended(user)

    def forget(self, before_ms: int) -> None:
        """Drop those that no session is as old as."""
        for who in [who for who, ended_at_ms in self._ended_at_ms.items() if ended_at_ms < before_ms]:
            del self._ended_at_ms[who]
            self._names -= who.startswith("name:")


def began_at_ms(user: User) -> int:
    """When a session began."""
    return round(user.began_at * 1000)
