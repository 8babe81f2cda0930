"""What the processes of a fault test write down, one fixed-size record per event, and how to read it back.

Each record is one `write` to the page cache, so what was written survives a kill -9 of the process. Times are
`time.monotonic()`, which is one clock for all processes of a Linux machine.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

_RECEIVED = struct.Struct("<HId")
_EMITTED = struct.Struct("<IdfffB")

# Outcomes of an emit().
ACCEPTED = 0
REFUSED = 1


class Received(NamedTuple):
    """A client got an event."""

    label: int  # of the emitter
    number: int
    at: float


class Emitted(NamedTuple):
    """An emit() came back."""

    number: int
    at: float  # when it was called
    duration_seconds: float
    wait_seconds: float  # how much of that it waited for something else than a processor, see WaitClock
    idle_wait_seconds: float  # and a call of about the same length that waits for nothing, just after it
    outcome: int


class Recorder:
    """Append records to a file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def received(self, record: Received) -> None:
        """Write one down."""
        os.write(self._descriptor, _RECEIVED.pack(*record))

    def emitted(self, record: Emitted) -> None:
        """Write one down."""
        os.write(self._descriptor, _EMITTED.pack(*record))


def read_received(path: Path) -> list[Received]:
    """Everything that a client got, in the order in which it came."""
    return [Received(*fields) for fields in _RECEIVED.iter_unpack(_whole(path, _RECEIVED.size))]


def read_emitted(path: Path) -> list[Emitted]:
    """Everything that an emitter emitted, in order."""
    return [Emitted(*fields) for fields in _EMITTED.iter_unpack(_whole(path, _EMITTED.size))]


def received_count(path: Path) -> int:
    """How many records a client's file holds."""
    return path.stat().st_size // _RECEIVED.size if path.exists() else 0


def _whole(path: Path, size: int) -> bytes:
    if not path.exists():
        return b""
    data = path.read_bytes()
    return data[: len(data) // size * size]
