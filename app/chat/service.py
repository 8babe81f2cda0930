"""What the chat does, whoever asks: the sockets or the REST API. No Flask, no sockets, no SQL."""

from __future__ import annotations

import time

from app.chat import message_store, names, schemas, store
from app.errors import EventError
from app.names import name_key
from app.transactions import Transactions
from app.user import User
from config import Settings

# When somebody was here last is noted once in this time, not at each connect.
SEEN_EVERY_MS = 3_600_000
# So few are deleted in one transaction: whoever posts in that room waits for it.
TRIM_MESSAGES = 500


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
        """All rooms as the user sees them: public ones by name, then the user's direct conversations."""
        return self._db.read(store.list_rooms, user and user.id)

    def room(self, room_id: int, user: User | schemas.Member | None = None) -> schemas.Room:
        """One room. :raises EventError: `room_not_found`, also for a conversation of others."""
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

    def open_direct(self, user: User, other_id: str) -> schemas.Room:
        """Find or begin the conversation of two people.

        :param other_id: of somebody who was here before.
        :raises EventError: `bad_payload`, `person_not_found`, `too_many_rooms`.
        """
        if other_id == user.id:
            raise EventError("bad_payload", "This is you: choose somebody else to talk to.", field="user")
        key = names.direct_key(user.id, other_id)
        return self._db.write(
            store.open_direct, user, other_id, key, self._settings.chat_direct_max, _now_ms()
        )

    def read(self, user: User, room_id: int, seq: int) -> int:
        """Move a user's reading position in a room; it never goes back, nor beyond the newest message.

        :returns: where it is.
        :raises EventError: `room_not_found`, `not_a_member`.
        """
        return self._db.write(store.read, user, room_id, seq)

    def welcome(self, user: User) -> bool:
        """Note that a user is here, and put a first-time visitor into the default room.

        :returns: whether this is the first visit.
        """
        now_ms = _now_ms()
        known = self._db.read(store.find_person, user.id)
        if known is None:
            self.join_default(user)
        if known is None or known.name != user.name or known.seen_at_ms < now_ms - SEEN_EVERY_MS:
            self._db.write(store.keep_person, user, now_ms)
        return known is None

    def join_default(self, user: User) -> None:
        """Put somebody new into the default room, and make that room if need be."""
        _, key = names.room_name(self._settings.chat_default_room, self._settings.chat_room_name_max_chars)
        for room in self.rooms():
            if name_key(room.name) == key:
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
        """Leave a room. :raises EventError: `room_not_found`, `forbidden` (a direct conversation)."""
        return self._db.write(store.leave, user, room_id)

    def leave_all(self, user: User) -> None:
        """Leave every room, and forget a user who will not come back."""
        self._db.write(store.leave_all, user)

    def post(self, user: User, room_id: int, client_id: str, text: str) -> schemas.Message:
        """Store a message, once for each `client_id` of a user.

        :returns: the stored message.
        :raises EventError: `bad_payload`, `too_long`, `room_not_found`, `not_a_member`, `id_reused`.
        """
        text = self._text(text)
        return self._db.write(message_store.post, user, room_id, client_id, text, _now_ms())

    def history(
        self,
        room_id: int,
        before_seq: int | None,
        after_seq: int | None,
        limit: int,
        user: User | None = None,
    ) -> schemas.HistoryAnswer:
        """A page of messages, oldest first.

        :param user: who reads; None reads public rooms only.
        :raises EventError: `room_not_found`.
        """
        return self._db.read(message_store.history, room_id, before_seq, after_seq, limit, user and user.id)

    def changes(self, user: User, room_id: int, after_change_seq: int) -> schemas.ChangesAnswer:
        """Messages that were edited or deleted after a change, by their changes' numbers.

        :raises EventError: `room_not_found`.
        """
        return self._db.read(message_store.changes, room_id, after_change_seq, schemas.CHANGES_PAGE, user.id)

    def edit(self, user: User, message_id: int, text: str) -> tuple[schemas.Message, bool]:
        """Change one's own message; says whether others may not know this text.

        :raises EventError: `bad_payload`, `too_long`, `message_not_found`, `forbidden`.
        """
        return self._db.write(message_store.edit, user, message_id, self._text(text), _now_ms())

    def delete(self, user: User, message_id: int) -> schemas.Message:
        """Delete one's own message.

        :raises EventError: `message_not_found`, `forbidden`.
        """
        return self._db.write(message_store.remove, user, message_id, _now_ms())

    def trim(self, sent_before_ms: int) -> int:
        """Delete the messages of all rooms that were sent before a time, in milliseconds since 1970.

        :returns: how many it were. What is locked by others is left for the next time.
        """
        deleted = 0
        for room_id in self._db.read(message_store.rooms_with_messages):
            found = TRIM_MESSAGES
            while found == TRIM_MESSAGES:
                found = self._db.write(message_store.trim, room_id, sent_before_ms, TRIM_MESSAGES)
                deleted += found
        return deleted

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
