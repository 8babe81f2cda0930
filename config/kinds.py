"""What the values of settings must look like, beyond their bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from limits import parse_many
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parent.parent
# NIST SP 800-107: a key for HMAC-SHA should carry at least as much as the hash resists; 32 characters
# of `secrets.token_urlsafe` carry 192 bits.
SECRET_MIN_CHARS = 32
# unix(7): 108 with the closing zero.
SOCKET_PATH_MAX_BYTES = 107


def _split(value: object) -> object:
    """Turn "a, b" into ["a", "b"]; leave lists alone."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _rate(value: str) -> str:
    """Check a rate in the notation of the `limits` library."""
    try:
        amounts = [item.amount for item in parse_many(value)]
    except ValueError:
        raise ValueError(
            'should be rates like "5/second;100/minute" (count/second|minute|hour|day)'
        ) from None
    if 0 in amounts:
        raise ValueError("should allow at least one: a count of 0 would let nobody do anything")
    return value


def _database_url(value: str) -> str:
    """Check the database's address and complete the driver's name."""
    try:
        url = make_url(value)
    except ArgumentError:
        raise ValueError("should be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME") from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError("should start with sqlite:/// or postgresql://")
    if url.drivername == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ValueError("should name a file: threads cannot share an in-memory SQLite database")
        url = url.set(database=str(ROOT / str(url.database)))
    return url.render_as_string(hide_password=False)


def _origins(values: list[str]) -> list[str]:
    for value in values:
        if value != "*" and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} should be an origin like https://example.org, or *")
        if value != "*" and value.count("/") != 2:  # noqa: PLR2004 - scheme://host[:port]
            raise ValueError(f"{value!r} should have no path and no slash at its end")
    return values


def _socket_path(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError(f"{str(value)!r} should be an absolute path, for example /run/realtime/n1.sock")
    if len(bytes(value)) > SOCKET_PATH_MAX_BYTES:
        raise ValueError(
            f"the path has {len(bytes(value))} bytes, and a unix socket's may have {SOCKET_PATH_MAX_BYTES}"
        )
    return value


Words = Annotated[list[str], NoDecode, BeforeValidator(_split)]
Origins = Annotated[Words, AfterValidator(_origins)]
Rate = Annotated[str, AfterValidator(_rate)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
SocketPath = Annotated[Path, AfterValidator(_socket_path)]


def setting(default: Any, meaning: str, *, unit: str = "", **bounds: Any) -> Any:
    """Declare a setting: its default, its meaning, the unit of its value, and pydantic's bounds."""
    return Field(
        default, description=meaning, json_schema_extra={"unit": unit}, validate_default=True, **bounds
    )
