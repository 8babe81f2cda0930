"""Encode an event once, into the frames that every client on every node gets; say what cannot be encoded.

The frames are those of the default Socket.IO packet: a text, and the bytes that were in the data, each a
frame of its own. So a node that takes an event in neither decodes nor encodes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
from engineio import json as _standard_json
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, EVENT, Packet

from app.realtime import fast_json
from app.realtime.errors import NotSerializable

Frames = list[str | bytes]

# What json.dumps raises, and what a custom `json` module of the application may raise beyond it.
_ENCODING_ERRORS = (TypeError, ValueError, OverflowError, RecursionError)
_dumps = json.JSONEncoder(separators=(",", ":")).encode
_decoder: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(list)


def decode(body: msgspec.Raw) -> Frames:
    """Decode frames that came over a broker.

    :raises ValueError: when they are none.
    """
    frames = _decoder.decode(body)
    if not frames or type(frames[0]) is not str or any(type(frame) is not bytes for frame in frames[1:]):
        raise ValueError("an event without frames of text and bytes")
    return frames


def arguments(data: Any) -> list[Any]:
    """The arguments of an event: a tuple is several, None is none, all else is one."""
    if isinstance(data, tuple):
        return list(data)
    return [] if data is None else [data]


def encode_event(event: str, data: Any, namespace: str, ack: int | None = None) -> Frames:
    """Encode an event.

    :param ack: the id that clients acknowledge it with; None: they need not.
    :raises NotSerializable: naming the value's place, as `data[0]["when"]`.
    """
    return _encode(EVENT, [event, *arguments(data)], namespace, ack, f"emit({event!r})")


def encode_arguments(values: Any, what: str) -> Frames:
    """Encode the arguments of an acknowledgement.

    :raises NotSerializable: naming the value's place.
    """
    return _encode(ACK, list(values), "/", None, what)


class _QuickPacket(Packet):  # type: ignore[misc]
    json = fast_json.Default()


def decode_arguments(frames: Frames) -> list[Any]:
    """What `encode_arguments` was given."""
    packet = _QuickPacket(encoded_packet=frames[0])
    for attachment in frames[1:]:
        packet.add_attachment(attachment)
    values: list[Any] = packet.data
    return values


def _encode(kind: int, values: list[Any], namespace: str, ack: int | None, what: str) -> Frames:
    place = ("" if namespace == "/" else namespace + ",") + ("" if ack is None else str(ack))
    quick = fast_json.encode(values) if Packet.json is _standard_json else None
    if quick is not None:
        return [f"{kind}{place}{quick}"]
    try:
        encoded = _odd(kind, values, place) or Packet(kind, values, namespace, ack).encode()
    except _ENCODING_ERRORS:
        # The library knows bytes in lists and dicts only; elsewhere they mean the same.
        try:
            values = [_plain(value) for value in values]
            encoded = Packet(kind, data=values, namespace=namespace, id=ack).encode()
        except _ENCODING_ERRORS as error:
            raise _explained(what, _root(kind, values), error) from None
    if isinstance(encoded, list):
        # A bytearray could change until it is sent, and Engine.IO cannot poll it.
        frames: Frames = [encoded[0], *map(bytes, encoded[1:])]
    else:
        frames = [encoded]
    text = frames[0]
    # json.dumps writes what is not JSON, and every browser that gets it ends its connection.
    if kind == EVENT and ("NaN" in text or "Infinity" in text):
        for path, value in _leaves(_root(kind, values), ""):
            if isinstance(value, float) and not math.isfinite(value):
                raise NotSerializable(f"{what}: data{path} is {value}, which JSON does not have: send None")
    return frames


def _odd(kind: int, values: list[Any], place: str) -> str | Frames | None:
    """What the library's packet would be, without looking for bytes before they are met.

    :returns: None when the application has a json of its own, which may encode more, and differently.
    """
    if Packet.json is not _standard_json:
        return None
    try:
        return f"{kind}{place}{_dumps(values)}"
    except TypeError:
        attachments: list[Any] = []
        text = fast_json.dumps(_detached(values, attachments), separators=(",", ":"))
        binary = BINARY_EVENT if kind == EVENT else BINARY_ACK
        return [f"{binary}{len(attachments)}-{place}{text}", *attachments]


def _detached(value: Any, attachments: list[Any]) -> Any:
    """The same with something else in the place of bytes, which are put aside."""
    if isinstance(value, list | tuple):
        return [_detached(item, attachments) for item in value]
    if isinstance(value, dict):
        return {key: _detached(item, attachments) for key, item in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(value)
        return {"_placeholder": True, "num": len(attachments) - 1}
    return value


def _plain(value: Any) -> Any:
    """Lists for tuples, bytes for their relatives."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def _root(kind: int, values: list[Any]) -> Any:
    """The data as the caller gave it: of an event, without its name."""
    values = values[1:] if kind == EVENT else values
    return values[0] if len(values) == 1 else values


def _explained(what: str, values: Any, error: BaseException) -> NotSerializable:
    """Find the first value that alone cannot be encoded."""
    if isinstance(error, RecursionError) or "ircular" in str(error):
        return NotSerializable(f"{what}: the data contains itself, or is nested too deeply")
    for path, value in _leaves(values, ""):
        try:
            Packet(EVENT, data=[value]).encode()
        except _ENCODING_ERRORS as reason:
            kind = type(value).__name__
            return NotSerializable(
                f"{what}: data{path} is a {kind} ({reason}): convert it, a time for example with isoformat()"
            )
    return NotSerializable(f"{what}: {error}")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value that is no container, with its place; dicts also give their keys."""
    if isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int | float | bool | None):
                yield f"{path}, key {key!r}", {key: None}
            yield from _leaves(item, f"{path}[{key!r}]")
    else:
        yield path, value
