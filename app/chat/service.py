"""What the chat does, whoever asks: the sockets or the REST API. No Flask, no sockets, no SQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from app.auth import User
from app.chat import names, schemas, store
from app.errors import EventError
from config import Settings

T = TypeVar("T")


class Transactions(Protocol):
    """Runs `work(session, *args)` in a transaction; see app/database.py."""

    def read(self, work: Callable[..., T], *args: object) -> T:
        """Only read."""

    def write(self, work: Callable[..., T], *args: object) -> T:
        """Perhaps write."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class ChatService:
    """Rooms and messages.

    :param db: runs the transactions.
    :param settings: the bounds (`chat_*`).
    """

    def __init__(self, db: Transactions, settings: Settings) -> None:
        self._db = db
        self._settings = settings

    def rooms(self, user: User | None = None) -> list[schemas.Room]:
        """All rooms by name, as the user sees them."""
        return self._db.read(store.list_rooms, user and user.id)

    def room(self, room_id: int, user: User | None = None) -> schemas.Room:
        """One room. :raises EventError: `room_not_found`."""
        return self._db.read(store.find_room, room_id, user and user.id)

    def joined(self, user: User) -> list[int]:
        """The ids of the rooms that a user is in."""
        return list(self._db.read(store.joined_rooms, user.id))

    def create_room(self, user: User, name: str) -> schemas.Room:
        """Make a room and join it.

        :raises EventError: `bad_payload`, `too_long`, `room_exists`, `too_many_rooms`.
        """
        s = self._settings
        shown, key = names.room_name(name, s.chat_room_name_max_chars)
        return self._db.write(
            store.create_room, user, shown, key, s.chat_rooms_max, s.chat_joined_max, _now_ms()
        )

    def join(self, user: User, room_id: int) -> schemas.Room:
        """Join a room. :raises EventError: `room_not_found`, `too_many_rooms`."""
        return self._db.write(store.join, user, room_id, self._settings.chat_joined_max, _now_ms())

    def join_default(self, user: User) -> None:
        """Put a new guest into the default room, and make that room if need be."""
        _, key = names.room_name(self._settings.chat_default_room, self._settings.chat_room_name_max_chars)
        for room in self.rooms():
            if names.name_key(room.name) == key:
                self.join(user, room.id)
                return
        try:
            self.create_room(user, self._settings.chat_default_room)
        except EventError as error:
            # Another guest was first by a moment.
            if error.code != "room_exists":
                raise
            self.join(user, int(str(error.details["room"])))

    def leave(self, user: User, room_id: int) -> schemas.Room:
        """Leave a room. :raises EventError: `room_not_found`."""
        return self._db.write(store.leave, user, room_id)

    def leave_all(self, user: User) -> None:
        """Leave every room."""
        self._db.write(store.leave_all, user)

    def post(self, user: User, room_id: int, client_id: str, text: str) -> schemas.Message:
        """Store a message, once for each `client_id` of a user.

        :returns: the stored message.
        :raises EventError: `bad_payload`, `too_long`, `room_not_found`, `not_a_member`, `id_reused`.
        """
        text = self._text(text)
        return self._db.write(store.post, user, room_id, client_id, text, _now_ms())

    def history(
        self, room_id: int, before_seq: int | None, after_seq: int | None, limit: int
    ) -> tuple[list[schemas.Message], bool]:
        """A page of messages, oldest first, and whether there are more.

        :raises EventError: `room_not_found`.
        """
        return self._db.read(store.history, room_id, before_seq, after_seq, limit)

    def edit(self, user: User, message_id: int, text: str) -> tuple[schemas.Message, bool]:
        """Change one's own message; says whether others may not know this text.

        :raises EventError: `bad_payload`, `too_long`, `message_not_found`, `forbidden`.
        """
        return self._db.write(store.edit, user, message_id, self._text(text), _now_ms())

    def delete(self, user: User, message_id: int) -> schemas.Message:
        """Delete one's own message.

        :raises EventError: `message_not_found`, `forbidden`.
        """
        return self._db.write(store.remove, user, message_id, _now_ms())

    def hello(self, user: User) -> schemas.HelloAnswer:
        """What a client needs at its start."""
        s = self._settings
        return schemas.HelloAnswer(
            me=schemas.Member(id=user.id, name=user.name),
            rooms=self.rooms(user),
            limits=schemas.Limits(
                text_max_chars=s.chat_text_max_chars,
                name_max_chars=s.chat_name_max_chars,
                room_name_max_chars=s.chat_room_name_max_chars,
                history_page=schemas.HISTORY_PAGE_DEFAULT,
            ),
            server_time_ms=_now_ms(),
        )

    def _text(self, text: str) -> str:
        limit = self._settings.chat_text_max_chars
        # PostgreSQL cannot store this one character, and nobody can see it.
        text = text.replace("\x00", "").strip()
        # Half an emoji, cut by a client that counts UTF-16 units, cannot be stored anywhere.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if not text:
            raise EventError("bad_payload", "Write something first.", field="text")
        if len(text) > limit:
            raise EventError(
                "too_long",
                f"At most {limit} characters, and this has {len(text)}.",
                field="text",
                limit=limit,
            )
        return text
