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

from app.realtime import envelope, frames
from app.realtime.envelope import AnyMessage, Room, Scalar

# What host ids of the engine begin with; and all that it publishes, because json.dumps keeps the order.
HOST = "hybrid-"
MARK = b'{"host_id": "' + HOST.encode()
_TRIPLE = 3  # of a callback: room, namespace, id


class _Message(msgspec.Struct, tag_field="method", kw_only=True):
    namespace: str | None = None
    host_id: str | None = None


class Emit(_Message, tag="emit"):
    event: str
    data: Any
    binary: bool | None = False
    room: Room = None
    skip_sid: str | list[str] | None = None
    callback: list[Any] | None = None


class Disconnect(_Message, tag="disconnect"):
    sid: str


class EnterRoom(_Message, tag="enter_room"):
    sid: str
    room: Scalar


class LeaveRoom(_Message, tag="leave_room"):
    sid: str
    room: Scalar


class CloseRoom(_Message, tag="close_room"):
    room: Scalar


class Callback(_Message, tag="callback"):
    id: int
    args: list[Any]


_decoder = msgspec.json.Decoder(Emit | Disconnect | EnterRoom | LeaveRoom | CloseRoom | Callback)


def _stock_form(message: AnyMessage, host: str) -> dict[str, Any]:
    """What a stock manager would have published; the host comes first, see MARK."""
    head: dict[str, Any] = {"host_id": host}
    match message:
        case envelope.Emit():
            text, *attachments = frames.decode(message.frames)
            event, *data = Packet(encoded_packet=text).data
            encoded = [base64.b64encode(part).decode() for part in attachments if isinstance(part, bytes)]
            return head | {
                "method": "emit",
                "event": event,
                "data": [data, *encoded] if encoded else data,
                "binary": bool(encoded),
                "namespace": message.namespace,
                "room": message.room,
                "skip_sid": message.skip,
                # They send back the first one, whatever it is, and nothing about who answered.
                "callback": ["", message.namespace, message.ack] if message.ack else None,
            }
        case envelope.Disconnect():
            return head | {"method": "disconnect", "sid": message.sid, "namespace": message.namespace}
        case envelope.EnterRoom() | envelope.LeaveRoom():
            method = "enter_room" if isinstance(message, envelope.EnterRoom) else "leave_room"
            place = {"sid": message.sid, "room": message.room, "namespace": message.namespace}
            return head | {"method": method, **place}
        case envelope.CloseRoom():
            return head | {"method": "close_room", "room": message.room, "namespace": message.namespace}
    raise TypeError(f"{type(message).__name__} means nothing to them")


