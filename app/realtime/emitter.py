"""Carry events from any thread to the hub: a bounded queue, drained by one greenlet.

    OS threads, greenlets, hub callbacks --emit()--> queue --drain greenlet--> socketio.emit()

A Flask-SocketIO server on gevent may only be touched from the thread of its hub. So a producer
puts its event into a queue and wakes the hub, and one greenlet there does the real emit.

1. Producers and the drain share state only under one *native* lock (monkey-patching leaves it
   alone), held for a few bytecodes and never across a switch of greenlets.
2. From another thread, the `send()` of an async watcher is the only call into gevent.
3. No wake-up is lost. The drain finds the queue empty and says "asleep" inside one critical
   section; a producer appends and reads "asleep" inside one critical section. Whichever comes
   second sees the other. The drain forgets a wake-up (`Event.clear`) only *before* it looks at
   the queue, never between the look and the wait. And `send()` is needed only once per sleep.
4. No slot is lost. A blocked producer leaves its event with its waiter, and the drain moves it into
   the slot that it frees. A producer whose time is up asks under the lock which came first, and
   withdraws its event only if it was not queued. So waiters exist only while the queue is full,
   nobody overtakes them, and the order of each producer holds.

EmitterError
├── EmitterFull       no room for this event, and waiting is not possible or took too long
└── EmitterStopped    the emitter takes no more events
"""

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import gevent
from gevent import getcurrent, monkey
from gevent.event import Event

logger = logging.getLogger(__name__)
_allocate_lock = monkey.get_original("_thread", "allocate_lock")
_thread_id = monkey.get_original("_thread", "get_ident")

Overflow = Literal["block", "drop_oldest", "raise"]

_LARGEST_MAXSIZE = 1_000_000  # who is further behind than that does not need more room
# A burst is drained in turns, and HTTP is served between them. With other values here,
# `python -m benchmarks.emitter` printed for a burst from 4 threads
# on 2 cores: HTTP p99 3 to 6 ms with 2 ms turns, and up to a fifth less throughput than with 5 ms
# turns, whose p99 was 60 to 420 ms. Rests of sleep(0) do not wait for sockets: p50 700 ms.
_TURN_SECONDS = 0.002
_REST_SECONDS = 0.001
_INTERVAL_SECONDS = 10.0  # between two log lines about drops, and for the largest delay
_KILL_SECONDS = 1.0  # for an emit that hangs when stop() has run out of time


class EmitterError(Exception):
    """Say what went wrong in the emitter."""


class EmitterFull(EmitterError):
    """Refuse an event because the queue has no room for it."""


class EmitterStopped(EmitterError):
    """Refuse an event, or a start, because stop() was called."""


@dataclass(frozen=True, slots=True)
class EmitterStats:
    """Show one moment of an emitter; counters run since its creation."""

    running: bool
    depth: int  # events queued now
    maxsize: int
    high_water: int  # the largest depth so far
    emitted: int
    dropped: int  # by "drop_oldest", or left over when the emitter stopped
    failed: int  # socketio.emit raised
    wakeups: int  # of the drain greenlet; stands still while nothing is emitted
    lag_seconds: float  # age of the oldest queued event, 0.0 when there is none
    last_delay_seconds: float  # from emit() to socketio.emit(), of the newest event
    max_delay_seconds: float  # the largest of the last 10 to 20 s with events


class _SocketIO(Protocol):
    def emit(self, event: str, *args: Any, **kwargs: Any) -> None: ...


class _Entry(NamedTuple):
    event: str
    data: object
    namespace: str | None
    to: object
    handed_in: float  # time.monotonic()


class _NativeEvent:
    """Let an OS thread sleep in the kernel; set once, by any thread."""

    def __init__(self) -> None:
        self._lock = _allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> object:
        return self._lock.acquire(timeout=-1 if timeout is None else timeout)


@dataclass(slots=True, eq=False)
class _Waiter:
    entry: _Entry
    woken: Event | _NativeEvent
    outcome: Literal["waiting", "queued", "stopped"] = "waiting"


class Emitter:
    """Emit through `socketio` from any thread, greenlet or hub callback.

    `maxsize` is the number of events that may be queued, 1 to 1,000,000. When they are, `overflow`
    decides: "block" lets the caller wait, "drop_oldest" gives the oldest event up (counted and
    logged), "raise" raises EmitterFull. Raises ValueError for anything else.
    """

    def __init__(self, socketio: _SocketIO, maxsize: int = 5000, overflow: Overflow = "block") -> None:
        if type(maxsize) is not int or not 1 <= maxsize <= _LARGEST_MAXSIZE:
            raise ValueError(f"maxsize={maxsize!r}: write an int from 1 to {_LARGEST_MAXSIZE:_}")
        if overflow not in get_args(Overflow):
            raise ValueError(f"overflow={overflow!r}: write one of {get_args(Overflow)}")
        self.maxsize = maxsize
        self.overflow = overflow
        self._socketio = socketio
        # Shared, under the lock.
        self._lock = _allocate_lock()
        self._queue: deque[_Entry] = deque()
        self._waiters: deque[_Waiter] = deque()
        self._asleep = False
        self._stopping = False
        self._high_water = self._dropped = self._undelivered = 0
        # Set by start(), used in the thread of the hub (but for the watcher's send).
        self._drain: gevent.Greenlet[..., None] | None = None
        # Written by the drain only.
        self._emitted = self._failed = self._wakeups = self._reported = 0
        self._next_report = self._interval_ends = 0.0
        self._last_delay = self._max_delay = self._past_max_delay = 0.0

    def start(self) -> None:
        """Start to drain in the hub of the calling thread; a second call changes nothing.

        Raises EmitterStopped after stop(): make a new Emitter instead.
        """
        with self._lock:
            if self._stopping:
                raise EmitterStopped("a stopped emitter cannot start again: make a new Emitter")
            if self._drain is not None:
                return
            self._thread = _thread_id()
            self._hub = gevent.get_hub()
            self._wake = Event()
            self._watcher = self._hub.loop.async_()
            self._watcher.start(self._wake.set)
            self._drain = gevent.spawn(self._run)

    def emit(
        self,
        event: str,
        data: object = None,
        namespace: str | None = None,
        to: object = None,
        timeout: float | None = None,
    ) -> None:
        """Queue an event for `socketio.emit(event, data, namespace=namespace, to=to)`.

        Works anywhere but in a finalizer or a `signal.signal` handler, which may interrupt a holder
        of the lock. Do not change `data` afterwards. With overflow="block", `timeout` bounds the
        wait for room, in seconds (0 or more, None: no bound). Raises EmitterFull, EmitterStopped.
        """
        entry = _Entry(event, data, namespace, to, time.monotonic())
        with self._lock:
            if self._stopping:
                raise EmitterStopped(f"{event!r} came after stop(): end the producers first")
            full = len(self._queue) >= self.maxsize
            if not full or self.overflow == "drop_oldest":
                if full:
                    _oldest = self._queue.popleft()  # named, so that it is freed outside the lock
                    self._dropped += 1
                self._queue.append(entry)
                self._high_water = max(self._high_water, len(self._queue))
                if self._asleep:
                    self._asleep = False
                    self._watcher.send()
                return
            waiter = _Waiter(entry, self._blocker(event, timeout))
            self._waiters.append(waiter)
        self._wait(waiter, timeout)

    def _blocker(self, event: str, timeout: float | None) -> Event | _NativeEvent:
        """Choose how the caller may wait; raise EmitterFull if it must not."""
        full = f"no room for {event!r}, {self.maxsize} events are queued: "
        if self.overflow == "raise":
            raise EmitterFull(full + "emit less, raise maxsize, or use overflow='drop_oldest'")
        if self._drain is None:
            raise EmitterFull(full + "nothing drains them yet, call start() first")
        if timeout is not None and timeout <= 0:
            raise EmitterFull(full + "give a timeout above 0 to wait for room")
        if _thread_id() != self._thread:
            return _NativeEvent()
        if self._must_not_wait():
            raise EmitterFull(
                full + "a callback of the hub, or of socketio.emit, cannot wait for room, "
                "use gevent.spawn(emitter.emit, ...) or overflow='drop_oldest'"
            )
        return Event()

    def _must_not_wait(self) -> bool:
        """Tell whether the current greenlet is one that makes room for the others."""
        return getcurrent() in (self._hub, self._drain)

    def _wait(self, waiter: _Waiter, timeout: float | None) -> None:
        try:
            waiter.woken.wait(timeout)
        finally:  # also when the greenlet is killed here
            with self._lock:
                if waiter.outcome == "waiting":
                    self._waiters.remove(waiter)
        if waiter.outcome == "stopped":
            raise EmitterStopped(f"{waiter.entry.event!r} was waiting for room at stop()")
        if waiter.outcome == "waiting":
            raise EmitterFull(
                f"no room for {waiter.entry.event!r} within {timeout} s, {self.maxsize} events are "
                "queued: emit less, raise maxsize, or use overflow='drop_oldest'"
            )

    def _run(self) -> None:
        turn_ends = time.monotonic() + _TURN_SECONDS
        try:
            while True:
                entry = self._take()
                if entry is not None:
                    self._deliver(entry)
                    if time.monotonic() < turn_ends:
                        continue
                    self._report_drops()
                    gevent.sleep(_REST_SECONDS)
                elif self._stopping:
                    return
                else:
                    self._wake.wait(self._report_drops())
                    self._wake.clear()
                    self._wakeups += 1
                turn_ends = time.monotonic() + _TURN_SECONDS
        finally:  # whatever ends this greenlet, no producer may wait for it
            self._close()

    def _take(self) -> _Entry | None:
        """Take the oldest event and give its slot to who waits longest; None: now asleep."""
        with self._lock:
            if not self._queue:
                self._asleep = True
                return None
            entry = self._queue.popleft()
            if self._waiters:
                waiter = self._waiters.popleft()
                self._queue.append(waiter.entry)
                waiter.outcome = "queued"
                waiter.woken.set()
            return entry

    def _deliver(self, entry: _Entry) -> None:
        now = time.monotonic()
        self._last_delay = now - entry.handed_in
        if now >= self._interval_ends:
            self._past_max_delay, self._max_delay = self._max_delay, 0.0
            self._interval_ends = now + _INTERVAL_SECONDS
        self._max_delay = max(self._max_delay, self._last_delay)
        try:
            self._socketio.emit(entry.event, entry.data, namespace=entry.namespace, to=entry.to)
        except (Exception, gevent.Timeout):  # a Timeout is no Exception
            self._failed += 1
            logger.exception("socketio.emit raised, the event %r is lost", entry.event)
        except BaseException:  # killed: _close() counts it with the rest
            with self._lock:
                self._queue.appendleft(entry)
            raise
        else:
            self._emitted += 1

    def _report_drops(self) -> float | None:
        """Log drops once per interval; return the seconds until the next line is due, if one is.

        Only the drain logs: in another thread, logging's patched locks could deadlock.
        """
        dropped, now = self._dropped, time.monotonic()
        if dropped == self._reported:
            return None
        if now < self._next_report:
            return self._next_report - now
        logger.warning(
            "dropped %d events, the oldest of a full queue of %d: emit less or raise maxsize",
            dropped - self._reported,
            self.maxsize,
        )
        self._reported = dropped
        self._next_report = now + _INTERVAL_SECONDS
        return None

    def stop(self, timeout: float = 5.0) -> int:
        """Refuse new events, flush for at most `timeout` seconds; return how many were left over.

        Producers that wait for room get EmitterStopped. A second call returns the same number.
        Call it in a greenlet of the thread that called start(); raises EmitterError elsewhere.
        """
        with self._lock:
            if self._drain is not None and (_thread_id() != self._thread or self._must_not_wait()):
                raise EmitterError(
                    "stop() waits for the flush: call it in a greenlet of the thread that called "
                    "start(), from a callback of its hub with gevent.spawn(emitter.stop)"
                )
            self._stopping = True
            self._dismiss_waiters()
        if self._drain is not None:
            self._wake.set()
            self._drain.join(timeout)
            self._drain.kill(timeout=_KILL_SECONDS)
        self._close()
        return self._undelivered

    def _close(self) -> None:
        """Give up what is still queued, and everybody who waits; a second call finds nothing."""
        with self._lock:
            self._stopping = True
            self._asleep = False  # so that nobody sends to the closed watcher
            self._dismiss_waiters()
            left = len(self._queue)
            self._queue.clear()
            self._undelivered += left
            self._dropped += left
            if self._drain is not None:
                self._watcher.close()
        if left:
            logger.warning("the emitter stopped with %d events not delivered", left)

    def _dismiss_waiters(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            waiter.outcome = "stopped"
            waiter.woken.set()

    def stats(self) -> EmitterStats:
        """Return a snapshot; cheap, and callable from any thread."""
        now = time.monotonic()
        with self._lock:
            return EmitterStats(
                running=self._drain is not None and not self._drain.dead,
                depth=len(self._queue),
                maxsize=self.maxsize,
                high_water=self._high_water,
                emitted=self._emitted,
                dropped=self._dropped,
                failed=self._failed,
                wakeups=self._wakeups,
                lag_seconds=max(0.0, now - self._queue[0].handed_in) if self._queue else 0.0,
                last_delay_seconds=self._last_delay,
                max_delay_seconds=max(self._max_delay, self._past_max_delay),
            )
