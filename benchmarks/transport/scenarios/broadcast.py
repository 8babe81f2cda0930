"""One event to everybody, to a small room among many, and many events at a time."""

from __future__ import annotations

from benchmarks.transport.bench import Bench
from benchmarks.transport.events import LARGE_BYTES
from benchmarks.transport.results import Row

BURST = 50
SEATS = 10


def run(bench: Bench) -> None:
    """Broadcast to more and more clients."""
    many = bench.scale.many
    with bench.arena(clients=100) as arena:
        bench.broadcast(arena, _row(100, "one by one"), 100, alone=True)
    burst = {"per_turn": BURST, "alone": True}
    with bench.arena(clients=500) as arena:
        bench.broadcast(arena, _row(500, "one by one"), 500, alone=True)
        bench.broadcast(arena, _row(500, "flat out", "flat"), 500)
        bench.broadcast(arena, _row(500, "4 KB", "large"), 500, alone=True, size=LARGE_BYTES)
        bench.broadcast(arena, _row(500, f"bursts of {BURST}", key="burst-500"), 500, **burst)
    with bench.arena(clients=many, blocks=(SEATS,)) as arena:
        bench.broadcast(arena, _row(many, "one by one"), many, alone=True)
        bench.broadcast(arena, _row(many, "flat out", "flat"), many)
        bench.broadcast(arena, _row(many, "4 KB", "large"), many, alone=True, size=LARGE_BYTES)
        bench.broadcast(arena, _row(many, f"bursts of {BURST}", key=f"burst-{many}"), many, **burst)
        label = f"to rooms of {SEATS} among {many:,} clients"
        ways: dict[str, tuple[str, dict[str, int]]] = {
            "rooms": ("one by one", {"alone": True}),
            "rooms-flat": ("flat out", {}),
            "rooms-burst": (f"{BURST} rooms at a time", burst),
        }
        for key, (how, order) in ways.items():
            row = Row(key, "broadcast", f"{label}, {how}", "deliveries/s")
            bench.broadcast(arena, row, many, block=SEATS, rooms=many // SEATS, **order)
    with bench.arena(("library", "stock"), clients=500) as arena:
        row = Row("switch", "switch", "to 500 clients, one by one", "deliveries/s")
        bench.broadcast(arena, row, 500, alone=True)


def _row(clients: int, how: str, suffix: str = "", *, key: str = "") -> Row:
    key = key or "-".join(filter(None, ("broadcast", str(clients), suffix)))
    return Row(key, "broadcast", f"to {clients:,} clients, {how}", "deliveries/s")
