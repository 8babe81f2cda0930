"""Who is in which room of this node: the library's manager, at a cost that does not grow with all rooms.

Each client is alone in a room that has its name, so a node has more rooms than clients. The library looks
through all of them when a client goes, and keeps two dictionaries for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bidict import bidict
from socketio.manager import Manager


class RoomManager(Manager):  # type: ignore[misc]
    """A manager that knows the rooms of each client.

    `rooms[namespace][room]` is a dictionary of sids and their connections' sids, as in the library; only for
    the room None, which is everybody, the library wants it to work both ways.
    """

    def __init__(self) -> None:
        super().__init__()
        # The rooms of a client, but for None and its own; most are in none or in few.
        self._entered: dict[tuple[str, str], list[Any]] = {}
        # In how many namespaces the client of a connection is.
        self._namespaces: dict[str, int] = {}

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """The clients in a room, in any of several, or, for None, in the namespace."""
        rooms = self.rooms.get(namespace, {})
        several = list(room) if hasattr(room, "__len__") and not isinstance(room, str) else [room]
        members: dict[str, str] = {}
        for each in several:
            members.update(rooms.get(each, ()))
        yield from members.items()

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        """The rooms a client is in; one of them is its own."""
        if sid not in self.rooms.get(namespace, {}).get(None, ()):
            return []
        return [sid, *self._entered.get((namespace, sid), ())]

    def is_anywhere(self, eio_sid: str) -> bool:
        """Whether the client of a connection is in a namespace."""
        return eio_sid in self._namespaces

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        """Put a client into a room.

        :raises ValueError: when it is not in the namespace, or the room is another client's own.
        """
        if eio_sid is None and namespace not in self.rooms:
            raise ValueError("sid is not connected to requested namespace")
        if sid != room and self.is_sid_room(namespace, room):
            raise ValueError("cannot enter a sid room")
        rooms = self.rooms.setdefault(namespace, {})
        if eio_sid is None:
            eio_sid = rooms[None][sid]
        members = rooms.get(room)
        if members is None:
            members = rooms[room] = bidict() if room is None else {}
        if room is not None and room != sid and sid not in members:
            self._entered.setdefault((namespace, sid), []).append(room)
        if room is None and sid not in members:
            self._namespaces[eio_sid] = self._namespaces.get(eio_sid, 0) + 1
        members[sid] = eio_sid
        self.changed(namespace, room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Take a client out of a room, if it is there."""
        rooms = self.rooms.get(namespace, {})
        members = rooms.get(room)
        if members is None or sid not in members:
            return
        eio_sid = members.pop(sid)
        if room is None:
            self._namespaces[eio_sid] -= 1
            if not self._namespaces[eio_sid]:
                del self._namespaces[eio_sid]
        if not members:
            del rooms[room]
            if not rooms:
                del self.rooms[namespace]
        entered = self._entered.get((namespace, sid))
        if entered and room in entered:
            entered.remove(room)
            if not entered:
                del self._entered[namespace, sid]
        self.changed(namespace, room)

    def basic_disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        """Take a client out of all its rooms."""
        for room in (*self._entered.get((namespace, sid), ()), sid, None):
            self.basic_leave_room(sid, namespace, room)
        self.callbacks.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            if sid in pending.get(namespace, ()):
                pending[namespace].remove(sid)
                if not pending[namespace]:
                    del pending[namespace]

    def changed(self, namespace: str, room: Any) -> None:
        """Somebody came into a room, or left it."""
