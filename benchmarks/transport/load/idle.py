"""Clients that say nothing but that they are still there."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.transport.load.client import PING_FRAME, PONG, ClientError
from benchmarks.transport.load.fleet import Fleet


def run(fleet: Fleet, seconds: float) -> dict[str, Any]:
    """Answer pings for a while.

    :return: how many.
    :raises ClientError: when something else comes.
    """
    answered = 0
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        for fd, _ in fleet.epoll.poll(left):
            client = fleet.by_fd[fd]
            data = client.sock.recv(65_536)
            if data != PING_FRAME:
                raise ClientError(f"client {client.index} got {data[:60]!r}")
            client.sock.send(PONG)
            answered += 1
    return {"answered": answered}
