"""The board: numbering, history, change, and consistency between native threads and the hub."""

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gevent
import pytest
from gevent import monkey
from hypothesis import given
from hypothesis import strategies as st

from app.market import schemas
from app.market.board import SPARKLINE_PRICES, TAKE_OVER_MS, Board, History, Point, Snapshot, Tick
from app.market.sources import Instrument, Quote

ACME, NOVA = Instrument("ACME", "Acme Corp"), Instrument("NOVA", "Nova")
start_new_thread: Any = monkey.get_original("_thread", "start_new_thread")
native_sleep: Any = monkey.get_original("time", "sleep")

prices = st.floats(min_value=1e-8, max_value=1e12)


@pytest.fixture
def board() -> Board:
    return Board([ACME, NOVA])


def record(board: Board, price: float, time_ms: int) -> Tick:
    tick = board.record(Quote("ACME", price), time_ms)
    assert tick is not None
    return tick


def run_in_threads(*jobs: Callable[[], object]) -> list[BaseException]:
    """Run each in an OS thread of its own while the hub goes on; give back what they raised."""
    ended: list[None] = []
    errors: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)
        finally:
            ended.append(None)

    for job in jobs:
        start_new_thread(run, (job,))
    with gevent.Timeout(30):
        while len(ended) < len(jobs):
            gevent.sleep(0.001)
    return errors


def test_board_before_the_first_tick(board: Board) -> None:
    assert board.instruments == [ACME, NOVA]
    assert board.snapshot("ACME").as_dict() == {
        "symbol": "ACME",
        "name": "Acme Corp",
        "last": None,
        "history": [],
    }


@given(st.lists(prices, min_size=1, max_size=150))
def test_board_numbers_ticks_and_keeps_the_newest_prices(values: list[float]) -> None:
    board = Board([ACME, NOVA])
    ticks = [record(board, price, 1000 + i) for i, price in enumerate(values)]
    snapshot = board.snapshot("ACME")
    assert [tick.seq for tick in ticks] == list(range(1, len(values) + 1))
    assert [tick.time_ms for tick in ticks] == list(range(1000, 1000 + len(values)))
    assert snapshot.last == ticks[-1]
    assert list(snapshot.history) == values[-SPARKLINE_PRICES:]
    assert board.snapshot("NOVA").last is None
    for tick in ticks:  # what goes out is what the schema says, and JSON
        assert schemas.Tick.model_validate(tick.as_dict())
        assert json.loads(json.dumps(tick.as_dict(), allow_nan=False)) == tick.as_dict()
    assert schemas.Snapshot.model_validate(snapshot.as_dict())


@pytest.mark.parametrize(
    ("price", "change"), [(80.0, "0.0"), (84.0, "5.0"), (79.999, "0.0"), (72.1, "-9.88")]
)
def test_change_is_since_the_opening_price(board: Board, price: float, change: str) -> None:
    assert record(board, 80.0, 1).change_percent == 0
    board.record(Quote("ACME", 120.0), 2)
    # As text: -0.0 equals 0.0, and people see it.
    assert str(record(board, price, 3).change_percent) == change


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf"), 2e12])
def test_board_refuses_a_price(board: Board, price: float) -> None:
    with pytest.raises(ValueError, match=r"ACME: price .* should be"):
        board.record(Quote("ACME", price), 1)
    assert board.snapshot("ACME").last is None


def test_board_refuses_an_unknown_symbol(board: Board) -> None:
    assert "ACME" in board
    assert "NONE" not in board
    with pytest.raises(KeyError, match="no symbol 'NONE' on the board; it has: ACME, NOVA"):
        board.record(Quote("NONE", 1.0), 1)
    with pytest.raises(KeyError, match="NONE"):
        board.snapshot("NONE")


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let the interpreter change threads as often as it can, for races to show."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty_threads")
def test_threads_number_without_gaps_and_readers_see_whole_states(board: Board) -> None:
    writers, count = 4, 2_000
    seqs: list[list[int]] = [[] for _ in range(writers)]
    torn: list[Snapshot] = []

    def write(mine: list[int]) -> None:
        for i in range(count):
            mine.append(record(board, i + 1.0, i).seq)

    def read() -> int:
        reads = 0
        while (last := board.snapshot("ACME").last) is None or last.seq < writers * count:
            snapshot = board.snapshot("ACME")
            reads += 1
            if snapshot.last and snapshot.history[-1] != snapshot.last.price:
                torn.append(snapshot)
            gevent.sleep(0)
        return reads

    reader = gevent.spawn(read)
    gevent.sleep(0)  # it reads from the beginning, however busy the machine is
    assert run_in_threads(*(partial(write, mine) for mine in seqs)) == []
    assert reader.get(timeout=30) > 0
    assert sorted(seq for mine in seqs for seq in mine) == list(range(1, writers * count + 1))
    assert all(mine == sorted(mine) for mine in seqs)
    assert torn == []


def test_a_reader_waits_for_a_write_to_be_whole(board: Board) -> None:
    class SlowHistory(deque[Point]):
        """Gives other threads a turn in the middle of a write, which is rare otherwise."""

        def append(self, point: Point) -> None:
            writing.append(point.price)
            native_sleep(0.02)
            super().append(point)

    writing: list[float] = []
    seen: list[Snapshot] = []
    board._entries["ACME"].points = SlowHistory(maxlen=SPARKLINE_PRICES)

    def enough() -> bool:
        # A machine with much to do may let the reader begin late.
        return len({snapshot.history for snapshot in list(seen)}) > 3 or len(writing) > 500

    def write() -> None:
        while not enough():
            board.record(Quote("ACME", len(writing) + 1.0), 1)

    def read() -> None:
        while not enough():
            seen.append(board.snapshot("ACME"))
            native_sleep(0.001)

    assert run_in_threads(write, read) == []
    assert len({snapshot.history for snapshot in seen}) > 3
    for snapshot in seen:
        assert snapshot.history[-1:] == ((snapshot.last.price,) if snapshot.last else ())


# What other nodes tell.

runs_and_counts = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 40)), min_size=1, max_size=6)


def points_of(run: int, count: int) -> list[Point]:
    return [Point(run, seq, run * 1000 + seq, float(run + seq)) for seq in range(1, count + 1)]


@given(runs_and_counts, st.randoms(use_true_random=False))
def test_what_is_told_in_pieces_and_twice_ends_as_one_history(runs: list[tuple[int, int]], dice: Any) -> None:
    everything = sorted({point for run, count in runs for point in points_of(run, count)})
    pieces = []
    for _ in range(6):
        low, high = sorted((dice.randrange(len(everything) + 1), dice.randrange(len(everything) + 1)))
        pieces.append(everything[low:high])
    pieces.append(everything[-60:])
    dice.shuffle(pieces)
    board = Board([ACME], history_points=60)
    for piece in pieces:
        opening = float(piece[-1].run + 1) if piece else None
        board.merge(History("ACME", opening, tuple(piece)), 1)
    history = board.history("ACME")
    assert list(history.points) == everything[-60:]
    assert history.opening == everything[-1].run + 1
    last = board.snapshot("ACME").last
    assert last is not None
    assert (last.run, last.seq, last.price) == (*everything[-1].position, everything[-1].price)


def test_merge_counts_what_is_new(board: Board) -> None:
    told = History("ACME", 2.0, tuple(points_of(1, 3)))
    assert board.merge(told, 1) == 3
    assert board.merge(told, 1) == 0
    assert board.merge(History("ACME", None, ()), 1) == 0
    assert board.merge(History("ACME", 2.0, tuple(points_of(1, 5))), 1) == 2
    with pytest.raises(KeyError, match="NONE"):
        board.merge(History("NONE", 2.0, tuple(points_of(1, 3))), 1)
    with pytest.raises(ValueError, match=r"ACME: price nan"):
        board.merge(History("ACME", 2.0, (Point(9, 1, 1, float("nan")),)), 1)


def test_a_feed_that_begins_anew_goes_on_from_the_history_of_before() -> None:
    before, after = Board([ACME]), Board([ACME])
    record(before, 10.0, 5_000)
    record(before, 11.0, 6_000)
    first = record(after, 20.0, 7_000)  # the node has started, and the others have not answered yet
    assert after.merge(before.history("ACME"), 7_100) == 0
    second = record(after, 22.0, 8_000)
    assert (first.run, first.seq, second.run, second.seq) == (7_000, 1, 7_000, 2)
    assert second.change_percent == 10
    assert [point.price for point in after.history("ACME").points] == [10.0, 11.0, 20.0, 22.0]


def test_a_clock_that_is_behind_does_not_make_a_run_old() -> None:
    before, after = Board([ACME]), Board([ACME])
    record(before, 10.0, 5_000_000)
    after.merge(before.history("ACME"), 1_000)
    assert record(after, 20.0, 1_000).run == 5_000_001


def test_of_two_feeds_the_later_one_counts_until_it_is_silent() -> None:
    early, late = Board([ACME]), Board([ACME])
    record(early, 10.0, 1_000)
    record(late, 20.0, 2_000)
    early.merge(late.history("ACME"), 2_500)
    assert late.merge(early.recorded_since("ACME", (0, 0)), 2_500) == 0
    assert early.record(Quote("ACME", 11.0), 3_000) is None
    assert early.snapshot("ACME").last == late.snapshot("ACME").last
    again = record(early, 12.0, 2_500 + TAKE_OVER_MS)
    assert (again.run, again.seq) == (2_500 + TAKE_OVER_MS, 1)
    assert late.merge(early.recorded_since("ACME", (0, 0)), again.run) == 1
    assert late.record(Quote("ACME", 21.0), again.run) is None


def test_recorded_since_tells_what_this_feed_has_made(board: Board) -> None:
    board.merge(History("ACME", 2.0, tuple(points_of(1, 3))), 1)
    assert board.recorded_since("ACME", (0, 0)).points == ()
    ticks = [record(board, price, 5_000) for price in (1.0, 2.0, 3.0)]
    assert [p.price for p in board.recorded_since("ACME", (0, 0)).points] == [1.0, 2.0, 3.0]
    assert [p.price for p in board.recorded_since("ACME", (ticks[0].run, 1)).points] == [2.0, 3.0]
    assert board.recorded_since("ACME", (ticks[0].run, 3)).points == ()
