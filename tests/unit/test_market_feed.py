"""The feed: the schedule with a made-up clock, and lanes in real OS threads."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import monkey
from hypothesis import given
from hypothesis import strategies as st

from app.market import feed as feed_module
from app.market.board import Board
from app.market.feed import LATE_SECONDS, Feed, Schedule
from app.market.sources import Instrument, Lane, Quote, RandomWalk
from app.realtime.emitter import Emitter, EmitterFull, EmitterStopped

get_ident: Any = monkey.get_original("_thread", "get_ident")
ACME, NOVA = Instrument("ACME", "Acme Corp"), Instrument("NOVA", "Nova")


class Lanes:
    """A source of the given lanes."""

    symbols = (ACME, NOVA)

    def __init__(self, *lanes: Callable[[], Lane]) -> None:
        self._makers = lanes

    def lanes(self) -> list[Lane]:
        return [make() for make in self._makers]


class Recorder:
    """An emitter that keeps what it gets, or raises what it is told to."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any, Any, Any]] = []
        self.threads: set[int] = set()
        self.error: Exception | None = None

    def emit(self, event: str, data: Any = None, namespace: Any = None, to: Any = None) -> None:
        self.threads.add(get_ident())
        if self.error is not None:
            raise self.error
        self.events.append((event, data, namespace, to))


def wait_until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(30):
        while not condition():
            gevent.sleep(0.001)


def fast(symbol: str, gap_seconds: float = 0.001) -> Callable[[], Lane]:
    return lambda: ((i * gap_seconds, Quote(symbol, i + 1.0)) for i in itertools.count())


def failing(symbol: str, error: BaseException) -> Callable[[], Lane]:
    def lane() -> Lane:
        yield 0.0, Quote(symbol, 1.0)
        raise error

    return lane


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def make_feed(recorder: Recorder) -> Iterator[Callable[..., Feed]]:
    feeds: list[Feed] = []

    def make(*lanes: Callable[[], Lane], emitter: Any = recorder) -> Feed:
        source = Lanes(*lanes)
        feeds.append(Feed(source, Board(source.symbols), emitter))
        return feeds[-1]

    yield make
    for feed in feeds:
        assert feed.stop(30)


# The schedule.

gaps = st.lists(st.floats(0, 10), min_size=1, max_size=50)


@given(gaps, st.lists(st.floats(0, LATE_SECONDS * 0.99), min_size=50, max_size=50))
def test_small_delays_do_not_add_up(steps: list[float], delays: list[float]) -> None:
    schedule = Schedule(started=1000.0)
    now = 1000.0
    for due, delay in zip(itertools.accumulate(steps), delays, strict=False):
        now = max(now, 1000.0 + due)  # a perfect sleep, and then a slow emit
        assert schedule.wait_seconds(due, now) == pytest.approx(0, abs=1e-9)
        assert now - (1000.0 + due) < LATE_SECONDS
        now = 1000.0 + due + delay
    assert schedule.slips == 0


@given(gaps, st.floats(LATE_SECONDS * 1.01, 1e6))
def test_after_a_long_delay_the_pace_goes_on_without_a_burst(steps: list[float], late: float) -> None:
    schedule = Schedule(started=0.0)
    now = late
    assert schedule.wait_seconds(0.0, now) == 0
    assert (schedule.slips, schedule.slipped_seconds) == (1, late)
    for due, step in zip(itertools.accumulate(steps), steps, strict=True):
        wait = schedule.wait_seconds(due, now)
        assert wait == pytest.approx(step, abs=1e-6)
        now += wait
    assert schedule.slips == 1


def test_a_delay_of_up_to_a_second_is_caught_up_with() -> None:
    schedule = Schedule(started=0.0)
    now = LATE_SECONDS
    assert [schedule.wait_seconds(due, now) for due in (0.0, 0.5, 1.0, 1.5)] == [0, 0, 0, 0.5]


@pytest.mark.parametrize("due", [float("nan"), float("inf"), float("-inf")])
def test_a_due_time_must_be_finite(due: float) -> None:
    with pytest.raises(ValueError, match=r"due time .* should be a finite number"):
        Schedule(0.0).wait_seconds(due, 1.0)


# The feed.


def test_ticks_are_recorded_and_emitted_in_order(make_feed: Callable[..., Feed], recorder: Recorder) -> None:
    feed = make_feed(fast("ACME"), fast("NOVA"))
    before_ms = time.time_ns() // 1_000_000
    feed.start()
    wait_until(lambda: len(recorder.events) > 200)
    assert feed.stop(30)

    assert {(event, namespace) for event, _, namespace, _ in recorder.events} == {("tick", "/market")}
    for symbol in ("ACME", "NOVA"):
        ticks = [tick for _, tick, _, to in recorder.events if to == f"symbol:{symbol}"]
        assert {tick["symbol"] for tick in ticks} == {symbol}
        assert [tick["seq"] for tick in ticks] == list(range(1, len(ticks) + 1))
        assert [tick["price"] for tick in ticks] == [seq + 0.0 for seq in range(1, len(ticks) + 1)]
        last = feed.board.snapshot(symbol).last
        assert last is not None
        assert last.as_dict() == ticks[-1]
        assert before_ms <= last.time_ms <= time.time_ns() // 1_000_000
    assert feed.status().ticks == len(recorder.events)


def test_each_lane_has_an_os_thread_and_the_hub_is_none_of_them(
    make_feed: Callable[..., Feed], recorder: Recorder
) -> None:
    feed = make_feed(fast("ACME"), fast("NOVA"))
    feed.start()
    wait_until(lambda: len(recorder.threads) == 2)
    assert get_ident() not in recorder.threads
    assert feed.status().running_lanes == feed.status().lanes == 2


def test_stop_cuts_a_long_sleep_short(make_feed: Callable[..., Feed], recorder: Recorder) -> None:
    def lane() -> Lane:
        yield 0.0, Quote("ACME", 1.0)
        yield 1e9, Quote("ACME", 2.0)  # decades: longer than a lock can wait, too

    feed = make_feed(lane)
    feed.start()
    wait_until(lambda: recorder.events)
    assert feed.status().running_lanes == 1
    assert feed.stop(30)
    assert feed.status().running_lanes == 0
    assert len(recorder.events) == 1


def test_nothing_is_emitted_after_stop(make_feed: Callable[..., Feed], recorder: Recorder) -> None:
    feed = make_feed(fast("ACME", 0.0))
    feed.start()
    wait_until(lambda: recorder.events)
    assert feed.stop(30)
    count = len(recorder.events)
    gevent.sleep(0.02)
    assert len(recorder.events) == count
    assert feed.stop()


def test_a_feed_starts_once(make_feed: Callable[..., Feed]) -> None:
    feed = make_feed(fast("ACME"))
    feed.start()
    with pytest.raises(RuntimeError, match="a feed starts once: make a new Feed"):
        feed.start()
    never = make_feed(fast("ACME"))
    assert never.stop()
    with pytest.raises(RuntimeError, match="a feed starts once"):
        never.start()


def test_a_start_that_gets_too_few_threads_ends_those_it_got(
    make_feed: Callable[..., Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make_feed(fast("ACME"), fast("NOVA"))
    start_new_thread = feed_module._start_new_thread
    left = [True]

    def stingy(*args: Any) -> Any:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        return start_new_thread(*args)

    monkeypatch.setattr(feed_module, "_start_new_thread", stingy)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        feed.start()
    assert (feed.status().lanes, feed.status().running_lanes) == (1, 0)


def test_a_lane_that_ends_is_no_failure(make_feed: Callable[..., Feed]) -> None:
    feed = make_feed(lambda: iter([(0.0, Quote("ACME", 1.0))]))
    feed.start()
    wait_until(lambda: feed.status().running_lanes == 0)
    status = feed.status()
    assert (status.ticks, status.failed_lanes, status.last_error) == (1, 0, None)


@pytest.mark.parametrize("error", [ZeroDivisionError("in the source"), SystemExit("bye")])
def test_a_failed_lane_is_logged_in_the_hub_and_the_others_go_on(
    make_feed: Callable[..., Feed],
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    loggers: set[int] = set()
    original = logging.Logger.handle

    def handle(self: logging.Logger, record: logging.LogRecord) -> None:
        loggers.add(get_ident())
        original(self, record)

    monkeypatch.setattr(logging.Logger, "handle", handle)
    feed = make_feed(failing("ACME", error), fast("NOVA"))
    feed.start()
    wait_until(lambda: "a lane of the market feed ended" in caplog.text)
    assert loggers == {get_ident()}
    assert str(error) in caplog.text

    status = feed.status()
    assert (status.lanes, status.running_lanes, status.failed_lanes) == (2, 1, 1)
    assert status.last_error == f"{type(error).__name__}: {error}"
    count = len(recorder.events)
    wait_until(lambda: len(recorder.events) > count + 10)
    feed.stop(30)
    assert caplog.text.count("a lane of the market feed ended") == 1


def test_a_failure_just_before_stop_is_logged(
    make_feed: Callable[..., Feed], caplog: pytest.LogCaptureFixture
) -> None:
    feed = make_feed(failing("ACME", ZeroDivisionError("late")))
    feed.start()
    while feed.status().running_lanes:  # without giving the hub a turn
        pass
    assert feed.stop(30)
    assert caplog.text.count("ZeroDivisionError: late") == 1


@pytest.mark.parametrize(
    ("quote", "message"),
    [
        ((0.0, Quote("NONE", 1.0)), "no symbol 'NONE' on the board"),
        ((0.0, Quote("ACME", -1.0)), "price -1.0 should be"),
        ((float("nan"), Quote("ACME", 1.0)), "due time nan should be"),
        ("nonsense", "too many values to unpack"),
    ],
)
def test_what_a_bad_source_yields_is_told(make_feed: Callable[..., Feed], quote: Any, message: str) -> None:
    feed = make_feed(lambda: iter([quote]))
    feed.start()
    wait_until(lambda: feed.status().running_lanes == 0)
    last_error = feed.status().last_error
    assert last_error is not None
    assert message in last_error


def test_a_stopped_emitter_ends_the_lanes_quietly(
    make_feed: Callable[..., Feed], recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.error = EmitterStopped("stopped")
    feed = make_feed(fast("ACME"), fast("NOVA"))
    feed.start()
    wait_until(lambda: feed.status().running_lanes == 0)
    assert feed.stop(30)
    assert (feed.status().failed_lanes, feed.status().last_error) == (0, None)
    assert caplog.text == ""


def test_a_full_emitter_drops_ticks_and_says_so(make_feed: Callable[..., Feed], recorder: Recorder) -> None:
    recorder.error = EmitterFull("no room")
    feed = make_feed(fast("ACME"))
    feed.start()
    wait_until(lambda: feed.status().dropped > 5)
    assert feed.status().last_error == "EmitterFull: no room"
    recorder.error = None
    wait_until(lambda: recorder.events)
    feed.stop(30)
    assert recorder.events[0][1]["seq"] == feed.status().dropped + 1


def test_a_late_lane_is_counted_and_leaves_nothing_out(
    make_feed: Callable[..., Feed], recorder: Recorder
) -> None:
    def lane() -> Lane:  # an hour overdue from its first quote on, as after a suspension
        return ((-3600.0 + i * 0.001, Quote("ACME", 1.0)) for i in range(50))

    feed = make_feed(lane)
    feed.start()
    wait_until(lambda: feed.status().running_lanes == 0)
    status = feed.status()
    assert status.slips == 1
    assert status.slipped_seconds == pytest.approx(3600, abs=60)
    assert [tick["seq"] for _, tick, _, _ in recorder.events] == list(range(1, 51))


def test_stop_tells_of_a_lane_that_hangs(
    make_feed: Callable[..., Feed], caplog: pytest.LogCaptureFixture
) -> None:
    hold: Any = monkey.get_original("_thread", "allocate_lock")()
    hold.acquire()

    def lane() -> Lane:
        hold.acquire()
        yield 0.0, Quote("ACME", 1.0)

    feed = make_feed(lane)
    feed.start()
    assert not feed.stop(0.01)
    assert "1 market lanes did not end within 0.01 s" in caplog.text
    assert feed.status().running_lanes == 1
    hold.release()
    assert feed.stop(30)


def test_with_the_real_emitter_and_its_full_queue(make_feed: Callable[..., Feed]) -> None:
    sent: list[tuple[int, dict[str, Any]]] = []

    class Sink:
        def emit(self, event: str, data: Any, **kwargs: Any) -> None:
            sent.append((get_ident(), data))
            gevent.sleep(0.005)  # much slower than the lanes, so that they always wait for room

    emitter = Emitter(Sink(), maxsize=1)
    emitter.start()
    feed = make_feed(fast("ACME", 0.0), fast("NOVA", 0.0), emitter=emitter)
    feed.start()
    wait_until(lambda: len(sent) > 20)
    assert feed.stop(30)
    assert emitter.stop(30) == 0
    assert {thread for thread, _ in sent} == {get_ident()}
    for symbol in ("ACME", "NOVA"):
        seqs = [tick["seq"] for _, tick in sent if tick["symbol"] == symbol]
        assert seqs == list(range(1, len(seqs) + 1))
    assert feed.status().ticks == len(sent)


def test_fifty_lanes_of_a_walk_start_and_stop(recorder: Recorder) -> None:
    walk = RandomWalk([Instrument(f"S{i}", "x") for i in range(50)], 1, 100.0)
    feed = Feed(walk, Board(walk.symbols), recorder)
    feed.start()
    wait_until(lambda: {to for *_, to in recorder.events} >= {f"symbol:S{i}" for i in range(50)})
    assert feed.stop(30)
    status = feed.status()
    assert (status.lanes, status.running_lanes, status.failed_lanes) == (50, 0, 0)
