"""Who is in which room, over all connections of all nodes: an index, and what changed in it. Pure state.

A user is in a room while at least one connection of theirs is, on whatever node; the room None is the
namespace itself, so whoever is in it is online. Two tabs are two connections.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

Room = str | int | float | None
# A connection: the node's origin, the namespace, the sid.
Place = tuple[str, str, str]


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


@dataclass(frozen=True, slots=True)
class Member:
    """What all nodes know of a user."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A user came into a room, or left it, as seen from one node.

    :param room: None: the user came online in the namespace, or went offline.
    :param here: whether the user is there now.
    """

    namespace: str
    room: Room
    member: Member
    here: bool


class Whereabouts:
    """The connections of all nodes, by room and by user."""

    def __init__(self) -> None:
        # (namespace, room) -> user id -> the user's connections there, oldest first
        self._rooms: dict[tuple[str, Room], dict[str, dict[Place, None]]] = {}
        self._members: dict[Place, Member] = {}

    def enter(self, place: Place, member: Member, rooms: Iterable[Room]) -> list[Moved]:
        """Put a connection into rooms; returns who came into which by it. Again, nothing."""
        self._members[place] = member
        moved = []
        for room in rooms:
            users = self._rooms.setdefault((place[1], room), {})
            if member.id not in users:
                users[member.id] = {}
                moved.append(Moved(place[1], room, member, here=True))
            users[member.id][place] = None
        return moved

    def leave(self, place: Place, rooms: Iterable[Room]) -> list[Moved]:
        """Take a connection out of rooms; returns who is not there by another one."""
        member = self._members.get(place)
        moved = []
        for room in rooms:
            users = self._rooms.get((place[1], room), {})
            places = users.get(member.id, {}) if member else {}
            if member is None or place not in places:
                continue
            del places[place]
            if not places:
                del users[member.id]
                if not users:
                    del self._rooms[place[1], room]
                moved.append(Moved(place[1], room, member, here=False))
        return moved

    def forget(self, place: Place) -> None:
        """Drop what is known of a connection that has left all its rooms."""
        self._members.pop(place, None)

    def members(self, room: Room, namespace: str) -> list[Member]:
        """The users in a room, by name."""
        users = self._rooms.get((namespace, room), {})
        found = [self._members[next(iter(places))] for places in users.values()]
        return sorted(found, key=lambda member: (member.name.casefold(), member.id))

    def count(self, room: Room, namespace: str) -> int:
        """How many users are in a room."""
        return len(self._rooms.get((namespace, room), ()))

    def sids(self, user_id: str, namespace: str, room: Room = None) -> list[str]:
        """The connections by which a user is in a room, on all nodes; None: in the namespace."""
        return [place[2] for place in self._rooms.get((namespace, room), {}).get(user_id, ())]

    def connections(self) -> int:
        """How many connections are known."""
        return len(self._members)
