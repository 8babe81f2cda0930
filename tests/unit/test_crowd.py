"""The judge of the crowd's records must be able to say no."""

import pytest

from tests.support.crowd import Failure, Record, Report

INFINITE = float("inf")


def guest(name: str, room: str = "r", **fields: object) -> Record:
    return Record(name, "websocket", room, 1, **fields)  # type: ignore[arg-type]


@pytest.fixture
def writer() -> Record:
    """Somebody whose three messages were accepted, as seq 1 to 3."""
    ids = {1: "a-1", 2: "a-2", 3: "a-3"}
    return guest("a", accepted=[(message_id, seq) for seq, message_id in ids.items()], shown=ids)


def test_lost_is_what_is_not_shown_or_shown_as_another(writer: Record) -> None:
    whole = guest("b", shown={1: "a-1", 2: "a-2", 3: "a-3"})
    lacks = guest("c", shown={1: "a-1", 3: "a-3"})
    mixed = guest("d", shown={1: "a-1", 2: "x-9", 3: "a-3"})
    late = guest("e", first_seq=2, shown={3: "a-3"})
    elsewhere = guest("f", room="another")
    report = Report([writer, whole, lacks, mixed, late, elsewhere])
    assert report.lost() == {"c": [2], "d": [2]}


def test_unheard_is_what_had_to_be_asked_for(writer: Record) -> None:
    hearer = guest("b", live=[(1, 1), (1, 2), (1, 3)])
    asker = guest("c", live=[(1, 1), (2, 3)], shown=writer.shown)
    report = Report([writer, hearer, asker])
    assert report.unheard({"b", "c"}) == {"c": [2]}
    assert report.unheard({"b"}) == {}


def test_doubled_is_one_message_at_two_places_or_one_event_twice() -> None:
    ids = {7: "y-1", 8: "y-2"}
    stored_twice = guest("a", shown={1: "x-1", 2: "x-1"})
    told_twice = guest("b", shown=ids, live=[(1, 7), (1, 7)])
    # The event over the old connection, and over the new one.
    moved = guest("c", shown=ids, live=[(1, 7), (2, 7)])
    repeated = guest("d", shown=ids, live=[(1, 8), (1, 8)])
    writer = guest("y", repeated=["y-2"])
    report = Report([stored_twice, told_twice, moved, repeated, writer])
    assert report.doubled() == {"a": ["x-1"], "b": ["y-1 over connection 1"]}


def test_disordered_is_what_its_author_wrote_in_another_order() -> None:
    good = guest("a", shown={1: "x-9", 2: "y-1", 3: "x-10"})
    bad = guest("b", shown={3: "x-9", 2: "y-1", 1: "x-10"})
    assert Report([good, bad]).disordered() == {"b": ["x-9"]}


def test_who_was_where_and_how_long_away() -> None:
    moved = guest(
        "a", connects=[(1.0, "n1", "n1.s"), (12.5, "n2", "n2.s")], disconnects=[(10.0, "transport error")]
    )
    stayed = guest("b", connects=[(1.0, "n2", "n2.t")])
    lost = guest("c", connects=[(1.0, "n1", "n1.u")], disconnects=[(10.5, "transport error")])
    report = Report([moved, stayed, lost])
    assert report.nodes() == {"n1": 1, "n2": 2}
    assert report.on("n1", 9.0) == {"a", "c"}
    assert report.moved(9.0) == {"a", "c"}
    assert report.moved(10.2) == {"c"}
    assert report.back(9.0) == [3.5, INFINITE]
    assert report.away(9.0) == [2.5, INFINITE]


def test_an_error_is_in_its_place_at_the_end_of_its_session() -> None:
    at_the_end = Failure(10.1, "session", "GET", "502", "n1.s")
    in_the_middle = Failure(5.0, "session", "POST", "400", "n1.s")
    still_open = Failure(12.6, "session", "GET", "502", "n2.s")
    page = Failure(5.0, "page", "GET", "502", "/")
    record = guest(
        "a",
        connects=[(1.0, "n1", "n1.s"), (12.5, "n2", "n2.s")],
        disconnects=[(10.0, "transport error")],
        errors=[at_the_end, in_the_middle, still_open, page],
    )
    report = Report([record])
    assert report.errors_out_of_place(1.0) == [in_the_middle, still_open]
    assert report.errors("page", "handshake") == [("a", page)]
