"""What the chat's events carry, both ways. docs/events.md is written from here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

HISTORY_PAGE_DEFAULT = 50
HISTORY_PAGE_MAX = 100
CHANGES_PAGE = 100

RoomId = Annotated[int, Field(strict=True, ge=1, le=2**53 - 1, description="id of the room")]
MessageId = Annotated[int, Field(strict=True, ge=1, le=2**53 - 1, description="id of the message")]
# 2**53 - 1 is the largest whole number that JavaScript keeps exactly.
Seq = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]
Text = Annotated[str, Field(strict=True, description="plain text; CHAT_TEXT_MAX_CHARS at most")]


class Payload(BaseModel):
    """Base of what a client sends: unknown fields are refused, so a typing error is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CreateRoom(Payload):
    """Make a room and join it."""

    name: Annotated[str, Field(strict=True, description="CHAT_ROOM_NAME_MAX_CHARS at most")]


class InRoom(Payload):
    """An event about a room."""

    room: RoomId


class OpenDirect(Payload):
    """Begin, or go on with, a conversation of two."""

    user: Annotated[
        str,
        Field(
            strict=True,
            max_length=64,
            pattern=r"^[^\x00-\x1f]+$",  # PostgreSQL has no NUL in texts
            description="id of the other, not yourself",
        ),
    ]


class Read(Payload):
    """Say how far you have read a room."""

    room: RoomId
    seq: Annotated[Seq, Field(description="of the newest message that you have read")]


class Send(Payload):
    """Post a message."""

    room: RoomId
    client_id: Annotated[
        str,
        Field(
            strict=True,
            pattern=r"^[A-Za-z0-9_-]{1,64}$",
            description="made by the client, new for each message; the same again is the same message",
        ),
    ]
    text: Text


class History(Payload):
    """Ask for messages: the newest, those before a number, or those after one."""

    room: RoomId
    before_seq: Annotated[Seq | None, Field(description="only messages with a smaller seq")] = None
    after_seq: Annotated[Seq | None, Field(description="only messages with a larger seq")] = None
    limit: Annotated[int, Field(strict=True, ge=1, le=HISTORY_PAGE_MAX)] = HISTORY_PAGE_DEFAULT


class Changes(Payload):
    """Ask for messages that were edited or deleted."""

    room: RoomId
    after_change_seq: Annotated[Seq, Field(description="only changes with a larger number")]


class Edit(Payload):
    """Change the text of one's own message."""

    message: MessageId
    text: Text


class Delete(Payload):
    """Delete one's own message; its place stays."""

    message: MessageId


class Typing(Payload):
    """Say that one is typing, or has stopped."""

    room: RoomId
    active: Annotated[bool, Field(strict=True)]


class Member(BaseModel):
    """A user."""

    id: str
    name: str


class Room(BaseModel):
    """A room as one user sees it."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    id: int
    kind: Annotated[Literal["public", "direct"], Field(description="`direct` is seen by its two people only")]
    name: Annotated[str, Field(description="of a direct conversation, the other's")]
    with_: Annotated[
        Member | None, Field(alias="with", description="the other one of a direct conversation, else null")
    ]
    joined: Annotated[bool, Field(description="whether you are in it")]
    online: Annotated[int, Field(description="users who are here now")]
    first_seq: Annotated[
        int, Field(description="seq of the oldest message that is kept; above `last_seq` when none is")
    ]
    last_seq: Annotated[int, Field(description="seq of the newest message, 0 when there never was one")]
    read_seq: Annotated[
        int, Field(description="seq of the newest message that you have read; 0 when you are not in it")
    ]
    last_change_seq: Annotated[int, Field(description="number of the newest edit or deletion")]


class Message(BaseModel):
    """A message."""

    id: int
    room: int
    seq: Annotated[int, Field(description="1, 2, 3... in its room, without gaps")]
    client_id: str
    author: Member
    text: Annotated[str, Field(description="empty when deleted")]
    sent_at_ms: Annotated[int, Field(description="milliseconds since 1970")]
    edited_at_ms: Annotated[int | None, Field(description="milliseconds since 1970")]
    deleted: bool
    change_seq: Annotated[
        int, Field(description="number of its last edit or deletion among all of the room, 0 for none")
    ]


class Limits(BaseModel):
    """The bounds that a client should know before it is told."""

    text_max_chars: int
    name_max_chars: int
    room_name_max_chars: int
    history_page: int


class HelloAnswer(BaseModel):
    """Who you are, and all rooms."""

    me: Member
    rooms: list[Room]
    limits: Limits
    server_time_ms: int


class RoomsAnswer(BaseModel):
    """All rooms, by name."""

    rooms: list[Room]


class RoomAnswer(BaseModel):
    """The room as it is now."""

    room: Room


class JoinAnswer(RoomAnswer):
    """The room, and who is here."""

    members: list[Member]


class MembersAnswer(BaseModel):
    """Who is here, by name."""

    members: list[Member]


class MessageAnswer(BaseModel):
    """The message as it is stored."""

    message: Message


class HistoryAnswer(BaseModel):
    """A page, oldest first."""

    messages: list[Message]
    has_more: Annotated[bool, Field(description="whether there are more in the direction asked for")]
    first_seq: Annotated[int, Field(description="seq of the oldest message that is kept")]


class ReadAnswer(BaseModel):
    """How far you have read; it never goes back, nor beyond the newest message."""

    room: int
    seq: int


class ChangesAnswer(BaseModel):
    """The messages as they are now, by `change_seq`."""

    messages: list[Message]
    has_more: Annotated[bool, Field(description="whether there are more: go on after the last `change_seq`")]


class RoomCreated(BaseModel):
    """A room was made; goes to everybody."""

    room: Room


class MembershipChanged(BaseModel):
    """You joined or left a room, perhaps in another tab; goes to all your connections.

    Also how you hear of a direct conversation: when you open it, or with the other's first message.
    """

    room: Room
    joined: bool


class PositionMoved(BaseModel):
    """You have read further, perhaps in another tab; goes to all your connections."""

    room: int
    seq: Annotated[int, Field(description="of the newest message that you have read")]


class MemberMoved(BaseModel):
    """Somebody came into, or went out of, a room; goes to the room."""

    room: int
    member: Member
    online: Annotated[int, Field(description="users who are here now")]


class TypingNotice(BaseModel):
    """Somebody types, or has stopped; goes to the room but not to the typist. Expires after 6 s."""

    room: int
    member: Member
    active: bool
