"""Old messages are deleted from the beginning of each room, and the room says where it begins now."""

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.chat import service as chat_service
from app.chat.retention import DAY_MS, Retention
from app.extensions import db
from tests.unit.conftest import Person

NOW_MS = 100 * DAY_MS
KEEP_DAYS = 7


@pytest.fixture
def ada(app: Flask) -> Person:
    return Person(app, "Ada")


def send(somebody: Person, count: int, room: int = 1) -> None:
    for number in range(count):
        client_id = f"r{room}-{number}"
        assert somebody.ask("send", {"room": room, "client_id": client_id, "text": client_id})["ok"]


def age(app: Flask, first_young_seq: int, room: int = 1) -> None:
    """Make messages old, up to a number, by less than a second too old; the others are just young enough."""

    def work(session: Session) -> None:
        limit = NOW_MS - KEEP_DAYS * DAY_MS
        session.execute(
            text("UPDATE messages SET sent_at_ms = :limit - (seq < :young) WHERE room_id = :room"),
            {"limit": limit, "young": first_young_seq, "room": room},
        )

    with app.app_context():
        db.write(work)


def retention(app: Flask) -> Retention:
    return Retention(app, app.extensions["chat"].service, KEEP_DAYS)


@pytest.mark.parametrize(("first_young", "first_seq"), [(1, 1), (4, 4), (10, 10), (11, 11)])
def test_what_is_too_old_goes_and_nothing_else(
    app: Flask, ada: Person, first_young: int, first_seq: int
) -> None:
    send(ada, 10)
    age(app, first_young)
    assert retention(app).trim(NOW_MS) == first_seq - 1
    assert retention(app).trim(NOW_MS) == 0
    room = ada.ask("rooms")["rooms"][0]
    assert (room["first_seq"], room["last_seq"]) == (first_seq, 10)
    page = ada.ask("history", {"room": 1, "limit": 100})
    assert [m["seq"] for m in page["messages"]] == list(range(first_seq, 11))
    assert (page["first_seq"], page["has_more"]) == (first_seq, False)


def test_a_long_past_goes_in_small_steps(app: Flask, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_service, "TRIM_MESSAGES", 3)
    room = ada.ask("create_room", {"name": "other"})["room"]["id"]
    send(ada, 10)
    send(ada, 5, room)
    age(app, 10)
    age(app, 4, room)
    assert retention(app).trim(NOW_MS) == 9 + 3
    assert [(r["first_seq"], r["last_seq"]) for r in ada.ask("rooms")["rooms"]] == [(10, 10), (4, 5)]
    send_after = ada.ask("send", {"room": 1, "client_id": "next", "text": "goes on"})
    assert send_after["message"]["seq"] == 11, "numbers are never used again"


def test_the_timer_survives_whatever_goes_wrong(
    app: Flask, ada: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send(ada, 3)
    age(app, 4)
    timer = retention(app)
    pauses: list[float] = []

    class EnoughSeen(BaseException):
        """Ends the endless loop."""

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            monkeypatch.setattr(timer, "trim", lambda now_ms: 1 // 0)
        else:
            raise EnoughSeen

    monkeypatch.setattr("app.chat.retention.sleep", sleep)
    with pytest.raises(EnoughSeen):
        timer._run()
    assert ada.ask("rooms")["rooms"][0]["first_seq"] == 4
    assert "a defect in the retention" in caplog.text
    assert all(0.8 * 3600 <= pause <= 1.2 * 3600 for pause in pauses)
