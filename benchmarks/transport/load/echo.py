"""Clients that each send an event, wait for it to come back, and send the next."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.transport import events
from benchmarks.transport.load.client import ClientError
from benchmarks.transport.load.fleet import Fleet


def run(fleet: Fleet, seconds: float, size: int) -> dict[str, Any]:
    """Let all clients do so for a while.

    :return: how many came back, and how many microseconds each took, sorted.
    :raises ClientError: when something else comes back.
    """
    text = events.filling(size)
    question = events.masked_frame(events.packet(events.FIRST_NUMBER, text, event="echo"))
    answer = events.frame(events.packet(events.FIRST_NUMBER, text, event="echo"))
    clients = {client.sock.fileno(): client.sock for client in fleet.clients}
    received = dict.fromkeys(clients, b"")
    sent_at: dict[int, int] = {}
    took_us: list[int] = []
    begun = time.perf_counter()
    for fd, sock in clients.items():
        sent_at[fd] = events.stamp()
        sock.send(question)
    waiting = len(clients)
    while waiting:
        ready = fleet.epoll.poll(10)
        if not ready:
            raise ClientError(f"{waiting} clients got no answer")
        open_ended = time.perf_counter() - begun < seconds
        for fd, _ in ready:
            data = received[fd] + clients[fd].recv(65_536)
            if data != answer:
                if not answer.startswith(data) or not data:
                    raise ClientError(f"instead of {answer[:60]!r} came {data[:60]!r}")
                received[fd] = data
                continue
            received[fd] = b""
            now = events.stamp()
            took_us.append(now - sent_at[fd])
            if open_ended:
                sent_at[fd] = now
                clients[fd].send(question)
            else:
                waiting -= 1
    took = time.perf_counter() - begun
    took_us.sort()
    return {"count": len(took_us), "seconds": took, "took_us": took_us}
