"""What python-socketio's managers tell each other: JSON that becomes checked structs, and back.

Nothing that arrives can become anything else; the pickle of releases before 5.14 is no JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from socketio.packet import Packet

from app.realtime import frames
from app.realtime.queue import envelope
from app.realtime.queue.envelope import AnyMessage, Room, Scalar

# What host ids of the engine begin with; and all its copies, for json.dumps keeps the order of keys.
HOST = "hybrid-"
MARK = b'{"host_id": "' + HOST.encode()
_TRIPLE = 3  # of a callback: room, namespace, id


class _Message(msgspec.Struct, tag_field="method", kw_only=True):
    namespace: str | None = None
    host_id: str | None = None


class Emit(_Message, tag="emit"):
    """An event for clients."""

    event: str
    data: Any
    binary: bool | None = False
    room: Room = None
    skip_sid: str | list[str] | None = None
    callback: list[Any] | None = None

    @property
    def arguments(self) -> Any:
        """What `emit` wants as data.

        :raises ValueError: when the attachments of binary data make no sense.
        """
        data = self.data
        if self.binary:
            try:
                structure, *attachments = data
                raw = [base64.b64decode(attachment, validate=True) for attachment in attachments]
                data = Packet.reconstruct_binary(structure, raw)
            except (TypeError, ValueError, LookupError, RecursionError) as error:
                raise ValueError(f"binary data: {error}") from None
        if isinstance(data, list):
            return data[0] if len(data) == 1 else tuple(data)
        return data

    def answer(self, values: Sequence[Any]) -> dict[str, Any] | None:
        """The message that an acknowledgement is; None when none is wanted."""
        if self.callback is None or len(self.callback) != _TRIPLE:
            return None
        sid, namespace, number = self.callback
        whom = {"host_id": self.host_id, "sid": sid, "namespace": namespace, "id": number}
        return {"method": "callback", **whom, "args": values}


class Disconnect(_Message, tag="disconnect"):
    """End a client's connection to a namespace."""

    sid: str


class EnterRoom(_Message, tag="enter_room"):
    """Put a client into a room."""

    sid: str
    room: Scalar


class LeaveRoom(_Message, tag="leave_room"):
    """Take a client out of a room."""

    sid: str
    room: Scalar


class CloseRoom(_Message, tag="close_room"):
    """Take everybody out of a room."""

    room: Scalar


class Callback(_Message, tag="callback"):
    """An acknowledgement, for the one whose host id it has."""

    id: int
    args: list[Any]


AnyStock = Emit | Disconnect | EnterRoom | LeaveRoom | CloseRoom | Callback
_decoder: msgspec.json.Decoder[AnyStock] = msgspec.json.Decoder(AnyStock)
_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode(body: bytes) -> AnyStock:
    """Decode what came.

    :raises ValueError: when it is nothing that the stock managers say.
    """
    try:
        return _decoder.decode(body)
    except _MALFORMED as error:
        raise ValueError(str(error)) from None


def as_envelope(message: Disconnect | EnterRoom | LeaveRoom | CloseRoom) -> AnyMessage:
    """The same in the engine's words."""
    namespace = message.namespace or "/"
    match message:
        case Disconnect():
            return envelope.Disconnect(message.sid, namespace)
        case EnterRoom():
            return envelope.EnterRoom(message.sid, namespace, message.room)
        case LeaveRoom():
            return envelope.LeaveRoom(message.sid, namespace, message.room)
        case CloseRoom():
            return envelope.CloseRoom(message.room, namespace)


def encode(message: dict[str, Any]) -> bytes:
    """Encode as they do.

    :raises TypeError: for bytes in an acknowledgement, which they cannot carry either.
    """
    return json.dumps(message).encode()


def encode_copy(message: AnyMessage, host: str) -> bytes:
    """What a stock manager would have published.

    :param host: our host id; it comes first, see MARK.
    :raises TypeError: for what means nothing to them.
    """
    match message:
        case envelope.Emit():
            text, *attachments = frames.decode(message.frames)
            event, *data = Packet(encoded_packet=text).data
            encoded = [base64.b64encode(part).decode() for part in attachments if isinstance(part, bytes)]
            fields = {
                "method": "emit",
                "event": event,
                "data": [data, *encoded] if encoded else data,
                "binary": bool(encoded),
                "room": message.room,
                "skip_sid": message.skip,
                # They send back the first one, whatever it is, and do not say which client answers.
                "callback": ["", message.namespace, message.ack] if message.ack else None,
            }
        case envelope.Disconnect():
            fields = {"method": "disconnect", "sid": message.sid}
        case envelope.EnterRoom():
            fields = {"method": "enter_room", "sid": message.sid, "room": message.room}
        case envelope.LeaveRoom():
            fields = {"method": "leave_room", "sid": message.sid, "room": message.room}
        case envelope.CloseRoom():
            fields = {"method": "close_room", "room": message.room}
        case _:
            raise TypeError(f"{type(message).__name__} means nothing to them")
    return encode({"host_id": host, **fields, "namespace": message.namespace})
