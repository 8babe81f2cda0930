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
def _revisions() -> dict[str, str | None]:
    """Each revision in migrations/, and the one before it.

    Alembic would say the same, and importing it takes a second that every start would pay.
    """
    found: dict[str, str | None] = {}
    for path in (ROOT / "migrations" / "versions").glob("*.py"):
        names = dict(REVISION.findall(path.read_text(encoding="utf-8")))
        found[names[""]] = names.get("down_")
    return found


@cache
def wanted() -> str:
    """The newest revision in migrations/.

    :raises RuntimeError: when two revisions claim to be the newest.
    """
    heads = _revisions().keys() - set(_revisions().values())
    if len(heads) != 1:
        raise RuntimeError(f"migrations/versions should have one newest revision, and has {sorted(heads)}")
    return next(iter(heads))


def fits(found: str | None) -> bool:
    """Whether this code can work with a database at that revision.

    A revision that it does not know is a newer version's: while nodes are upgraded one by one, the old ones
    work on with it. So a migration must leave what the version before it needs.
    """
    return found == wanted() or (found is not None and found not in _revisions())


def current(session: Session) -> str | None:
    """The revision that the database is at; None when it is empty."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return None
    found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def upgrade(app: Flask) -> None:
    """Bring the database up to date; does nothing, quickly, when it is, or is newer."""
    with app.app_context():
        if fits(db.read(current)):
            return
    from alembic import command
    from alembic.config import Config

    config = Config(toml_file=ROOT / "pyproject.toml")
    config.attributes["app"] = app
    command.upgrade(config, "head")
