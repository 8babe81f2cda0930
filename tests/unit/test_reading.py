"""Reading positions, and changes that somebody was not there to hear of."""

import secrets
from collections.abc import Callable
from typing import Any

from tests.unit.conftest import MakeApp, Person

SignIn = Callable[[str], Person]


def code(answer: dict[str, Any]) -> str:
    assert answer["ok"] is False, answer
    return str(answer["error"]["code"])


def send(somebody: Person, count: int = 1, room: int = 1) -> list[dict[str, Any]]:
    return [
        somebody.ask("send", {"room": room, "client_id": secrets.token_hex(8), "text": f"text {i}"})[
            "message"
        ]
        for i in range(count)
    ]


def position(somebody: Person, room: int = 1) -> int:
    (found,) = [r["read_seq"] for r in somebody.ask("hello")["rooms"] if r["id"] == room]
    return int(found)


def test_a_position_goes_forward_and_all_tabs_hear_of_it(ada: Person, bob: Person) -> None:
    send(bob, 5)
    tab = ada.open()
    bob.heard()
    assert position(ada) == 0
    assert ada.ask("read", {"room": 1, "seq": 3}) == {"ok": True, "room": 1, "seq": 3}
    assert ada.heard("read") == ada.heard("read", socket=tab) == [{"room": 1, "seq": 3}]
    assert bob.heard("read") == [], "it is nobody else's business"
    assert ada.ask("read", {"room": 1, "seq": 2})["seq"] == 3, "never back"
    assert ada.ask("read", {"room": 1, "seq": 2**53 - 1})["seq"] == 5, "nor beyond the newest"
    assert position(ada) == 5


def test_who_joins_begins_at_the_end(ada: Person, bob: Person) -> None:
    room = ada.ask("create_room", {"name": "late"})["room"]["id"]
    send(ada, 3, room)
    joined = bob.ask("join", {"room": room})["room"]
    assert (joined["read_seq"], joined["last_seq"]) == (3, 3)
    bob.ask("leave", {"room": room})
    send(ada, 2, room)
    assert bob.ask("join", {"room": room})["room"]["read_seq"] == 5, "what was said without them is read"


def test_who_writes_has_read_what_was_read_before(ada: Person, bob: Person) -> None:
    send(ada, 2)
    assert position(ada) == 2
    assert position(bob) == 0
    send(bob, 1)
    assert position(bob) == 0, "Ada's messages are still to be read"
    bob.ask("read", {"room": 1, "seq": 3})
    send(bob, 1)
    assert position(bob) == 4


def test_where_there_is_nothing_to_read_for_you(ada: Person, bob: Person) -> None:
    room = ada.ask("create_room", {"name": "private"})["room"]["id"]
    assert code(bob.ask("read", {"room": room, "seq": 0})) == "not_a_member"
    assert code(bob.ask("read", {"room": 99, "seq": 0})) == "room_not_found"
    assert code(bob.ask("read", {"room": 1, "seq": -1})) == "bad_payload"
    assert [r["read_seq"] for r in bob.ask("rooms")["rooms"]] == [0, 0]


def test_positions_have_a_rate_of_their_own(make_app: MakeApp) -> None:
    somebody = Person(make_app(rate_read="2/minute"), "Ada")
    answers = [somebody.ask("read", {"room": 1, "seq": 0}) for _ in range(3)]
    assert [answer["ok"] for answer in answers] == [True, True, False]
    assert code(answers[-1]) == "rate_limited"


def test_changes_are_numbered_and_asked_for_by_number(ada: Person, bob: Person) -> None:
    messages = send(ada, 4)
    assert [m["change_seq"] for m in messages] == [0] * 4
    bob.heard()
    edited = ada.ask("edit", {"message": messages[0]["id"], "text": "changed"})["message"]
    deleted = ada.ask("delete", {"message": messages[2]["id"]})["message"]
    again = ada.ask("edit", {"message": messages[0]["id"], "text": "changed again"})["message"]
    assert [m["change_seq"] for m in (edited, deleted, again)] == [1, 2, 3]
    assert bob.heard("message_edited", "message_deleted") == [edited, deleted, again]
    assert bob.ask("hello")["rooms"][0]["last_change_seq"] == 3

    def changes(after: int) -> list[dict[str, Any]]:
        answer = bob.ask("changes", {"room": 1, "after_change_seq": after})
        assert answer["has_more"] is False
        return list(answer["messages"])

    # Each as it is now, once.
    assert changes(0) == changes(1) == [deleted, again]
    assert changes(2) == [again]
    assert changes(3) == []
    assert bob.ask("history", {"room": 1})["messages"][0] == again


def test_a_change_that_changes_nothing_has_no_number(ada: Person) -> None:
    (message,) = send(ada)
    for _ in range(2):
        assert ada.ask("edit", {"message": message["id"], "text": "new"})["message"]["change_seq"] == 1
    for _ in range(2):
        assert ada.ask("delete", {"message": message["id"]})["message"]["change_seq"] == 2
    assert ada.ask("hello")["rooms"][0]["last_change_seq"] == 2
