"""Every setting of the application: its type, unit, bounds, default and meaning.

The environment comes first, then the file `.env`, then the default. `docs/configuration.md` and
`.env.example` are written from this module by `make docs`, and a test holds them to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from gevent import monkey
from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.auth import Auth, check_production
from config.kinds import (
    ROOT,
    SECRET_MIN_CHARS,
    DatabaseUrl,
    Origins,
    Rate,
    SocketPath,
    Words,
    setting,
)
from config.ops import Ops
from config.ops import check_production as check_ops
from config.queue import Queue
from config.transport import Transport

DEFAULT_SECRET_KEY = "development-only-secret-key"  # noqa: S105 - refused in production


class Process(BaseSettings):
    """The process."""

    app_env: Literal["development", "testing", "production"] = setting(
        "development", "Which profile of defaults and checks applies."
    )
    app_name: str = setting("Realtime", "Shown on the pages.", min_length=1)
    secret_key: str = setting(
        DEFAULT_SECRET_KEY,
        "Signs the session cookie. In production: your own, at least 32 characters, the same on every "
        'node. Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"',
        min_length=16,
    )
    node_id: str | None = setting(
        None,
        "Name of this node among the nodes of a cluster, for example n1. It begins the ids of sessions, by "
        "which a load balancer finds the node of a client without cookies.",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
    )
    host: str = setting("127.0.0.1", "Address to listen on.", min_length=1)
    port: int = setting(5000, "TCP port to listen on.", ge=1, le=65535)
    unix_socket: SocketPath | None = setting(
        None, "Unix socket to listen on instead of HOST and PORT, for a proxy on the same machine."
    )
    web_concurrency: int = setting(
        1,
        "Workers of one gunicorn. Only 1 works: a Socket.IO session lives in one process. More cores "
        "are used by more nodes behind a load balancer with sticky sessions.",
        ge=1,
        le=1,
    )
    worker_connections: int = setting(
        10_000,
        "Clients of one node. Whoever comes when it is full gets 503, and a load balancer asks another node.",
        unit="connections",
        ge=10,
        le=1_000_000,
    )
    drain_wait_seconds: float = setting(
        0.0,
        "How long a stopping node serves on while /readyz fails already, for load balancers that ask it.",
        unit="seconds",
        ge=0,
        le=300,
    )
    drain_seconds: float = setting(
        0.0,
        "Over how long a stopping node lets its clients go, in random batches, so that they do not come to "
        "the others all at once. 10 in production.",
        unit="seconds",
        ge=0,
        le=300,
    )
    graceful_timeout_seconds: int = setting(
        10,
        "How long a stopping node may take for everything; what is left then is cut off. 30 in production.",
        unit="seconds",
        ge=5,
        le=600,
    )
    trusted_proxies: int = setting(
        0,
        "How many reverse proxies stand in front and set X-Forwarded-*. 0: these headers are ignored.",
        ge=0,
        le=5,
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "The least severe log entry that is written."
    )
    log_format: Literal["console", "json"] = setting(
        "console", "Readable lines, or one JSON object a line (the default in production)."
    )

    @property
    def stop_seconds(self) -> float:
        """What is left of the graceful time after the drain, in seconds."""
        return self.graceful_timeout_seconds - self.drain_wait_seconds - self.drain_seconds

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        drain = self.drain_wait_seconds + self.drain_seconds
        if drain > self.graceful_timeout_seconds / 2:
            raise ValueError(
                f"DRAIN_WAIT_SECONDS and DRAIN_SECONDS are {drain:g} s together, and may take half of "
                f"GRACEFUL_TIMEOUT_SECONDS={self.graceful_timeout_seconds}: the rest is for what comes after"
            )
        return self


class Web(BaseSettings):
    """HTTP, sessions and the REST API."""

    session_lifetime_days: int = setting(
        30, "How long a guest stays signed in; no token counts for longer.", unit="days", ge=1, le=365
    )
    session_cookie_secure: bool = setting(
        False, "Send the session cookie over HTTPS only (the default in production)."
    )
    cors_origins: Origins = setting(
        [],
        "Other sites whose pages may use the REST API and open sockets, comma-separated. Empty: only "
        "the application's own. * allows every site and is refused in production.",
    )
    api_token: str | None = setting(
        None,
        "Bearer token for POST /api/v1/emit, at least 32 characters. Unset: that endpoint is off.",
        min_length=SECRET_MIN_CHARS,
    )
    max_request_bytes: int = setting(
        1_048_576,
        "Largest accepted body of an HTTP request.",
        unit="bytes",
        ge=1_024,
        le=104_857_600,
    )


class Database(BaseSettings):
    """The database."""

    database_url: DatabaseUrl = setting(
        "sqlite:///instance/chat.db",
        "sqlite:///PATH (relative to the project's root) or postgresql://USER:PASSWORD@HOST:PORT/NAME.",
    )
    database_pool_size: int = setting(
        10, "Connections kept open to PostgreSQL.", unit="connections", ge=1, le=200
    )
    database_auto_upgrade: bool = setting(
        True,
        "Bring the schema up to date when gunicorn starts. Off in production, where several nodes start at "
        "once: run `alembic upgrade head` before a new version starts instead.",
    )
    database_timeout_seconds: float = setting(
        5.0,
        "How long to wait for a lock or for a free connection before answering `unavailable`. A statement "
        "may take twice as long; PostgreSQL is given up when it says nothing for three times as long.",
        unit="seconds",
        ge=0.1,
        le=60,
    )


class Realtime(BaseSettings):
    """The emitter."""

    emitter_maxsize: int = setting(
        5_000, "Events that may wait in the emitter.", unit="events", ge=1, le=1_000_000
    )
    emitter_overflow: Literal["block", "drop_oldest", "raise"] = setting(
        "block", "What a full emitter does: let the producer wait, drop the oldest, or raise."
    )


class Chat(BaseSettings):
    """The chat."""

    chat_text_max_chars: int = setting(2_000, "Longest message.", unit="characters", ge=1, le=20_000)
    chat_name_max_chars: int = setting(24, "Longest display name.", unit="characters", ge=2, le=64)
    chat_room_name_max_chars: int = setting(40, "Longest name of a room.", unit="characters", ge=2, le=64)
    chat_rooms_max: int = setting(500, "Rooms that may exist.", unit="rooms", ge=1, le=10_000)
    chat_joined_max: int = setting(50, "Rooms that one user may be in.", unit="rooms", ge=1, le=1_000)
    chat_direct_max: int = setting(
        200, "Direct conversations that one user may begin.", unit="conversations", ge=1, le=10_000
    )
    chat_keep_days: int = setting(
        0, "How long messages are kept; older ones are deleted. 0: for ever.", unit="days", ge=0, le=36_500
    )
    chat_default_room: str = setting(
        "general", "Room that everybody joins at the first sign-in.", min_length=1
    )
    chat_name_lease_seconds: int = setting(
        30,
        "How long a display name stays reserved for its owner after the last connection is gone.",
        unit="seconds",
        ge=0,
        le=3_600,
    )


class Rates(BaseSettings):
    """Rate limits: COUNT/second|minute|hour|day, several joined by semicolons. COUNT at once, then evenly."""

    rate_default: Rate = setting(
        "20/second;300/minute",
        "Events without a rate of their own, of a user; of those who have not signed in, of an address.",
    )
    rate_connect: Rate = setting("20/second;300/minute", "Connections of a user or address to a namespace.")
    rate_send: Rate = setting("5/second;120/minute", "Messages, edits and deletions of a user.")
    rate_typing: Rate = setting("5/second", "Typing notices of a user.")
    rate_read: Rate = setting("10/second;600/minute", "Reading positions of a user.")
    rate_create: Rate = setting("10/minute;100/day", "Rooms and conversations created by a user.")
    rate_sign_in: Rate = setting("20/minute", "Sign-ins from one address.")
    rate_api: Rate = setting("50/second", "REST requests from one address.")
    rate_emit: Rate = setting("500/second", "Events handed to POST /api/v1/emit.")


class Market(BaseSettings):
    """The market feed."""

    market_source: Literal["random-walk", "replay", "off"] = setting("random-walk", "Where ticks come from.")
    market_node: str | None = setting(
        None,
        "With several nodes: the NODE_ID of the one that runs the feed; the others pass its ticks on. Unset: "
        "every node runs one, and of these the one that began last counts.",
        min_length=1,
    )
    market_history_points: int = setting(
        600,
        "How many prices of each symbol a node remembers, for the chart. About 120 bytes each.",
        unit="points",
        ge=60,
        le=5_000,
    )
    market_symbols: Words = setting(
        [], "Instruments of the random walk as SYMBOL=Name, comma-separated. Empty: a built-in list."
    )
    market_seed: int = setting(7, "Seed of the random walk; the same seed, the same prices.", ge=0)
    market_ticks_per_second: float = setting(
        2.0, "Mean rate of ticks of each symbol.", unit="ticks/second", ge=0.1, le=100
    )
    market_replay_file: Path | None = setting(
        None, "CSV file to replay; unset: the sample that comes along. See docs/market.md."
    )
    market_replay_speed: float = setting(
        1.0, "1 is the recorded pace, 10 is ten times as fast.", unit="times", ge=0.1, le=1_000
    )


SECTIONS: tuple[type[BaseSettings], ...] = (
    Process,
    Web,
    Auth,
    Database,
    Queue,
    Transport,
    Realtime,
    Chat,
    Rates,
    Market,
    Ops,
)


class Settings(Ops, Market, Rates, Chat, Realtime, Transport, Queue, Database, Auth, Web, Process):
    """The development profile, and the base of the others."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env", env_ignore_empty=True, extra="forbid", frozen=True
    )
    testing: ClassVar[bool] = False

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        # JSON writes six bytes for a character at most; the rest of a message is less than a thousand.
        needed = 6 * self.chat_text_max_chars + 1_000
        for name in ("socket_max_message_bytes", "queue_max_message_bytes"):
            if getattr(self, name) < needed:
                raise ValueError(
                    f"{name.upper()}={getattr(self, name)} is too little for a message of the chat: with "
                    f"CHAT_TEXT_MAX_CHARS={self.chat_text_max_chars} it should be {needed} or more"
                )
        return self


class TestingSettings(Settings):
    """The testing profile: nothing from `.env`, no feed unless asked for."""

    model_config = SettingsConfigDict(env_file=None)
    testing: ClassVar[bool] = True
    __test__: ClassVar[bool] = False  # not a test case, whatever its name says

    market_source: Literal["random-walk", "replay", "off"] = setting("off", "As in development.")


class ProductionSettings(Settings):
    """The production profile: strict defaults, and it refuses what is unsafe."""

    log_format: Literal["console", "json"] = setting("json", "As in development.")
    session_cookie_secure: bool = setting(True, "As in development.")
    database_auto_upgrade: bool = setting(False, "As in development.")
    drain_seconds: float = setting(10.0, "As in development.", ge=0, le=300)
    graceful_timeout_seconds: int = setting(30, "As in development.", ge=5, le=600)
    admin_token: str | None = setting(None, "As in development.", min_length=1)

    @model_validator(mode="after")
    def _check_safety(self) -> Self:
        if self.secret_key == DEFAULT_SECRET_KEY or len(self.secret_key) < SECRET_MIN_CHARS:
            raise ValueError(
                "SECRET_KEY is missing, the default, or shorter than 32 characters: production needs its "
                'own. Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
            )
        if self.message_queue and not self.channel_secret:
            raise ValueError(
                "MESSAGE_QUEUE without CHANNEL_SECRET lets whoever reaches a broker emit to your users. Make "
                "one, the same for all nodes, with: "
                'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
            )
        if "*" in self.cors_origins:
            raise ValueError(
                "CORS_ORIGINS=* lets every site act as your users: name the sites, "
                "for example https://example.org"
            )
        check_production(self)
        check_ops(self)
        if not monkey.is_module_patched("socket"):
            raise ValueError(
                "the sockets are not monkey-patched, so one slow client would stop all others: start "
                "through wsgi.py (gunicorn wsgi:app), which patches first"
            )
        return self


PROFILES: dict[str, type[Settings]] = {
    "development": Settings,
    "testing": TestingSettings,
    "production": ProductionSettings,
}
