"""What idle clients cost: memory, the garbage collector's pauses, and pings."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.transport.bench import Bench, Contestant
from benchmarks.transport.crowd import CrowdError
from benchmarks.transport.results import Row

PEERS = ("native", "library", "node")
# They let a server load what it loads at its first client.
FIRST_CLIENTS = 20
# Where the garbage collector is looked at, if as many are possible.
CROWDED = 15_000
SEATS = 10
WORK_SECONDS = 2.0
WORK_RATE = 500.0
PING_SECONDS = 5.0


def run(bench: Bench) -> None:
    """More and more clients that say nothing."""
    crowded = min(CROWDED, bench.scale.most)
    steps = sorted({1000, bench.scale.many, crowded, bench.scale.most})
    memory = [
        Row(f"memory-{step}", "memory", f"{step:,} idle clients, for each", "KB", "less") for step in steps
    ]
    pauses = [
        Row(f"gc-{key}", "gc", f"{label}", "ms", "less")
        for key, label in (
            ("connect", f"longest pause while clients up to {crowded:,} come in"),
            ("connect-all", "all pauses meanwhile"),
            ("work", f"longest pause while {WORK_RATE:g} events/s go to rooms of {SEATS}"),
            ("full", "a full collection, if somebody asks for one"),
        )
    ]
    for row in (*memory, *pauses):
        bench.results.row(row)
    for kind in PEERS:
        with bench.arena((kind,)) as arena:
            for contestant in arena:
                try:
                    _fill(contestant, steps, crowded, memory, pauses)
                except CrowdError as error:
                    for row in (*memory, *pauses):
                        if kind not in row.cells:
                            row.fail(kind, str(error))
    for row in (*memory, *pauses):
        bench.report(row)


def _fill(
    contestant: Contestant, steps: list[int], crowded: int, memory: Sequence[Row], pauses: Sequence[Row]
) -> None:
    peer, crowd, kind = contestant.peer, contestant.crowd, contestant.kind
    crowd.connect(FIRST_CLIENTS)
    crowd.close()
    peer.wait_until_empty()
    peer.settle()
    empty_kb = peer.resident_kb()
    have = 0
    connecting = {"longest_ms": 0.0, "all_ms": 0.0}
    for step, row in zip(steps, memory, strict=True):
        peer.status()
        crowd.connect(step - have, blocks=(SEATS,))
        have = step
        seen = peer.status()["gc"]
        if step <= crowded:
            connecting["longest_ms"] = max(connecting["longest_ms"], seen["longest_ms"])
            connecting["all_ms"] += seen["all_ms"]
        if step == crowded:
            order = {"count": int(WORK_SECONDS * WORK_RATE), "block": SEATS, "rooms": step // SEATS}
            contestant.deliver(step, rate=WORK_RATE, **order)
            working = peer.status()["gc"]["longest_ms"]
            full = peer.settle()
            figures = (connecting["longest_ms"], connecting["all_ms"], working, full)
            for pause, figure in zip(pauses, figures, strict=True):
                pause.add(kind, figure)
        peer.settle()
        row.add(kind, (peer.resident_kb() - empty_kb) / step)


def run_heartbeats(bench: Bench) -> None:
    """Ask each client every 5 s whether it is still there."""
    clients = bench.scale.many
    row = Row(
        "heartbeats",
        "heartbeats",
        f"{clients:,} clients, a ping every {PING_SECONDS:g} s",
        "% of a core",
        "less",
    )
    with bench.arena(PEERS, clients, ping_seconds=PING_SECONDS) as arena:

        def measure(contestant: Contestant) -> Sequence[float]:
            before = contestant.peer.processor_seconds()
            answered = contestant.crowd.idle(PING_SECONDS)["answered"]
            if answered < clients // 2:
                raise CrowdError(f"{answered} pings came to {clients} clients")
            return ((contestant.peer.processor_seconds() - before) / PING_SECONDS * 100,)

        bench.race(arena, [row], measure, rounds=1)
