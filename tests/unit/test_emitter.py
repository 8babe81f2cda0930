"""Hold the emitter to its promises: at once, in order, bounded, and never stuck."""

import logging
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import flask
import flask_socketio
import gevent
import pytest
from gevent import monkey
from gevent.pywsgi import WSGIServer
from hypothesis import given, settings
from hypothesis import strategies as st

from app.realtime import emitter as emitter_module
from app.realtime.emitter import Emitter, EmitterError, EmitterFull, EmitterStopped

start_new_thread = monkey.get_original("_thread", "start_new_thread")
native_sleep = monkey.get_original("time", "sleep")
native_ident = monkey.get_original("_thread", "get_ident")

PATIENCE_SECONDS = 30.0  # for things that take milliseconds; only a failing test waits this long


class FakeSocketIO:
    """Record what is emitted; `on_emit` runs first and may wait or raise."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.data: list[Any] = []
        self.calls: list[tuple[str, Any, Any, Any]] = []
        self.times: list[float] = []
        self.threads: set[int] = set()
        self.on_emit: Callable[[], object] = lambda: None

    def emit(self, event: str, data: Any = None, namespace: Any = None, to: Any = None) -> None:
        self.on_emit()
        self.times.append(time.monotonic())
        self.threads.add(native_ident())
        self.calls.append((event, data, namespace, to))
        self.events.append(event)
        self.data.append(data)


class NativeThread:
    """Run a function in a real OS thread, out of gevent's sight."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.result: object = None
        self.error: BaseException | None = None
        self.done = False
        start_new_thread(self._run, (function, args))

    def _run(self, function: Callable[..., object], args: tuple[object, ...]) -> None:
        try:
            self.result = function(*args)
        except BaseException as error:
            self.error = error
        finally:
            self.done = True

    def join(self) -> object:
        wait_until(lambda: self.done)
        if self.error is not None:
            raise self.error
        return self.result


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        gevent.sleep(0.002)


def native_wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        native_sleep(0.0001)


def blocked(emitter: Emitter, count: int = 1) -> Callable[[], bool]:
    return lambda: len(emitter._waiters) == count


@pytest.fixture
def fake() -> FakeSocketIO:
    return FakeSocketIO()


@pytest.fixture
def make(fake: FakeSocketIO) -> Iterator[Callable[..., Emitter]]:
    """Make emitters on the fake that are stopped after the test."""
    made: list[Emitter] = []

    def make(start: bool = True, **options: Any) -> Emitter:
        emitter = Emitter(fake, **options)
        made.append(emitter)
        if start:
            emitter.start()
        return emitter

    yield make
    for emitter in made:
        emitter.stop(timeout=1.0)


@pytest.fixture
def held(fake: FakeSocketIO, make: Callable[..., Emitter]) -> Callable[..., Emitter]:
    """Make a full emitter: its drain greenlet is held in an emit until `emitter.release()`."""
    released = gevent.event.Event()

    def held(maxsize: int = 2, **options: Any) -> Emitter:
        emitter = make(maxsize=maxsize, **options)
        fake.on_emit = released.wait
        emitter.emit("held")
        wait_until(lambda: emitter.stats().depth == 0)
        for i in range(maxsize):
            emitter.emit("queued", i)
        emitter.release = released.set  # type: ignore[attr-defined]
        return emitter

    return held


@pytest.fixture
def get() -> Iterator[Callable[[], None]]:
    """Request a page from an HTTP server in this hub."""

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    server = WSGIServer(("127.0.0.1", 0), answer, log=None)
    server.start()

    def get() -> None:
        with gevent.socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.makefile("rb").read().endswith(b"ok")

    yield get
    server.stop()


@pytest.fixture
def greedy_threads() -> Iterator[None]:
    """Switch between OS threads as often as Python can, to find what is not atomic."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# Delivery


def test_it_emits_in_the_thread_that_started_it(make, fake) -> None:
    emitter = make()
    NativeThread(emitter.emit, "tick", {"price": 1.5}, "/market", "symbol:ACME").join()
    wait_until(lambda: fake.calls)
    assert fake.calls == [("tick", {"price": 1.5}, "/market", "symbol:ACME")]
    assert fake.threads == {native_ident()}


def test_a_real_client_receives_what_a_native_thread_emits() -> None:
    app = flask.Flask(__name__)
    socketio = flask_socketio.SocketIO(app, async_mode="gevent")
    socketio.on_event("connect", lambda *_: None, namespace="/market")
    client = socketio.test_client(app, namespace="/market")
    emitter = Emitter(socketio)
    emitter.start()
    for i in range(3):
        NativeThread(emitter.emit, "tick", {"seq": i}, "/market").join()
    NativeThread(emitter.emit, "elsewhere", {}, "/").join()
    assert emitter.stop() == 0
    received = client.get_received("/market")
    assert [(r["name"], r["args"]) for r in received] == [("tick", [{"seq": i}]) for i in range(3)]


def test_a_schedule_keeps_its_intervals(make, fake) -> None:
    """A native thread emits on a 1 s schedule for 10 s; delays stay small and do not add up."""
    emitter = make()
    period, count = 1.0, 11
    handed_in: list[float] = []

    def produce() -> None:
        start = time.monotonic()
        for i in range(count):
            native_sleep(max(0.0, start + i * period - time.monotonic()))
            handed_in.append(time.monotonic())
            emitter.emit("tick", i)

    NativeThread(produce).join()
    wait_until(lambda: len(fake.times) == count)
    delays = [b - a for a, b in zip(handed_in, fake.times, strict=True)]
    assert max(delays) < period / 5
    assert delays[-1] - delays[0] < period / 10, "the delay grows"
    elapsed = fake.times[-1] - fake.times[0]
    assert abs(elapsed - (count - 1) * period) < period / 5, "the schedule drifts"


def test_an_event_is_emitted_long_before_a_poll_would_find_it(make, fake) -> None:
    """The median of many: a single delay may be the machine's fault."""
    emitter = make()
    delays: list[float] = []
    for i in range(51):
        gevent.sleep(0.003)
        NativeThread(emitter.emit, "tick", i).join()
        wait_until(lambda i=i: len(fake.times) > i)
        delays.append(emitter.stats().last_delay_seconds)
    assert sorted(delays)[len(delays) // 2] < 0.003


def test_a_burst_arrives_whole_and_in_order_while_http_answers(make, fake, get) -> None:
    threads, each = 4, 25_000
    total = threads * each
    emitter = make(maxsize=5000)
    answered_at: list[int] = []  # how many events had been emitted

    def browse() -> None:
        while len(fake.calls) < total:
            get()
            answered_at.append(len(fake.calls))

    def produce(name: int) -> None:
        for i in range(each):
            emitter.emit("tick", (name, i))

    browser = gevent.spawn(browse)
    producers = [NativeThread(produce, name) for name in range(threads)]
    for producer in producers:
        producer.join()
    wait_until(lambda: len(fake.calls) == total)
    browser.get(timeout=PATIENCE_SECONDS)

    for name in range(threads):
        assert [i for producer, i in fake.data if producer == name] == list(range(each))
    quarters = {at * 4 // (total + 1) for at in answered_at}
    assert quarters == {0, 1, 2, 3}, f"HTTP stood still: {len(answered_at)} answers"
    stats = emitter.stats()
    assert (stats.emitted, stats.dropped, stats.failed, stats.depth) == (total, 0, 0, 0)
    assert stats.high_water == emitter.maxsize


def test_a_backlog_is_drained_in_turns(make, fake, get) -> None:
    """Without rests, or with rests of sleep(0), HTTP is hardly answered while it lasts."""

    def encode_and_send() -> None:
        end = time.perf_counter() + 20e-6
        while time.perf_counter() < end:
            pass

    count = 30_000  # 0.6 s
    fake.on_emit = encode_and_send
    emitter = make(start=False, maxsize=count)
    for i in range(count):
        emitter.emit("tick", i)
    emitter.start()
    answers = 0
    while len(fake.calls) < count:
        get()
        answers += 1
    assert answers > 100  # about 1,000; 10 with turns of 100 ms, 3 with rests of sleep(0)


@pytest.mark.usefixtures("greedy_threads")
@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "raise"])
def test_many_threads_never_break_the_bound_or_the_count(make, fake, overflow) -> None:
    emitter = make(maxsize=2, overflow=overflow)
    threads, each = 4, 3000

    def produce() -> int:
        refused = 0
        for i in range(each):
            try:
                emitter.emit("tick", i)
            except EmitterFull:
                refused += 1
        return refused

    producers = [NativeThread(produce) for _ in range(threads)]
    refused = sum(int(str(producer.join())) for producer in producers)
    assert emitter.stop() == 0
    stats = emitter.stats()
    assert stats.high_water == emitter.maxsize
    assert len(fake.calls) == stats.emitted
    assert stats.emitted + stats.dropped + refused == threads * each


def test_a_raising_emit_does_not_end_the_drain(make, fake, caplog) -> None:
    emitter = make()
    errors = deque([ValueError("bad"), gevent.Timeout(1), None])

    def fail() -> None:
        if (error := errors.popleft()) is not None:
            raise error

    fake.on_emit = fail
    for event in ("first", "second", "third"):
        emitter.emit(event)
    wait_until(lambda: fake.events)
    assert fake.events == ["third"]
    assert emitter.stats().failed == 2
    assert emitter.stats().emitted == 1
    messages = [record.getMessage() for record in caplog.records]
    assert ["first" in messages[0], "second" in messages[1]] == [True, True]


# Waking up


def loop_turns_during(seconds: float) -> int:
    """Count the turns of the hub's loop."""
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    watcher = gevent.get_hub().loop.prepare()
    watcher.start(count)
    gevent.sleep(seconds)
    watcher.close()
    return turns


def test_an_idle_emitter_does_nothing(make, fake) -> None:
    emitter = make()
    emitter.emit("warm-up")
    wait_until(lambda: fake.events)
    gevent.sleep(0.01)
    before = emitter.stats().wakeups
    turns = loop_turns_during(1.0)
    assert emitter.stats().wakeups == before

    def poll() -> None:
        queue: deque[str] = deque()
        while True:
            while queue:
                fake.emit(queue.popleft())
            gevent.sleep(0.01)

    peer = gevent.spawn(poll)
    polling_turns = loop_turns_during(1.0)
    peer.kill()
    assert turns < polling_turns / 5


class CountingWatcher:
    def __init__(self, watcher: Any) -> None:
        self._watcher = watcher
        self.sent = 0

    def send(self) -> None:
        self.sent += 1
        self._watcher.send()

    def close(self) -> None:
        self._watcher.close()


def test_a_burst_needs_one_wakeup(make, fake) -> None:
    emitter = make()
    emitter._watcher = CountingWatcher(emitter._watcher)
    wait_until(lambda: emitter._asleep)
    for i in range(1000):
        emitter.emit("tick", i)
    wait_until(lambda: len(fake.calls) == 1000)
    assert emitter.stats().wakeups == 1
    assert emitter._watcher.sent == 1


@pytest.mark.usefixtures("greedy_threads")
def test_no_wakeup_is_lost_under_stress(make, fake) -> None:
    """Each event must arrive without the help of a later one."""
    emitter = make()
    rounds = 1500

    def produce() -> None:
        rng = random.Random(7)
        for i in range(rounds):
            emitter.emit("tick", i)
            native_wait_until(lambda i=i: len(fake.data) > i, seconds=5.0)
            if rng.random() < 0.5:
                native_sleep(rng.random() * 2e-4)

    NativeThread(produce).join()
    assert fake.data == list(range(rounds))


class LockWithAGap:
    """Let `in_the_gap` run right after each critical section of the drain that left it idle."""

    def __init__(self, emitter: Emitter, in_the_gap: Callable[[], object]) -> None:
        self._emitter, self._in_the_gap = emitter, in_the_gap
        self._lock = emitter._lock

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        idle = not self._emitter._queue and gevent.getcurrent() is self._emitter._drain
        self._lock.release()
        if idle:
            self._in_the_gap()


def test_an_event_between_the_look_and_the_wait_is_not_overlooked(make, fake) -> None:
    emitter = make(start=False)
    left = 50

    def emit_in_another_thread() -> None:
        nonlocal left
        if left:
            left -= 1
            thread = NativeThread(emitter.emit, "tick", left)
            native_wait_until(lambda: thread.done, seconds=5.0)

    emitter._lock = LockWithAGap(emitter, emit_in_another_thread)
    emitter.start()
    wait_until(lambda: len(fake.data) == 50, seconds=5.0)
    assert fake.data == list(range(49, -1, -1))


# Overflow


def test_block_lets_a_native_thread_wait(held, fake) -> None:
    emitter = held()
    thread = NativeThread(emitter.emit, "late")
    wait_until(blocked(emitter))
    gevent.sleep(0.05)
    assert not thread.done
    assert emitter.stats().depth == emitter.maxsize
    emitter.release()
    thread.join()
    wait_until(lambda: len(fake.calls) == 4)
    assert fake.events == ["held", "queued", "queued", "late"]


def test_block_lets_other_greenlets_run(held, fake) -> None:
    emitter = held()
    producer = gevent.spawn(emitter.emit, "late")
    wait_until(blocked(emitter))  # this greenlet runs
    assert not producer.ready()
    emitter.release()
    producer.get(timeout=PATIENCE_SECONDS)
    wait_until(lambda: "late" in fake.events)


def test_a_greenlet_of_another_hub_may_wait(held, fake) -> None:
    emitter = held()
    thread = NativeThread(lambda: gevent.spawn(emitter.emit, "late").get())
    wait_until(blocked(emitter))
    emitter.release()
    thread.join()
    wait_until(lambda: "late" in fake.events)


def test_who_waits_longest_is_next(held, fake) -> None:
    emitter = held(maxsize=1)
    threads = []
    for i in range(5):
        threads.append(NativeThread(emitter.emit, "late", i))
        wait_until(blocked(emitter, i + 1))
    emitter.release()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(fake.calls) == 7)
    assert fake.data[2:] == list(range(5))


def test_a_hub_callback_emits_but_never_waits(held, fake) -> None:
    emitter = held(maxsize=2)
    outcomes: list[object] = []

    def callback() -> None:
        try:
            outcomes.append(emitter.emit("from the hub"))
        except EmitterFull as error:
            outcomes.append(str(error))

    gevent.get_hub().loop.run_callback(callback)
    wait_until(lambda: outcomes)
    assert "gevent.spawn" in str(outcomes[0])
    emitter.release()
    wait_until(lambda: emitter.stats().depth == 0)
    gevent.get_hub().loop.run_callback(callback)
    wait_until(lambda: "from the hub" in fake.events)
    assert outcomes[1] is None


def test_socketio_emit_may_emit_but_not_wait(make, fake) -> None:
    """A hook inside socketio.emit runs in the drain greenlet, which would wait for itself."""
    emitter = make(maxsize=1)
    errors: list[str] = []

    def emit_twice() -> None:
        fake.on_emit = lambda: None
        emitter.emit("second")
        try:
            emitter.emit("third")
        except EmitterFull as error:
            errors.append(str(error))

    fake.on_emit = emit_twice
    emitter.emit("first")
    wait_until(lambda: len(fake.calls) == 2, seconds=5.0)
    assert fake.events == ["first", "second"]
    assert "callback of the hub, or of socketio.emit" in errors[0]


@pytest.mark.parametrize("where", ["greenlet", "thread"])
def test_timeout_bounds_the_wait(held, fake, where) -> None:
    emitter = held()

    def emit_late() -> None:
        emitter.emit("late", timeout=0.05)

    start = time.monotonic()
    with pytest.raises(EmitterFull, match=r"no room for 'late' within 0\.05 s"):
        emit_late() if where == "greenlet" else NativeThread(emit_late).join()
    assert time.monotonic() - start >= 0.05
    with pytest.raises(EmitterFull, match="timeout above 0"):
        emitter.emit("late", timeout=0)
    assert not emitter._waiters
    emitter.release()
    assert emitter.stop() == 0
    assert fake.events == ["held", "queued", "queued"]


def test_a_killed_greenlet_withdraws_its_event(held, fake) -> None:
    emitter = held()
    producer = gevent.spawn(emitter.emit, "late")
    wait_until(blocked(emitter))
    producer.kill()
    assert not emitter._waiters
    emitter.release()
    assert emitter.stop() == 0
    assert fake.events == ["held", "queued", "queued"]


@pytest.mark.usefixtures("greedy_threads")
def test_a_timeout_at_the_moment_of_the_wakeup_is_one_or_the_other(make, fake) -> None:
    """Whoever gets EmitterFull is never delivered, whoever returns is delivered once."""
    emitter = make(maxsize=1)
    fake.on_emit = lambda: gevent.sleep(0.0005)
    accepted: list[tuple[int, int]] = []

    def produce(name: int) -> int:
        refused, rng = 0, random.Random(name)
        for i in range(150):
            try:
                emitter.emit("tick", (name, i), timeout=rng.uniform(0.0005, 0.004))
                accepted.append((name, i))
            except EmitterFull:
                refused += 1
        return refused

    threads = [NativeThread(produce, name) for name in range(3)]
    greenlets = [gevent.spawn(produce, name) for name in range(3, 6)]
    refused = [thread.join() for thread in threads] + [g.get() for g in greenlets]
    assert emitter.stop() == 0
    assert sorted(fake.data) == sorted(accepted)
    assert len(accepted) + sum(refused) == 6 * 150
    assert sum(refused) > 0, "nothing timed out: the test proves nothing"
    for name in range(6):
        mine = [i for producer, i in fake.data if producer == name]
        assert mine == sorted(mine)


def test_raise(held, fake) -> None:
    emitter = held(maxsize=3, overflow="raise")
    with pytest.raises(EmitterFull, match="raise maxsize"):
        NativeThread(emitter.emit, "late").join()
    emitter.release()
    assert emitter.stop() == 0
    assert fake.data == [None, 0, 1, 2]
    assert emitter.stats().dropped == 0


def test_drop_oldest_counts_and_logs_once_per_interval(held, fake, caplog, monkeypatch) -> None:
    monkeypatch.setattr(emitter_module, "_INTERVAL_SECONDS", 0.3)
    caplog.set_level(logging.WARNING)
    emitter = held(maxsize=3, overflow="drop_oldest")

    def drops() -> list[str]:
        return [r.getMessage() for r in caplog.records if "dropped" in r.getMessage()]

    NativeThread(lambda: [emitter.emit("new", i) for i in range(10)]).join()
    assert emitter.stats().dropped == 10
    assert not drops(), "a native thread logged"
    emitter.release()
    wait_until(lambda: len(fake.calls) == 4)
    assert fake.data == [None, 7, 8, 9]
    wait_until(drops)
    for i in range(7):  # in one go, so 4 of them find the queue full
        emitter.emit("new", i)
    wait_until(lambda: len(fake.calls) == 7)
    assert len(drops()) == 1, "logged again within the interval"
    wait_until(lambda: len(drops()) == 2)
    assert [message.split(" events")[0] for message in drops()] == ["dropped 10", "dropped 4"]
    assert emitter.stats().emitted + emitter.stats().dropped == 1 + 3 + 10 + 7


# Life


def test_before_start_events_are_queued_up_to_maxsize(make, fake) -> None:
    emitter = make(start=False, maxsize=2)
    emitter.emit("tick", 0)
    emitter.emit("tick", 1)
    with pytest.raises(EmitterFull, match=r"call start\(\)"):
        emitter.emit("tick", 2)
    assert not emitter.stats().running
    emitter.start()
    drain = emitter._drain
    emitter.start()
    assert emitter._drain is drain
    wait_until(lambda: fake.data == [0, 1])
    assert emitter.stats().running


@pytest.mark.parametrize("maxsize", [0, -1, 1_000_001, 1.5, "5", True, None])
def test_a_wrong_maxsize_is_named(fake, maxsize) -> None:
    with pytest.raises(ValueError, match=f"maxsize={maxsize!r}.*1 to 1_000_000"):
        Emitter(fake, maxsize=maxsize)


def test_a_wrong_overflow_is_named(fake) -> None:
    with pytest.raises(ValueError, match=r"overflow='wait'.*'block', 'drop_oldest', 'raise'"):
        Emitter(fake, overflow="wait")  # type: ignore[arg-type]


def test_stop_flushes_and_then_refuses(make, fake) -> None:
    emitter = make()
    for i in range(500):
        emitter.emit("tick", i)
    assert emitter.stop() == 0
    assert fake.data == list(range(500))
    with pytest.raises(EmitterStopped, match=r"'tick' came after stop\(\)"):
        NativeThread(emitter.emit, "tick").join()
    with pytest.raises(EmitterStopped, match="make a new Emitter"):
        emitter.start()
    assert emitter.stop() == 0
    assert not emitter.stats().running
    assert not emitter._watcher.active


def test_stop_is_bounded_and_says_what_is_left(held, fake, caplog) -> None:
    emitter = held(maxsize=3)
    assert emitter.stop(timeout=0.05) == 4, "three queued, one in the hanging emit"
    assert emitter.stop() == 4
    assert emitter.stats().dropped == 4
    assert "4 events not delivered" in caplog.text
    assert not fake.calls


def test_stop_with_no_time_at_all(make, fake) -> None:
    """The drain greenlet has not even run yet."""
    emitter = make()
    emitter.emit("tick")
    assert emitter.stop(timeout=0) + len(fake.calls) == 1
    assert not emitter.stats().running


def test_stop_before_start(make, fake) -> None:
    emitter = make(start=False)
    emitter.emit("tick")
    assert emitter.stop() == 1
    with pytest.raises(EmitterStopped):
        emitter.emit("tick")


def test_stop_sends_blocked_producers_away(held, fake) -> None:
    emitter = held()
    thread = NativeThread(emitter.emit, "late")
    wait_until(blocked(emitter, 1))
    producer = gevent.spawn(emitter.emit, "late")
    wait_until(blocked(emitter, 2))
    stopping = gevent.spawn(emitter.stop)
    with pytest.raises(EmitterStopped, match=r"waiting for room at stop\(\)"):
        thread.join()
    with pytest.raises(EmitterStopped):
        producer.get(timeout=PATIENCE_SECONDS)
    emitter.release()
    assert stopping.get(timeout=PATIENCE_SECONDS) == 0
    assert fake.events == ["held", "queued", "queued"]


def test_stop_belongs_to_the_thread_of_start(make) -> None:
    emitter = make()
    with pytest.raises(EmitterError, match="thread that called start"):
        NativeThread(emitter.stop).join()
    emitter.emit("still works")
    assert emitter.stop() == 0


def test_a_killed_drain_leaves_nobody_waiting(held) -> None:
    emitter = held()
    thread = NativeThread(emitter.emit, "late")
    wait_until(blocked(emitter))
    emitter._drain.kill()
    with pytest.raises(EmitterStopped):
        thread.join()
    assert emitter.stop() == 3


def test_stats_tell_what_waits(held) -> None:
    emitter = held(maxsize=4)
    gevent.sleep(0.05)
    stats = emitter.stats()
    assert (stats.running, stats.depth, stats.maxsize, stats.high_water) == (True, 4, 4, 4)
    assert stats.lag_seconds >= 0.04
    emitter.release()
    wait_until(lambda: emitter.stats().emitted == 5)
    stats = emitter.stats()
    assert (stats.depth, stats.lag_seconds) == (0, 0.0)
    assert stats.max_delay_seconds >= stats.last_delay_seconds >= 0.04


@settings(deadline=None, max_examples=60)
@given(
    overflow=st.sampled_from(["drop_oldest", "raise"]),
    maxsize=st.integers(1, 4),
    steps=st.lists(st.sampled_from(["emit", "emit", "emit", "drain"]), max_size=40),
)
def test_it_behaves_like_a_bounded_queue(overflow: Any, maxsize: int, steps: list[str]) -> None:
    """Compare with a model in which every event is queued, emitted, dropped or refused."""
    fake = FakeSocketIO()
    emitter = Emitter(fake, maxsize=maxsize, overflow=overflow)
    queued: list[int] = []
    emitted: list[int] = []
    dropped = refused = high_water = 0
    for i, step in enumerate(steps):
        if step == "drain":
            emitter.start()
            wait_until(lambda: emitter.stats().depth == 0)
            emitted, queued = emitted + queued, []
            continue
        if len(queued) == maxsize and overflow == "raise":
            refused += 1
            with pytest.raises(EmitterFull):
                emitter.emit("tick", i)
            continue
        if len(queued) == maxsize:
            del queued[0]
            dropped += 1
        queued.append(i)
        high_water = max(high_water, len(queued))
        emitter.emit("tick", i)
        assert emitter.stats().depth == len(queued)
    stats = emitter.stats()
    assert (stats.dropped, stats.high_water) == (dropped, high_water)
    emitter.start()
    assert emitter.stop() == 0
    assert fake.data == emitted + queued
    assert emitter.stats().emitted + dropped + refused == steps.count("emit")
