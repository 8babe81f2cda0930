"""A tour as all nodes come to know it: merging, steps, what is to be thawed, what is shown."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.tour import view
from app.tour.board import SILENT_SECONDS, Board, Report
from app.tour.breaking import Part
from app.tour.ledger import NUMBER_MAX
from app.tour.tour import (
    CHAPTERS,
    EVER_SECONDS,
    NUMBERS_PER_SECOND,
    THAW_GRACE_SECONDS,
    TOUR_SECONDS,
    Step,
    Tour,
)

NOW = 10_000.0

steps = st.builds(
    Step,
    id=st.sampled_from("abc"),
    what=st.just("kill-redis"),
    program=st.just("redis"),
    by=st.just("n1"),
    # A step never changes when it happens.
    at=st.just(NOW),
    back=st.none() | st.sampled_from([NOW + 1, NOW + 2]),
    error=st.none() | st.sampled_from(["no", "not now"]),
)


def tour_of(id: str, ended: float | None, steps: list[Step]) -> Tour:
    # Of one id, all nodes know when it began.
    began = NOW + (id == "y") * 5
    tour = Tour(id, began, began + TOUR_SECONDS, ended)
    for step in steps:
        tour = tour.with_step(step)
    return tour


tours = st.builds(
    tour_of,
    st.sampled_from("xy"),
    st.none() | st.sampled_from([NOW + 10, NOW + 11]),
    st.lists(steps, max_size=4),
)


@given(st.lists(tours, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_all_nodes_come_to_know_the_same_in_whatever_order_they_hear_it(told: list[Tour], random) -> None:
    def known(order: list[Tour]) -> Tour:
        mine = order[0]
        for tour in order:
            mine = mine.merged(tour)
        return mine

    shuffled = [*told, *random.choices(told, k=3)]
    random.shuffle(shuffled)
    assert known(shuffled) == known(told)
    assert msgspec.convert(msgspec.to_builtins(known(told)), Tour) == known(told)


def test_a_tour_fits_into_its_bounds() -> None:
    assert 2 * TOUR_SECONDS * NUMBERS_PER_SECOND < NUMBER_MAX
    assert CHAPTERS[0].what == "start"


def step(what: str = "kill-redis", program: str = "redis", **values: object) -> Step:
    return Step("s1", what, program, "n1", NOW + 5, 77, **values)  # type: ignore[arg-type]


def begun(node: str = "n1", at: float = NOW) -> Board:
    board = Board(node, f"origin of {node}")
    board.begin("t", at)
    return board


def test_one_step_waits_for_the_other_until_it_is_back_or_long_over() -> None:
    tour = begun().tour
    assert tour is not None
    assert tour.step(NOW) is None
    tour = tour.with_step(step())
    assert tour.step(NOW + 5) is not None
    assert tour.step(NOW + 5 + EVER_SECONDS) is None
    assert tour.with_step(step(back=NOW + 6)).step(NOW + 7) is None
    assert tour.with_step(step(error="no")).step(NOW + 7) is None


def test_what_is_frozen_is_thawed_in_time_by_its_node_and_a_moment_later_by_any() -> None:
    frozen = step("freeze-redis", until=NOW + 13)
    tour = Tour("t", NOW, NOW + TOUR_SECONDS, steps=(frozen,))
    grace = NOW + 13 + THAW_GRACE_SECONDS
    assert [tour.due_to_thaw("n1", at) for at in (NOW + 12.9, NOW + 13)] == [[], [frozen]]
    assert [tour.due_to_thaw("n2", at) for at in (NOW + 13, grace)] == [[], [frozen]]
    assert tour.merged(Tour("t", NOW, NOW, ended=NOW + 6)).due_to_thaw("n2", NOW + 6)[0].id == "s1"
    assert tour.due_to_thaw("n2", NOW + 2 * TOUR_SECONDS) == [frozen]
    assert tour.with_step(step("freeze-redis", until=NOW + 13, back=NOW + 13)).due_to_thaw("n2", grace) == []


def test_a_broker_is_back_with_another_process_and_a_node_when_it_counts_again() -> None:
    board = begun()
    board.change(step(), NOW + 1)
    assert board.observe({"redis": 77}, NOW + 6) == []
    assert board.observe({"redis": 0}, NOW + 4) == []
    (back,) = board.observe({"redis": 78}, NOW + 7)
    assert back.back == NOW + 7
    assert board.observe({"redis": 78}, NOW + 8) == []

    board = begun()
    board.change(step("kill-node", "n2"), NOW + 1)
    assert board.observe({"n2": 78}, NOW + 7) == []
    report = Report("t", "n2", NOW + 6, 3, "s1", [], {})
    board.hear_report("new origin", msgspec.structs.replace(report, since=NOW), NOW + 7)
    assert board.observe({"n2": 78}, NOW + 7) == []
    board.hear_report("new origin", report, NOW + 8)
    assert [step.back for step in board.observe({"n2": 78}, NOW + 8)] == [NOW + 8]


def play(boards: list[Board], count: int, at: float, lost: set[int] | None = None) -> None:
    """Let all boards send numbers to each other."""
    for turn in range(count):
        for sender in boards:
            number = sender.next_number(at)
            sender.sent += 1
            for receiver in boards:
                if receiver is not sender and not (sender is boards[0] and turn in (lost or ())):
                    receiver.hear_number(sender.origin, number, at + 0.004)
    for sender in boards:
        report = msgspec.convert(msgspec.to_builtins(sender.report(at)), Report)
        for receiver in boards:
            if receiver is not sender:
                receiver.hear_report(sender.origin, report, at)


def together(count: int = 3) -> list[Board]:
    boards = [begun("n1", NOW), *(Board(f"n{n}", f"origin of n{n}") for n in range(2, count + 1))]
    for board in boards[1:]:
        assert boards[0].tour is not None
        board.hear_tour(boards[0].tour, NOW + 0.01)
    return boards


def test_every_node_can_show_the_whole() -> None:
    boards = together()
    play(boards, 10, NOW + 1)
    for board in boards:
        board.change(step(), NOW + 1)
    play(boards, 10, NOW + 2, lost={3})
    # The last reports are only heard by the next ones.
    play(boards, 0, NOW + 3)
    views = []
    for board in boards:
        state = view.state(board, [Part("redis", True, "RUNNING", 77, 9)], "redis", None, NOW + 3)
        assert (state.sent, state.figures.received, state.figures.lost) == (60, 118, 2)
        assert [(each.step.what, each.figures.received, each.figures.lost) for each in state.steps] == [
            ("start", 60, 0),
            ("kill-redis", 58, 2),
        ]
        assert [(strip.sender, strip.receiver) for strip in state.strips] == [
            (sender.node, board.node if sender is not board else "n2" if board.node == "n1" else "n1")
            for sender in boards
        ]
        views.append(state.pairs)
    assert views[0] == views[1] == views[2]
    assert {(pair.receiver, pair.sender): pair.lost for pair in views[0]} == {
        (one.node, other.node): int(other is boards[0])
        for one in boards
        for other in boards
        if one is not other
    }


def test_what_a_killed_node_has_counted_stays_and_its_next_start_is_another_line() -> None:
    boards = together()
    play(boards, 10, NOW + 1)
    one, two, three = boards
    again = Board("n3", "another origin")
    assert one.tour is not None
    again.hear_tour(one.tour, NOW + 2)
    play([one, two, again], 10, NOW + 3)
    play([one, two, again], 0, NOW + 3)
    for board in (one, two, again):
        present = board.present(NOW + 3)
        assert [report.node for report in present.values()] == ["n1", "n2", "n3"]
        assert "another origin" in present
    assert one.counts() == two.counts()
    assert list(one.gone(NOW + 3)) == [three.origin]
    assert again.counts() != one.counts()
    for _ in range(2):
        again.hear_gone(one.gone(NOW + 3))
    assert again.counts() == one.counts()
    assert one.sent_by_all() == 60
    assert (one.counts().received, one.counts().missing, one.counts().doubled) == (120, 0, 0)
    # Later, from its spool.
    number = msgspec.structs.replace(three.next_number(NOW + 1), number=11)
    one.hear_number(three.origin, number, NOW + 7)
    assert one.report(NOW + 7).steps[number.step].late == 1
    assert list(one.present(NOW + 3 + SILENT_SECONDS)) == [one.origin]


def test_the_start_of_another_tour_counts_from_nothing() -> None:
    board = begun()
    board.begin("again", NOW + 1)
    assert board.tour is not None
    assert board.tour.id == "t", "one runs"
    play([board, Board("n2", "o2")][:1], 3, NOW + 1)
    board.end(NOW + 2)
    assert not board.running(NOW + 2)
    board.begin("again", NOW + 3)
    assert (board.tour.id, board.sent, board.reports) == ("again", 0, {})
    # What is told of the one before changes nothing.
    board.hear_tour(Tour("t", NOW, NOW + 9), NOW + 3)
    assert board.tour.id == "again"


def test_a_step_is_told_in_its_states() -> None:
    for at, values, state in [
        (NOW, {}, "announced"),
        (NOW + 5, {}, "under_way"),
        (NOW + 5 + EVER_SECONDS, {}, "missing"),
        (NOW + 9, {"back": NOW + 8}, "back"),
        (NOW + 9, {"error": "no"}, "failed"),
    ]:
        assert view.tell_step(step(**values), at).state == state


def test_a_frozen_part_is_shown_as_frozen() -> None:
    board = begun()
    board.change(step("freeze-redis", until=NOW + 13), NOW)
    redis = Part("redis", True, "RUNNING", 77, 9)
    shown = [view.state(board, [redis], None, None, NOW + at).parts[0].state for at in (4, 6)]
    assert shown == ["RUNNING", "FROZEN"]
