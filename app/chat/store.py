"""The chat's SQL. Each function runs inside one transaction and returns plain values."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.auth import User
from app.chat import schemas
from app.chat.models import Membership, Message, Room
from app.errors import EventError


def _message(row: Message) -> schemas.Message:
    return schemas.Message(
        id=row.id,
        room=row.room_id,
        seq=row.seq,
        client_id=row.client_id,
        author=schemas.Member(id=row.author_id, name=row.author_name),
        text=row.text,
        sent_at_ms=row.sent_at_ms,
        edited_at_ms=row.edited_at_ms,
        deleted=row.deleted_at_ms is not None,
    )


def _room(row: Room, joined: bool) -> schemas.Room:
    return schemas.Room(id=row.id, name=row.name, joined=joined, online=0, last_seq=row.last_seq)


def find_room(session: Session, room_id: int, user_id: str | None = None) -> schemas.Room:
    """One room as a user sees it."""
    row = session.get(Room, room_id)
    if row is None:
        raise EventError("room_not_found", f"There is no room {room_id}.")
    joined = user_id is not None and session.get(Membership, (user_id, room_id)) is not None
    return _room(row, joined)


def list_rooms(session: Session, user_id: str | None = None) -> list[schemas.Room]:
    """All rooms by name, as a user sees them."""
    joined = set(session.scalars(select(Membership.room_id).where(Membership.user_id == user_id)))
    rows = session.scalars(select(Room).order_by(Room.name_key))
    return [_room(row, row.id in joined) for row in rows]


def joined_rooms(session: Session, user_id: str) -> Sequence[int]:
    """The ids of the rooms that a user is in."""
    return session.scalars(
        select(Membership.room_id).where(Membership.user_id == user_id).order_by(Membership.room_id)
    ).all()


def create_room(
    session: Session, user: User, name: str, key: str, rooms_max: int, joined_max: int, now_ms: int
) -> schemas.Room:
    """Make a room, with its maker in it."""
    existing = session.scalar(select(Room).where(Room.name_key == key))
    if existing is not None:
        raise EventError("room_exists", f"There is a room called {existing.name}.", room=existing.id)
    if session.scalar(select(func.count()).select_from(Room)) >= rooms_max:  # type: ignore[operator]
        raise EventError("too_many_rooms", f"There are {rooms_max} rooms already.", limit=rooms_max)
    row = Room(name=name, name_key=key, created_by=user.id, created_at_ms=now_ms)
    session.add(row)
    session.flush()
    join(session, user, row.id, joined_max, now_ms)
    return _room(row, joined=True)


def join(session: Session, user: User, room_id: int, joined_max: int, now_ms: int) -> schemas.Room:
    """Put a user into a room; again, nothing changes."""
    room = find_room(session, room_id, user.id)
    if not room.joined:
        count = session.scalar(
            select(func.count()).select_from(Membership).where(Membership.user_id == user.id)
        )
        if count >= joined_max:  # type: ignore[operator]
            raise EventError(
                "too_many_rooms", f"You are in {joined_max} rooms already: leave one.", limit=joined_max
            )
        session.add(Membership(user_id=user.id, room_id=room_id, joined_at_ms=now_ms))
    return room.model_copy(update={"joined": True})


def leave(session: Session, user: User, room_id: int) -> schemas.Room:
    """Take a user out of a room; again, nothing changes."""
    room = find_room(session, room_id)
    session.execute(delete(Membership).where(Membership.user_id == user.id, Membership.room_id == room_id))
    return room


def leave_all(session: Session, user: User) -> None:
    """Take a user out of all rooms."""
    session.execute(delete(Membership).where(Membership.user_id == user.id))


def post(
    session: Session, user: User, room_id: int, client_id: str, text: str, now_ms: int
) -> schemas.Message:
    """Store a message, if it is new, and return it."""
    # The room's lock puts its posters into a line: numbers have no gaps and become visible in their order.
    room = session.scalar(select(Room).where(Room.id == room_id).with_for_update())
    if room is None:
        raise EventError("room_not_found", f"There is no room {room_id}.")
    stored = session.scalar(
        select(Message).where(Message.author_id == user.id, Message.client_id == client_id)
    )
    if stored is not None:
        if stored.room_id != room_id:
            raise EventError("id_reused", "Each message needs a client_id of its own.", field="client_id")
        return _message(stored)
    if session.get(Membership, (user.id, room_id)) is None:
        raise EventError("not_a_member", f"Join {room.name} before you write there.")
    room.last_seq += 1
    row = Message(
        room_id=room_id,
        seq=room.last_seq,
        author_id=user.id,
        author_name=user.name,
        client_id=client_id,
        text=text,
        sent_at_ms=now_ms,
    )
    session.add(row)
    session.flush()
    return _message(row)


def history(
    session: Session, room_id: int, before_seq: int | None, after_seq: int | None, limit: int
) -> tuple[list[schemas.Message], bool]:
    """A page of messages, oldest first, and whether there are more in the direction asked for.

    A number never changes and no smaller one appears later, so pages fit together while others post.
    """
    find_room(session, room_id)
    query = select(Message).where(Message.room_id == room_id)
    if before_seq is not None:
        query = query.where(Message.seq < before_seq)
    if after_seq is not None:
        query = query.where(Message.seq > after_seq)
    # Forwards from a number; else backwards from the newest.
    forwards = after_seq is not None and before_seq is None
    query = query.order_by(Message.seq.asc() if forwards else Message.seq.desc()).limit(limit + 1)
    rows = list(session.scalars(query))
    page = rows[:limit] if forwards else rows[:limit][::-1]
    return [_message(row) for row in page], len(rows) > limit


def _own(session: Session, user: User, message_id: int) -> Message:
    row: Message | None = session.scalar(select(Message).where(Message.id == message_id).with_for_update())
    if row is None:
        raise EventError("message_not_found", f"There is no message {message_id}.")
    if row.author_id != user.id:
        raise EventError("forbidden", "Only its author may change a message.")
    return row


def edit(
    session: Session, user: User, message_id: int, text: str, now_ms: int
) -> tuple[schemas.Message, bool]:
    """Change a message's text; returns it, and whether others may not know this text."""
    row = _own(session, user, message_id)
    if row.deleted_at_ms is not None:
        raise EventError("message_not_found", "This message was deleted.")
    if row.text == text:
        # Whoever repeats a change may do so because its node died before it told anybody.
        return _message(row), row.edited_at_ms is not None
    row.text = text
    row.edited_at_ms = now_ms
    return _message(row), True


def remove(session: Session, user: User, message_id: int, now_ms: int) -> schemas.Message:
    """Empty a message and mark it deleted, if it is not, and return it."""
    row = _own(session, user, message_id)
    if row.deleted_at_ms is None:
        row.text = ""
        row.deleted_at_ms = now_ms
    return _message(row)
