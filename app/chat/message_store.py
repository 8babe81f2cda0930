"""The SQL of messages. Each function runs inside one transaction and returns plain values."""

from __future__ import annotations

from itertools import takewhile

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.chat import schemas
from app.chat.models import Membership, Message, Room
from app.chat.store import room_for
from app.errors import EventError
from app.user import User


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
        change_seq=row.change_seq or 0,
    )


def post(
    session: Session, user: User, room_id: int, client_id: str, text: str, now_ms: int
) -> schemas.Message:
    """Store a message, if it is new, and return it."""
    # The room's lock puts its posters into a line: numbers have no gaps and become visible in their order.
    room, member = room_for(session, room_id, user.id, lock=True)
    stored = session.scalar(
        select(Message).where(Message.author_id == user.id, Message.client_id == client_id)
    )
    if stored is not None:
        if stored.room_id != room_id:
            raise EventError("id_reused", "Each message needs a client_id of its own.", field="client_id")
        return _message(stored)
    if member is None:
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
    # Who had read everything has read this too; who had not still has the others' to read.
    session.execute(
        update(Membership)
        .where(Membership.user_id == user.id, Membership.room_id == room_id)
        .where(Membership.read_seq == row.seq - 1)
        .values(read_seq=row.seq)
    )
    return _message(row)


def history(
    session: Session,
    room_id: int,
    before_seq: int | None,
    after_seq: int | None,
    limit: int,
    user_id: str | None,
) -> schemas.HistoryAnswer:
    """A page of messages, oldest first.

    A number never changes and no smaller one appears later, so pages fit together while others post.
    """
    room, _ = room_for(session, room_id, user_id)
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
    return schemas.HistoryAnswer(
        messages=[_message(row) for row in page], has_more=len(rows) > limit, first_seq=room.first_seq
    )


def changes(
    session: Session, room_id: int, after_change_seq: int, limit: int, user_id: str
) -> schemas.ChangesAnswer:
    """A page of the messages that changed after a change that one knows of, in the order of their changes."""
    room_for(session, room_id, user_id)
    query = (
        select(Message)
        .where(Message.room_id == room_id, Message.change_seq > after_change_seq)
        .order_by(Message.change_seq)
        .limit(limit + 1)
    )
    rows = list(session.scalars(query))
    return schemas.ChangesAnswer(messages=[_message(row) for row in rows[:limit]], has_more=len(rows) > limit)


def _own(session: Session, user: User, message_id: int) -> tuple[Room, Message]:
    """One's own message as it is, and its room, locked: changes are numbered like messages."""
    found = session.execute(
        select(Message.room_id, Message.author_id).where(Message.id == message_id)
    ).one_or_none()
    if found is None:
        raise EventError("message_not_found", f"There is no message {message_id}.")
    if found.author_id != user.id:
        raise EventError("forbidden", "Only its author may change a message.")
    room, _ = room_for(session, found.room_id, user.id, lock=True)
    row = session.get(Message, message_id)
    if row is None:
        raise EventError("message_not_found", "This message is so old that it is not kept any more.")
    return room, row


def _number(room: Room, row: Message) -> None:
    room.last_change_seq += 1
    row.change_seq = room.last_change_seq


def edit(
    session: Session, user: User, message_id: int, text: str, now_ms: int
) -> tuple[schemas.Message, bool]:
    """Change a message's text; returns it, and whether others may not know this text."""
    room, row = _own(session, user, message_id)
    if row.deleted_at_ms is not None:
        raise EventError("message_not_found", "This message was deleted.")
    if row.text == text:
        # Whoever repeats a change may do so because its node died before it told anybody.
        return _message(row), row.edited_at_ms is not None
    row.text = text
    row.edited_at_ms = now_ms
    _number(room, row)
    return _message(row), True


def remove(session: Session, user: User, message_id: int, now_ms: int) -> schemas.Message:
    """Empty a message and mark it deleted, if it is not, and return it."""
    room, row = _own(session, user, message_id)
    if row.deleted_at_ms is None:
        row.text = ""
        row.deleted_at_ms = now_ms
        _number(room, row)
    return _message(row)


def rooms_with_messages(session: Session) -> list[int]:
    """The rooms that have something to trim, perhaps."""
    return list(session.scalars(select(Room.id).where(Room.first_seq <= Room.last_seq).order_by(Room.id)))


def trim(session: Session, room_id: int, sent_before_ms: int, limit: int) -> int:
    """Delete a room's oldest messages that were sent before a time.

    :param limit: how many at most, so that nobody who posts waits long for the room's lock.
    :returns: how many it were.
    """
    # Where another node is at it, or somebody posts, there is a next time.
    room = session.scalar(select(Room).where(Room.id == room_id).with_for_update(skip_locked=True))
    if room is None:
        return 0
    oldest = session.execute(
        select(Message.seq, Message.sent_at_ms)
        .where(Message.room_id == room_id, Message.seq >= room.first_seq)
        .order_by(Message.seq)
        .limit(limit)
    )
    numbers = [seq for seq, _ in takewhile(lambda row: row.sent_at_ms < sent_before_ms, oldest)]
    if numbers:
        session.execute(delete(Message).where(Message.room_id == room_id, Message.seq <= numbers[-1]))
        room.first_seq = numbers[-1] + 1
    return len(numbers)
