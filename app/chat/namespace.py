"""The chat's events: each handler calls the service, then tells whoever must know."""

from __future__ import annotations

import time
from typing import ClassVar

import structlog
from flask import Flask
from pydantic import BaseModel

from app.chat import names, schemas
from app.chat.service import ChatService
from app.errors import EventError
from app.names import name_key
from app.realtime import Client, Member, Moved, Nothing, QueueError, Rates, event
from app.realtime.namespace import payer_of
from app.user import GUEST_PREFIX, User
from app.users.namespace import Reason, UserNamespace
from config import Settings

log = structlog.get_logger(__name__)


ROOM = "room:"
NAME_TOPIC = "chat.name"


def _room_key(room_id: int) -> str:
    return f"{ROOM}{room_id}"


def _user_key(user_id: str) -> str:
    return f"user:{user_id}"


def _member(user: User | Member) -> schemas.Member:
    return schemas.Member(id=user.id, name=user.name)


def _user(client: Client) -> User:
    """The user of a client; the dispatch lets nobody in without one."""
    assert isinstance(client.user, User)
    return client.user


class ChatNamespace(UserNamespace):
    """`/chat`: rooms, messages, who is here.

    :param service: what the chat does.
    :param settings: its bounds.
    """

    emits: ClassVar[dict[str, type[BaseModel]]] = {
        "message": schemas.Message,
        "message_edited": schemas.Message,
        "message_deleted": schemas.Message,
        "room_created": schemas.RoomCreated,
        "membership": schemas.MembershipChanged,
        "read": schemas.PositionMoved,
        "member_joined": schemas.MemberMoved,
        "member_left": schemas.MemberMoved,
        "typing": schemas.TypingNotice,
    }

    def __init__(self, app: Flask, service: ChatService, settings: Settings, rates: Rates) -> None:
        super().__init__("/chat", rates)
        self._app = app
        self.service = service
        self.names = names.Names(settings.chat_name_lease_seconds)

    # Connections.

    def connected(self, client: Client) -> None:
        """Claim the user's name and put the connection into the user's rooms."""
        user = _user(client)
        if not self.claim_name(user, online=True):
            raise EventError("name_taken", f"Somebody else is here as {user.name}.")
        # Before the first wait: whoever signs out or joins a room meanwhile must find this connection.
        self.announce(client)
        self.enter_room(client.sid, _user_key(user.id))
        self.service.welcome(user)
        for room_id in self.service.joined(user):
            self.enter_room(client.sid, _room_key(room_id))

    def moved(self, moves: list[Moved]) -> None:
        """Somebody came or went, on whatever node: each node tells its own clients, by what it knows."""
        for move in moves:
            if move.namespace != self.namespace:
                continue
            if move.room is None:
                self._came_or_went(move)
            elif str(move.room).startswith(ROOM):
                self._tell_moved(move)

    def _came_or_went(self, move: Moved) -> None:
        name, owner, now = move.member.name, move.member.id, time.monotonic()
        if not move.here:
            self.names.went_offline(owner, now)
        elif not self.names.claim(name, owner, now, online=True):
            # Two took one name while their nodes could not hear each other. All nodes decide alike.
            holder = self.names.holder(name)
            if owner < holder or not self._is_online(holder):
                self.names.release(name, holder)
                self.names.claim(name, owner, now, online=True)
                self.socketio.start_background_task(self._give_way, holder, name_key(name))

    def _give_way(self, user_id: str, key: str) -> None:
        """Disconnect who has lost a name; the next attempt is refused, and they choose another one."""
        for sid in self._sids_of(user_id):
            client = self.client(sid)
            if client and client.user and name_key(client.user.name) == key:
                log.info("a name was taken twice", user=client.user.name, sid=sid)
                self.drop(sid)

    def claim_name(self, user: User, *, online: bool = False) -> bool:
        """Reserve a user's name; False when somebody else who is online, on any node, has it."""
        if not self.names.claim(user.name, user.id, time.monotonic(), online=online):
            return False
        # Of those who come online presence tells; not of another name that somebody who is has now.
        if not online or self._is_online(user.id):
            self._tell_name(user, held=True)
        return True

    def require_name(self, user: User) -> None:
        """Make sure that a user who acts without a connection is the one who is called so.

        :raises EventError: `name_taken`.
        """
        if not self.names.held_by(user.name, user.id, time.monotonic()) and not self.claim_name(user):
            raise EventError("name_taken", "Somebody else has your name now: sign in again.")

    def forget_name(self, user: User) -> None:
        """Give a name back that was claimed."""
        self.names.release(user.name, user.id)
        self._tell_name(user, held=False)

    def _tell_name(self, user: User, *, held: bool) -> None:
        try:
            self.socketio.tell_nodes(NAME_TOPIC, [user.name, user.id, held])
        except QueueError as error:
            # The queue is full. Presence tells the other nodes of whoever is online.
            log.warning("a name could not be told to the other nodes", user=user.name, reason=str(error))

    def take_name(self, origin: str, told: object) -> None:
        """Another node has reserved a name, or given one back."""
        match told:
            case [str(name), str(owner), True]:
                self.names.claim(name, owner, time.monotonic(), online=self._is_online(owner))
            case [str(name), str(owner), False]:
                self.names.release(name, owner)
                self._hold_on(name, owner)
            case _:
                log.warning("what is told of a name is not understood: another version?", origin=origin)

    def session_over(self, user: User, reason: Reason) -> None:
        """Free the name of somebody whose session is over, unless a newer one of theirs goes on."""
        if reason == "ended" or not self._is_online(user.id):
            self.forget_name(user)
        self._hold_on(user.name, user.id)

    def _hold_on(self, name: str, owner: str) -> None:
        """Claim a name that was given back, for a newer session of its owner on this node."""
        for sid in self._sids_of(owner):
            client = self.client(sid)
            user = _user(client) if client else None
            with self._app.app_context():
                if user and user.name == name and self.still_welcome(user):
                    self.claim_name(user, online=True)
                    return

    def forget(self, user: User) -> None:
        """End a guest's memberships and hold on the name: this guest, signed out, will not come back."""
        self.forget_name(user)
        try:
            self.service.leave_all(user)
        except EventError as error:
            # The guest is gone all the same; rows that nobody will ask for are left behind.
            log.warning("a guest's memberships stay", user=user.name, reason=error.message)

    # Rooms.

    @event(answer=schemas.HelloAnswer)
    def on_hello(self, client: Client, payload: Nothing) -> schemas.HelloAnswer:
        """Learn who you are, all rooms, and the limits. The first thing to ask after each connect."""
        answer = self.service.hello(_user(client))
        return answer.model_copy(update={"rooms": self.counted(answer.rooms)})

    @event(answer=schemas.RoomsAnswer)
    def on_rooms(self, client: Client, payload: Nothing) -> schemas.RoomsAnswer:
        """List all rooms by name, then your direct conversations."""
        rooms = self.counted(self.service.rooms(_user(client)))
        return schemas.RoomsAnswer(rooms=rooms)

    @event(schemas.CreateRoom, schemas.RoomAnswer, rate="create")
    def on_create_room(self, client: Client, payload: schemas.CreateRoom) -> schemas.RoomAnswer:
        """Make a room and join it; everybody hears of it."""
        return schemas.RoomAnswer(room=self.create_room(_user(client), payload.name, client.address))

    @event(schemas.InRoom, schemas.JoinAnswer)
    def on_join(self, client: Client, payload: schemas.InRoom) -> schemas.JoinAnswer:
        """Join a room, with all tabs and devices."""
        user = _user(client)
        room = self._joined(user, self.service.join(user, payload.room))
        return schemas.JoinAnswer(room=room, members=self._members(room.id))

    @event(schemas.InRoom, schemas.RoomAnswer)
    def on_leave(self, client: Client, payload: schemas.InRoom) -> schemas.RoomAnswer:
        """Leave a room, with all tabs and devices."""
        user = _user(client)
        room = self.service.leave(user, payload.room)
        for sid in self._sids(user):
            self.leave_room(sid, _room_key(room.id))
        room = self._tell_membership(user, room)
        return schemas.RoomAnswer(room=room)

    @event(schemas.InRoom, schemas.MembersAnswer)
    def on_members(self, client: Client, payload: schemas.InRoom) -> schemas.MembersAnswer:
        """List who is here: members of the room who are online, by name."""
        room = self.service.room(payload.room, _user(client))
        return schemas.MembersAnswer(members=self._members(room.id))

    @event(schemas.OpenDirect, schemas.RoomAnswer, rate="create")
    def on_open_direct(self, client: Client, payload: schemas.OpenDirect) -> schemas.RoomAnswer:
        """Begin, or go on with, a conversation of two. There is one for each two people, whoever opens it.

        The other one hears of it right after the first message, as `membership`.
        """
        user = _user(client)
        room = self.service.open_direct(user, payload.user)
        if room.with_:
            # Now, so that one sees whether the other is online.
            for sid in self._sids(room.with_):
                self.enter_room(sid, _room_key(room.id))
        return schemas.RoomAnswer(room=self._joined(user, room))

    # Messages.

    @event(schemas.Send, schemas.MessageAnswer, rate="send")
    def on_send(self, client: Client, payload: schemas.Send) -> schemas.MessageAnswer:
        """Post a message. The same `client_id` again gives the same answer and no second message.

        Others may hear `message` twice then: they know it by its `seq`.
        """
        message = self.post(_user(client), payload.room, payload.client_id, payload.text)
        return schemas.MessageAnswer(message=message)

    @event(schemas.History, schemas.HistoryAnswer)
    def on_history(self, client: Client, payload: schemas.History) -> schemas.HistoryAnswer:
        """Read a page of messages, oldest first; without a cursor the newest."""
        return self.service.history(
            payload.room, payload.before_seq, payload.after_seq, payload.limit, _user(client)
        )

    @event(schemas.Edit, schemas.MessageAnswer, rate="send")
    def on_edit(self, client: Client, payload: schemas.Edit) -> schemas.MessageAnswer:
        """Change the text of your own message."""
        message, news = self.service.edit(_user(client), payload.message, payload.text)
        if news:
            self._tell_message("message_edited", message)
        return schemas.MessageAnswer(message=message)

    @event(schemas.Delete, schemas.MessageAnswer, rate="send")
    def on_delete(self, client: Client, payload: schemas.Delete) -> schemas.MessageAnswer:
        """Delete your own message; its place stays, without the text."""
        message = self.service.delete(_user(client), payload.message)
        self._tell_message("message_deleted", message)
        return schemas.MessageAnswer(message=message)

    @event(schemas.Typing, rate="typing")
    def on_typing(self, client: Client, payload: schemas.Typing) -> None:
        """Say that you are typing, or have stopped. Nothing is stored."""
        room = _room_key(payload.room)
        if room not in self.server.manager.get_rooms(client.sid, self.namespace):
            raise EventError("not_a_member", "Join the room first.")
        user = _user(client)
        notice = schemas.TypingNotice(room=payload.room, member=_member(user), active=payload.active)
        self.tell("typing", notice, to=room, skip_sid=self._sids(user), volatile=True)

    @event(schemas.Read, schemas.ReadAnswer, rate="read")
    def on_read(self, client: Client, payload: schemas.Read) -> schemas.ReadAnswer:
        """Say how far you have read a room. All your connections hear where you are, and count alike.

        Who had read everything and posts has read that too, and need not say so.
        """
        user = _user(client)
        seq = self.service.read(user, payload.room, payload.seq)
        self.tell("read", schemas.PositionMoved(room=payload.room, seq=seq), to=_user_key(user.id))
        return schemas.ReadAnswer(room=payload.room, seq=seq)

    @event(schemas.Changes, schemas.ChangesAnswer)
    def on_changes(self, client: Client, payload: schemas.Changes) -> schemas.ChangesAnswer:
        """Read what was edited or deleted after the last change that you know of, however far up it is.

        `hello` tells each room's `last_change_seq`: where it is yours, there is nothing to ask for.
        """
        return self.service.changes(_user(client), payload.room, payload.after_change_seq)

    # What the REST API does too.

    def create_room(self, user: User, name: str, address: str) -> schemas.Room:
        """Make a room with the user in it, and tell everybody.

        A guest's address pays, too: another guest costs nothing, and rooms stay.
        """
        if user.id.startswith(GUEST_PREFIX):
            self.spend("create", payer_of(None, address))
        room = self.service.create_room(user, name)
        unseen = room.model_copy(update={"joined": False})
        self.tell("room_created", schemas.RoomCreated(room=unseen))
        return self._joined(user, room)

    def post(self, user: User, room_id: int, client_id: str, text: str) -> schemas.Message:
        """Store a message, and tell its room; also when it was stored before.

        Whoever repeats a message got no answer. The node that stored it may have been killed before it could
        tell anybody, and nobody but its writer would know.
        """
        message = self.service.post(user, room_id, client_id, text)
        # At once: whoever posts next must not be heard first.
        self._tell_message("message", message)
        if message.seq == 1:
            self._reveal(user, room_id)
        return message

    def counted(self, rooms: list[schemas.Room]) -> list[schemas.Room]:
        """Add to rooms how many users are here."""
        return [room.model_copy(update={"online": self._online(room.id)}) for room in rooms]

    # What others hear.

    def _reveal(self, user: User, room_id: int) -> None:
        """Let somebody find the conversation that another one begins."""
        other = self.service.room(room_id, user).with_
        if other:
            self._tell_membership(other, self.service.room(room_id, other))

    def _tell_message(self, name: str, message: schemas.Message) -> None:
        self.tell(name, message, to=_room_key(message.room))

    def _joined(self, user: User, room: schemas.Room) -> schemas.Room:
        for sid in self._sids(user):
            self.enter_room(sid, _room_key(room.id))
        return self._tell_membership(user, room)

    def _tell_membership(self, user: User | schemas.Member, room: schemas.Room) -> schemas.Room:
        room = self.counted([room])[0]
        changed = schemas.MembershipChanged(room=room, joined=room.joined)
        self.tell("membership", changed, to=_user_key(user.id))
        return room

    def _tell_moved(self, move: Moved) -> None:
        room_id = int(str(move.room).removeprefix(ROOM))
        name = "member_joined" if move.here else "member_left"
        moved = schemas.MemberMoved(room=room_id, member=_member(move.member), online=self._online(room_id))
        self.tell(name, moved, to=_room_key(room_id), here=True)

    # Who is here, on all nodes.

    def _members(self, room_id: int) -> list[schemas.Member]:
        return [_member(user) for user in self.socketio.members(_room_key(room_id), self.namespace)]

    def _online(self, room_id: int) -> int:
        return int(self.server.manager.presence.count(_room_key(room_id), self.namespace))

    def _is_online(self, user_id: str) -> bool:
        return bool(self.server.manager.presence.sids(user_id, self.namespace))

    def _sids(self, user: User | schemas.Member) -> list[str]:
        """All connections of a user."""
        return self._sids_of(user.id)

    def _sids_of(self, user_id: str) -> list[str]:
        return list(self.server.manager.presence.sids(user_id, self.namespace))
