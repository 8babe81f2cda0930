"""What a node knows of all nodes: silence, the merged timeline, bounds."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.ops.board import (
    FORGOTTEN_SECONDS,
    GONE_SECONDS,
    NODES_MAX,
    SILENT_SECONDS,
    Board,
    name_of,
)
from app.ops.schemas import HISTORY_SECONDS, TIMELINE_MAX, Figures, Happening, Latency, Queue

NOTHING = Latency(count=0, p50_ms=None, p95_ms=None, p99_ms=None)
QUEUE = Queue(
    strategy="failover",
    active="redis",
    preferred="redis",
    in_process=False,
    brokers=[],
    outbox_depth=0,
    outbox_oldest_seconds=0.0,
    dropped=0,
    duplicates=0,
    repaired=0,
    lost=0,
)


def figures(node: str | None = "n1", **values: Any) -> Figures:
    plain: dict[str, Any] = {
        "state": "serving",
        "version": "abc",
        "uptime_seconds": 1.0,
        "clients": 0,
        "websocket": 0,
        "polling": 0,
        "rooms": 0,
        "largest_rooms": [],
        "events_per_second": 0.0,
        "emits_per_second": 0.0,
        "sent_per_second": 0.0,
        "refused": {},
        "handling": NOTHING,
        "lateness": NOTHING,
        "delivery": NOTHING,
        "queue": QUEUE,
        "emitter_depth": 0,
        "emitter_dropped": 0,
    }
    return Figures(node=node, **plain | values)


def happening(key: str, at_ms: int = 0) -> Happening:
    return Happening(key=key, at_ms=at_ms, node="n1", kind="node", words="x")


def seen(board: Board, now: float) -> dict[str, str]:
    return {node.origin: node.seen for node in board.nodes(now)}


def test_a_node_becomes_silent_then_gone_then_forgotten() -> None:
    board = Board("a")
    board.heard("a", 1, figures("n1"), 0.0, 0)
    board.heard("b", 1, figures("n2"), 0.0, 0)
    assert seen(board, 1.0) == {"a": "here", "b": "heard"}
    assert board.tick(SILENT_SECONDS, 1) == []
    new = board.tick(SILENT_SECONDS + 0.1, 2)
    assert [(entry.node, entry.state, entry.at_ms) for entry in new] == [("n2", "silent", 2)]
    assert board.tick(SILENT_SECONDS + 1, 3) == [], "said once"
    assert seen(board, SILENT_SECONDS + 1)["b"] == "silent"
    assert seen(board, GONE_SECONDS + 0.1)["b"] == "gone"
    board.tick(FORGOTTEN_SECONDS + 1, 4)
    assert seen(board, FORGOTTEN_SECONDS + 1) == {"a": "here"}, "and never forgets itself"


def test_who_is_heard_again_is_told_once() -> None:
    board = Board("a")
    board.heard("b", 1, figures("n2"), 0.0, 0)
    board.tick(10.0, 10)
    assert [entry.state for entry in board.heard("b", 2, figures("n2"), 11.0, 11)] == ["heard"]
    assert board.heard("b", 3, figures("n2"), 12.0, 12) == []
    assert seen(board, 12.0)["b"] == "heard"


def test_silence_while_nobody_could_be_heard_counts_for_nothing() -> None:
    board = Board("a")
    board.heard("b", 1, figures("n2"), 0.0, 0)
    board.heard("c", 1, figures("n3"), 0.0, 0)
    board.watch(1000.0, alive=["b"])
    assert seen(board, 1001.0) == {"b": "heard"}, "c is not alive, as the queue knows"
    assert board.tick(1001.0, 1) == []
    assert [entry.state for entry in board.tick(1000.0 + SILENT_SECONDS + 0.1, 2)] == ["silent"]


def test_who_says_goodbye_is_gone_at_once_and_not_called_silent() -> None:
    board = Board("a")
    board.heard("b", 1, figures("n2"), 0.0, 0)
    board.left("b")
    assert seen(board, 0.5)["b"] == "gone"
    board.watch(0.6, alive=[])
    assert seen(board, 0.7)["b"] == "gone"
    assert board.tick(60.0, 1) == []


def test_a_node_that_starts_anew_takes_its_own_place() -> None:
    board = Board("a")
    board.heard("old", 9, figures("n2"), 0.0, 0)
    board.tick(5.0, 5)
    board.heard("new", 1, figures("n2"), 6.0, 6)
    assert seen(board, 6.0) == {"new": "heard"}
    # Two that live and have one name are both there, for somebody to see it.
    board.heard("twin", 1, figures("n2"), 6.5, 6)
    assert set(seen(board, 7.0)) == {"new", "twin"}


def test_nodes_and_history_are_bounded() -> None:
    board = Board("origin 0")
    for number in range(2 * NODES_MAX):
        board.heard(f"origin {number}", 1, figures(None), float(number) / 1000, 0)
    assert len(board.nodes(1.0)) == NODES_MAX
    for number in range(2 * HISTORY_SECONDS):
        board.heard("busy", number, figures("n9", events_per_second=number), 2.0, 0)
    history = next(line for line in board.history() if line.origin == "busy")
    assert history.events_per_second == [float(n) for n in range(HISTORY_SECONDS, 2 * HISTORY_SECONDS)]


def test_those_who_saw_the_same_tell_it_once() -> None:
    boards = [Board("a"), Board("c")]
    told = []
    for board in boards:
        board.heard("b", 7, figures("n2"), 0.0, 0)
        told.append(board.tick(4.0, 4))
    assert boards[0].merge(told[1]) == []
    assert len(boards[0].timeline) == 1


entries = st.lists(
    st.builds(happening, st.integers(0, 30).map(str), st.integers(0, 5)),
    max_size=20,
    unique_by=lambda entry: entry.key,
)


@given(entries, st.randoms(use_true_random=False))
def test_the_timeline_is_the_same_in_whatever_order_it_comes(happened: list[Happening], chance: Any) -> None:
    board, other = Board("a"), Board("b")
    board.merge(happened)
    shuffled = happened * 2
    chance.shuffle(shuffled)
    for entry in shuffled:
        other.merge([entry])
    assert board.timeline == other.timeline
    ages = [(entry.at_ms, entry.key) for entry in board.timeline]
    assert ages == sorted(ages, reverse=True)


def test_the_timeline_keeps_the_newest() -> None:
    board = Board("a")
    new = board.merge(happening(str(number), number) for number in range(TIMELINE_MAX + 50))
    assert len(board.timeline) == len(new) == TIMELINE_MAX
    assert board.timeline[0].at_ms == TIMELINE_MAX + 49
    assert board.merge([happening("too old", 3)]) == []


def test_a_node_without_a_name_is_called_by_its_origin() -> None:
    assert name_of(None, "0123456789abcdef") == "01234567"
    assert name_of("n1", "0123456789abcdef") == "n1"
    assert name_of(None, "") == "this node"
