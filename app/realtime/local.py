"""What a client manager does on its own node: hand out encoded events, end connections, keep acks."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable
from typing import Any

from engineio import packet as eio_packet
from socketio.packet import DISCONNECT, EVENT, Packet

from app.realtime import frames
from app.realtime.acks import Acks
from app.realtime.audiences import Audiences
from app.realtime.errors import NotSerializable
from app.realtime.frames import Frames
from app.realtime.meters import Meters
from app.realtime.presence_keeper import PresenceKeeper
from app.realtime.rooms import RoomManager
from app.realtime.transport import Engine
from app.realtime.transport import outgoing as transport

# How often to look for acknowledgements that did not come in time.
EXPIRE_SECONDS = 5.0


class LocalManager(RoomManager):
    """The library's manager, with events that are encoded already.

    :param ack_seconds: how long acknowledgements across nodes are waited for.
    """

    def __init__(self, ack_seconds: float) -> None:
        super().__init__()
        self.acks = Acks(ack_seconds)
        self.audiences = Audiences(self)
        self.meters = Meters(time.monotonic())
        self.presence = PresenceKeeper(self)
        # By connection and namespace, while a connect handler runs: what its client gets after the answer.
        self._held: dict[tuple[str, str], list[tuple[list[transport.Packet], bool]]] = {}
        self._expiring = False

    def deliver(
        self,
        namespace: str,
        room: Any,
        skip: list[str],
        ack: int,
        encoded: Frames,
        origin: str,
        volatile: bool = False,
    ) -> None:
        """Hand an event to the clients of this node that it is for.

        :param ack: the id to acknowledge it with, to `origin`; 0: nobody asks for it.
        :param volatile: a client that is behind need not get it.
        """
        if namespace not in self.rooms:
            return
        if ack:
            now = time.monotonic()
            leaving = self.pending_disconnect.get(namespace, ())
            for sid, _ in self.get_participants(namespace, room):
                if sid not in skip and sid not in leaving:
                    self.acks.owe(sid, ack, origin, now)
            self.expire_acks()
        audience = self.audiences.of(namespace, room)
        self.meters.sent += len(audience.sessions) + len(audience.connecting) + len(audience.others)
        if skip:
            self.meters.sent -= self._skipped(namespace, room, skip)
        if audience.sessions or audience.connecting:
            packets = [transport.Packet(frame) for frame in self._texts(encoded)]
            if audience.sessions:
                skipped = self._sessions(namespace, skip) if skip else ()
                self.server.eio.fanout.send(audience.sessions, packets, skipped, volatile)
            for sid, eio_sid in audience.connecting:
                if sid not in skip:
                    self._hold(eio_sid, namespace, packets, volatile)
        if audience.others:
            library_packets = self._packets(encoded)
            for sid, eio_sid in audience.others:
                if sid not in skip:
                    for packet in library_packets:
                        self.server._send_eio_packet(eio_sid, packet)

    def _skipped(self, namespace: str, room: Any, skip: list[str]) -> int:
        """How many of those in a room, or in any of several, do not get it."""
        rooms, leaving = self.rooms[namespace], self.pending_disconnect.get(namespace, ())
        members = [rooms.get(each, ()) for each in (room if isinstance(room, list) else [room])]
        return sum(sid not in leaving and any(sid in each for each in members) for sid in set(skip))

    def _sessions(self, namespace: str, skip: list[str]) -> tuple[Any, ...]:
        """The sessions of clients of this node."""
        everybody = self.rooms[namespace].get(None, {})
        sessions = self.server.eio.sockets
        return tuple(sessions[everybody[sid]] for sid in skip if everybody.get(sid) in sessions)

    def is_held_back(self, eio_sid: str, namespace: str) -> bool:
        """Whether a client is connecting."""
        return (eio_sid, namespace) in self._held

    def hold_back(self, eio_sid: str, namespace: str) -> None:
        """Keep back what a client that is connecting gets, until `release`."""
        self._held[eio_sid, namespace] = []

    def _hold(
        self, eio_sid: str, namespace: str, packets: list[transport.Packet], volatile: bool = False
    ) -> None:
        held, session = self._held[eio_sid, namespace], self.server.eio.sockets.get(eio_sid)
        if session is None or len(held) * len(packets[0]) > session.server.options.buffer_bytes:
            # Its connect handler takes so long that it is as good as one that does not read.
            if session is not None:
                session.too_slow(len(held) * len(packets[0]))
            return
        held.append((packets, volatile))

    def release(self, eio_sid: str, namespace: str) -> None:
        """Let it have that now, unless it was refused."""
        held = self._held.pop((eio_sid, namespace), ())
        session = self.server.eio.sockets.get(eio_sid)
        if held and session is not None and self.sid_from_eio_sid(eio_sid, namespace):
            for packets, volatile in held:
                self.server.eio.fanout.send((session,), packets, (), volatile)

    # Who is where: whatever changes it, the audiences are seen anew.

    def changed(self, namespace: str, room: Any) -> None:
        """Somebody came into a room, or left it."""
        self.audiences.changed(namespace, room)

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        """Put a client of this node into a room."""
        super().basic_enter_room(sid, namespace, room, eio_sid)
        self.presence.entered(sid, namespace, room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Take a client of this node out of a room; out of None: it is gone."""
        super().basic_leave_room(sid, namespace, room)
        self.presence.left(sid, namespace, room)

    def pre_disconnect(self, sid: str, namespace: str) -> Any:
        """Begin to disconnect a client of this node: it gets nothing any more."""
        eio_sid = super().pre_disconnect(sid, namespace)
        for room in (None, *self.get_rooms(sid, namespace)):
            self.audiences.changed(namespace, room)
        return eio_sid

    def basic_disconnect(self, sid: str, namespace: str, **options: Any) -> None:
        """Forget a client of this node."""
        eio_sid = self.eio_sid_from_sid(sid, namespace)
        super().basic_disconnect(sid, namespace, **options)
        if eio_sid is not None and isinstance(self.server.eio, Engine):
            self.server.eio.left_namespace(eio_sid)

    def ask_here(
        self, event: str, data: Any, namespace: str, room: Any, skip: list[str], callback: Callable[..., Any]
    ) -> None:
        """Emit with a callback on this node only: as the library does, without a deadline."""
        for sid, eio_sid in self.get_participants(namespace, room):
            if sid in skip or sid in self.pending_disconnect.get(namespace, ()):
                continue
            ack = self._generate_ack_id(sid, callback)
            encoded = frames.encode_event(event, data, namespace, ack)
            if self.is_held_back(eio_sid, namespace):
                self._hold(eio_sid, namespace, [transport.Packet(frame) for frame in self._texts(encoded)])
                continue
            for packet in self._packets(encoded):
                self.server._send_eio_packet(eio_sid, packet)

    def concerns(self, namespace: str, room: Any) -> bool:
        """Whether a client of this node is in a room, or in one of several."""
        rooms = self.rooms.get(namespace)
        if not rooms:
            return False
        return any(each in rooms for each in room) if isinstance(room, list) else room in rooms

    def is_here(self, sid: str, namespace: str) -> bool:
        """Whether a client is on this node, be it that it just connects or disconnects."""
        return sid in self.rooms.get(namespace, {}).get(None, ())

    def end(self, sid: str, namespace: str) -> None:
        """Disconnect a client of this node. No event reaches it from now on; the application's handler, which
        may take its time, runs by itself.
        """
        if not self.is_connected(sid, namespace):
            return
        eio_sid = self.pre_disconnect(sid, namespace)
        environ = self.server.environ.get(eio_sid)
        self.server._binary_packet.pop(eio_sid, None)
        self.server._send_packet(eio_sid, self.server.packet_class(DISCONNECT, namespace=namespace))
        self.server.start_background_task(self._ended, sid, namespace, eio_sid, environ)

    def _ended(self, sid: str, namespace: str, eio_sid: str, environ: Any) -> None:
        server = self.server
        # The client may have closed its connection already, and Flask-SocketIO calls no handler without this.
        if environ is not None:
            server.environ[eio_sid] = environ
        try:
            server._trigger_event("disconnect", namespace, sid, server.reason.SERVER_DISCONNECT)
        finally:
            if eio_sid not in server.eio.sockets or server.eio.sockets[eio_sid].closed:
                server.environ.pop(eio_sid, None)
            self.disconnect(sid, namespace, ignore_queue=True)

    def acknowledged(self, sid: str, ack: int, values: Iterable[Any]) -> None:
        """A client of another node acknowledges; what the callback waits for, the queue need not wait for."""
        callback = self.acks.callback(sid, ack, time.monotonic())
        if callback is not None:
            self.server.start_background_task(callback, *values)

    def expire_acks(self) -> None:
        """See to it that what is not acknowledged in time is forgotten."""
        if not self._expiring:
            self._expiring = True
            self.server.start_background_task(self._expire_acks_until_none)

    def _expire_acks_until_none(self) -> None:
        while len(self.acks):
            self.server.sleep(min(self.acks.timeout_seconds / 2, EXPIRE_SECONDS))
            self.acks.expire(time.monotonic())
        self._expiring = False

    def _packets(self, encoded: Frames) -> list[Any]:
        """The library's packets of an event."""
        return [
            eio_packet.Packet(eio_packet.MESSAGE, frame) if isinstance(frame, str) else _Attachment(frame)
            for frame in self._again(encoded)
        ]

    def _texts(self, encoded: Frames) -> Frames:
        """What goes to clients: a text begins with the type of its packet."""
        return [
            transport.MESSAGE + frame if isinstance(frame, str) else frame for frame in self._again(encoded)
        ]

    def _again(self, encoded: Frames) -> Frames:
        """Another serializer than the default encodes an event again."""
        if self.server.packet_class.encode is not Packet.encode:
            decoded = Packet(encoded_packet=encoded[0])
            for attachment in encoded[1:]:
                decoded.add_attachment(attachment)
            again = self.server.packet_class(
                EVENT, data=decoded.data, namespace=decoded.namespace or "/", id=decoded.id
            ).encode()
            encoded = again if isinstance(again, list) else [again]
        return encoded


class _Attachment(eio_packet.Packet):  # type: ignore[misc]
    """Bytes for several clients. The library's packet keeps the encoding for the first of them, which is text
    for one that polls, for all.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(eio_packet.MESSAGE, data)

    def encode(self, b64: bool = False) -> Any:
        return "b" + base64.b64encode(self.data).decode() if b64 else self.data


def sids(skip_sid: Any) -> list[str]:
    """Whom to skip: one, several, or nobody."""
    several = skip_sid if isinstance(skip_sid, list | tuple | set | frozenset) else [skip_sid]
    return [sid for sid in several if isinstance(sid, str)]


def room_name(room: Any) -> Any:
    """A room's name as JSON could carry it.

    :raises NotSerializable: when it could not.
    """
    if isinstance(room, str):
        return str.__str__(room)
    if isinstance(room, int | float):
        return room
    kind = type(room).__name__
    raise NotSerializable(f"room {room!r} is a {kind}: with a queue, rooms are strings or numbers")


def room_names(room: Any) -> Any:
    """The name of a room, or of several; None is everybody."""
    if isinstance(room, list | tuple | set | frozenset):
        return [room_name(each) for each in room]
    return None if room is None else room_name(room)
