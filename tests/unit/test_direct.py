"""Direct conversations: one for each two people, and nobody else's business."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import delete

from app.chat.names import direct_key
from app.extensions import db
from app.users import models
from tests.unit.conftest import MakeApp, Person

SignIn = Callable[[str], Person]
TOKEN = "t" * 40


@pytest.fixture
def eve(person: SignIn) -> Person:
    return person("Eve")


def code(answer: dict[str, Any]) -> str:
    assert answer["ok"] is False, answer
    return str(answer["error"]["code"])


def who(somebody: Person) -> dict[str, Any]:
    me: dict[str, Any] = somebody.ask("hello")["me"]
    return me


def open_direct(somebody: Person, other: Person) -> dict[str, Any]:
    room: dict[str, Any] = somebody.ask("open_direct", {"user": who(other)["id"]})["room"]
    return room


def directs(somebody: Person) -> list[dict[str, Any]]:
    return [room for room in somebody.ask("rooms")["rooms"] if room["kind"] == "direct"]


def send(somebody: Person, room: int, text: str = "Psst.", client_id: str = "m1") -> dict[str, Any]:
    return somebody.ask("send", {"room": room, "client_id": client_id, "text": text})


def test_a_conversation_outlives_what_is_known_of_the_other(app: Flask, ada: Person, bob: Person) -> None:
    room = open_direct(ada, bob)
    with app.app_context():
        db.write(lambda session: session.execute(delete(models.Person).where(models.Person.name == "Bob")))
    assert [(found["name"], found["with"]["id"]) for found in directs(ada)] == [
        ("Somebody who left", room["with"]["id"])
    ]
    assert ada.ask("history", {"room": room["id"]})["ok"]


def test_the_opener_sees_it_at_once_and_the_other_with_the_first_message(ada: Person, bob: Person) -> None:
    tab = ada.open()
    room = open_direct(ada, bob)
    assert (room["kind"], room["name"], room["with"], room["joined"]) == ("direct", "Bob", who(bob), True)
    assert room["online"] == 2
    assert directs(ada) == [room]
    assert ada.heard("membership", socket=tab) == [{"room": room, "joined": True}]
    assert directs(bob) == []
    assert bob.heard("membership") == []

    message = send(ada, room["id"])["message"]
    assert bob.heard("membership", "message") == [
        message,
        {"room": {**room, "name": "Ada", "with": who(ada), "last_seq": 1}, "joined": True},
    ]
    assert [(r["name"], r["last_seq"] - r["read_seq"]) for r in directs(bob)] == [("Ada", 1)]
    assert ada.heard("message", socket=tab) == [message]
    send(bob, room["id"], "Yes?")
    assert bob.heard("membership") == [], "no news any more"


def test_there_is_one_for_each_two(ada: Person, bob: Person, eve: Person) -> None:
    first = open_direct(ada, bob)["id"]
    assert open_direct(bob, ada)["id"] == open_direct(ada, bob)["id"] == first
    assert [room["id"] for room in directs(bob)] == [first], "who opens it sees it"
    assert open_direct(ada, eve)["id"] != first


def test_whom_one_cannot_talk_to_is_explained(ada: Person) -> None:
    answer = ada.ask("open_direct", {"user": who(ada)["id"]})
    assert (code(answer), answer["error"]["field"]) == ("bad_payload", "user")
    assert "you" in answer["error"]["message"]
    assert code(ada.ask("open_direct", {"user": "nobody"})) == "person_not_found"
    assert code(ada.ask("open_direct", {"user": "x" * 65})) == "too_long"
    for bad in ("", 5, None, "a\x00b"):
        assert code(ada.ask("open_direct", {"user": bad})) == "bad_payload"


def test_for_everybody_else_it_does_not_exist(make_app: MakeApp) -> None:
    app = make_app(api_token=TOKEN)
    ada, bob, eve = (Person(app, name) for name in ("Ada", "Bob", "Eve"))
    room = open_direct(ada, bob)["id"]
    message = send(ada, room)["message"]
    eve.heard()
    for event, payload in [
        ("join", {"room": room}),
        ("leave", {"room": room}),
        ("members", {"room": room}),
        ("history", {"room": room}),
        ("changes", {"room": room, "after_change_seq": 0}),
        ("read", {"room": room, "seq": 1}),
        ("send", {"room": room, "client_id": "e1", "text": "Let me in."}),
    ]:
        there = eve.ask(event, payload)
        nowhere = eve.ask(event, {**payload, "room": 999})
        assert code(there) == code(nowhere) == "room_not_found", event
        assert there["error"]["message"].replace(str(room), "") == nowhere["error"]["message"].replace(
            "999", ""
        )
    assert code(eve.ask("typing", {"room": room, "active": True})) == "not_a_member"
    assert code(eve.ask("edit", {"message": message["id"], "text": "mine"})) == "forbidden"
    assert code(eve.ask("delete", {"message": message["id"]})) == "forbidden"
    assert directs(eve) == []
    send(bob, room, "Nobody hears us.")
    assert eve.heard("message", "membership", "member_joined", "typing") == []

    path = f"/api/v1/rooms/{room}"
    body = {"client_id": "e2", "text": "And like this?"}
    token = {"Authorization": f"Bearer {TOKEN}"}
    stranger = app.test_client()
    for answer in (
        eve.http.get(path),
        eve.http.get(f"{path}/messages"),
        eve.http.post(f"{path}/messages", json=body),
        stranger.get(path, headers=token),
        stranger.get(f"{path}/messages", headers=token),
    ):
        assert (answer.status_code, (answer.json or {})["code"]) == (404, "room_not_found")
    for listed in (eve.http.get("/api/v1/rooms"), stranger.get("/api/v1/rooms", headers=token)):
        assert [r["kind"] for r in (listed.json or {})["rooms"]] == ["public"]

    assert len((bob.http.get(f"{path}/messages").json or {})["messages"]) == 2
    assert (bob.http.get(path).json or {})["room"]["with"]["name"] == "Ada"


def test_it_cannot_be_left_and_joining_changes_nothing(ada: Person, bob: Person) -> None:
    room = open_direct(ada, bob)["id"]
    assert code(ada.ask("leave", {"room": room})) == "forbidden"
    assert ada.ask("join", {"room": room})["room"]["id"] == room
    assert [member["name"] for member in ada.ask("members", {"room": room})["members"]] == ["Ada", "Bob"]


def test_conversations_and_rooms_have_bounds_of_their_own(make_app: MakeApp) -> None:
    app = make_app(chat_rooms_max=2, chat_joined_max=2, chat_direct_max=1)
    ada, bob, eve = (Person(app, name) for name in ("Ada", "Bob", "Eve"))
    open_direct(ada, bob)
    refused = ada.ask("open_direct", {"user": who(eve)["id"]})
    assert (code(refused), refused["error"]["limit"]) == ("too_many_rooms", 1)
    assert open_direct(ada, bob), "one that exists is no new one"
    open_direct(eve, ada)
    assert ada.ask("create_room", {"name": "two"})["ok"], "neither room nor membership is used up"


def test_it_outlives_a_guest_who_signs_out(app: Flask, ada: Person, bob: Person) -> None:
    room = open_direct(ada, bob)["id"]
    send(bob, room, "Bye, Ada.")
    bob.http.post("/sign-out")
    assert [(r["name"], r["online"]) for r in directs(ada)] == [("Bob", 1)]
    assert len(ada.ask("history", {"room": room})["messages"]) == 1
    assert [r["name"] for r in Person(app, "Bob").ask("rooms")["rooms"]] == ["general"], "another Bob"


# Ids of other sites may contain anything.
ids = st.text("a:1é", min_size=1, max_size=5)


@given(ids, ids, ids, ids)
@example("a:b", "c", "a", "b:c")
def test_the_key_is_the_same_from_both_sides_and_for_nobody_else(a: str, b: str, c: str, d: str) -> None:
    assert (direct_key(a, b) == direct_key(c, d)) == (sorted((a, b)) == sorted((c, d)))


def test_the_longest_key_fits_its_column() -> None:
    assert len(direct_key("x" * 64, "y" * 64)) <= 255
