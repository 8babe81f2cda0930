"""What nodes tell each other about presence: versions of their own truth, whole or by what has changed.

`presence.py` says what becomes of them. They travel by `tell_nodes`, as builtin types.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from app.realtime.whereabouts import Room

# Of one message: some 200 connections, which take a node a few milliseconds.
MESSAGE_BYTES = 16 * 1024

Key = tuple[str, str]  # namespace, sid
Thing = TypeVar("Thing")


class Entry(Struct, frozen=True, array_like=True):
    """One connection: whose it is, and the rooms it is in, sorted."""

    namespace: str
    sid: str
    id: str
    name: str
    rooms: tuple[str | int | float, ...]

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.namespace, self.sid

    @property
    def everywhere(self) -> tuple[Room, ...]:
        """Its rooms, and the namespace."""
        return (None, *self.rooms)


class Delta(Struct, frozen=True, array_like=True, tag="d"):
    """What makes this version out of the one before."""

    version: int
    entries: list[Entry]
    gone: list[Key]


class Beat(Struct, frozen=True, array_like=True, tag="b"):
    """I am at this version."""

    version: int
    digest: int


class Part(Struct, frozen=True, array_like=True, tag="p"):
    """One of several parts of a whole state."""

    version: int
    digest: int
    number: int
    parts: int
    entries: list[Entry]


class Ask(Struct, frozen=True, array_like=True, tag="a"):
    """Tell your whole state, you of these origins; nobody named: everybody."""

    about: list[str]


Message = Delta | Beat | Part | Ask


def decode(data: Any) -> Message:
    """Check what came from another node. :raises msgspec.ValidationError: when it is no message of ours."""
    message: Message = msgspec.convert(data, Message, strict=True)
    return message


def encode(message: Message) -> Any:
    """A message in the builtin types of msgpack."""
    return msgspec.to_builtins(message)


_encode = msgspec.msgpack.Encoder().encode


def fingerprint(entry: Entry) -> int:
    """64 bits of an entry. The digest of a state is the exclusive or of all, in any order."""
    return int.from_bytes(hashlib.blake2b(_encode(entry), digest_size=8).digest(), "big")


def pieces(things: Iterable[Thing]) -> Iterator[list[Thing]]:
    """Lists that are MESSAGE_BYTES long at most, but for one larger thing alone."""
    piece: list[Thing] = []
    size = 0
    for thing in things:
        size += len(_encode(thing))
        if piece and size > MESSAGE_BYTES:
            yield piece
            piece, size = [], len(_encode(thing))
        piece.append(thing)
    if piece:
        yield piece
