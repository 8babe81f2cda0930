"""The chat over real sockets, on SQLite and on PostgreSQL."""

from __future__ import annotations

import secrets

import gevent
import pytest
import requests

from tests.support.clients import (
    Client,
    People,
    Refused,
    RefusedConnect,
    Transport,
    general,
    new_client_id,
    new_room,
    room_named,
)
from tests.support.servers import Node
from tests.support.waiting import WAIT_SECONDS, wait_until

TRANSPORTS: list[Transport] = ["websocket", "polling", "upgrade"]


# Connecting.


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sign_in_connect_and_hello(people: People, transport: Transport) -> None:
    session = people.sign_in("Ada")
    ada = people.tab(session, transport=transport)
    hello = ada.call("hello")

    assert hello["me"]["name"].startswith("Ada ")
    assert hello["me"]["id"]
    assert [(room["name"], room["joined"]) for room in hello["rooms"] if room["name"] == "general"] == [
        ("general", True)
    ]
    assert hello["limits"]["text_max_chars"] == 2000
    assert hello["server_time_ms"] > 1_700_000_000_000
    if transport == "upgrade":
        wait_until(lambda: ada.transport_now == "websocket", "the upgrade to WebSocket")
    else:
        assert ada.transport_now == transport


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_without_a_session_the_chat_is_closed(people: People, transport: Transport) -> None:
    with pytest.raises(RefusedConnect) as refused:
        people.tab(None, transport=transport)
    assert refused.value.code == "unauthorized"


def test_a_forged_session_is_no_session(people: People) -> None:
    session = requests.Session()
    session.cookies.set("session", "eyJ1c2VyIjp7ImlkIjoieCIsIm5hbWUiOiJFdmUifX0.aaaaaa.bbbbbb")
    with session, pytest.raises(RefusedConnect) as refused:
        people.tab(session)
    assert refused.value.code == "unauthorized"


def test_a_name_has_one_holder_at_a_time(people: People, any_node: Node) -> None:
    name = people.name("Grace")
    holder = people.sign_in("Nobody")
    holder.post(f"{any_node.url}/sign-in", data={"name": name}, timeout=WAIT_SECONDS)
    tab = people.tab(holder)

    with requests.Session() as other:
        answer = other.post(f"{any_node.url}/sign-in", data={"name": name.upper()}, timeout=WAIT_SECONDS)
        assert answer.status_code == 409
        assert "Somebody else is online with that name" in answer.text
        assert f'value="{name.upper()}"' in answer.text
        assert not other.cookies

        tab.close()

        # CHAT_NAME_LEASE_SECONDS=0: free as soon as the server has seen the connection end.
        def free() -> bool:
            answer = other.post(f"{any_node.url}/sign-in", data={"name": name}, timeout=WAIT_SECONDS)
            return answer.url == f"{any_node.url}/"

        wait_until(free, "the name to be free")
        people.tab(other)
        with pytest.raises(RefusedConnect) as refused:
            people.tab(holder)
        assert refused.value.code == "name_taken"


def test_a_name_that_is_none_is_refused(people: People, any_node: Node) -> None:
    for name in ("", "x", "<b>bold</b>", "a" * 25, "\u202eevil"):
        answer = requests.post(f"{any_node.url}/sign-in", data={"name": name}, timeout=WAIT_SECONDS)
        assert answer.status_code == 422, name
        assert "<b>bold" not in answer.text
        assert not answer.cookies


def test_sign_out_closes_every_tab(people: People, any_node: Node) -> None:
    session = people.sign_in("Alan")
    tabs = [people.tab(session), people.tab(session, transport="polling")]
    answer = session.post(f"{any_node.url}/sign-out", timeout=WAIT_SECONDS)

    assert answer.url == f"{any_node.url}/sign-in?reason=signed_out"
    wait_until(lambda: not any(tab.connected for tab in tabs), "the tabs to be closed")
    with pytest.raises(RefusedConnect) as refused:
        people.tab(session)
    assert refused.value.code == "unauthorized"


# Messages.


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_message_reaches_the_others_and_the_sender(people: People, transport: Transport) -> None:
    ada, bob = people.join("Ada", transport=transport), people.join("Bob", transport=transport)
    room = new_room(ada)
    bob.call("join", {"room": room})

    there = ada.send(room, "Good morning! ☀️ <b>not bold</b>\nsecond line")
    back = bob.send(room, "Morning.")

    assert (there["seq"], back["seq"]) == (1, 2)
    assert there["text"] == "Good morning! ☀️ <b>not bold</b>\nsecond line"
    assert there["author"] == ada.call("hello")["me"]
    assert (there["edited_at_ms"], there["deleted"]) == (None, False)
    for client in (ada, bob):
        wait_until(lambda client=client: len(client.received("message")) >= 2, "both messages")
        assert client.received("message") == [there, back]


def test_only_the_room_hears_a_message(people: People) -> None:
    ada, eve = people.join("Ada"), people.join("Eve")
    room = new_room(ada)
    message = ada.send(room, "Just us.")
    # What comes later through the same connection shows that the first will not come any more.
    marker = ada.send(general(ada), "For everybody.")
    eve.wait_for("message", lambda m: m["id"] == marker["id"])
    assert message["id"] not in [m["id"] for m in eve.received("message")]
    with pytest.raises(Refused, match="not_a_member"):
        eve.send(room, "Let me in.")


def test_the_same_client_id_is_the_same_message(people: People) -> None:
    ada, bob = people.join("Ada"), people.join("Bob")
    room, other_room = new_room(ada), new_room(ada)
    bob.call("join", {"room": room})
    client_id = new_client_id()

    first = ada.send(room, "Once.", client_id)
    again = ada.send(room, "Once.", client_id)
    assert again == first
    with pytest.raises(Refused) as refused:
        ada.send(other_room, "Elsewhere.", client_id)
    assert refused.value.code == "id_reused"
    # Ids are each user's own.
    assert bob.send(room, "Mine.", client_id)["seq"] == 2
    assert len(ada.call("history", {"room": room})["messages"]) == 2
    # Others hear of it again: its writer had no answer, and perhaps they had not heard of it.
    wait_until(lambda: len(bob.received("message")) >= 3, "both messages, and one again")
    assert [m["seq"] for m in bob.received("message")] == [1, 1, 2]


def test_many_posters_at_once_leave_no_gap(people: People) -> None:
    everybody = [people.join(f"Poster{i}") for i in range(4)]
    room = new_room(everybody[0])
    for client in everybody[1:]:
        client.call("join", {"room": room})

    def post(client: Client) -> None:
        for number in range(10):
            client.send(room, f"Message {number}.")

    jobs = [gevent.spawn(post, client) for client in everybody]
    gevent.joinall(jobs, timeout=60, raise_error=True)
    assert all(job.successful() for job in jobs)

    history = everybody[0].call("history", {"room": room, "limit": 100})["messages"]
    assert [m["seq"] for m in history] == list(range(1, 41))
    for client in everybody:
        wait_until(lambda client=client: len(client.received("message")) >= 40, "all messages")
        assert [m["seq"] for m in client.received("message")] == list(range(1, 41))


def test_the_same_message_in_parallel_is_stored_once(people: People) -> None:
    session = people.sign_in("Ada")
    tabs = [people.tab(session) for _ in range(4)]
    room = new_room(tabs[0])
    client_id = new_client_id()
    jobs = [gevent.spawn(tab.send, room, "Once.", client_id) for tab in tabs]
    gevent.joinall(jobs, timeout=60, raise_error=True)
    assert {job.value["id"] for job in jobs} == {jobs[0].value["id"]}
    assert len(tabs[0].call("history", {"room": room})["messages"]) == 1


def test_history_comes_in_pages_both_ways(people: People) -> None:
    ada = people.join("Ada")
    room = new_room(ada)
    for number in range(1, 26):
        ada.send(room, f"Message {number}.")

    newest = ada.call("history", {"room": room, "limit": 10})
    assert [m["seq"] for m in newest["messages"]] == list(range(16, 26))
    assert newest["has_more"] is True

    seen = newest["messages"]
    while (page := ada.call("history", {"room": room, "limit": 10, "before_seq": seen[0]["seq"]}))[
        "messages"
    ]:
        seen = page["messages"] + seen
        if not page["has_more"]:
            break
    assert [m["text"] for m in seen] == [f"Message {n}." for n in range(1, 26)]

    after = ada.call("history", {"room": room, "limit": 10, "after_seq": 5})
    assert [m["seq"] for m in after["messages"]] == list(range(6, 16))
    assert after["has_more"] is True
    last = ada.call("history", {"room": room, "limit": 10, "after_seq": 15})
    assert [m["seq"] for m in last["messages"]] == list(range(16, 26))
    assert last["has_more"] is False
    nothing = ada.call("history", {"room": room, "after_seq": 25})
    assert (nothing["messages"], nothing["has_more"]) == ([], False)
    assert len(ada.call("history", {"room": room})["messages"]) == 25
    for payload, code in [
        ({"room": room, "limit": 101}, "bad_payload"),
        ({"room": room, "before_seq": -1}, "bad_payload"),
        ({"room": 999_999}, "room_not_found"),
    ]:
        with pytest.raises(Refused) as refused:
            ada.call("history", payload)
        assert refused.value.code == code


def test_edit_and_delete_reach_the_others(people: People) -> None:
    ada, bob = people.join("Ada"), people.join("Bob")
    room = new_room(ada)
    bob.call("join", {"room": room})
    message = ada.send(room, "Helo.")

    edited = ada.call("edit", {"message": message["id"], "text": "Hello."})["message"]
    assert (edited["text"], edited["seq"]) == ("Hello.", 1)
    assert edited["edited_at_ms"] >= message["sent_at_ms"]
    assert bob.wait_for("message_edited") == edited

    with pytest.raises(Refused, match="forbidden"):
        bob.call("edit", {"message": message["id"], "text": "Goodbye."})
    with pytest.raises(Refused, match="forbidden"):
        bob.call("delete", {"message": message["id"]})

    deleted = ada.call("delete", {"message": message["id"]})["message"]
    assert (deleted["text"], deleted["deleted"]) == ("", True)
    assert bob.wait_for("message_deleted") == deleted
    assert ada.call("delete", {"message": message["id"]})["message"] == deleted
    with pytest.raises(Refused, match="message_not_found"):
        ada.call("edit", {"message": message["id"], "text": "Back?"})
    with pytest.raises(Refused, match="message_not_found"):
        ada.call("delete", {"message": 999_999})
    assert bob.call("history", {"room": room})["messages"] == [deleted]


def test_typing_reaches_the_others_only(people: People) -> None:
    session = people.sign_in("Ada")
    ada, second_tab, bob = people.tab(session), people.tab(session), people.join("Bob")
    room = new_room(ada)
    bob.call("join", {"room": room})
    ada.call("typing", {"room": room, "active": True})
    ada.call("typing", {"room": room, "active": False})
    message = ada.send(room, "Done.")

    me = ada.call("hello")["me"]
    for client in (ada, second_tab, bob):
        client.wait_for("message", lambda m: m["id"] == message["id"])
    assert bob.received("typing") == [
        {"room": room, "member": me, "active": True},
        {"room": room, "member": me, "active": False},
    ]
    assert ada.received("typing") == second_tab.received("typing") == []
    with pytest.raises(Refused, match="not_a_member"):
        people.join("Eve").call("typing", {"room": room, "active": True})


# Rooms and people.


def test_join_members_and_leave(people: People) -> None:
    ada, bob, eve = people.join("Ada"), people.join("Bob"), people.join("Eve")
    room = new_room(ada)
    name = eve.wait_for("room_created", lambda e: e["room"]["id"] == room)["room"]["name"]
    assert room_named(eve, name)["joined"] is False

    joined = bob.call("join", {"room": room})
    assert [m["name"][:3] for m in joined["members"]] == ["Ada", "Bob"]
    assert (joined["room"]["id"], joined["room"]["name"]) == (room, name)
    assert (joined["room"]["joined"], joined["room"]["online"]) == (True, 2)
    arrival = ada.wait_for("member_joined", lambda e: e["room"] == room and e["member"]["name"][:3] == "Bob")
    assert arrival["online"] == 2
    assert eve.call("members", {"room": room})["members"] == joined["members"]

    left = bob.call("leave", {"room": room})
    assert (left["room"]["joined"], left["room"]["online"]) == (False, 1)
    ada.wait_for("member_left", lambda e: e["room"] == room and e["online"] == 1)
    assert [m["name"][:3] for m in ada.call("members", {"room": room})["members"]] == ["Ada"]
    with pytest.raises(Refused, match="not_a_member"):
        bob.send(room, "Still here?")

    # Who goes away is a member still, and not here.
    ada.close()
    wait_until(lambda: not eve.call("members", {"room": room})["members"], "Ada to be gone")


def test_two_tabs_are_one_user(people: People) -> None:
    session = people.sign_in("Ada")
    one, two, bob = people.tab(session), people.tab(session, transport="polling"), people.join("Bob")
    room = new_room(one)
    assert two.wait_for("membership", lambda e: e["room"]["id"] == room)["joined"] is True
    assert bob.call("join", {"room": room})["room"]["online"] == 2

    # What happens in one tab shows in the other.
    message = one.send(room, "From the first tab.")
    two.wait_for("message", lambda m: m == message)

    # While one tab is open, the user is here.
    one.close()
    marker = bob.send(room, "Are you here?")
    two.wait_for("message", lambda m: m["id"] == marker["id"])
    assert bob.received("member_left") == []
    assert len(bob.call("members", {"room": room})["members"]) == 2

    two.close()
    assert bob.wait_for("member_left", lambda e: e["room"] == room)["online"] == 1

    # And is back with the rooms at the next connect, without joining again.
    three = people.tab(session)
    bob.wait_for("member_joined", lambda e: e["room"] == room and e["online"] == 2)
    news = bob.send(room, "Welcome back.")
    three.wait_for("message", lambda m: m == news)


def test_leaving_in_one_tab_leaves_in_all(people: People) -> None:
    session = people.sign_in("Ada")
    one, two, bob = people.tab(session), people.tab(session), people.join("Bob")
    room = new_room(one)
    bob.call("join", {"room": room})
    two.call("leave", {"room": room})
    assert one.wait_for("membership", lambda e: not e["joined"])["room"]["id"] == room
    bob.send(room, "Alone.")
    marker = bob.send(general(bob), "For everybody.")
    one.wait_for("message", lambda m: m["id"] == marker["id"])
    assert [m["room"] for m in one.received("message") if m["room"] == room] == []


def test_a_room_is_made_once(people: People) -> None:
    ada, bob = people.join("Ada"), people.join("Bob")
    name = f"Plans {secrets.token_hex(4)}"
    room = ada.call("create_room", {"name": f"# {name}"})["room"]
    assert room["name"] == name.replace(" ", "-")
    with pytest.raises(Refused) as refused:
        bob.call("create_room", {"name": name.upper()})
    assert (refused.value.code, refused.value.error["room"]) == ("room_exists", room["id"])
    for bad in ("", "#", "a", "../etc", "x" * 41):
        with pytest.raises(Refused) as refused:
            ada.call("create_room", {"name": bad})
        assert refused.value.code in ("bad_payload", "too_long"), bad
    with pytest.raises(Refused, match="room_not_found"):
        ada.call("join", {"room": 999_999})


# Refusals.


def test_what_does_not_fit_is_refused_with_the_field(people: People) -> None:
    ada = people.join("Ada")
    room = general(ada)
    for event, payload, code, field in [
        ("send", {"room": room, "client_id": "a", "text": "x" * 2001}, "too_long", "text"),
        ("send", {"room": room, "client_id": "a", "text": " \n\t"}, "bad_payload", "text"),
        ("send", {"room": room, "client_id": "a", "text": 5}, "bad_payload", "text"),
        ("send", {"room": room, "client_id": "a b", "text": "x"}, "bad_payload", "client_id"),
        ("send", {"room": str(room), "client_id": "a", "text": "x"}, "bad_payload", "room"),
        ("send", {"room": room, "client_id": "a", "text": "x", "extra": 1}, "bad_payload", "extra"),
        ("join", {"room": 2**60}, "bad_payload", "room"),
        ("join", [1], "bad_payload", None),
        ("join", "general", "bad_payload", None),
        ("nonsense", {}, "unknown_event", None),
        ("connect", {}, "unknown_event", None),
    ]:
        with pytest.raises(Refused) as refused:
            ada.call(event, payload)
        assert (refused.value.code, refused.value.error.get("field")) == (code, field), (event, payload)


def test_an_error_comes_as_an_event_when_no_answer_was_asked_for(people: People) -> None:
    ada = people.join("Ada")
    ada.emit("join", {"room": 999_999})
    error = ada.wait_for("error")
    assert (error["event"], error["code"]) == ("join", "room_not_found")


def test_what_is_acknowledged_survives_a_kill(any_database_url: str | None) -> None:
    """No goodbye, no flush: what the server said yes to is in the database."""
    with Node(any_database_url) as first:
        people = People(first.url)
        try:
            ada = people.join("Ada")
            room = new_room(ada)
            sent = [ada.send(room, f"Message {n}.") for n in range(5)]
            first.kill()
            first.start()
            again = people.join("Bob")
            assert again.call("history", {"room": room})["messages"] == sent
        finally:
            people.close()
