"""Lets `Presence` live: gives it time, takes its messages to the other nodes, tells who wants to know."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from app.realtime import presence_messages
from app.realtime.errors import NotSerializable
from app.realtime.presence import Member, Moved, Presence, Room, User

if TYPE_CHECKING:
    from app.realtime.local import LocalManager

logger = logging.getLogger(__name__)

TOPIC = "presence"
TICK_SECONDS = 0.25
# Between two pieces of one large change: others are served meanwhile.
PAUSE_SECONDS = 0.005
# What happens within this time goes out as one message: many clients come at once after an outage.
GATHER_SECONDS = 0.02


class PresenceKeeper:
    """Presence, its clock and its messages.

    :param manager: of this node, which starts background tasks.
    :param tell: takes a value to all other nodes; None: there are none.
    :param alive: says which other nodes live, and whether any broker works.
    """

    def __init__(
        self,
        manager: LocalManager,
        tell: Callable[[Any], None] | None = None,
        alive: Callable[[], tuple[list[str], bool]] | None = None,
    ) -> None:
        self._manager = manager
        self._state = Presence()
        self._tell = tell
        self._alive = alive
        self._listeners: list[Callable[[list[Moved]], None]] = []
        # In a node without greenlets clients are served by threads.
        self._lock = threading.RLock()
        self._started = self._ended = self._gathering = False
        self.malformed = 0
        self.untold = 0  # rooms entered whose names cannot travel

    def listen(self, listener: Callable[[list[Moved]], None]) -> None:
        """Call a function with what has changed, in order; it must not wait."""
        self._listeners.append(listener)

    # This node's own clients.

    def announce(self, sid: str, namespace: str, user: User) -> None:
        """Say who a client of this node is; from now on all nodes know where it is.

        :raises NotSerializable: when the user's id or name cannot travel.
        """
        if not (_travels(user.id) and _travels(user.name)):
            raise NotSerializable(
                f"user {user.id!r}, {user.name!r}: id and name are text that UTF-8 can carry"
            )
        with self._lock:
            every = self._manager.get_rooms(sid, namespace)
            rooms = [room for room in every if room != sid and self._can_be_told(room)]
            self._state.connect(namespace, sid, Member(user.id, user.name), rooms)
        self._changed()

    def entered(self, sid: str, namespace: str, room: Any) -> None:
        """A client came into a room."""
        if room is not None and room != sid and self._can_be_told(room):
            with self._lock:
                self._state.enter(namespace, sid, room)
            self._changed()

    def left(self, sid: str, namespace: str, room: Any) -> None:
        """A client left a room; None: the namespace."""
        with self._lock:
            if room is None:
                self._state.disconnect(namespace, sid)
            elif room != sid and _travels(room):
                self._state.leave(namespace, sid, room)
        self._changed()

    def _can_be_told(self, room: Any) -> bool:
        if _travels(room):
            return True
        if not self.untold:
            logger.warning("room %r cannot travel: its members are known here only, and not counted", room)
        self.untold += 1
        return False

    # Who is where.

    def members(self, room: Room, namespace: str) -> list[Member]:
        """The users in a room, by name, on all nodes."""
        with self._lock:
            return self._state.where.members(room, namespace)

    def count(self, room: Room, namespace: str) -> int:
        """How many users are in a room."""
        with self._lock:
            return self._state.where.count(room, namespace)

    def sids(self, user_id: str, namespace: str, room: Room = None) -> list[str]:
        """The connections by which a user is in a room, on all nodes."""
        with self._lock:
            return self._state.where.sids(user_id, namespace, room)

    def status(self) -> dict[str, int]:
        """How much is known; see `Presence.status`."""
        with self._lock:
            return {**self._state.status(), "malformed": self.malformed, "untold": self.untold}

    # The other nodes.

    def start(self, origin: str) -> None:
        """Begin to share; again, nothing.

        :param origin: this process on the channel.
        """
        if self._tell is not None and not self._started:
            self._started = True
            with self._lock:
                self._state.begin(origin)
            self._manager.server.start_background_task(self._run)

    def stop(self) -> None:
        """End; the other nodes notice by the queue's pulses."""
        self._ended = True

    def take(self, origin: str, data: Any) -> None:
        """Take what another node tells."""
        try:
            message = presence_messages.decode(data)
        except msgspec.ValidationError:
            self.malformed += 1
            logger.warning("presence of %s is not understood: another version?", origin)
            return
        with self._lock:
            pushed_out = self._state.pushed_out
            self._state.take(origin, message, time.monotonic())
        if self._state.pushed_out > pushed_out:
            logger.warning("there are too many nodes: of one nobody is seen any more")
        self._changed()

    def _run(self) -> None:
        while not self._ended:
            more = False
            try:
                assert self._alive is not None
                alive, hearing = self._alive()
                with self._lock:
                    more = self._state.tick(time.monotonic(), alive, hearing)
                self._send()
                self._inform()
            except Exception:
                logger.exception("a defect in presence")
            self._manager.server.sleep(PAUSE_SECONDS if more else TICK_SECONDS)

    def _changed(self) -> None:
        self._inform()
        if not self._state.unpublished and not self._state.outgoing:
            return
        if self._started and not self._gathering and not self._ended:
            self._gathering = True
            self._manager.server.start_background_task(self._gather)

    def _gather(self) -> None:
        self._manager.server.sleep(GATHER_SECONDS)
        self._gathering = False
        with self._lock:
            self._state.publish()
        self._send()

    def _send(self) -> None:
        assert self._tell is not None
        with self._lock:
            messages = [*self._state.outgoing]
            self._state.outgoing.clear()
        for message in messages:
            try:
                self._tell(presence_messages.encode(message))
            except Exception as error:
                # The queue is full or closed: the next beat says that something is missing.
                logger.warning("presence could not be told: %s", error)

    def _inform(self) -> None:
        with self._lock:
            moved = [*self._state.moved]
            self._state.moved.clear()
        if moved:
            for listener in self._listeners:
                try:
                    listener(moved)
                except Exception:
                    logger.exception("a listener of presence failed")


def _travels(name: Any) -> bool:
    """Whether a name is one that other nodes could be told: text, or a number that equals itself."""
    if not isinstance(name, str | int | float) or (isinstance(name, float) and math.isnan(name)):
        return False
    try:
        msgspec.msgpack.encode(name)
    except (UnicodeEncodeError, OverflowError):
        return False
    return True
