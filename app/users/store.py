"""The SQL of ended sessions. Each function runs inside one transaction and returns plain values."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.users.models import EndedSession


def record(session: Session, ends: dict[str, int], now_ms: int) -> None:
    """Store when sessions were ended, in milliseconds since 1970, by whose they are; a later end stays.

    :param now_ms: when they are written: `since` finds them by it.
    """
    for who, ended_at_ms in ends.items():
        row = session.get(EndedSession, who, with_for_update=True)
        if row is None:
            session.add(EndedSession(who=who, ended_at_ms=ended_at_ms, written_at_ms=now_ms))
        else:
            row.ended_at_ms = max(row.ended_at_ms, ended_at_ms)
            row.written_at_ms = now_ms
    session.flush()


def since(session: Session, written_at_ms: int) -> Sequence[tuple[str, int]]:
    """Those that were written then or later: whose sessions ended, and when."""
    rows = session.execute(
        select(EndedSession.who, EndedSession.ended_at_ms).where(EndedSession.written_at_ms >= written_at_ms)
    )
    return [(who, ended_at_ms) for who, ended_at_ms in rows]


def forget(session: Session, before_ms: int) -> None:
    """Delete those that were ended earlier."""
    session.execute(delete(EndedSession).where(EndedSession.ended_at_ms < before_ms))
