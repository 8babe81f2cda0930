"""The settings of the message queue between nodes; docs/failover.md explains them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic_settings import BaseSettings

from config.kinds import SECRET_MIN_CHARS, setting


class Queue(BaseSettings):
    """The message queue between nodes. docs/failover.md says what happens when a broker fails."""

    message_queue: str | None = setting(
        None,
        "Addresses of the brokers, best first, comma-separated, the same on all nodes, for example "
        "redis://localhost:6379/0,amqp://guest:guest@localhost//. Unset: one node, in process.",
    )
    queue_strategy: Literal["failover", "dual-write"] = setting(
        "failover", "Publish on the first healthy broker, or on every healthy one."
    )
    channel: str = setting(
        "flask-socketio", "Name that the nodes of one application share on the brokers.", min_length=1
    )
    channel_secret: str | None = setting(
        None,
        "Signs what nodes tell each other, at least 32 characters, the same for all nodes and emitters. What "
        "comes unsigned is refused then. Unset: whoever reaches a broker may emit.",
        min_length=SECRET_MIN_CHARS,
    )
    stock_channel: str | None = setting(
        None,
        "Also hear, and speak to, python-socketio's own managers on this channel: see docs/migration.md.",
        min_length=1,
    )
    queue_overflow: Literal["drop_oldest", "reject", "block"] = setting(
        "drop_oldest",
        "What an emit does when the outbox is full: give up the oldest message, raise, or wait for "
        "QUEUE_BLOCK_SECONDS and then raise.",
    )
    queue_max_messages: int = setting(
        50_000, "Messages that may wait for a broker.", unit="messages", ge=1, le=1_000_000
    )
    queue_max_bytes: int = setting(
        67_108_864, "How large they may be together.", unit="bytes", ge=1_024, le=4_294_967_296
    )
    queue_max_age_seconds: float = setting(
        300.0,
        "How old a message may become before it is given up, and how long published ones are kept to repair "
        "what a broker lost.",
        unit="seconds",
        ge=0.1,
        le=86_400,
    )
    queue_max_attempts: int = setting(
        0,
        "How often a message is handed to a broker that does not accept it. 0: until it is too old.",
        ge=0,
        le=1_000_000,
    )
    queue_block_seconds: float = setting(
        5.0, "How long an emit waits for room, with QUEUE_OVERFLOW=block.", unit="seconds", ge=0, le=3_600
    )
    queue_retention_messages: int = setting(
        20_000, "Published messages that are kept for repair.", unit="messages", ge=0, le=1_000_000
    )
    queue_retention_bytes: int = setting(
        33_554_432, "How large they may be together.", unit="bytes", ge=0, le=4_294_967_296
    )
    queue_max_message_bytes: int = setting(
        1_048_576,
        "Largest message between nodes; a larger one raises in its emitter. The same on all nodes.",
        unit="bytes",
        ge=64,
        le=67_108_864,
    )
    queue_patience_seconds: float = setting(
        0.3,
        "A broker that has not brought back what it took for so long is passed over, if another is healthy.",
        unit="seconds",
        ge=0.02,
        le=60,
    )
    queue_timeout_seconds: float = setting(
        2.0, "A broker that gives no answer for so long has failed.", unit="seconds", ge=0.1, le=60
    )
    queue_failback_seconds: float = setting(
        10.0,
        "A preferred broker must be healthy for so long before it is used again. 0: only by hand.",
        unit="seconds",
        ge=0,
        le=86_400,
    )
    queue_repair_seconds: float = setting(
        10.0,
        "How long to ask for a message that never came, while a broker works, before passing over it.",
        unit="seconds",
        ge=0.1,
        le=3_600,
    )
    queue_ack_seconds: float = setting(
        60.0,
        "How long to wait for a client's acknowledgement before forgetting that it was wanted.",
        unit="seconds",
        ge=0.1,
        le=3_600,
    )
    queue_spool: Path | None = setting(
        None,
        "Folder that keeps what no broker has brought back yet, so that a kill -9 of the node loses nothing. "
        "Its next start publishes it. Unset: only in memory.",
    )
