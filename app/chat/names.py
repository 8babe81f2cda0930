"""The names of rooms, and who holds which display name. Pure: time is passed in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from app.names import checked, name_key

ROOM_PUNCTUATION = "-_"


def room_name(name: str, max_chars: int) -> tuple[str, str]:
    """Check the name of a room; spaces become hyphens, a leading # is dropped.

    :raises EventError: `bad_payload` or `too_long`.
    """
    hyphenated = "-".join(name.strip().removeprefix("#").split())
    return checked(hyphenated, max_chars, ROOM_PUNCTUATION, ", - and _")


def direct_key(one_id: str, other_id: str) -> str:
    """The key of the conversation of two users, whoever asks; no room has it, for names have no colon.

    Ids are not ours to choose. The length says where the first one ends, should they contain a colon.
    """
    first, second = sorted((one_id, other_id))
    return f"direct:{len(first)}:{first}:{second}"


@dataclass
class Lease:
    """Who holds a name. `until` is None while the holder is connected, else when it runs out."""

    owner: str
    until: float | None


class Names:
    """The display names in use: one holder each while online, and for a while after.

    :param lease_seconds: how long a name stays with its holder who is not connected.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._leases: dict[str, Lease] = {}
        # An account that was renamed has two for as long as its older connection lasts.
        self._names_of: defaultdict[str, set[str]] = defaultdict(set)
        # Those that run out, the first one first.
        self._ending: dict[str, None] = {}

    def claim(self, name: str, owner: str, now: float, *, online: bool) -> bool:
        """Take a name; False when somebody else holds it, or one that compares equal.

        :param online: whether the owner is connected, so that the name is theirs without an end.
        :param now: seconds on a clock that never goes back.
        """
        key = name_key(name)
        self._forget(now)
        lease = self._leases.get(key)
        if lease and lease.owner != owner:
            return False
        if online or (lease and lease.until is None):
            self._keep(key, Lease(owner, None))
        else:
            self._keep(key, Lease(owner, now + self._lease_seconds))
        return True

    def holder(self, name: str) -> str:
        """Whose a name is; "" for nobody's."""
        lease = self._leases.get(name_key(name))
        return lease.owner if lease else ""

    def held_by(self, name: str, owner: str, now: float) -> bool:
        """Whether a name is somebody's now."""
        self._forget(now)
        return self.holder(name) == owner

    def went_offline(self, owner: str, now: float) -> None:
        """Start the leases of somebody whose last connection is gone."""
        for key in self._names_of.get(owner, ()):
            self._keep(key, Lease(owner, now + self._lease_seconds))

    def release(self, name: str, owner: str) -> None:
        """Give a name back at once."""
        key = name_key(name)
        lease = self._leases.get(key)
        if lease and lease.owner == owner:
            self._drop(key)

    def _keep(self, key: str, lease: Lease) -> None:
        self._leases[key] = lease
        self._names_of[lease.owner].add(key)
        self._ending.pop(key, None)
        if lease.until is not None:
            self._ending[key] = None

    def _drop(self, key: str) -> None:
        owner = self._leases.pop(key).owner
        self._ending.pop(key, None)
        self._names_of[owner].discard(key)
        if not self._names_of[owner]:
            del self._names_of[owner]

    def _forget(self, now: float) -> None:
        """Drop what has run out; all leases last equally long, so the first in line end first."""
        while self._ending:
            key = next(iter(self._ending))
            until = self._leases[key].until
            assert until is not None
            if until > now:
                return
            self._drop(key)
