"""The SQL of rooms and people. Each function runs inside one transaction and returns plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.chat import schemas
from app.chat.models import DIRECT, PUBLIC, Membership, Room
from app.errors import EventError
from app.user import User
from app.users.models import Person

# With whom a conversation is whose other one is not known any more.
LEFT_NAME = "Somebody who left"


class Known(NamedTuple):
    """What is known of somebody who was here before."""

    name: str
    seen_at_ms: int


def _room(row: Room, member: Membership | None, other: schemas.Member | None = None) -> schemas.Room:
    return schemas.Room(
        id=row.id,
        kind=row.kind,
        name=other.name if other else row.name,
        with_=other,
        joined=member is not None,
        online=0,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        read_seq=member.read_seq if member else 0,
        last_change_seq=row.last_change_seq,
    )


def room_for(
    session: Session, room_id: int, user_id: str | None, *, lock: bool = False
) -> tuple[Room, Membership | None]:
    """A room, and a user's place in it. What two people say is not there for anybody else.

    :param lock: whether the transaction goes on to number something in the room.
    :raises EventError: `room_not_found`.
    """
    row = session.get(Room, room_id, with_for_update=lock or None)
    member = session.get(Membership, (user_id, room_id)) if row and user_id is not None else None
    if row is None or (row.kind == DIRECT and member is None):
        raise EventError("room_not_found", f"There is no room {room_id}.")
    return row, member


def find_room(session: Session, room_id: int, user_id: str | None = None) -> schemas.Room:
    """One room as a user sees it."""
    row, member = room_for(session, room_id, user_id)
    others = _others(session, [row.id], user_id) if row.kind == DIRECT else {}
    return _room(row, member, others.get(row.id))


def list_rooms(session: Session, user_id: str | None = None) -> list[schemas.Room]:
    """All rooms by name, as a user sees them; then the user's direct conversations."""
    # Each with the user's place in it, from the same moment: on PostgreSQL the next SELECT may see more.
    mine = and_(Membership.room_id == Room.id, Membership.user_id == user_id)
    public = session.execute(
        select(Room, Membership)
        .outerjoin(Membership, mine)
        .where(Room.kind == PUBLIC)
        .order_by(Room.name_key)
    )
    rooms = [_room(row, member) for row, member in public]
    if user_id is None:
        return rooms
    direct = session.execute(
        select(Room, Membership)
        .join(Membership, mine)
        .where(Room.kind == DIRECT)
        # Whoever is only about to be written to hears of it with the first message.
        .where(or_(Membership.joined_at_ms > 0, Room.last_seq > 0))
    ).all()
    others = _others(session, [row.id for row, _ in direct], user_id)
    conversations = [_room(row, member, others.get(row.id)) for row, member in direct]
    return rooms + sorted(conversations, key=lambda room: room.name.casefold())


def _others(session: Session, room_ids: list[int], user_id: str | None) -> dict[int, schemas.Member]:
    """With whom a user talks in direct conversations, by room."""
    rows = session.execute(
        select(Membership.room_id, Membership.user_id, func.coalesce(Person.name, LEFT_NAME))
        .outerjoin(Person, Person.id == Membership.user_id)
        .where(Membership.room_id.in_(room_ids), Membership.user_id != user_id)
    )
    return {room_id: schemas.Member(id=other_id, name=name) for room_id, other_id, name in rows}


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
    if _count(session, Room.kind == PUBLIC) >= rooms_max:
        raise EventError("too_many_rooms", f"There are {rooms_max} rooms already.", limit=rooms_max)
    row = Room(name=name, name_key=key, created_by=user.id, created_at_ms=now_ms)
    session.add(row)
    session.flush()
    return join(session, user, row.id, joined_max, now_ms)


def join(session: Session, user: User, room_id: int, joined_max: int, now_ms: int) -> schemas.Room:
    """Put a user into a room, with everything so far read; again, nothing changes."""
    row, member = room_for(session, room_id, user.id)
    if member is None:
        joined = select(Membership.room_id).where(Membership.user_id == user.id)
        if _count(session, Room.kind == PUBLIC, Room.id.in_(joined)) >= joined_max:
            raise EventError(
                "too_many_rooms", f"You are in {joined_max} rooms already: leave one.", limit=joined_max
            )
        session.add(Membership(user_id=user.id, room_id=room_id, joined_at_ms=now_ms, read_seq=row.last_seq))
        session.flush()
    return find_room(session, room_id, user.id)


def leave(session: Session, user: User, room_id: int) -> schemas.Room:
    """Take a user out of a room; again, nothing changes."""
    row, _ = room_for(session, room_id, user.id)
    if row.kind == DIRECT:
        raise EventError("forbidden", "A conversation of two cannot be left.")
    session.execute(delete(Membership).where(Membership.user_id == user.id, Membership.room_id == room_id))
    return _room(row, None)


def leave_all(session: Session, user: User) -> None:
    """Take a user who will not come back out of all rooms.

    Direct conversations stay, for they are the other's too, who wants to know with whom.
    """
    # Whoever begins a conversation with this person at this moment comes first, or finds nobody.
    person = session.get(Person, user.id, with_for_update=True)
    public = select(Room.id).where(Room.kind == PUBLIC)
    session.execute(
        delete(Membership).where(Membership.user_id == user.id, Membership.room_id.in_(public)),
        execution_options={"synchronize_session": False},
    )
    if person is not None and not joined_rooms(session, user.id):
        session.delete(person)


def open_direct(
    session: Session, user: User, other_id: str, key: str, direct_max: int, now_ms: int
) -> schemas.Room:
    """Find or begin the conversation of two people; the user sees it from now on.

    :param key: the same for both, and for nobody else: they may do this at the same moment.
    """
    room_id = session.scalar(select(Room.id).where(Room.name_key == key))
    if room_id is None:
        if session.get(Person, other_id, with_for_update={"read": True}) is None:
            raise EventError("person_not_found", "Nobody of this id was ever here.", field="user")
        # Only those that the user began: nobody can use up another one's.
        if _count(session, Room.kind == DIRECT, Room.created_by == user.id) >= direct_max:
            raise EventError(
                "too_many_rooms", f"You began {direct_max} conversations already.", limit=direct_max
            )
        row = Room(kind=DIRECT, name="", name_key=key, created_by=user.id, created_at_ms=now_ms)
        session.add(row)
        session.flush()
        room_id = row.id
        session.add(Membership(user_id=user.id, room_id=room_id, joined_at_ms=now_ms))
        session.add(Membership(user_id=other_id, room_id=room_id, joined_at_ms=0))
        session.flush()
    else:
        session.execute(
            update(Membership)
            .where(Membership.user_id == user.id, Membership.room_id == room_id)
            .where(Membership.joined_at_ms == 0)
            .values(joined_at_ms=now_ms)
        )
    return find_room(session, room_id, user.id)


def read(session: Session, user: User, room_id: int, seq: int) -> int:
    """Move a user's reading position forward, and return where it is."""
    row, member = room_for(session, room_id, user.id)
    if member is None:
        raise EventError("not_a_member", f"Join {row.name} before you read there.")
    seq = min(seq, row.last_seq)
    if member.read_seq < seq:
        # Compared where it is stored: another tab may be further by now.
        session.execute(
            update(Membership)
            .where(Membership.user_id == user.id, Membership.room_id == room_id, Membership.read_seq < seq)
            .values(read_seq=seq)
        )
        session.refresh(member)
    return member.read_seq


def find_person(session: Session, user_id: str) -> Known | None:
    """What is known of somebody; None: was never here."""
    row = session.get(Person, user_id)
    return Known(row.name, row.seen_at_ms) if row else None


def keep_person(session: Session, user: User, now_ms: int) -> None:
    """Note that somebody is here, under this name."""
    row = session.get(Person, user.id)
    if row is None:
        session.add(Person(id=user.id, name=user.name, seen_at_ms=now_ms))
    else:
        row.name, row.seen_at_ms = user.name, now_ms


def _count(session: Session, *conditions: object) -> int:
    return session.scalar(select(func.count()).select_from(Room).where(*conditions)) or 0  # type: ignore[arg-type]
