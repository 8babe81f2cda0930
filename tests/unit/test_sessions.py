"""Sessions end: by time, by signing out, by what other nodes and the database say."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask import Flask

from app.errors import EventError
from app.extensions import db, socketio
from app.realtime import OutboxFull
from app.user import User
from app.users import store as session_store
from app.users.endings import by_id, by_name
from app.users.sessions import CLEAN_SECONDS, DAY_MS, Sessions
from tests.unit.conftest import MakeApp, Person

DAY_SECONDS = 86_400


class Clock:
    """The time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def sessions(app: Flask, clock: Clock) -> Sessions:
    found: Sessions = app.extensions["sessions"]
    found._clock = clock
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


def now_ms() -> int:
    return round(time.time() * 1000)


def rows(app: Flask) -> dict[str, int]:
    with app.app_context():
        return dict(db.read(session_store.since, 0))


def store(app: Flask, who: str, ended_at_ms: int, written_at_ms: int | None = None) -> None:
    """Do what another node does."""
    with app.app_context():
        db.write(
            session_store.record, {who: ended_at_ms}, now_ms() if written_at_ms is None else written_at_ms
        )


def user_of(person: Person) -> User:
    with person.http.session_transaction() as session:
        return User(**session["user"], began_at=session["began_at"])


def unavailable(*_: Any) -> None:
    raise EventError("unavailable", "The database does not answer.")


def full(*_: Any) -> None:
    raise OutboxFull("no broker takes what is waiting")


def farewell(person: Person, socket: Any = None) -> list[str]:
    socket = socket or person.socket
    # The library's own method wants a connection.
    return [packet["args"][0]["reason"] for packet in socket.queue if packet["name"] == "session_ended"]


def tick(sessions: Sessions) -> None:
    """What both watchers do once."""
    sessions.expire()
    sessions.check()


# By time.


def test_an_idle_client_is_told_and_disconnected_when_its_time_is_up(
    app: Flask, sessions: Sessions, clock: Clock
) -> None:
    ada = Person(app, "Ada")
    clock.ahead = user_of(ada).expires_at - time.time() - 60
    tick(sessions)
    assert ada.socket.is_connected("/chat")
    clock.ahead += 60
    tick(sessions)
    assert farewell(ada) == ["expired"]
    assert not ada.socket.is_connected("/chat")
    # The name is free for whoever signs in next.
    assert Person(app, "Ada").socket.is_connected("/chat")


def test_whoever_has_not_signed_in_does_not_expire(app: Flask, sessions: Sessions, clock: Clock) -> None:
    anybody = socketio.test_client(app, namespace="/market")
    clock.ahead += 1000 * DAY_SECONDS
    tick(sessions)
    assert anybody.is_connected("/market")
    anybody.disconnect("/market")


# By signing out.


def test_signing_out_ends_all_connections_and_copies_of_the_cookie(app: Flask, sessions: Sessions) -> None:
    ada = Person(app, "Ada")
    other = ada.open()
    copy = app.test_client()
    cookie = ada.http.get_cookie("session")
    assert cookie is not None
    copy.set_cookie("session", cookie.value)
    assert copy.get("/api/v1/rooms").status_code == 200

    assert ada.http.post("/sign-out").status_code == 303
    for socket in (ada.socket, other):
        assert farewell(ada, socket) == ["ended"]
        assert not socket.is_connected("/chat")
    assert list(rows(app)) == [by_id(user_of_cookie(app, cookie.value).id)]
    assert copy.get("/api/v1/rooms").status_code == 401
    assert copy.get("/").location == "/sign-in?reason=ended"
    assert "You were signed out." in copy.get("/sign-in?reason=ended").text
    assert Person(app, "Ada").socket.is_connected("/chat"), "a new session is another one"


def user_of_cookie(app: Flask, value: str) -> User:
    client = app.test_client()
    client.set_cookie("session", value)
    with client.session_transaction() as session:
        return User(**session["user"], began_at=session["began_at"])


def test_a_copied_cookie_opens_no_socket(app: Flask, sessions: Sessions) -> None:
    ada = Person(app, "Ada")
    sessions.end(user_of(ada))
    refused = ada.open()
    assert not refused.is_connected("/chat")


def test_another_name_ends_the_session_under_the_one_before(app: Flask, sessions: Sessions) -> None:
    ada = Person(app, "Ada")
    before = user_of(ada)
    ada.http.post("/sign-in", data={"name": "Grace"})
    assert farewell(ada) == ["ended"]
    assert sessions.ended(before)
    assert not sessions.ended(user_of(ada))


def test_a_session_from_a_clock_that_is_ahead_is_ended_all_the_same(
    app: Flask, sessions: Sessions, clock: Clock
) -> None:
    ada = Person(app, "Ada")
    clock.ahead -= 60
    sessions.end(user_of(ada))
    assert sessions.ended(user_of(ada))


def test_ending_by_name_and_by_id(app: Flask, sessions: Sessions) -> None:
    ada, bob, eve = (Person(app, name) for name in ("Ada", "Bob", "Eve"))
    sessions.end_named("ada")
    sessions.end_id(user_of(bob).id)
    assert farewell(ada) == farewell(bob) == ["ended"]
    assert farewell(eve) == []
    assert eve.socket.is_connected("/chat")


def test_whoever_is_signed_out_while_being_let_in_does_not_slip_through(
    app: Flask, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = app.extensions["chat"]
    ada = Person(app, "Ada")
    connected = chat.connected

    def slowly(client: Any) -> None:
        connected(client)
        sessions.end_named("Ada")

    monkeypatch.setattr(chat, "connected", slowly)
    assert not ada.open().is_connected("/chat")
    assert not any(client.user.name == "Ada" for client in chat._clients.values())


# What others say.


def test_another_node_tells(app: Flask, sessions: Sessions) -> None:
    ada = Person(app, "Ada")
    sessions.take("elsewhere", [by_name("Ada"), now_ms()])
    # In a greenlet of its own.
    deadline = time.monotonic() + 10
    while ada.socket.is_connected("/chat") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert farewell(ada) == ["ended"]


@pytest.mark.parametrize("told", [None, 5, [], ["id:a"], ["id:a", "soon"], [5, 5], {"who": "id:a"}])
def test_what_makes_no_sense_is_passed_over(sessions: Sessions, told: Any) -> None:
    sessions.take("elsewhere", told)
    assert not sessions.ended(User("a", "Ada", 2e10))


def test_the_database_says_it_without_a_broker(app: Flask, sessions: Sessions, clock: Clock) -> None:
    ada = Person(app, "Ada")
    tick(sessions)
    store(app, by_name("Ada"), now_ms())
    tick(sessions)
    assert ada.socket.is_connected("/chat"), "it was asked a moment ago"
    clock.ahead += sessions._check_seconds
    tick(sessions)
    assert farewell(ada) == ["ended"]


def test_what_is_written_after_an_outage_is_found_however_late(
    app: Flask, sessions: Sessions, clock: Clock
) -> None:
    ada, bob = Person(app, "Ada"), Person(app, "Bob")
    ended_at_ms = now_ms()
    clock.ahead = 10 * CLEAN_SECONDS
    # What this node ends itself does not move the mark either.
    sessions.end_named("Bob")
    tick(sessions)
    assert farewell(bob) == ["ended"]
    store(app, by_name("Ada"), ended_at_ms, round(clock() * 1000))
    clock.ahead += sessions._check_seconds
    tick(sessions)
    assert farewell(ada) == ["ended"]


def test_what_was_written_while_this_node_could_not_read_is_found(
    app: Flask, sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Person(app, "Ada")
    tick(sessions)
    store(app, by_name("Ada"), now_ms())
    with monkeypatch.context() as broken:
        broken.setattr(db, "read", unavailable)
        for _ in range(3):
            clock.ahead += CLEAN_SECONDS
            sessions.take("elsewhere", [by_name("Eve"), round(clock() * 1000)])
            tick(sessions)
    clock.ahead += sessions._check_seconds
    tick(sessions)
    assert farewell(ada) == ["ended"]


def test_a_database_that_takes_nothing_still_tells(
    app: Flask, sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Person(app, "Ada")
    tick(sessions)
    store(app, by_name("Ada"), now_ms())
    monkeypatch.setattr(db, "write", unavailable)
    sessions.end_named("Somebody")
    clock.ahead += sessions._check_seconds
    tick(sessions)
    assert farewell(ada) == ["ended"]


def test_a_row_of_a_clock_that_is_ahead_hides_none(app: Flask, sessions: Sessions, clock: Clock) -> None:
    ada = Person(app, "Ada")
    store(app, by_id("somebody"), now_ms() + 10 * DAY_MS)
    tick(sessions)
    store(app, by_name("Ada"), now_ms())
    clock.ahead += sessions._check_seconds
    tick(sessions)
    assert farewell(ada) == ["ended"]


def test_a_node_that_starts_knows_who_was_signed_out(app: Flask, sessions: Sessions, clock: Clock) -> None:
    ada = Person(app, "Ada")
    store(app, by_name("Ada"), now_ms() - DAY_MS)
    store(app, by_id(user_of(ada).id), now_ms())
    fresh = Sessions(app, db, sessions._socketio, app.extensions["settings"], clock)
    tick(fresh)
    assert fresh.ended(user_of(ada))
    assert farewell(ada) == ["ended"]


def test_old_rows_go(make_app: MakeApp) -> None:
    app = make_app(session_lifetime_days=2)
    sessions: Sessions = app.extensions["sessions"]
    sessions._clock = clock = Clock()
    store(app, by_id("old"), now_ms() - 2 * DAY_MS - 60_000)
    store(app, by_id("young"), now_ms() - 2 * DAY_MS + 600_000)
    tick(sessions)
    assert list(rows(app)) == [by_id("young")]
    clock.ahead += CLEAN_SECONDS
    tick(sessions)
    assert rows(app) == {}


def test_a_database_that_does_not_answer_is_told_later(
    app: Flask, sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Person(app, "Ada")
    tick(sessions)
    with monkeypatch.context() as broken:
        broken.setattr(db, "write", unavailable)
        broken.setattr(db, "read", unavailable)
        sessions.end_named("Ada")
        assert farewell(ada) == ["ended"], "the sockets do not wait for it"
        clock.ahead += sessions._check_seconds
        tick(sessions)
    assert rows(app) == {}
    clock.ahead += sessions._check_seconds
    tick(sessions)
    assert list(rows(app)) == [by_name("Ada")]


def test_other_nodes_hear_of_it_before_the_database_does(
    app: Flask, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be slow to answer."""
    stored = []
    monkeypatch.setattr(socketio, "tell_nodes", lambda *_: stored.append(len(rows(app))))
    sessions.end_named("Ada")
    assert stored == [0]
    assert len(rows(app)) == 1


def test_a_full_outbox_keeps_nobody_in(
    app: Flask, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = Person(app, "Ada"), Person(app, "Bob")
    monkeypatch.setattr(socketio, "tell_nodes", full)
    assert ada.http.post("/sign-out").status_code == 303
    sessions.end_named("Bob")
    assert farewell(ada) == farewell(bob) == ["ended"]
    assert len(rows(app)) == 2, "the other nodes find it there"


def test_a_full_outbox_does_not_end_the_watcher(
    app: Flask, sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = Person(app, "Ada"), Person(app, "Bob")
    monkeypatch.setattr(socketio, "tell_nodes", full)
    clock.ahead = user_of(bob).expires_at - time.time()
    tick(sessions)
    assert farewell(ada) == farewell(bob) == ["expired"]


def test_a_namespace_that_fails_does_not_end_the_watcher(
    app: Flask, sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("a defect")

    ada = Person(app, "Ada")
    clock.ahead = sessions._check_seconds
    store(app, by_id("somebody"), now_ms())
    with monkeypatch.context() as broken:
        broken.setattr(app.extensions["chat"], "end_sessions", fail)
        tick(sessions)
    clock.ahead = user_of(ada).expires_at - time.time()
    tick(sessions)
    assert farewell(ada) == ["expired"]


def test_a_later_end_stays(app: Flask) -> None:
    store(app, "id:a", 7)
    store(app, "id:a", 5)
    assert rows(app) == {"id:a": 7}


def test_a_later_end_is_news(app: Flask) -> None:
    store(app, "id:a", 5, written_at_ms=100)
    store(app, "id:a", 7, written_at_ms=200)
    with app.app_context():
        assert db.read(session_store.since, 150) == [("id:a", 7)]
