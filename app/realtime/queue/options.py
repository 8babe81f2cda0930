"""The bounds of the engine's queue: each with its unit, checked when they are given."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

QueueStrategy = Literal["failover", "dual-write"]
Overflow = Literal["drop_oldest", "reject", "block"]

MIB = 1024 * 1024
# The bounds of each number, both inclusive.
BOUNDS: dict[str, tuple[float, float]] = {
    "max_messages": (1, 1_000_000),
    "max_bytes": (1_024, 4_096 * MIB),
    "max_age_seconds": (0.1, 86_400),
    "max_attempts": (0, 1_000_000),
    "block_seconds": (0, 3_600),
    "retention_messages": (0, 1_000_000),
    "retention_bytes": (0, 4_096 * MIB),
    "max_message_bytes": (64, 64 * MIB),
    "patience_seconds": (0.02, 60),
    "timeout_seconds": (0.1, 60),
    "failback_seconds": (0, 86_400),
    "repair_seconds": (0.1, 3_600),
    "ack_seconds": (0.1, 3_600),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """What the queue between nodes may keep, and how patient it is.

    :raises ValueError: for a value out of its bounds (`BOUNDS`), naming it.
    """

    #: What `emit` does when the outbox is full: give up the oldest message (counted, logged), raise
    #: OutboxFull, or let the caller wait for `block_seconds` and then raise OutboxFull.
    overflow: Overflow = "drop_oldest"
    #: Messages that no broker has accepted yet: how many, how large together, how old.
    max_messages: int = 50_000
    max_bytes: int = 64 * MIB
    max_age_seconds: float = 300.0
    #: How often a message may be handed to brokers that do not accept it; 0: until it is too old.
    max_attempts: int = 0
    block_seconds: float = 5.0
    #: Messages kept after publishing, to repair what a broker lost; for `max_age_seconds` at most.
    retention_messages: int = 20_000
    retention_bytes: int = 32 * MIB
    #: The largest message, encoded.
    max_message_bytes: int = MIB
    #: A broker that has not brought back what it took for so long is passed over, if another is healthy.
    patience_seconds: float = 0.3
    #: A broker that gives no answer for so long has failed.
    timeout_seconds: float = 2.0
    #: A preferred broker must be healthy for so long before it is used again; 0: it is not, by itself.
    failback_seconds: float = 10.0
    #: How long to ask for a message that never came, while a broker works, before passing over it.
    repair_seconds: float = 10.0
    #: How long to wait for a client's acknowledgement before forgetting that it was wanted.
    ack_seconds: float = 60.0
    #: Folder in which to keep what no broker has brought back yet, so that a kill -9 loses nothing.
    spool: Path | None = None

    def __post_init__(self) -> None:
        if self.overflow not in get_args(Overflow):
            raise ValueError(f"overflow={self.overflow!r}: allowed are {', '.join(get_args(Overflow))}")
        for field in fields(self):
            if field.name not in BOUNDS:
                continue
            low, high = BOUNDS[field.name]
            value = getattr(self, field.name)
            whole = field.type == "int"
            number = isinstance(value, int if whole else int | float)
            if not number or isinstance(value, bool) or math.isnan(value) or not low <= value <= high:
                kind = "whole number" if whole else "number"
                raise ValueError(f"{field.name}={value!r}: write a {kind} from {low} to {high}")
        if self.spool is not None and not isinstance(self.spool, Path):
            raise ValueError(f"spool={self.spool!r}: write a pathlib.Path")
