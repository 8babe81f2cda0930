"""How quickly clients come in, and come back when all have lost their connections at once."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.transport.bench import Bench, Contestant
from benchmarks.transport.results import Row
from benchmarks.transport.scenarios.latency import percentiles

# Below the length of the queue in which the system keeps who is not accepted yet.
STORM_SHARE = 0.8


def run(bench: Bench) -> None:
    """A hundred at a time, then thousands."""
    count = bench.scale.many * 3 // 5
    rows = [
        Row("connections", "connections", f"{count:,} clients, 100 at a time", "connections/s"),
        Row("connections-processor", "connections", "processor time of each", "us", "less"),
        Row("connections-p99", "connections", "a client's own time, p99", "ms", "less"),
    ]
    with bench.arena() as arena:
        for contestant in arena:
            # Node compiles what it does often; all get the same time for that.
            _come(contestant, count)
        bench.race(arena, rows, lambda contestant: _come(contestant, count))
    storm = int(bench.scale.many * STORM_SHARE)
    rows = [
        Row("storm", "connections", f"{storm:,} clients leave, and are all back after", "s", "less"),
        Row("storm-errors", "connections", "attempts that failed meanwhile", "attempts", "less"),
    ]
    with bench.arena(clients=storm) as arena:
        bench.race(arena, rows, lambda contestant: _come_back(contestant, storm))


def _come(contestant: Contestant, count: int) -> Sequence[float]:
    before = contestant.peer.processor_seconds()
    result = contestant.crowd.connect(count)
    used = contestant.peer.processor_seconds() - before
    contestant.crowd.busy = result["busy"]
    contestant.crowd.close()
    contestant.peer.wait_until_empty()
    return count / result["seconds"], used * 1e6 / count, percentiles(result["took_ms"])[1]


def _come_back(contestant: Contestant, count: int) -> Sequence[float]:
    result = contestant.crowd.reconnect(count)
    contestant.crowd.busy = result["busy"]
    return result["seconds"], result["errors"]
