"""Who is connected, and who is in which room, on this node. Pure state: no sockets, no clock.

Rules
- A user is online while at least one connection of theirs exists; two tabs are two connections.
- A user is in a room while at least one of their connections is in it.
- Each method says whether it changed that, so that a caller tells others once, not once per tab.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol


class User(Protocol):
    """Whoever is behind a connection."""

    @property
    def id(self) -> str:
        """Opaque and unique."""

    @property
    def name(self) -> str:
        """To be shown to others."""

    @property
    def expires_at(self) -> float:
        """When the session ends, in seconds since 1970."""


@dataclass(frozen=True)
class Departure:
    """What ended with a connection.

    :param rooms: rooms that the user is no longer in by any connection.
    :param offline: whether it was the user's last connection.
    """

    user: User
    rooms: tuple[int, ...]
    offline: bool


class Presence:
    """The connections of this node, by user and by room."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}
        self._rooms_of: dict[str, set[int]] = {}
        self._sids_of: defaultdict[str, set[str]] = defaultdict(set)
        # room -> user id -> that user's connections in the room
        self._in_room: defaultdict[int, dict[str, set[str]]] = defaultdict(dict)

    def connect(self, sid: str, user: User) -> bool:
        """Add a connection; True when the user came online by it. Repeating it changes nothing."""
        if sid in self._users:
            return False
        self._users[sid] = user
        self._rooms_of[sid] = set()
        self._sids_of[user.id].add(sid)
        return len(self._sids_of[user.id]) == 1

    def enter(self, sid: str, room: int) -> bool:
        """Put a connection into a room; True when the user was not there by any.

        :raises KeyError: when the connection is unknown.
        """
        user = self._users[sid]
        self._rooms_of[sid].add(room)
        came = user.id not in self._in_room[room]
        self._in_room[room].setdefault(user.id, set()).add(sid)
        return came

    def leave(self, sid: str, room: int) -> bool:
        """Take a connection out of a room; True when the user is not there by another one."""
        if room not in self._rooms_of.get(sid, ()):
            return False
        self._rooms_of[sid].discard(room)
        user_id = self._users[sid].id
        sids = self._in_room[room][user_id]
        sids.discard(sid)
        if sids:
            return False
        del self._in_room[room][user_id]
        if not self._in_room[room]:
            del self._in_room[room]
        return True

    def disconnect(self, sid: str) -> Departure | None:
        """Remove a connection; None when it was unknown."""
        if sid not in self._users:
            return None
        left = tuple(room for room in sorted(self._rooms_of[sid]) if self.leave(sid, room))
        user = self._users.pop(sid)
        del self._rooms_of[sid]
        self._sids_of[user.id].discard(sid)
        offline = not self._sids_of[user.id]
        if offline:
            del self._sids_of[user.id]
        return Departure(user, left, offline)

    def members(self, room: int) -> list[User]:
        """The users in a room, by name."""
        sids = (next(iter(sids)) for sids in self._in_room.get(room, {}).values())
        return sorted((self._users[sid] for sid in sids), key=lambda user: (user.name.casefold(), user.id))

    def count(self, room: int) -> int:
        """How many users are in a room."""
        return len(self._in_room.get(room, ()))

    def is_in(self, sid: str, room: int) -> bool:
        """Whether a connection is in a room."""
        return room in self._rooms_of.get(sid, ())

    def sids(self, user_id: str) -> list[str]:
        """The connections of a user."""
        return sorted(self._sids_of.get(user_id, ()))

    def connections(self) -> int:
        """How many connections there are."""
        return len(self._users)
