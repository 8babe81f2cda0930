"""The settings of connections; docs/transport.md explains them."""

from __future__ import annotations

from typing import Literal

from pydantic_settings import BaseSettings

from config.kinds import setting

GIGABYTE = 1024**3


class Transport(BaseSettings):
    """Connections."""

    socket_transport: Literal["native", "stock"] = setting(
        "native", "Whose transport clients get: our own, or the library's (without most of the bounds below)."
    )
    socket_ping_interval_seconds: int = setting(
        25, "Time between two pings to a client.", unit="seconds", ge=1, le=300
    )
    socket_ping_timeout_seconds: int = setting(
        20, "How long a client may take to answer a ping.", unit="seconds", ge=1, le=300
    )
    socket_max_message_bytes: int = setting(
        100_000,
        "Largest message accepted from a client; a larger one closes its connection.",
        unit="bytes",
        ge=1_024,
        le=104_857_600,
    )
    socket_buffer_bytes: int = setting(
        4 * 1024 * 1024,
        "What may wait for a client that reads slowly; above it the client is disconnected.",
        unit="bytes",
        ge=1_024,
        le=GIGABYTE,
    )
    socket_volatile_bytes: int = setting(
        64 * 1024,
        "What may wait for a client while volatile events still reach it.",
        unit="bytes",
        ge=0,
        le=GIGABYTE,
    )
    socket_max_fragments: int = setting(
        1_000, "Of how many frames a WebSocket message may consist.", unit="frames", ge=1, le=1_000_000
    )
    socket_max_attachments: int = setting(
        10,
        "How many binary attachments a packet may have; together they may be as large as a message.",
        unit="attachments",
        ge=0,
        le=10_000,
    )
    socket_max_packets: int = setting(
        1_000, "How many packets a request of a polling client may carry.", unit="packets", ge=1, le=1_000_000
    )
    socket_max_waiting: int = setting(
        64,
        "How many packets of a client may wait for its handlers; it is not read from meanwhile.",
        unit="packets",
        ge=1,
        le=100_000,
    )
    socket_connect_seconds: float = setting(
        45.0, "How long a connection may be in no namespace.", unit="seconds", gt=0, le=3_600
    )
    socket_upgrade_seconds: float = setting(
        10.0, "How long a change from polling to a WebSocket may take.", unit="seconds", gt=0, le=3_600
    )
    socket_post_seconds: float = setting(
        30.0, "How long the body of a polling client's request may take.", unit="seconds", gt=0, le=3_600
    )
    socket_freeze_sessions: int = setting(
        1_000,
        "After how many new sessions the garbage collector is relieved of what is there; 0: never.",
        unit="sessions",
        ge=0,
        le=1_000_000,
    )
    socket_per_message_deflate: bool = setting(
        False,
        "Compress WebSocket messages from 1 KB on, for clients that can: less traffic, more processor.",
    )
