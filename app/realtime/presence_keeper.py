"""Lets `Presence` live: gives it time, takes its messages to the other nodes, tells who wants to know."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from app.realtime import presence
from app.realtime.presence import Member, Moved, Presence, Room

if TYPE_CHECKING:
    from app.realtime.local import LocalManager

logger = logging.getLogger(__name__)

TOPIC = "presence"
TICK_SECONDS = 0.25
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

    def listen(self, listener: Callable[[list[Moved]], None]) -> None:
        """Call a function with what has changed, in order; it must not wait."""
        self._listeners.append(listener)

    # This node's own clients.

    def announce(self, sid: str, namespace: str, user: presence.User) -> None:
        """Say who a client of this node is; from now on all nodes know where it is."""
        with self._lock:
            rooms = [room for room in self._manager.get_rooms(sid, namespace) if room != sid]
            self._state.connect(namespace, sid, Member(user.id, user.name), rooms)
        self._changed()

    def entered(self, sid: str, namespace: str, room: Any) -> None:
        """A client came into a room."""
        if room is not None and room != sid:
            with self._lock:
                self._state.enter(namespace, sid, room)
            self._changed()

    def left(self, sid: str, namespace: str, room: Any) -> None:
        """A client left a room; None: the namespace."""
        with self._lock:
            if room is None:
                self._state.disconnect(namespace, sid)
            elif room != sid:
                self._state.leave(namespace, sid, room)
        self._changed()

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
            return {**self._state.status(), "malformed": self.malformed}

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
            message = presence.decode(data)
        except msgspec.ValidationError:
            self.malformed += 1
            logger.warning("presence of %s is not understood: another version?", origin)
            return
        with self._lock:
            self._state.take(origin, message, time.monotonic())
        self._changed()

    def _run(self) -> None:
        while not self._ended:
            try:
                assert self._alive is not None
                alive, hearing = self._alive()
                with self._lock:
                    self._state.tick(time.monotonic(), alive, hearing)
                self._send()
                self._inform()
            except Exception:
                logger.exception("a defect in presence")
            self._manager.server.sleep(TICK_SECONDS)

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
                self._tell(presence.encode(message))
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
