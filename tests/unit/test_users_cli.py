"""The command `flask users disconnect`, without a queue; tests/integration/test_sessions.py has one."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask

from app.errors import EventError
from app.extensions import db
from app.users import store
from tests.unit.conftest import MakeApp, Person


def disconnect(app: Flask, *arguments: str) -> Any:
    return app.test_cli_runner().invoke(args=["users", "disconnect", *arguments])


def test_it_stores_and_says_how_the_node_gets_to_know(app: Flask) -> None:
    Person(app, "Ada Lovelace")
    done = disconnect(app, "ada  LOVELACE")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "Sessions of 'ada  LOVELACE' that began until now are over; stored.",
        "Without MESSAGE_QUEUE, each node finds it in the database within 2 s.",
    ]
    assert done.stderr == ""
    with app.app_context():
        ((who, ended_at_ms),) = db.read(store.since, 0)
    assert who == "name:ada lovelace"
    assert abs(ended_at_ms - time.time() * 1000) < 60_000


def test_whoever_is_not_known_is_recorded_all_the_same(app: Flask) -> None:
    for arguments, whom in ((("Nobody",), "'Nobody'"), (("--id", "7"), "the id '7'")):
        done = disconnect(app, *arguments)
        assert done.exit_code == 0
        assert f"Nobody is known by {whom}: is it spelled so?" in done.stderr
    with app.app_context():
        assert {who for who, _ in db.read(store.since, 0)} == {"name:nobody", "id:7"}


def test_it_must_be_said_who(app: Flask) -> None:
    for arguments in ((), ("Ada", "--id", "7")):
        done = disconnect(app, *arguments)
        assert done.exit_code == 2
        assert "say who: a NAME, or --id ID" in done.stderr


def test_a_queue_that_nobody_reaches_is_told(make_app: MakeApp) -> None:
    done = disconnect(make_app(message_queue="memory://"), "Ada")
    assert done.exit_code == 0
    assert "The nodes were not told (MESSAGE_QUEUE=memory:// is inside each node" in done.stdout
    assert "within 2 s." in done.stdout


def test_without_the_database_nothing_is_done(app: Flask, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise EventError("unavailable", "The database does not answer.")

    monkeypatch.setattr(db, "write", fail)
    done = disconnect(app, "Ada")
    assert done.exit_code == 1
    assert "nothing was done: The database does not answer." in done.stderr
