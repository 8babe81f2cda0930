"""Transactions that do not stop the hub, on SQLite and PostgreSQL alike.

psycopg waits through the patched socket module, so a transaction on PostgreSQL runs in the greenlet that
asks for it. SQLite waits for a lock inside C code, which would freeze every greenlet: there, transactions
run in two native threads, one for those that write and one for those that only read, which no writer keeps
waiting. Each thread has an engine to itself, so that SQLAlchemy's patched locks are never contended
between threads.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from gevent.threadpool import ThreadPool
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase, Session, configure_mappers

from app.errors import EventError
from app.postgresql import bound
from config import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Base(DeclarativeBase):
    """Base of the models."""


@dataclass(frozen=True)
class Lane:
    """Where transactions run.

    :param thread: a native thread; None is the greenlet that asks.
    :param timeout_seconds: how long a transaction may wait for its turn in the thread.
    """

    engine: Engine
    thread: ThreadPool | None
    timeout_seconds: float

    def run(self, write: bool, work: Callable[..., T], args: tuple[object, ...]) -> T:
        """Run a transaction here."""
        if self.thread is None:
            return self._transaction(write, work, args)
        give_up = time.monotonic() + self.timeout_seconds
        outcome = self.thread.apply(self._outcome, (give_up, write, work, args))
        if isinstance(outcome, Failure):
            raise outcome.error
        result: T = outcome
        return result

    def _outcome(
        self, give_up: float, write: bool, work: Callable[..., T], args: tuple[object, ...]
    ) -> T | Failure:
        """Hand an exception over as a value: the pool prints a stack trace of one that leaves its thread."""
        try:
            if time.monotonic() > give_up:
                # Those before it have waited for a lock; each waiting its full time would add up.
                raise PoolTimeoutError("others wait for a lock")
            return self._transaction(write, work, args)
        except Exception as error:
            return Failure(error)

    def _transaction(self, write: bool, work: Callable[..., T], args: tuple[object, ...]) -> T:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.connection(execution_options={"write": write})
            return work(session, *args)


@dataclass(frozen=True)
class Failure:
    """An exception on its way from a lane's thread to the greenlet that waits."""

    error: Exception


class Database(SQLAlchemy):
    """Flask-SQLAlchemy with two ways in: `read` and `write`."""

    def __init__(self) -> None:
        super().__init__(model_class=Base)

    def init_app(self, app: Flask) -> None:
        """Bind to an application; its settings must be in `app.extensions["settings"]`."""
        settings: Settings = app.extensions["settings"]
        options = _engine_options(settings)
        app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
        url = make_url(settings.database_url)
        if url.drivername == "sqlite":
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        super().init_app(app)
        # Done here, so that no two threads do it at once.
        configure_mappers()
        seconds = settings.database_timeout_seconds
        with app.app_context():
            engine = self.engine
        if url.drivername == "sqlite":
            reader = create_engine(url, **options)
            _prepare_sqlite(engine, seconds, read_only=False)
            _prepare_sqlite(reader, seconds, read_only=True)
            lanes = Lane(reader, ThreadPool(1), seconds), Lane(engine, ThreadPool(1), seconds)
        else:
            bound(engine, seconds)
            lanes = (Lane(engine, None, seconds),) * 2
        app.extensions["database_lanes"] = lanes

    def read(self, work: Callable[..., T], *args: object) -> T:
        """Run `work(session, *args)` in a transaction that only reads.

        :returns: what `work` returns; it must be plain values, for the session is closed by then.
        :raises EventError: `unavailable` when the database is locked or does not answer in time.
        """
        return self._run(False, work, args)

    def write(self, work: Callable[..., T], *args: object) -> T:
        """Run `work(session, *args)` in a transaction that may write; an exception rolls it back.

        :raises EventError: `unavailable` when the database is locked or does not answer in time.
        """
        try:
            return self._run(True, work, args)
        except IntegrityError:
            # Two transactions raced for the same unique key. The second run finds what the winner stored.
            return self._run(True, work, args)

    def disconnect(self, app: Flask) -> None:
        """Close the connections that are idle; SQLite then folds its write-ahead log into the file."""
        for lane in app.extensions["database_lanes"]:
            lane.engine.dispose()

    def _run(self, write: bool, work: Callable[..., T], args: tuple[object, ...]) -> T:
        lane: Lane = current_app.extensions["database_lanes"][write]
        try:
            return lane.run(write, work, args)
        except (OperationalError, PoolTimeoutError) as error:
            logger.warning("database unavailable: %s", getattr(error, "orig", None) or error)
            raise EventError("unavailable", "The database does not answer. Try again in a moment.") from error


def _engine_options(settings: Settings) -> dict[str, Any]:
    seconds = settings.database_timeout_seconds
    if settings.database_url.startswith("sqlite"):
        return {"connect_args": {"timeout": seconds, "check_same_thread": False}}
    milliseconds = round(seconds * 1000)
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": 0,
        "pool_timeout": seconds,
        # A server that was restarted leaves dead connections in the pool.
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": max(1, round(seconds)),
            "options": f"-c lock_timeout={milliseconds} -c statement_timeout={2 * milliseconds}",
        },
    }


def _prepare_sqlite(engine: Engine, timeout_seconds: float, *, read_only: bool) -> None:
    """Turn on the write-ahead log, foreign keys, and transactions that begin where SQLAlchemy begins them."""

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin a transaction by itself, late and never for reading.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {round(timeout_seconds * 1000)}",
            "journal_mode = WAL",
            # In WAL mode a crash of the process loses nothing; one of the machine, the last moments.
            "synchronous = NORMAL",
            "foreign_keys = ON",
            f"query_only = {'ON' if read_only else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock at once: two readers that both want to write later would deadlock.
        write = connection.get_execution_options().get("write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
