"""The tables of the people who were here, and of sessions that were ended before they expired."""

from __future__ import annotations

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import db


class Person(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who was here, by the name that was used last."""

    __tablename__ = "people"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    seen_at_ms: Mapped[int] = mapped_column(BigInteger)


class EndedSession(db.Model):  # type: ignore[name-defined,misc]
    """Sessions of `who` that began at or before `ended_at_ms` are over. `who` is "id:…" or "name:…".

    `written_at_ms` may be much later, after an outage: by it the other nodes find what is new.
    """

    __tablename__ = "ended_sessions"

    who: Mapped[str] = mapped_column(String(300), primary_key=True)
    ended_at_ms: Mapped[int] = mapped_column(BigInteger)
    written_at_ms: Mapped[int] = mapped_column(BigInteger, index=True)
