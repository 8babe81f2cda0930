"""Events that come back to their sender."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.transport.bench import Bench, Contestant
from benchmarks.transport.events import SMALL_BYTES
from benchmarks.transport.results import Row
from benchmarks.transport.scenarios.latency import percentiles

SENDERS = (1, 100)


def run(bench: Bench) -> None:
    """One after the other, and a hundred at a time."""
    for senders in SENDERS:
        with bench.arena(clients=senders) as arena:
            label = f"{senders} client{'s' if senders > 1 else ''}"
            rows = [
                Row(f"echo-{senders}", "echo", f"{label}, one event each on its way", "round trips/s"),
                Row(f"echo-{senders}-p50", "echo", f"{label}, p50", "ms", "less"),
                Row(f"echo-{senders}-p99", "echo", f"{label}, p99", "ms", "less"),
            ]
            bench.race(arena, rows, lambda contestant: _measure(contestant, bench.scale.seconds))


def _measure(contestant: Contestant, seconds: float) -> Sequence[float]:
    result = contestant.crowd.echo(seconds, SMALL_BYTES)
    middle, high, _ = percentiles(result["took_us"])
    return result["count"] / result["seconds"], middle / 1000, high / 1000
