"""The chat's tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db

# SQLite makes a primary key count by itself only when its type is INTEGER.
IdType = BigInteger().with_variant(db.Integer, "sqlite")


class Room(db.Model):  # type: ignore[name-defined,misc]
    """A room. `last_seq` numbers its newest message; whoever posts takes the next under the row's lock."""

    __tablename__ = "rooms"

    id: Mapped[int] = mapped_column(IdType, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    # The name as it is compared: two rooms may not differ in case alone.
    name_key: Mapped[str] = mapped_column(String(255), unique=True)
    last_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_by: Mapped[str] = mapped_column(String(64))
    created_at_ms: Mapped[int] = mapped_column(BigInteger)


class Membership(db.Model):  # type: ignore[name-defined,misc]
    """A user is in a room, connected or not."""

    __tablename__ = "memberships"

    user_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("rooms.id"), primary_key=True)
    joined_at_ms: Mapped[int] = mapped_column(BigInteger)


class Message(db.Model):  # type: ignore[name-defined,misc]
    """A message. `seq` counts 1, 2, 3... in its room: the cursor of the history, and how a gap is seen."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("room_id", "seq", name="uq_messages_room_seq"),
        # What makes a repeated send harmless.
        UniqueConstraint("author_id", "client_id", name="uq_messages_author_client"),
    )

    id: Mapped[int] = mapped_column(IdType, primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("rooms.id"))
    seq: Mapped[int] = mapped_column(BigInteger)
    author_id: Mapped[str] = mapped_column(String(64))
    author_name: Mapped[str] = mapped_column(String(64))
    client_id: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)
    sent_at_ms: Mapped[int] = mapped_column(BigInteger)
    edited_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    deleted_at_ms: Mapped[int | None] = mapped_column(BigInteger)
