"""What a process that only emits owes when it ends or forks: flush once, and begin anew in a child."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from typing import Protocol


class _Channel(Protocol):
    def reset(self) -> None: ...

    def close_at_exit(self) -> None: ...


_emitters: weakref.WeakSet[_Channel] = weakref.WeakSet()
_channels: weakref.WeakSet[_Channel] = weakref.WeakSet()
_ending = threading.Event()


def watch(channel: _Channel, *, closes: bool) -> None:
    """Reset a channel in every forked child, and close it at the end of the process if it `closes`."""
    _channels.add(channel)
    if closes:
        _emitters.add(channel)


def started(channel: _Channel) -> None:
    """Close a channel at the end of a child of multiprocessing, or of Celery's billiard: no atexit there."""
    for name in ("multiprocessing.util", "billiard.util"):
        util = sys.modules.get(name)
        process = sys.modules.get(name.replace("util", "process"))
        if channel not in _emitters or not util or not process:
            continue
        if type(process.current_process()).__name__ != "_MainProcess":
            reference = weakref.ref(channel)
            util.Finalize(None, _close, args=(reference,), exitpriority=10)


def end_daemon() -> None:
    """End a daemon thread that goes on emitting while the process ends, without a stack trace.

    :raises SystemExit: in such a thread.
    """
    if _ending.is_set() and threading.current_thread().daemon:
        raise SystemExit


def _close(reference: weakref.ref[_Channel]) -> None:
    channel = reference()
    if channel is not None:
        channel.close_at_exit()


def _close_all() -> None:
    _ending.set()
    for channel in list(_emitters):
        channel.close_at_exit()


def _reset_all() -> None:
    for channel in list(_channels):
        channel.reset()


# Handlers run backwards: what is registered after this import may still emit.
atexit.register(_close_all)
os.register_at_fork(after_in_child=_reset_all)
