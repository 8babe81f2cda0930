"""Whether the database has the schema that the code expects, and how to bring it there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from flask import Flask
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from app.extensions import db

ROOT = Path(__file__).resolve().parent.parent
REVISION = re.compile(r'^(down_)?revision = "(\w+)"', re.MULTILINE)


@cache
def wanted() -> str:
    """The newest revision in migrations/.

    Alembic would say the same, and importing it takes a second that every start would pay.

    :raises RuntimeError: when two revisions claim to be the newest.
    """
    found = [
        match
        for path in (ROOT / "migrations" / "versions").glob("*.py")
        for match in REVISION.findall(path.read_text(encoding="utf-8"))
    ]
    heads = {name for down, name in found if not down} - {name for down, name in found if down}
    if len(heads) != 1:
        raise RuntimeError(f"migrations/versions should have one newest revision, and has {sorted(heads)}")
    newest: str = heads.pop()
    return newest


def current(session: Session) -> str | None:
    """The revision that the database is at; None when it is empty."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return None
    found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def upgrade(app: Flask) -> None:
    """Bring the database up to date; does nothing, quickly, when it is."""
    with app.app_context():
        if db.read(current) == wanted():
            return
    from alembic import command
    from alembic.config import Config

    config = Config(toml_file=ROOT / "pyproject.toml")
    config.attributes["app"] = app
    command.upgrade(config, "head")
