"""Where a server's processor time goes: its stack, looked at every so many milliseconds of processor time.

Time in a system call, or in C, counts for the line that called it.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.001
LINES = 15
DEPTH = 60


class Sampler:
    """Takes samples between `start` and `stop`."""

    def __init__(self) -> None:
        self._lines: Counter[str] = Counter()
        self._functions: Counter[str] = Counter()
        self._samples = 0

    def start(self) -> None:
        """Begin anew."""
        self._lines.clear()
        self._functions.clear()
        self._samples = 0
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def stop(self) -> str:
        """End, and tell the lines that took most themselves, and the functions with all that they called."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        samples = max(self._samples, 1)
        parts = [f"{samples} samples", "", "line itself:"]
        parts += [f"{count / samples:6.1%}  {line}" for line, count in self._lines.most_common(LINES)]
        parts += ["", "function with what it calls:"]
        parts += [f"{count / samples:6.1%}  {name}" for name, count in self._functions.most_common(LINES)]
        return "\n".join(parts)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        self._samples += 1
        seen: set[str] = set()
        innermost = frame
        for _ in range(DEPTH):
            if frame is None:
                break
            seen.add(_place(frame))
            frame = frame.f_back
        self._functions.update(seen)
        if innermost is not None:
            self._lines[f"{_place(innermost)} line {innermost.f_lineno}"] += 1


def _place(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name} {frame.f_code.co_qualname}"
