"""Emit numbered events at a steady rate, and measure each call beside an idle one."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.faults.edge import EVENT
from tests.faults.records import ACCEPTED, REFUSED, Emitted, Recorder

# So much text makes an event about as long as a short chat message.
_PADDING = "x" * 90
# So often is the idle call's work done, which takes about as long as an emit().
_IDLE_TURNS = 8


class SwitchCounter:
    """Counts how often greenlets switch; in a process without greenlets it stays at 0."""

    def __init__(self, *, greenlets: bool) -> None:
        self.count = 0
        if greenlets:
            import greenlet

            greenlet.settrace(self._switched)

    def _switched(self, *_: Any) -> None:
        self.count += 1


class Emitting:
    """A thread, or a greenlet in a patched process, that emits numbered events until it is told to stop.

    :param emit: `socketio.emit`.
    :param rate: events per second. What came too late because a call took long is emitted at once.
    """

    def __init__(
        self,
        emit: Callable[..., object],
        label: int,
        rate: float,
        recorder: Recorder,
        switches: SwitchCounter,
    ) -> None:
        self._emit = emit
        self._label = label
        self._period_seconds = 1 / rate
        self._recorder = recorder
        self._switches = switches
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.refusal: str | None = None  # the last one
        self._thread.start()

    def stop(self) -> None:
        """Emit no more; a call that is under way goes on."""
        self._stopping.set()

    @property
    def running(self) -> bool:
        """Whether the last call has not come back."""
        return self._thread.is_alive()

    def _run(self) -> None:
        clock = WaitClock(self._switches)
        number = 0
        due = time.monotonic()
        while not self._stopping.is_set():
            number += 1
            self._recorder.emitted(self._call(number, clock))
            due += self._period_seconds
            time.sleep(max(0.0, due - time.monotonic()))

    def _call(self, number: int, clock: WaitClock) -> Emitted:
        payload = {"label": self._label, "number": number, "padding": _PADDING}
        outcome = ACCEPTED
        at = time.monotonic()
        clock.start()
        try:
            self._emit(EVENT, payload)
        except Exception as error:
            outcome = REFUSED
            self.refusal = f"{type(error).__name__}: {error}"
        duration, wait = clock.stop()
        clock.start()
        for _ in range(_IDLE_TURNS):
            json.loads(json.dumps([EVENT, payload]))
        _, idle_wait = clock.stop()
        return Emitted(number, at, duration, wait, idle_wait, outcome)


class WaitClock:
    """Measures how long a call took, and how much of that it waited for something else than a processor.

    A call that only computes waits 0 s, however often the system lets other programs run meanwhile: the time
    for which a thread could run and was not let is taken off (the kernel counts it). What remains of a call
    that never left its greenlet is its sleep in the kernel: time less the processor's. A call that did leave
    its greenlet has waited from its beginning to its end, whoever ran meanwhile.

    To be used in the thread that makes the calls.
    """

    def __init__(self, switches: SwitchCounter) -> None:
        self._switches = switches
        self._schedule = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def start(self) -> None:
        """Begin."""
        self._switched, self._kept_back = self._switches.count, self._kept_back_seconds()
        self._computed = time.thread_time()
        self._started = time.perf_counter()

    def stop(self) -> tuple[float, float]:
        """Return the time since `start`, and what of it was waiting, in seconds."""
        duration = time.perf_counter() - self._started
        wait = duration - (self._kept_back_seconds() - self._kept_back)
        if self._switches.count == self._switched:
            wait -= time.thread_time() - self._computed
        return duration, max(0.0, wait)

    def _kept_back_seconds(self) -> float:
        return int(os.pread(self._schedule, 100, 0).split()[1]) / 1e9
