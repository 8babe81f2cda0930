"""What travels between nodes: messages, notes, and the parcels that carry them.

A *message* is an effect on clients: an event, a disconnect, a room entered or left, an acknowledgement. It is
encoded once, when it is emitted, and has a number (`seq`) among the messages of its origin. A *note* is what
nodes tell each other about messages; it has no number, and losing one costs time only.

    parcel = format byte, [signature of 32 bytes], msgpack of a Parcel

`Parcel.about` is the origin whose messages these are, mostly the sender itself, and `first` the seq of the
first of them; they follow each other without gaps. With `first` = 0 the bodies are notes. `number` counts the
sender's parcels, so that it recognises its own when they come back.

msgpack, because it carries bytes and text as they are; msgspec, because it decodes straight into checked,
typed structs, and nothing that arrives can become anything else. No pickle.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections import OrderedDict
from typing import Any

import msgspec
from msgspec import Raw

UNSIGNED, SIGNED = b"\x01", b"\x02"
SIGNATURE_BYTES = 32

# A room's name, or several; whatever JSON could name. None is everybody in the namespace.
Scalar = str | int | float | bool
Room = Scalar | None | list[Scalar]


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something that has a seq."""


class Emit(Message, frozen=True, array_like=True, gc=False, tag="e"):
    """An event for clients; the frames are ready to be sent, and decoded only where a client wants them."""

    namespace: str
    room: Room
    skip: list[str]
    ack: int  # the acknowledgement id that is already in the frames; 0: none is wanted
    frames: Raw  # list[str | bytes]
    volatile: bool = False  # a client that is behind need not get it


class Disconnect(Message, frozen=True, array_like=True, gc=False, tag="d"):
    """End a client's connection to a namespace."""

    sid: str
    namespace: str


class EnterRoom(Message, frozen=True, array_like=True, gc=False, tag="i"):
    """Put a client into a room."""

    sid: str
    namespace: str
    room: Scalar


class LeaveRoom(Message, frozen=True, array_like=True, gc=False, tag="o"):
    """Take a client out of a room."""

    sid: str
    namespace: str
    room: Scalar


class CloseRoom(Message, frozen=True, array_like=True, gc=False, tag="c"):
    """Take everybody out of a room."""

    room: Scalar
    namespace: str


class Ack(Message, frozen=True, array_like=True, gc=False, tag="a"):
    """A client's acknowledgement, for the process that asked for it."""

    to: str
    sid: str
    ack: int
    frames: Raw  # list[str | bytes]


class Switch(Message, frozen=True, array_like=True, gc=False, tag="s"):
    """An operator prefers a broker; None is the configured order."""

    broker: str | None


class DrainNode(Message, frozen=True, array_like=True, gc=False, tag="n"):
    """An operator wants a node to let its clients go, or to take clients again."""

    node: str
    drain: bool


class Told(Message, frozen=True, array_like=True, gc=False, tag="t"):
    """What the application of one node tells those of all others."""

    topic: str
    body: Raw


AnyMessage = Emit | Disconnect | EnterRoom | LeaveRoom | CloseRoom | Ack | Switch | DrainNode | Told


class Note(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something between nodes that has no seq."""

    def plausible(self) -> bool:
        """Whether an honest process could have sent it."""
        return True


class Pulse(Note, frozen=True, array_like=True, gc=False, tag="P"):
    """I live: this far have I published, these brokers I hear and reach. Its own echo measures the broker."""

    about: str
    last: int  # the newest seq that a broker accepted
    every_seconds: float
    is_node: bool  # has clients, so it must hear everything
    hears: list[str]
    reaches: list[str]

    def plausible(self) -> bool:
        """Whether an honest process could have sent it."""
        return 0 <= self.last < MAX_SEQ and 0 < self.every_seconds < 3600  # noqa: PLR2004 - an hour


class Request(Note, frozen=True, array_like=True, gc=False, tag="R"):
    """Send these messages again."""

    about: str
    ranges: list[tuple[int, int]]
    attempt: int

    def plausible(self) -> bool:
        """Whether an honest process could have sent it."""
        return all(1 <= first <= last < MAX_SEQ for first, last in self.ranges)


class Locate(Note, frozen=True, array_like=True, gc=False, tag="L"):
    """I listen since so long: which of your messages is the first for me?"""

    about: str
    since_seconds: float


class Start(Note, frozen=True, array_like=True, gc=False, tag="S"):
    """The answer to Locate."""

    about: str
    to: str
    first: int

    def plausible(self) -> bool:
        """Whether an honest process could have sent it."""
        return 1 <= self.first < MAX_SEQ


class Gone(Note, frozen=True, array_like=True, gc=False, tag="G"):
    """These messages exist no more; pass over them."""

    about: str
    first: int
    last: int

    def plausible(self) -> bool:
        """Whether an honest process could have sent it."""
        return 1 <= self.first <= self.last < MAX_SEQ


class Goodbye(Note, frozen=True, array_like=True, gc=False, tag="B"):
    """I end."""

    about: str


class Ask(Note, frozen=True, array_like=True, gc=False, tag="Q"):
    """Every node: report your status."""


class Report(Note, frozen=True, array_like=True, gc=False, tag="T"):
    """The answer to Ask, for whoever asked."""

    status: bytes  # msgpack of a dict, decoded by nobody else


AnyNote = Pulse | Request | Locate | Start | Gone | Goodbye | Ask | Report


class Parcel(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a broker carries."""

    sender: str
    number: int
    sent_at: float  # seconds since the epoch, by the sender's clock
    about: str
    first: int
    again: bool  # sent again because somebody asked
    bodies: list[Raw]


class Rejected(Exception):
    """What came is not a parcel of ours; `reason` is a word to count it under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_encoder = msgspec.msgpack.Encoder()
_parcels = msgspec.msgpack.Decoder(Parcel)
_messages: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
_notes: msgspec.msgpack.Decoder[AnyNote] = msgspec.msgpack.Decoder(AnyNote)

# What comes of bytes that are nothing of ours.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Bounds of what an honest process sends, some of them with room to spare.
MAX_SEQ = 2**53
MAX_NAME_CHARS = 64
MAX_BODIES = 2_000
MAX_REPORT_BYTES = 64 * 1024
# How far clocks may be apart when a process starts.
CLOCK_SLACK_SECONDS = 30.0

encode_body = _encoder.encode
decode_message = _messages.decode
decode_note = _notes.decode


def decode_status(body: bytes) -> dict[str, Any] | None:
    """Decode what a node reports; None when it is nothing."""
    try:
        status = msgspec.msgpack.decode(body, type=dict[str, Any])
    except UNDECODABLE:
        return None
    return status if isinstance(status.get("origin"), str) else None


def new_origin() -> str:
    """An id for this process; another one after each start."""
    return secrets.token_hex(8)


class Newest:
    """Knows the newest parcel that each sender sent over one broker.

    What is not newer was delivered twice by the broker, or replayed by somebody: the first was enough.
    """

    def __init__(self, max_senders: int = 10_000) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._max_senders = max_senders

    def advance(self, sender: str, number: int) -> bool:
        """Note a parcel; returns whether it is newer than all before."""
        if number <= self._numbers.get(sender, 0):
            return False
        self._numbers[sender] = number
        self._numbers.move_to_end(sender)
        if len(self._numbers) > self._max_senders:
            self._numbers.popitem(last=False)
        return True


class Sealer:
    """Packs and opens parcels; signs them when there is a secret.

    :param secret: what all processes of the application share; None: nothing is signed.
    :param channel: part of what is signed, so that a parcel cannot move to another channel.
    :param max_bytes: the largest parcel that is opened.
    :param max_age_seconds: the oldest signed parcel that is opened, by the senders' clocks. A parcel that is
        replayed within that time is recognised by its numbers.
    """

    def __init__(self, secret: str | None, channel: str, max_bytes: int, max_age_seconds: float) -> None:
        self._key: bytes | None = None
        if secret:
            self._key = hmac.digest(secret.encode(), f"parcel {channel}".encode(), "sha256")
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds

    def pack(self, parcel: Parcel) -> bytes:
        """Encode a parcel, and sign it."""
        body = _encoder.encode(parcel)
        if self._key is None:
            return UNSIGNED + body
        return SIGNED + hmac.digest(self._key, body, "sha256") + body

    def open(self, data: bytes, wall_now: float, uptime_seconds: float = math.inf) -> Parcel:
        """Check and decode a parcel; its bodies stay encoded.

        :param wall_now: seconds since the epoch.
        :param uptime_seconds: of this process: what was signed long before it began is replayed by somebody.
        :raises Rejected: "oversized", "malformed", "unsigned", "forged", "stale" (too old, or from the
            future: clocks must agree to within `max_age_seconds`), "signed" (we have no secret).
        """
        if len(data) > self._max_bytes:
            raise Rejected("oversized")
        kind = data[:1]
        if self._key is None:
            if kind != UNSIGNED:
                raise Rejected("signed" if kind == SIGNED else "malformed")
            body = memoryview(data)[1:]
        else:
            if kind != SIGNED:
                raise Rejected("unsigned" if kind == UNSIGNED else "malformed")
            body = memoryview(data)[1 + SIGNATURE_BYTES :]
            if not hmac.compare_digest(data[1 : 1 + SIGNATURE_BYTES], hmac.digest(self._key, body, "sha256")):
                raise Rejected("forged")
        try:
            parcel = _parcels.decode(body)
        except UNDECODABLE:
            raise Rejected("malformed") from None
        names = len(parcel.sender), len(parcel.about)
        if not 0 <= parcel.first < MAX_SEQ or not min(names) or max(names) > MAX_NAME_CHARS:
            raise Rejected("malformed")
        if len(parcel.bodies) > MAX_BODIES:
            raise Rejected("malformed")
        if self._key is not None:
            age_seconds = wall_now - parcel.sent_at
            if abs(age_seconds) > self._max_age_seconds or age_seconds > uptime_seconds + CLOCK_SLACK_SECONDS:
                raise Rejected("stale")
        return parcel
