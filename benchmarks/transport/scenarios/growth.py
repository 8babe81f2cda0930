"""How the cost of a delivery grows: with clients and events, with rooms, with namespaces."""

from __future__ import annotations

from benchmarks.transport.bench import Bench, Contestant
from benchmarks.transport.results import Row
from benchmarks.transport.scenarios.broadcast import BURST

CLIENTS = (10, 100, 500, 1000, 2000, 5000)
# Seats of a room, when 5,000 clients fill 1, 10, 100, 500, 5,000 of them.
SEATS = (5000, 500, 50, 10, 1)
NAMESPACES = (1, 2, 5, 10, 20)
NAMESPACE_CLIENTS = 500
# Processor time hardly moves between rounds.
ROUNDS = 1


def run(bench: Bench) -> None:
    """More clients, more events at a time, more rooms."""
    most = max(CLIENTS)
    with bench.arena(clients=most, blocks=tuple({*CLIENTS, *SEATS})) as arena:
        for per_turn in (1, BURST):
            for clients in CLIENTS:
                label = f"{clients:,} clients, {per_turn} at a time"
                row = Row(
                    f"clients-{clients}-{per_turn}", f"clients-{per_turn}", label, "deliveries/s", x=clients
                )
                order = {"block": clients, "per_turn": per_turn, "alone": True}
                bench.broadcast(arena, row, clients, rounds=ROUNDS, **order)
        for seats in SEATS:
            rooms = most // seats
            row = Row(f"rooms-{rooms}", "rooms", f"{rooms:,} rooms of {seats:,}", "deliveries/s", x=rooms)
            order = {"block": seats, "rooms": rooms, "alone": True}
            bench.broadcast(arena, row, most, rounds=ROUNDS, **order)


def run_namespaces(bench: Bench) -> None:
    """The same clients in more and more namespaces at the same time, each over its one connection."""
    memory = [
        Row(
            f"namespace-memory-{count}",
            "namespaces-memory",
            f"{count} namespaces, for each client",
            "KB",
            "less",
            count,
        )
        for count in NAMESPACES
    ]
    with bench.arena() as arena:
        empty = {each.kind: _empty_kb(each) for each in arena}
        for count, row in zip(NAMESPACES, memory, strict=True):
            bench.results.row(row)
            for contestant in [each for each in arena if each.kind != "raw" or count == 1]:
                contestant.crowd.connect(NAMESPACE_CLIENTS, namespaces=count)
                contestant.peer.settle()
                kilobytes = contestant.peer.resident_kb() - empty[contestant.kind]
                row.add(contestant.kind, kilobytes / NAMESPACE_CLIENTS)
            able = [each for each in arena if each.kind != "raw" or count == 1]
            label = f"{count} namespaces of {NAMESPACE_CLIENTS} clients, in turn"
            deliveries = Row(f"namespaces-{count}", "namespaces", label, "deliveries/s", x=count)
            bench.broadcast(able, deliveries, NAMESPACE_CLIENTS, rounds=ROUNDS, namespaces=count, alone=True)
            for contestant in arena:
                contestant.crowd.close()
                contestant.peer.wait_until_empty()


def _empty_kb(contestant: Contestant) -> float:
    contestant.peer.settle()
    return contestant.peer.resident_kb()
