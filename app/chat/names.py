"""The rules of names, and who holds which display name. Pure: time is passed in."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from app.errors import EventError

# Letters and digits of any script, and little else: no control or invisible characters, no line breaks.
PERSON = re.compile(r"[^\W_][\w .'’-]*")
ROOM = re.compile(r"[^\W_][\w-]*")
MIN_CHARS = 2


def _fold(name: str) -> str:
    """The form in which names are compared (Unicode 3.13, D147: caseless matching of identifiers)."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def _checked(name: str, max_chars: int, pattern: re.Pattern[str], allowed: str) -> tuple[str, str]:
    name = " ".join(unicodedata.normalize("NFKC", name).split())
    if len(name) > max_chars:
        raise EventError(
            "too_long", f"At most {max_chars} characters, please.", field="name", limit=max_chars
        )
    if len(name) < MIN_CHARS or not pattern.fullmatch(name):
        raise EventError(
            "bad_payload", f"A name has at least {MIN_CHARS} characters: {allowed}", field="name"
        )
    return name, _fold(name)


def person_name(name: str, max_chars: int) -> tuple[str, str]:
    """Check a display name; returns it as it is shown and as it is compared.

    :raises EventError: `bad_payload` or `too_long`.
    """
    return _checked(
        name, max_chars, PERSON, "letters, digits, spaces and . ' - _, beginning with a letter or digit."
    )


def room_name(name: str, max_chars: int) -> tuple[str, str]:
    """Check the name of a room; spaces become hyphens, a leading # is dropped.

    :raises EventError: `bad_payload` or `too_long`.
    """
    return _checked(
        "-".join(name.strip().removeprefix("#").split()),
        max_chars,
        ROOM,
        "letters, digits, - and _, beginning with a letter or digit.",
    )


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

    def claim(self, key: str, owner: str, now: float, *, online: bool) -> bool:
        """Take a name; False when somebody else holds it.

        :param online: whether the owner is connected, so that the name is theirs without an end.
        :param now: seconds on a clock that never goes back.
        """
        lease = self._leases.get(key)
        if lease and lease.owner != owner and (lease.until is None or lease.until > now):
            return False
        if online or (lease and lease.owner == owner and lease.until is None):
            self._leases[key] = Lease(owner, None)
        else:
            self._leases[key] = Lease(owner, now + self._lease_seconds)
        self._forget(now)
        return True

    def went_offline(self, key: str, owner: str, now: float) -> None:
        """Start the lease of somebody whose last connection is gone."""
        lease = self._leases.get(key)
        if lease and lease.owner == owner:
            lease.until = now + self._lease_seconds

    def release(self, key: str, owner: str) -> None:
        """Give a name back at once."""
        lease = self._leases.get(key)
        if lease and lease.owner == owner:
            del self._leases[key]

    def _forget(self, now: float) -> None:
        for key in [k for k, lease in self._leases.items() if lease.until is not None and lease.until <= now]:
            del self._leases[key]
