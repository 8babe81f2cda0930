"""The event that every server emits and the generator expects, byte for byte, and its WebSocket frame.

Numbers and times always have the same number of digits, so that all events of a run have one length.
"""

from __future__ import annotations

import time
from typing import Any

# Seven digits, for up to nine million events.
FIRST_NUMBER = 1_000_000
# Sixteen digits with any time of the monotonic clock in microseconds added, and exact in JavaScript.
STAMP = 10**15
SMALL_BYTES = 130
LARGE_BYTES = 4096

TEXT = 0x81
MASKED = 0x80


def stamp() -> int:
    """Tell the time, in microseconds, as `at` carries it."""
    return STAMP + time.monotonic_ns() // 1000


def filling(size: int) -> str:
    """Make the text that lets an event's packet be so many bytes long in the namespace /."""
    return "x" * (size - len(packet(FIRST_NUMBER, "")))


def data(number: int, text: str, at: int = STAMP) -> dict[str, Any]:
    """Make what an event carries."""
    return {"n": number, "at": at, "text": text}


def packet(number: int, text: str, at: int = STAMP, *, namespace: str = "/", event: str = "tick") -> bytes:
    """Make the packet that a server sends for an event, as Engine.IO and Socket.IO write it."""
    name = "" if namespace == "/" else f"{namespace},"
    return b'42%b["%b",{"n":%d,"at":%d,"text":"%b"}]' % (
        *(name.encode(), event.encode()),
        *(number, at, text.encode()),
    )


def frame(payload: bytes) -> bytes:
    """Make a server's WebSocket frame."""
    return _head(len(payload), 0) + payload


def masked_frame(payload: bytes) -> bytes:
    """Make a client's WebSocket frame; its mask is zero, which costs the server as much as any other."""
    return _head(len(payload), MASKED) + bytes(4) + payload


def _head(length: int, mask: int) -> bytes:
    if length < 126:
        return bytes((TEXT, mask | length))
    if length < 65_536:
        return bytes((TEXT, mask | 126)) + length.to_bytes(2, "big")
    return bytes((TEXT, mask | 127)) + length.to_bytes(8, "big")


def payloads(received: bytes) -> tuple[list[bytes], bytes]:
    """Take whole frames of a server apart: what they carry, and what is left."""
    found: list[bytes] = []
    at = 0
    while len(received) >= at + 2:
        length, head = received[at + 1] & 127, 2
        if length >= 126:
            head = 4 if length == 126 else 10
            if len(received) < at + head:
                break
            length = int.from_bytes(received[at + 2 : at + head], "big")
        if len(received) < at + head + length:
            break
        found.append(received[at + head : at + head + length])
        at += head + length
    return found, received[at:]


def namespaces(count: int) -> list[str]:
    """Name the namespaces of a run; one is the default one."""
    return ["/"] if count <= 1 else [f"/n{number:02d}" for number in range(count)]


def room(block: int, number: int) -> str:
    """Name a room of a run: clients are seated in blocks of so many."""
    return f"b{block}-{number}"
