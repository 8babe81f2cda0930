"""What two people, two tabs or two nodes do at the same moment, on SQLite and PostgreSQL."""

from __future__ import annotations

import gevent
import pytest
from gevent.pool import Pool

from app.chat.service import ChatService
from app.user import User
from tests.integration.test_store import ADA, BOB, empty_app, everything, in_context, post, service

__all__ = ["empty_app", "service"]

GUEST = User("guest", "Guest", 9e9)
LONG_AGO_MS = 0
LATER_MS = 2**52


@pytest.fixture
def known(service: ChatService) -> ChatService:
    """The chat's service, where Ada and Bob were before."""
    for user in (ADA, BOB):
        service.welcome(user)
    return service


def test_both_open_their_conversation_at_once(known: ChatService) -> None:
    pairs = [(ADA, BOB.id), (BOB, ADA.id)] * 5
    greenlets = [gevent.spawn(in_context(known.open_direct, *pair)) for pair in pairs]
    gevent.joinall(greenlets, raise_error=True)
    rooms = {greenlet.value.id for greenlet in greenlets}
    assert len(rooms) == 1
    for user, other in ((ADA, BOB), (BOB, ADA)):
        assert known.joined(user) == [1, *rooms]
        assert [room.name for room in known.rooms(user)] == ["general", other.name]


def test_a_conversation_begun_with_who_is_leaving_has_both_names(known: ChatService) -> None:
    for number in range(10):
        guest = User(f"guest.{number}", f"Guest {number}", 9e9)
        known.welcome(guest)
        leaving = gevent.spawn(in_context(known.leave_all, guest))
        opening = gevent.spawn(in_context(known.open_direct, ADA, guest.id))
        gevent.joinall([leaving, opening])
        leaving.get()
        if opening.successful():
            assert opening.value.name == guest.name
            assert guest.name in [room.name for room in known.rooms(ADA)]
        else:
            assert opening.exception.code == "person_not_found"


def test_a_first_visit_from_many_tabs_is_one(service: ChatService) -> None:
    greenlets = [gevent.spawn(in_context(service.welcome, GUEST)) for _ in range(8)]
    gevent.joinall(greenlets, raise_error=True)
    assert service.joined(GUEST) == [1]
    assert service.welcome(GUEST) is False
    service.leave(GUEST, 1)
    assert service.welcome(GUEST) is False
    assert service.joined(GUEST) == [], "who left the first room is not put back"


def test_the_name_of_a_conversation_follows_the_person(known: ChatService) -> None:
    room = known.open_direct(ADA, BOB.id).id
    known.welcome(User(BOB.id, "Robert", 9e9))
    assert known.room(room, ADA).name == "Robert"


def test_positions_from_many_tabs_end_at_the_largest(service: ChatService) -> None:
    for number in range(20):
        post(service, ADA, f"m{number}")
    pool = Pool(20)
    greenlets = [pool.spawn(in_context(service.read, BOB, 1, seq)) for seq in (7, 20, 3, 15, 19, 1, 12) * 3]
    gevent.joinall(greenlets, raise_error=True)
    assert service.room(1, BOB).read_seq == 20
    assert all(greenlet.value >= 1 for greenlet in greenlets)


def test_changes_at_once_are_numbered_without_gaps(service: ChatService) -> None:
    messages = [post(service, user, f"m{number}") for number in range(10) for user in (ADA, BOB)]
    pool = Pool(20)
    for message in messages:
        user = ADA if message.author.id == ADA.id else BOB
        pool.spawn(in_context(service.edit, user, message.id, "changed"))
        pool.spawn(in_context(post, service, user, f"meanwhile {message.id}"))
    pool.join(raise_error=True)
    changed = service.changes(ADA, 1, 0)
    assert [m.change_seq for m in changed.messages] == list(range(1, 21))
    assert {m.id for m in changed.messages} == {m.id for m in messages}
    assert service.room(1).last_change_seq == 20


def test_many_changes_come_in_pages(service: ChatService) -> None:
    for number in range(130):
        service.edit(ADA, post(service, ADA, f"m{number}").id, "changed")
    first = service.changes(ADA, 1, 0)
    assert (len(first.messages), first.has_more) == (100, True)
    rest = service.changes(ADA, 1, first.messages[-1].change_seq)
    assert ([m.change_seq for m in rest.messages], rest.has_more) == (list(range(101, 131)), False)


def test_two_nodes_trim_while_people_post(service: ChatService) -> None:
    for number in range(20):
        post(service, ADA, f"m{number}")
    assert service.trim(LONG_AGO_MS) == 0
    trims = [gevent.spawn(in_context(service.trim, LATER_MS)) for _ in range(2)]
    posts = [gevent.spawn(in_context(post, service, BOB, f"meanwhile {number}")) for number in range(20)]
    gevent.joinall([*trims, *posts], raise_error=True)
    kept = everything(service)
    room = service.room(1)
    assert (room.first_seq, room.last_seq) == (41 - len(kept), 40)
    assert [message.seq for message in kept] == list(range(room.first_seq, 41))
    service.trim(LATER_MS)
    assert service.room(1).first_seq == 41
    assert everything(service) == []
    assert post(service, ADA, "next").seq == 41
