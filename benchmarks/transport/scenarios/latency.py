"""How long an event is on its way, and a request over HTTP, while a server is busy to a known degree."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.transport.bench import Bench, Contestant
from benchmarks.transport.crowd import CrowdError
from benchmarks.transport.events import SMALL_BYTES
from benchmarks.transport.results import Row

CLIENTS = 500
LOADS = (0.25, 0.5, 0.8)
PERCENTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
# Each tenth client looks at the clock.
EVERY = 10
SECONDS_FACTOR = 2.0
PROBE_SECONDS = 0.005
# What a server can do to the full is not what it can do in peace.
ROOM = 0.9


def run(bench: Bench) -> None:
    """One client publishes, all hear it."""
    with bench.arena(clients=CLIENTS + 1) as arena:
        capacity = _capacities(bench, arena, CLIENTS)
        for load in LOADS:
            rates = {kind: each * load for kind, each in capacity.items()}
            _measure(bench, arena, "own", f"at {load:.0%} of each one's capacity", load, rates, capacity)
        if "node" in capacity:
            for load in LOADS:
                rates = dict.fromkeys(capacity, capacity["node"] * load)
                label = f"at {load:.0%} of Node's capacity"
                _measure(bench, arena, "same", label, load, rates, capacity)


def run_http(bench: Bench) -> None:
    """Somebody asks over HTTP meanwhile."""
    for clients in (CLIENTS, bench.scale.many):
        _measure_http(bench, clients)


def _measure_http(bench: Bench, clients: int) -> None:
    rows = [
        Row(f"http-{clients}-{name}", "http", f"{clients:,} clients, {name}", "ms", "less")
        for name, _ in PERCENTILES
    ]
    with bench.arena(clients=clients + 1) as arena:
        capacity = _capacities(bench, arena, clients)

        def measure(contestant: Contestant) -> Sequence[float]:
            rate = capacity[contestant.kind] / 2 / clients
            result = contestant.crowd.publish(
                rate, bench.scale.seconds * SECONDS_FACTOR, SMALL_BYTES, EVERY, PROBE_SECONDS
            )
            return percentiles(result["http_ms"])

        bench.race(arena, rows, measure)


def percentiles(ordered: list[float]) -> list[float]:
    """Pick them out of what is sorted."""
    return [ordered[min(int(len(ordered) * share), len(ordered) - 1)] for _, share in PERCENTILES]


def _capacities(bench: Bench, arena: list[Contestant], clients: int) -> dict[str, float]:
    """Deliveries a second of each: what was measured, or is measured quickly."""
    known = bench.results.rows.get(f"broadcast-{clients}")
    capacities = {}
    for contestant in arena:
        figure = known.value(contestant.kind) if known else None
        if figure is None:
            count = contestant.fitting(clients + 1, bench.scale.seconds, alone=True)
            figure = contestant.deliver(clients + 1, count=count, alone=True).rate
        capacities[contestant.kind] = figure
    return capacities


def _measure(
    bench: Bench,
    arena: list[Contestant],
    key: str,
    label: str,
    load: float,
    rates: dict[str, float],
    capacity: dict[str, float],
) -> None:
    rows = [
        Row(f"latency-{key}-{load * 100:.0f}-{name}", f"latency-{key}", f"{label}, {name}", "ms", "less")
        for name, _ in PERCENTILES
    ]
    able = [each for each in arena if rates[each.kind] <= capacity[each.kind] * ROOM]

    def measure(contestant: Contestant) -> Sequence[float]:
        rate = rates[contestant.kind] / CLIENTS
        result = contestant.crowd.publish(rate, bench.scale.seconds * SECONDS_FACTOR, SMALL_BYTES, EVERY)
        if result["late"]:
            raise CrowdError(f"could not keep up with {rate:.0f} events/s")
        return [microseconds / 1000 for microseconds in percentiles(result["took_us"])]

    bench.race(able, rows, measure)
    for contestant in arena:
        if contestant not in able:
            for row in rows:
                row.fail(contestant.kind, "above its capacity")
