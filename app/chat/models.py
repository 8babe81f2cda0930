"""The chat's tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db

# SQLite makes a primary key count by itself only when its type is INTEGER.
IdType = BigInteger().with_variant(db.Integer, "sqlite")

PUBLIC = "public"
DIRECT = "direct"


class Room(db.Model):  # type: ignore[name-defined,misc]
    """A room. It numbers its messages and the changes to them; whoever takes a number locks the row."""

    __tablename__ = "rooms"

    id: Mapped[int] = mapped_column(IdType, primary_key=True)
    # "public", or "direct": of two people, and seen by nobody else.
    kind: Mapped[str] = mapped_column(String(16), default=PUBLIC, server_default=PUBLIC, index=True)
    # Empty for a conversation of two: each of them sees the other's name.
    name: Mapped[str] = mapped_column(String(64))
    # The name as it is compared: two rooms may not differ in case alone.
    name_key: Mapped[str] = mapped_column(String(255), unique=True)
    # The numbers of the oldest message that is kept, of the newest one, and of the newest change.
    first_seq: Mapped[int] = mapped_column(BigInteger, default=1, server_default="1")
    last_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    last_change_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_by: Mapped[str] = mapped_column(String(64))
    created_at_ms: Mapped[int] = mapped_column(BigInteger)


class Membership(db.Model):  # type: ignore[name-defined,misc]
    """A user is in a room, connected or not.

    `joined_at_ms` is 0 for whom another one is about to write to: they hear of it with the first message.
    """

    __tablename__ = "memberships"

    user_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("rooms.id"), primary_key=True, index=True)
    joined_at_ms: Mapped[int] = mapped_column(BigInteger)
    # The seq of the newest message that the user has read; it only grows.
    read_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")


class Message(db.Model):  # type: ignore[name-defined,misc]
    """A message. `seq` counts 1, 2, 3... in its room: the cursor of the history, and how a gap is seen."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("room_id", "seq", name="uq_messages_room_seq"),
        # What makes a repeated send harmless.
        UniqueConstraint("author_id", "client_id", name="uq_messages_author_client"),
        # Most messages never change, and are not in it.
        Index(
            "ix_messages_changes",
            "room_id",
            "change_seq",
            sqlite_where=sql("change_seq IS NOT NULL"),
            postgresql_where=sql("change_seq IS NOT NULL"),
        ),
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
    # The number of its last edit or deletion among all of its room: what changed since is a comparison.
    change_seq: Mapped[int | None] = mapped_column(BigInteger)
