"""Presence across nodes: who is connected, where, and how all nodes come to agree. Pure; time is passed in.

Each node owns the truth about its own clients, and numbers its states: version 1, 2, 3... Nobody else
changes that truth, so there is nothing to merge, and two nodes agree about a third one when they know the
same version of it.

    a client comes, enters, leaves, goes   at `publish`, what changed goes out as one Delta, the next version
    Delta of the version after mine        applied
    Delta of an older version              was applied before: ignored
    Delta of a later version, or a Beat    something is missing: Ask the owner, once a second at most
      with another version or digest
    Ask                                    the owner answers with its whole state, in Parts
    Parts, all of one version              replace what was known of the owner, unless that is newer; those
                                           who are in a part are taken over at once
    no life sign for GONE_SECONDS          the owner's clients are gone, a piece at each tick

Any message may be lost, repeated or overtaken: the next Beat tells whoever is not in step, and asking brings
him there. The digest finds what a version cannot: a state that was damaged on its way. An origin is of one
process start, so versions never begin anew.

What counts as a life sign is the queue's business: it has a pulse, over every broker. Time in which this node
hears no broker, or was itself frozen, does not count against the others.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from app.realtime.presence_messages import Ask, Beat, Delta, Entry, Key, Message, Part, fingerprint, pieces
from app.realtime.whereabouts import Member, Moved, Room, User, Whereabouts

__all__ = ["Member", "Moved", "Presence", "Room", "User"]

# How often a node says which version it is at, while there is anybody to hear it.
BEAT_SECONDS = 2.0
ASK_SECONDS = 1.0
# After the queue has missed its pulses (3.5 s): whoever was killed is gone from the lists within 10 s.
GONE_SECONDS = 5.0
# More than that between two ticks is a stall of our own.
TICK_MAX_SECONDS = 1.0
# Of another node that is gone, at one tick: its users' departures are told to everybody in their rooms.
DROPPED_AT_ONCE = 200
# Nobody runs so many nodes; see queue/peers.py.
OTHERS_MAX = 1_000
# In the index: this node, whatever it is called on the channel.
HERE = ""


@dataclass(slots=True)
class _Client:
    """One connection of this node."""

    member: Member
    rooms: set[str | int | float]


@dataclass(slots=True)
class _Other:
    """What is known of another node."""

    version: int = 0
    digest: int = 0
    entries: dict[Key, Entry] = field(default_factory=dict)
    parts: dict[int, list[Key]] = field(default_factory=dict)
    parts_version: int = 0
    asked_at: float = -ASK_SECONDS
    behind: bool = False
    silent_seconds: float = 0.0


class Presence:
    """The view of one node.

    What is to be sent to all other nodes gathers in `outgoing`, what has changed for this node in `moved`.
    """

    def __init__(self) -> None:
        self.origin = ""  # while there is nobody else
        self.version = 0
        self.digest = 0
        self.outgoing: deque[Message] = deque()
        self.moved: deque[Moved] = deque()
        self.where = Whereabouts()
        self._clients: dict[Key, _Client] = {}
        self._published: dict[Key, Entry] = {}
        self._changed: dict[Key, None] = {}
        self._others: dict[str, _Other] = {}
        self.pushed_out = 0
        self._answer = False
        self._answered_at = -ASK_SECONDS
        self._beat_at = 0.0
        self._ticked: float | None = None

    # This node's own clients.

    def connect(self, namespace: str, sid: str, member: Member, rooms: Iterable[Room] = ()) -> None:
        """Add a client, with the rooms it is in already. Repeating it changes nothing."""
        key = namespace, sid
        if key not in self._clients:
            self._clients[key] = _Client(member, {room for room in rooms if room is not None})
            self._note(key)
            self.moved += self.where.enter((HERE, *key), member, (None, *self._clients[key].rooms))

    def enter(self, namespace: str, sid: str, room: str | int | float) -> None:
        """Put a client into a room; of those who were not added, nothing is known."""
        client = self._clients.get((namespace, sid))
        if client is not None and room not in client.rooms:
            client.rooms.add(room)
            self._note((namespace, sid))
            self.moved += self.where.enter((HERE, namespace, sid), client.member, (room,))

    def leave(self, namespace: str, sid: str, room: str | int | float) -> None:
        """Take a client out of a room."""
        client = self._clients.get((namespace, sid))
        if client is not None and room in client.rooms:
            client.rooms.remove(room)
            self._note((namespace, sid))
            self.moved += self.where.leave((HERE, namespace, sid), (room,))

    def disconnect(self, namespace: str, sid: str) -> None:
        """Remove a client."""
        client = self._clients.pop((namespace, sid), None)
        if client is not None:
            self._note((namespace, sid))
            place = (HERE, namespace, sid)
            self.moved += self.where.leave(place, (*client.rooms, None))
            self.where.forget(place)

    def _note(self, key: Key) -> None:
        """Remember what to publish; while there is nobody else, nothing."""
        if self.origin:
            self._changed[key] = None

    @property
    def unpublished(self) -> bool:
        """Whether something has changed since `publish`."""
        return bool(self._changed)

    def publish(self) -> None:
        """Make a version of what has changed."""
        entries: list[Entry] = []
        gone: list[Key] = []
        for key in self._changed:
            before, client = self._published.pop(key, None), self._clients.get(key)
            if before is not None:
                self.digest ^= fingerprint(before)
            if client is not None:
                rooms = tuple(sorted(client.rooms, key=lambda room: (str(type(room)), room)))
                entry = self._published[key] = Entry(*key, client.member.id, client.member.name, rooms)
                self.digest ^= fingerprint(entry)
                if entry != before:
                    entries.append(entry)
            elif before is not None:
                gone.append(key)
        self._changed.clear()
        changes = [*((piece, []) for piece in pieces(entries)), *(([], piece) for piece in pieces(gone))]
        for came, went in changes:
            self.version += 1
            self.outgoing.append(Delta(self.version, came, went))

    # The other nodes.

    def take(self, origin: str, message: Message, now: float) -> None:
        """Take what another node has sent."""
        if origin == self.origin:
            return
        if isinstance(message, Ask):
            self._answer |= not message.about or self.origin in message.about
            return
        other = self._others.get(origin)
        if other is None:
            if len(self._others) >= OTHERS_MAX:
                self._drop(next(iter(self._others)))
                self.pushed_out += 1
            other = self._others[origin] = _Other()
        match message:
            case Delta() if other.parts and message.version <= other.parts_version:
                pass  # the state that is coming in has it
            case Delta() if message.version == other.version + 1:
                other.version = message.version
                self._apply(origin, other, message.entries, message.gone)
            case Delta():
                other.behind |= message.version > other.version
            case Beat() if message.version >= other.version:
                other.behind = (message.version, message.digest) != (other.version, other.digest)
            case Part() if self._is_news(other, message):
                self._take_part(origin, other, message)
            case _:
                pass
        self._ask(origin, other, now)

    def _is_news(self, other: _Other, part: Part) -> bool:
        return part.version > other.version or (part.version == other.version and part.digest != other.digest)

    def _take_part(self, origin: str, other: _Other, part: Part) -> None:
        """Take a part over at once, so that no large state holds up the loop."""
        if part.version != other.parts_version:
            other.parts.clear()
            other.parts_version = part.version
        other.parts[part.number] = [entry.key for entry in part.entries]
        self._apply(origin, other, part.entries, ())
        if len(other.parts) < part.parts:
            return
        listed = {key for keys in other.parts.values() for key in keys}
        other.parts.clear()
        self._apply(origin, other, (), [key for key in other.entries if key not in listed])
        other.version, other.behind = part.version, other.digest != part.digest

    def _apply(self, origin: str, other: _Other, entries: Iterable[Entry], gone: Iterable[Key]) -> None:
        """Whoever comes comes first, so that who moves from one connection to another is never away."""
        left: list[tuple[Key, Collection[Room]]] = []
        for entry in entries:
            before = other.entries.get(entry.key)
            if before is not None:
                other.digest ^= fingerprint(before)
                left.append((entry.key, set(before.rooms) - set(entry.rooms)))
            other.entries[entry.key] = entry
            other.digest ^= fingerprint(entry)
            member = Member(entry.id, entry.name)
            self.moved += self.where.enter((origin, *entry.key), member, entry.everywhere)
        for key, rooms_left in left:
            self.moved += self.where.leave((origin, *key), rooms_left)
        for key in gone:
            if (removed := other.entries.pop(key, None)) is not None:
                other.digest ^= fingerprint(removed)
                self.moved += self.where.leave((origin, *key), removed.everywhere)
                self.where.forget((origin, *key))

    def _drop(self, origin: str, at_most: int | None = None) -> bool:
        """Let another node's clients be gone; returns whether some are left."""
        other = self._others[origin]
        self._apply(origin, other, (), list(itertools.islice(other.entries, at_most)))
        if not other.entries:
            del self._others[origin]
        return bool(other.entries)

    def _ask(self, origin: str, other: _Other, now: float) -> None:
        if other.behind and now - other.asked_at >= ASK_SECONDS:
            other.asked_at = now
            self.outgoing.append(Ask([origin]))

    # Time.

    def begin(self, origin: str) -> None:
        """Ask everybody: this node is new.

        :param origin: this process, as the others know it.
        """
        self.origin = origin
        self._changed = dict.fromkeys(self._clients)
        self.outgoing.append(Ask([]))

    def tick(self, now: float, alive: Collection[str], hearing: bool) -> bool:
        """Do what is due; returns whether there is more of it, for which to come back soon.

        :param now: a monotonic time in seconds.
        :param alive: the origins whose pulse is heard.
        :param hearing: whether any broker works, so that silence means something.
        """
        elapsed = min(now - self._ticked, TICK_MAX_SECONDS) if self._ticked is not None else 0.0
        self._ticked = now
        self.publish()
        more = False
        for origin, other in list(self._others.items()):
            if origin in alive:
                # It may have been taken for gone, and some of its clients with it.
                other.behind |= other.silent_seconds >= GONE_SECONDS
                other.silent_seconds = 0.0
                self._ask(origin, other, now)
            elif hearing:
                other.silent_seconds += elapsed
                if other.silent_seconds >= GONE_SECONDS and not more:
                    more = self._drop(origin, DROPPED_AT_ONCE)
        if self._answer and now - self._answered_at >= ASK_SECONDS:
            self._answer, self._answered_at = False, now
            parts = list(pieces(self._published.values())) or [[]]
            for number, piece in enumerate(parts):
                self.outgoing.append(Part(self.version, self.digest, number, len(parts), piece))
        # Who never had anything to tell is at version 0, as everybody assumes.
        if alive and self.version and now >= self._beat_at:
            self._beat_at = now + BEAT_SECONDS
            self.outgoing.append(Beat(self.version, self.digest))
        return more

    def status(self) -> dict[str, int]:
        """How many connections are known, here and elsewhere, on how many other nodes, and who is behind.

        `pushed_out`: nodes that were forgotten because there were more than OTHERS_MAX.
        """
        return {
            "here": len(self._clients),
            "elsewhere": self.where.connections() - len(self._clients),
            "nodes": len(self._others),
            "behind": sum(other.behind for other in self._others.values()),
            "pushed_out": self.pushed_out,
        }
