"""Run a program on one core, with as many files as it may have: `python -m ...pinned CORE PROGRAM ...`."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence


def command(core: int, *program: str) -> Sequence[str]:
    """How to run a program so."""
    return (sys.executable, "-m", "benchmarks.transport.pinned", str(core), *program)


def raise_file_limit() -> int:
    """Allow this process, and what it starts, as many files as it may have, and return how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    raise_file_limit()
    os.execvp(sys.argv[2], sys.argv[2:])
