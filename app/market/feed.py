"""Runs a source: one real OS thread per lane puts each quote on the board and emits it in time.

Lanes run beside the hub, so they use nothing that monkey-patching changed: threads, locks and sleep
are the original ones, and they do not log (logging's locks are patched). A lane that fails keeps
its error in the status and wakes the hub, where a greenlet logs it. The clock is monotonic, so
setting the machine's time does not disturb it. See docs/market.md.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

import gevent
from gevent import monkey

from app.market.board import Board
from app.market.sources import Lane, Source
from app.realtime.emitter import EmitterFull, EmitterStopped

logger = logging.getLogger(__name__)
_allocate_lock: Any = monkey.get_original("_thread", "allocate_lock")
_start_new_thread: Any = monkey.get_original("_thread", "start_new_thread")

# A lane that is later than this moves its schedule instead of sending all that it missed at once:
# a machine that was suspended for an hour goes on where it was. Shorter delays are caught up with.
LATE_SECONDS = 1.0
# Also a lane that is behind pauses before each quote. Without it, it would keep the interpreter's
# lock for 5 ms at a time (sys.getswitchinterval), and the hub would wait.
PAUSE_SECONDS = 0.0001
POLL_SECONDS = 0.002  # how often stop() looks whether the lanes have ended
SLEEP_MAX_SECONDS = 3600.0  # in one piece: a lock's timeout has an upper limit


def room_of(symbol: str) -> str:
    """Name the room of everybody who wants the ticks of a symbol."""
    return f"symbol:{symbol}"


class Schedule:
    """When the quotes of one lane are due. Pure: the time is passed in.

    :param started: the feed's start on the clock that `wait_seconds` gets.
    """

    def __init__(self, started: float) -> None:
        self._origin = started
        self.slips = 0  # how often the schedule was moved
        self.slipped_seconds = 0.0  # by how much in all

    def wait_seconds(self, due: float, now: float) -> float:
        """Say how long to wait for a quote; 0 when it is late.

        Each wait ends at an absolute time, so small delays do not add up. From a quote that is more
        than LATE_SECONDS late on, everything moves to later by that lateness. No quote is left out.

        :raises ValueError: for a due time that is not a finite number.
        """
        if not math.isfinite(due):
            raise ValueError(f"due time {due!r} should be a finite number of seconds")
        wait = self._origin + due - now
        if wait < -LATE_SECONDS:
            self._origin -= wait
            self.slips += 1
            self.slipped_seconds -= wait
        return max(wait, 0.0)


class TickEmitter(Protocol):
    """What the feed asks of an emitter; `app.realtime.Emitter` is one."""

    def emit(self, event: str, data: object = None, namespace: str | None = None, to: object = None) -> None:
        """Take an event from any OS thread; may raise EmitterFull and EmitterStopped."""


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """One moment of a feed; the counters run since its start.

    :param running_lanes: threads that are alive, of `lanes`.
    :param failed_lanes: how many of the others ended with an error.
    :param dropped: ticks that the emitter had no room for; they are on the board.
    :param superseded: ticks that were left out, because another node's feed began later.
    :param slips: how often a lane was over a second late and moved its schedule, `slipped_seconds` in all.
    :param last_error: the newest error of any lane, also of one that went on; None without one.
    """

    lanes: int
    running_lanes: int
    failed_lanes: int
    ticks: int
    dropped: int
    superseded: int
    slips: int
    slipped_seconds: float
    last_error: str | None


class Feed:
    """Feed a board, and its subscribers, from a source. A feed runs once.

    :param source: where quotes come from.
    :param board: must know the source's instruments.
    :param emitter: takes the events; see TickEmitter.
    :param namespace: where the clients are.
    """

    def __init__(
        self, source: Source, board: Board, emitter: TickEmitter, namespace: str = "/market"
    ) -> None:
        self.source = source
        self.board = board
        self.namespace = namespace
        self._emitter = emitter
        self._lanes: list[_LaneThread] = []
        self._begun = False
        self._failure_watcher: Any = None

    def start(self) -> None:
        """Start one OS thread per lane; the hub of the calling thread will log their failures.

        :raises RuntimeError: on a second call, after `stop`, or when the system gives no thread.
        """
        if self._begun:
            raise RuntimeError("a feed starts once: make a new Feed of the same source and board")
        self._begun = True
        lanes = self.source.lanes()
        # The send() of such a watcher is gevent's one function for other threads. ref=False: it
        # does not keep a program alive that has nothing else to do.
        self._failure_watcher = gevent.get_hub().loop.async_(ref=False)
        # The hub must not wait, and a log handler may: hence a greenlet.
        self._failure_watcher.start(gevent.spawn, self._log_failures)
        started = time.monotonic()
        try:
            for lane in lanes:
                thread = _LaneThread(self, lane, Schedule(started))
                _start_new_thread(thread.run, ())
                self._lanes.append(thread)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout_seconds: float = 5.0) -> bool:
        """End the lanes; call it in a greenlet, before the emitter is stopped. Again, nothing.

        :param timeout_seconds: how long to wait for them, 0 or more. It takes milliseconds unless a
            lane waits for room in a full emitter, or in a source of your own.
        :returns: whether all have ended. The others end after the quote they have in hand.
        """
        self._begun = True
        for lane in self._lanes:
            lane.tell_to_stop()
        deadline = time.monotonic() + timeout_seconds
        # Not with a native lock: the hub must go on, or a full emitter never makes room for a lane.
        while (left := self.status().running_lanes) and time.monotonic() < deadline:
            gevent.sleep(POLL_SECONDS)
        if left:
            logger.warning("%d market lanes did not end within %s s", left, timeout_seconds)
            return False
        watcher, self._failure_watcher = self._failure_watcher, None
        if watcher is not None:
            watcher.close()
            self._log_failures()  # of a lane that failed just now
        return True

    def status(self) -> FeedStatus:
        """Show how the feed is; may be called from any thread and never waits."""
        lanes = tuple(self._lanes)
        errors = [lane.error for lane in lanes if lane.error]
        return FeedStatus(
            lanes=len(lanes),
            running_lanes=sum(lane.running for lane in lanes),
            failed_lanes=sum(lane.failure is not None for lane in lanes),
            ticks=sum(lane.ticks for lane in lanes),
            dropped=sum(lane.dropped for lane in lanes),
            superseded=sum(lane.superseded for lane in lanes),
            slips=sum(lane.schedule.slips for lane in lanes),
            slipped_seconds=round(sum(lane.schedule.slipped_seconds for lane in lanes), 3),
            last_error=max(errors)[1] if errors else None,
        )

    def _log_failures(self) -> None:
        """Log each failure once; runs in greenlets of the hub."""
        for lane in self._lanes:
            if lane.failure is not None and not lane.failure_logged:
                lane.failure_logged = True  # before logging, which may switch to another greenlet
                logger.error("a lane of the market feed ended", exc_info=lane.failure)


class _LaneThread:
    """The work of one OS thread. Only that thread writes the counters, so they need no lock."""

    def __init__(self, feed: Feed, lane: Lane, schedule: Schedule) -> None:
        self._feed = feed
        self._lane = lane
        self.schedule = schedule
        self.ticks = self.dropped = self.superseded = 0
        self.error: tuple[float, str] | None = None  # (when, monotonic; what)
        self.failure: BaseException | None = None  # what ended the lane
        self.failure_logged = False
        self.running = True
        self._stopping = False
        # Held until tell_to_stop: to wait for it with a timeout is a sleep that can be cut short.
        self._awake = _allocate_lock()
        self._awake.acquire()

    def tell_to_stop(self) -> None:
        """End the sleep, and with it the thread; called by `Feed.stop` in the hub's thread only."""
        if not self._stopping:
            self._stopping = True
            self._awake.release()

    def run(self) -> None:
        """Send every quote in its time until the lane ends, or the feed or the emitter stops."""
        try:
            for due, quote in self._lane:
                if not self._sleep_until(due):
                    break
                # time.time and time.monotonic stay as they are under monkey-patching.
                tick = self._feed.board.record(quote, time_ms=time.time_ns() // 1_000_000)
                if tick is None:
                    self.superseded += 1
                    continue
                self.ticks += 1
                self._emit(tick.symbol, tick.as_dict())
        except EmitterStopped:
            pass  # the orderly end of a process
        except BaseException as error:  # of the source, as a rule; nobody else would ever see it
            self._note(error)
            self.failure = error
            self._feed._failure_watcher.send()
        finally:
            self.running = False

    def _sleep_until(self, due: float) -> bool:
        """Wait until a quote is due; False when the feed stops."""
        wait = self.schedule.wait_seconds(due, time.monotonic())
        while wait > SLEEP_MAX_SECONDS:
            if self._awake.acquire(timeout=SLEEP_MAX_SECONDS):
                return False
            wait = self.schedule.wait_seconds(due, time.monotonic())
        return not self._awake.acquire(timeout=max(wait, PAUSE_SECONDS))

    def _emit(self, symbol: str, tick: dict[str, object]) -> None:
        try:
            self._feed._emitter.emit("tick", tick, namespace=self._feed.namespace, to=room_of(symbol))
        except EmitterFull as error:
            # The next tick replaces this one, and the board has it: count it and go on.
            self.dropped += 1
            self._note(error)

    def _note(self, error: BaseException) -> None:
        self.error = (time.monotonic(), f"{type(error).__name__}: {error}")
