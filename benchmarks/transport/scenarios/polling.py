"""Clients that use long polling."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.transport.bench import Bench, Contestant
from benchmarks.transport.events import SMALL_BYTES
from benchmarks.transport.results import Row

PEERS = ("native", "library", "node")
CLIENTS = 200
EVENTS = 200
# Slower than the clients poll: each event is an answer of its own.
STEADY_EVENTS, STEADY_RATE = 20, 4.0


def run(bench: Bench) -> None:
    """Events to all of them, and back."""
    echo = Row("polling-echo", "polling", f"{CLIENTS} clients, each event by POST and GET", "round trips/s")
    flood = [
        Row("polling", "polling", f"to {CLIENTS} clients, {EVENTS} events flat out", "deliveries/s"),
        Row("polling-answers", "polling", "answers that they came in", "answers/s", "less"),
    ]
    steady = Row(
        "polling-steady",
        "polling",
        f"to {CLIENTS} clients, {STEADY_RATE:g} events/s, each an answer",
        "us of processor",
        "less",
    )
    with bench.arena(PEERS) as arena:
        for contestant in arena:
            contestant.crowd.connect_polling(CLIENTS)
        bench.race(arena, [echo], lambda contestant: _echo(contestant, bench.scale.seconds))
        bench.race(arena, flood, _flood)
        bench.race(arena, [steady], _steady, rounds=1)


def _echo(contestant: Contestant, seconds: float) -> Sequence[float]:
    result = contestant.crowd.echo_polling(seconds, SMALL_BYTES)
    return (result["count"] / result["seconds"],)


def _flood(contestant: Contestant) -> Sequence[float]:
    contestant.crowd.get_ready_to_poll(count=EVENTS, size=SMALL_BYTES)
    started = contestant.peer.emit(count=EVENTS)
    result = contestant.crowd.received()
    seconds = (result["last"] - started) / 1e6
    return result["deliveries"] / seconds, result["reads"] / seconds


def _steady(contestant: Contestant) -> Sequence[float]:
    contestant.crowd.get_ready_to_poll(count=STEADY_EVENTS, size=SMALL_BYTES)
    before = contestant.peer.processor_seconds()
    contestant.peer.emit(count=STEADY_EVENTS, rate=STEADY_RATE)
    result = contestant.crowd.received()
    return ((contestant.peer.processor_seconds() - before) * 1e6 / result["deliveries"],)
