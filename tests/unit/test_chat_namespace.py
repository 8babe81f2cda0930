"""The /chat namespace through Flask-SocketIO's test client."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from app.auth import User
from app.chat.namespace import ChatNamespace
from app.extensions import socketio
from tests.unit.conftest import MakeApp, Person

SignIn = Callable[[str], Person]


def code(answer: dict[str, Any]) -> str:
    """The error code of an answer that refuses."""
    assert answer["ok"] is False, answer
    return str(answer["error"]["code"])


def send(somebody: Person, text: str, client_id: str = "m1", room: int = 1) -> dict[str, Any]:
    return somebody.ask("send", {"room": room, "client_id": client_id, "text": text})


def test_nobody_connects_without_signing_in(app: Flask) -> None:
    socket = socketio.test_client(app, namespace="/chat", flask_test_client=app.test_client())
    assert not socket.is_connected("/chat")


def test_hello_tells_who_and_where(ada: Person) -> None:
    hello = ada.ask("hello")
    assert hello["ok"]
    assert hello["me"]["name"] == "Ada"
    assert hello["rooms"] == [
        {
            "id": 1,
            "kind": "public",
            "name": "general",
            "with": None,
            "joined": True,
            "online": 1,
            "first_seq": 1,
            "last_seq": 0,
            "read_seq": 0,
            "last_change_seq": 0,
        }
    ]
    assert hello["limits"]["text_max_chars"] == 2000


def test_a_message_reaches_the_room_and_is_acknowledged(ada: Person, bob: Person) -> None:
    bob.heard()
    answer = send(ada, "  hello, Bob ")
    assert answer["ok"]
    message = answer["message"]
    assert (message["seq"], message["text"], message["author"]["name"]) == (1, "hello, Bob", "Ada")
    assert bob.heard("message") == [message]
    assert ada.heard("message") == [message], "the sender's own tabs hear it too"


def test_sent_twice_is_stored_once_and_answered_twice(ada: Person, bob: Person) -> None:
    first, second = send(ada, "once", "same"), send(ada, "once", "same")
    assert first == second
    # Who repeats it got no answer; perhaps its node died before it could tell anybody.
    assert bob.heard("message") == [first["message"]] * 2
    assert ada.ask("history", {"room": 1})["messages"] == [first["message"]]


def test_a_client_id_in_another_room_is_refused(ada: Person) -> None:
    room = ada.ask("create_room", {"name": "other"})["room"]["id"]
    send(ada, "here", "same")
    assert code(send(ada, "there", "same", room)) == "id_reused"


def test_two_people_may_use_the_same_client_id(ada: Person, bob: Person) -> None:
    assert send(ada, "a", "same")["message"]["seq"] == 1
    assert send(bob, "b", "same")["message"]["seq"] == 2


def test_rooms_are_made_joined_and_left(ada: Person, bob: Person) -> None:
    made = ada.ask("create_room", {"name": "Book Club"})
    room = made["room"]
    assert (room["id"], room["name"], room["joined"], room["online"]) == (2, "Book-Club", True, 1)
    assert bob.heard("room_created")[0]["room"]["joined"] is False
    assert code(bob.ask("create_room", {"name": "#book-club"})) == "room_exists"
    assert code(send(bob, "let me in", room=2)) == "not_a_member"

    joined = bob.ask("join", {"room": 2})
    assert [member["name"] for member in joined["members"]] == ["Ada", "Bob"]
    assert ada.heard("member_joined")[-1]["member"]["name"] == "Bob"
    assert send(bob, "thank you", room=2)["ok"]
    assert bob.ask("join", {"room": 2})["ok"], "again changes nothing"
    assert ada.heard("member_joined") == []

    assert bob.ask("leave", {"room": 2})["room"]["joined"] is False
    assert ada.heard("member_left")[0] == {"room": 2, "member": joined["members"][1], "online": 1}
    assert [member["name"] for member in ada.ask("members", {"room": 2})["members"]] == ["Ada"]
    bob.heard()
    send(ada, "gone?", "m2", room=2)
    assert bob.heard("message") == []


def test_all_tabs_of_a_user_move_together(ada: Person, bob: Person) -> None:
    tab = ada.open()
    ada.heard(socket=tab)
    room = ada.ask("create_room", {"name": "tabs"})["room"]
    assert ada.heard("membership", socket=tab) == [{"room": room, "joined": True}]
    bob.ask("join", {"room": room["id"]})
    send(bob, "both", room=room["id"])
    assert len(ada.heard("message")) == len(ada.heard("message", socket=tab)) == 1
    ada.ask("leave", {"room": room["id"]}, socket=tab)
    send(bob, "none", "m2", room=room["id"])
    assert ada.heard("message") == []


def test_closing_one_of_two_tabs_keeps_a_person_here(ada: Person, bob: Person) -> None:
    tab = ada.open()
    tab.disconnect("/chat")
    assert bob.heard("member_left") == []
    ada.socket.disconnect("/chat")
    assert [gone["member"]["name"] for gone in bob.heard("member_left")] == ["Ada"]


def test_one_edits_and_deletes_only_what_is_ones_own(ada: Person, bob: Person) -> None:
    message = send(ada, "frist")["message"]["id"]
    assert code(bob.ask("edit", {"message": message, "text": "mine"})) == "forbidden"
    assert code(bob.ask("delete", {"message": message})) == "forbidden"
    assert code(ada.ask("edit", {"message": 99, "text": "x"})) == "message_not_found"

    bob.heard()
    ada.ask("edit", {"message": message, "text": "frist"})
    assert bob.heard("message_edited") == [], "nothing changed, nobody is told"
    edited = ada.ask("edit", {"message": message, "text": "first"})["message"]
    assert edited["text"] == "first"
    assert edited["edited_at_ms"] is not None
    assert bob.heard("message_edited") == [edited]
    ada.ask("edit", {"message": message, "text": "first"})
    assert bob.heard("message_edited") == [edited], "a repeat, as of a message"

    deleted = ada.ask("delete", {"message": message})["message"]
    assert (deleted["deleted"], deleted["text"]) == (True, "")
    assert ada.ask("delete", {"message": message})["message"] == deleted
    assert bob.heard("message_deleted") == [deleted, deleted]
    assert code(ada.ask("edit", {"message": message, "text": "back"})) == "message_not_found"
    assert ada.ask("history", {"room": 1})["messages"] == [deleted], "its place stays"


def test_history_is_paged_both_ways(make_app: MakeApp) -> None:
    somebody = Person(make_app(), "Ada")
    for number in range(1, 8):
        send(somebody, f"text {number}", f"m{number}")

    def page(**cursor: int) -> tuple[list[int], bool]:
        answer = somebody.ask("history", {"room": 1, **cursor})
        return [message["seq"] for message in answer["messages"]], answer["has_more"]

    assert page(limit=3) == ([5, 6, 7], True)
    assert page(limit=3, before_seq=5) == ([2, 3, 4], True)
    assert page(limit=3, before_seq=2) == ([1], False)
    assert page(limit=3, after_seq=2) == ([3, 4, 5], True)
    assert page(limit=3, after_seq=5) == ([6, 7], False)
    assert page(after_seq=7) == ([], False)
    assert code(somebody.ask("history", {"room": 99})) == "room_not_found"


def test_typing_goes_to_others_only_and_is_not_stored(ada: Person, bob: Person) -> None:
    tab = ada.open()
    ada.heard(socket=tab)
    assert ada.ask("typing", {"room": 1, "active": True}) == {"ok": True}
    assert [notice["member"]["name"] for notice in bob.heard("typing")] == ["Ada"]
    assert ada.heard("typing") == ada.heard("typing", socket=tab) == []
    assert code(ada.ask("typing", {"room": 9, "active": True})) == "not_a_member"
    assert ada.ask("history", {"room": 1})["messages"] == []


@pytest.mark.parametrize(
    ("event", "payload", "expected", "field"),
    [
        ("send", {"room": 1, "client_id": "x"}, "bad_payload", "text"),
        ("send", {"room": "1", "client_id": "x", "text": "t"}, "bad_payload", "room"),
        ("send", {"room": 1.5, "client_id": "x", "text": "t"}, "bad_payload", "room"),
        ("send", {"room": True, "client_id": "x", "text": "t"}, "bad_payload", "room"),
        ("send", {"room": 2**60, "client_id": "x", "text": "t"}, "bad_payload", "room"),
        ("send", {"room": 1, "client_id": "no spaces", "text": "t"}, "bad_payload", "client_id"),
        ("send", {"room": 1, "client_id": "x", "text": " \n "}, "bad_payload", "text"),
        ("send", {"room": 1, "client_id": "x", "text": 5}, "bad_payload", "text"),
        ("send", {"room": 1, "client_id": "x", "text": "t" * 2001}, "too_long", "text"),
        ("send", {"room": 1, "client_id": "x", "text": "t", "admin": True}, "bad_payload", "admin"),
        ("send", ["a", "list"], "bad_payload", None),
        ("send", "text", "bad_payload", None),
        ("send", b"bytes", "bad_payload", None),
        ("send", {"room": 7, "client_id": "x", "text": "t"}, "room_not_found", None),
        ("join", {"room": 7}, "room_not_found", None),
        ("leave", {"room": 7}, "room_not_found", None),
        ("members", {"room": 7}, "room_not_found", None),
        ("history", {"room": 1, "limit": 101}, "bad_payload", "limit"),
        ("history", {"room": 1, "before_seq": -1}, "bad_payload", "before_seq"),
        ("create_room", {"name": "x" * 41}, "too_long", "name"),
        ("create_room", {"name": "!"}, "bad_payload", "name"),
        ("no_such_event", {}, "unknown_event", None),
        ("_answer", {}, "unknown_event", None),
    ],
)
def test_bad_input_is_answered_with_a_code(
    ada: Person, event: str, payload: object, expected: str, field: str | None
) -> None:
    answer = ada.ask(event, payload)
    assert code(answer) == expected
    assert answer["error"].get("field") == field
    assert answer["error"]["message"]
    assert ada.ask("hello")["ok"], "the connection goes on"


def test_who_wants_no_acknowledgement_gets_an_error_event(ada: Person) -> None:
    ada.heard()
    ada.socket.emit("send", {"room": 1}, namespace="/chat")
    (error,) = ada.heard("error")
    assert (error["event"], error["code"], error["field"]) == ("send", "bad_payload", "client_id")
    ada.ask("send", {"room": 1})
    assert ada.heard("error") == [], "an acknowledgement was asked for"


def test_too_many_arguments_are_refused(ada: Person) -> None:
    ada.socket.emit("hello", {}, {}, namespace="/chat")
    assert ada.heard("error")[0]["code"] == "bad_payload"


@pytest.mark.parametrize("name", ["connect", "disconnect"])
def test_a_client_cannot_trigger_the_handlers_of_the_connection(ada: Person, bob: Person, name: str) -> None:
    ada.socket.emit(name, {}, namespace="/chat")
    assert ada.heard("error")[0]["code"] == "unknown_event"
    assert [member["name"] for member in bob.ask("members", {"room": 1})["members"]] == ["Ada", "Bob"]


def test_too_fast_is_told_with_the_time_to_wait(make_app: MakeApp) -> None:
    somebody = Person(make_app(rate_send="2/minute"), "Ada")
    assert send(somebody, "one", "m1")["ok"]
    assert send(somebody, "two", "m2")["ok"]
    answer = send(somebody, "three", "m3")
    assert code(answer) == "rate_limited"
    assert 0 < answer["error"]["retry_after_ms"] <= 60_000
    assert somebody.ask("hello")["ok"], "other events have rates of their own"
    tab = somebody.open()
    again = somebody.ask("send", {"room": 1, "client_id": "m4", "text": "x"}, socket=tab)
    assert code(again) == "rate_limited", "a second tab does not help"


def test_bounds_on_rooms(make_app: MakeApp) -> None:
    somebody = Person(make_app(chat_rooms_max=3, chat_joined_max=2), "Ada")
    assert somebody.ask("create_room", {"name": "two"})["ok"]
    refused = somebody.ask("create_room", {"name": "three"})
    assert (code(refused), refused["error"]["limit"]) == ("too_many_rooms", 2)
    somebody.ask("leave", {"room": 1})
    assert somebody.ask("create_room", {"name": "three"})["ok"]
    somebody.ask("leave", {"room": 2})
    assert somebody.ask("create_room", {"name": "four"})["error"]["limit"] == 3


def test_a_defect_is_logged_and_answered_without_details(
    app: Flask, ada: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chat: ChatNamespace = app.extensions["chat"]

    def fail(*_: object) -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr(chat.service, "rooms", fail)
    answer = ada.ask("rooms")
    assert code(answer) == "internal"
    assert "secret" not in str(answer)
    assert answer["error"]["incident"] in caplog.text


def test_a_name_is_unique_among_those_online(app: Flask, ada: Person) -> None:
    assert app.test_client().post("/sign-in", data={"name": " ADA "}).status_code == 409
    ada.http.post("/sign-out")
    assert not ada.socket.is_connected("/chat"), "signing out closes the sockets"
    assert app.test_client().post("/sign-in", data={"name": "ada"}).status_code == 303


def test_a_session_that_expires_beside_a_newer_one_keeps_the_name(app: Flask, ada: Person) -> None:
    chat = app.extensions["chat"]
    me = ada.ask("hello")["me"]
    user, other = User(me["id"], me["name"], 0.0), User("somebody-else", "ada", 0.0)
    chat.session_over(user, "expired")
    assert not chat.claim_name(other), "another tab of hers goes on"
    # What ended, or was told elsewhere, is an older session of hers.
    chat.session_over(user, "ended")
    chat.take_name("n2", [user.name, user.id, False])
    assert not chat.claim_name(other)
    # Ended is ended, for all tabs.
    app.extensions["sessions"].end_id(user.id)
    assert chat.claim_name(other)


def test_what_other_nodes_tell_of_names(app: Flask, ada: Person, caplog: pytest.LogCaptureFixture) -> None:
    chat = app.extensions["chat"]
    bob = User("b", "Bob", 0.0)
    chat.take_name("n2", ["Bob", "elsewhere", True])
    assert not chat.claim_name(bob)
    chat.take_name("n2", ["Bob", "elsewhere", False])
    assert chat.claim_name(bob)
    # Somebody who is online gets another name, on another node: it is theirs for as long as that lasts.
    chat.take_name("n2", ["Ada Bee", ada.ask("hello")["me"]["id"], True])
    assert chat.names._leases["ada bee"].until is None
    chat.take_name("n2", {"held": True})
    assert "another version?" in caplog.text


def test_a_name_that_was_taken_meanwhile_refuses_the_connection(make_app: MakeApp) -> None:
    app = make_app(chat_name_lease_seconds=0)
    first = Person(app, "Ada")
    first.socket.disconnect("/chat")
    second = Person(app, "ada")
    assert not first.open().is_connected("/chat")
    second.socket.disconnect("/chat")
    assert first.open().is_connected("/chat")
