"""How late this machine wakes up those who sleep: what no broker and no engine is to blame for."""

from __future__ import annotations

import threading
import time
from typing import Self

_PERIOD_SECONDS = 0.005


class Noise:
    """Sleeps for 5 ms again and again, while a `with` lasts, and remembers how much too long it slept."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        before = time.monotonic()
        while not self._ended.is_set():
            time.sleep(_PERIOD_SECONDS)
            now = time.monotonic()
            self.longest_seconds = max(self.longest_seconds, now - before - _PERIOD_SECONDS)
            before = now
