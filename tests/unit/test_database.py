"""Transactions on SQLite: off the hub, with clear answers when the database is locked."""

import sqlite3
import threading
import time
from pathlib import Path

import gevent
import pytest
from flask import Flask
from gevent import monkey
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.chat.models import Room
from app.errors import EventError
from app.extensions import db
from tests.unit.conftest import MakeApp

native_sleep = monkey.get_original("time", "sleep")


def add_room(session: Session, name: str) -> None:
    session.add(Room(name=name, name_key=name, created_by="u", created_at_ms=1))


def names(session: Session) -> list[str]:
    return list(session.scalars(select(Room.name).order_by(Room.id)))


def test_write_commits_and_an_exception_rolls_back(app: Flask) -> None:
    def fail(session: Session) -> None:
        add_room(session, "lost")
        session.flush()
        raise EventError("forbidden", "no")

    with app.app_context():
        db.write(add_room, "kept")
        with pytest.raises(EventError, match="no"):
            db.write(fail)
        assert db.read(names) == ["kept"]


def test_the_log_is_write_ahead_and_foreign_keys_hold(app: Flask) -> None:
    with app.app_context():
        assert db.read(lambda s: s.scalar(text("PRAGMA journal_mode"))) == "wal"
        assert db.read(lambda s: s.scalar(text("PRAGMA foreign_keys"))) == 1
        columns = "(user_id, room_id, joined_at_ms)"
        with pytest.raises(IntegrityError):
            db.write(lambda s: s.execute(text(f"INSERT INTO memberships {columns} VALUES ('u', 99, 1)")))


def test_a_refusal_leaves_no_trace_on_stderr(app: Flask, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(session: Session) -> None:
        raise EventError("forbidden", "no")

    with app.app_context(), pytest.raises(EventError):
        db.write(refuse)
    assert "Traceback" not in capfd.readouterr().err


def test_a_race_for_a_unique_key_is_run_again(app: Flask) -> None:
    runs = []

    def racing(session: Session) -> str:
        runs.append(1)
        if len(runs) == 1:
            add_room(session, "twice")
            session.flush()
            add_room(session, "twice")
            session.flush()
        return "found what the winner stored"

    with app.app_context():
        assert db.write(racing) == "found what the winner stored"
        assert db.read(names) == []


def test_a_held_lock_does_not_stop_the_hub(make_app: MakeApp, tmp_path: Path) -> None:
    """While a writer waits for a lock that another process could hold, other greenlets run on."""
    app = make_app(database_timeout_seconds=30)
    other = sqlite3.connect(tmp_path / "test.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    longest = 0.0
    waiting = True

    def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while waiting:
            gevent.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    def write() -> float:
        started = time.perf_counter()
        with app.app_context():
            db.write(add_room, "late")
        return time.perf_counter() - started

    ticker, writer = gevent.spawn(tick), gevent.spawn(write)
    gevent.sleep(1)
    other.execute("COMMIT")
    waited = writer.get(timeout=30)
    waiting = False
    ticker.join()
    other.close()
    assert waited >= 0.9, "the lock was really in the way"
    assert longest < waited / 3, f"the hub stood still for {longest:.3f} s of {waited:.3f} s"


def test_a_lock_that_stays_is_answered_as_unavailable(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(database_timeout_seconds=0.1)
    other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with app.app_context():
        with pytest.raises(EventError) as error:
            db.write(add_room, "never")
        assert error.value.code == "unavailable"
        assert db.read(names) == [], "readers go on beside a writer"
        other.execute("ROLLBACK")
        db.write(add_room, "after")
        assert db.read(names) == ["after"]
    other.close()


def test_transactions_run_in_a_thread_of_their_own(app: Flask) -> None:
    identify = monkey.get_original("threading", "get_ident")
    with app.app_context():
        writers = {db.write(lambda _session: identify()) for _ in range(3)}
        readers = {db.read(lambda _session: identify()) for _ in range(3)}
    assert len(writers) == len(readers) == 1
    assert len({identify(), *writers, *readers}) == 3
    assert threading.current_thread() is threading.main_thread()


def test_a_writer_has_the_lock_from_its_first_statement(app: Flask, tmp_path: Path) -> None:
    """Two nodes that both read first and then write would otherwise fail each other at once."""

    def read_then_write(session: Session) -> None:
        session.execute(text("SELECT 1")).all()
        other = sqlite3.connect(tmp_path / "test.db", isolation_level=None, timeout=0)
        try:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        finally:
            other.close()

    with app.app_context():
        db.write(read_then_write)


def test_reading_cannot_write(app: Flask) -> None:
    with app.app_context(), pytest.raises(EventError, match="does not answer"):
        db.read(lambda session: session.execute(text("DELETE FROM rooms")))


def test_those_who_wait_in_line_for_a_lock_do_not_add_up(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(database_timeout_seconds=0.5)
    other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def write() -> str:
        with app.app_context():
            try:
                db.write(add_room, "never")
            except EventError as error:
                return error.code
        return "stored"

    def read() -> list[str]:
        with app.app_context():
            return db.read(names)

    started = time.perf_counter()
    writers = [gevent.spawn(write) for _ in range(12)]
    reader = gevent.spawn(read)
    assert reader.get(timeout=30) == []
    read_after = time.perf_counter() - started
    gevent.joinall(writers, timeout=30, raise_error=True)
    all_after = time.perf_counter() - started
    other.close()
    assert {writer.value for writer in writers} == {"unavailable"}
    assert all_after < 0.5 * 6, "twelve times the timeout, one after the other, would be 6 s"
    assert read_after < all_after / 2, "a reader waits for no writer"
