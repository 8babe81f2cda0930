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
from app.market.board import HISTORY_PRICES, Board, Snapshot
from app.market.sources import Instrument, Quote

ACME, NOVA = Instrument("ACME", "Acme Corp"), Instrument("NOVA", "Nova")
start_new_thread: Any = monkey.get_original("_thread", "start_new_thread")
native_sleep: Any = monkey.get_original("time", "sleep")

prices = st.floats(min_value=1e-8, max_value=1e12)


@pytest.fixture
def board() -> Board:
    return Board([ACME, NOVA])


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
    ticks = [board.record(Quote("ACME", price), 1000 + i) for i, price in enumerate(values)]
    snapshot = board.snapshot("ACME")
    assert [tick.seq for tick in ticks] == list(range(1, len(values) + 1))
    assert [tick.time_ms for tick in ticks] == list(range(1000, 1000 + len(values)))
    assert snapshot.last == ticks[-1]
    assert list(snapshot.history) == values[-HISTORY_PRICES:]
    assert board.snapshot("NOVA").last is None
    for tick in ticks:  # what goes out is what the schema says, and JSON
        assert schemas.Tick.model_validate(tick.as_dict())
        assert json.loads(json.dumps(tick.as_dict(), allow_nan=False)) == tick.as_dict()
    assert schemas.Snapshot.model_validate(snapshot.as_dict())


@pytest.mark.parametrize(
    ("price", "change"), [(80.0, "0.0"), (84.0, "5.0"), (79.999, "0.0"), (72.1, "-9.88")]
)
def test_change_is_since_the_opening_price(board: Board, price: float, change: str) -> None:
    assert board.record(Quote("ACME", 80.0), 1).change_percent == 0
    board.record(Quote("ACME", 120.0), 2)
    # As text: -0.0 equals 0.0, and people see it.
    assert str(board.record(Quote("ACME", price), 3).change_percent) == change


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
            mine.append(board.record(Quote("ACME", i + 1.0), i).seq)

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
    class SlowHistory(deque[float]):
        """Gives other threads a turn in the middle of a write, which is rare otherwise."""

        def append(self, price: float) -> None:
            writing.append(price)
            native_sleep(0.02)
            super().append(price)

    writing: list[float] = []
    seen: list[Snapshot] = []
    board._entries["ACME"].history = SlowHistory(maxlen=HISTORY_PRICES)

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
