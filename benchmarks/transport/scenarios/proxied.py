"""The same through nginx, which shares the generator's core."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from benchmarks.transport import machine, pinned
from benchmarks.transport.bench import Bench, Contestant
from benchmarks.transport.crowd import CrowdError
from benchmarks.transport.events import SMALL_BYTES
from benchmarks.transport.peers import Peer
from benchmarks.transport.results import Row
from benchmarks.transport.scenarios.broadcast import BURST
from benchmarks.transport.scenarios.latency import EVERY, PERCENTILES, percentiles
from tests.support.nginx import Nginx
from tests.support.servers import HOST

CLIENTS = 500
# Events a second for the latency: little enough for nginx on a shared core.
RATE = 20.0


class _PinnedNginx(Nginx):
    """nginx, with all that it starts, on a core."""

    def command(self) -> Sequence[str]:
        return pinned.command(machine.cores()[1], *super().command())


@contextlib.contextmanager
def _before(peer: Peer) -> Iterator[int]:
    with _PinnedNginx([f"{HOST}:{peer.port}"]) as nginx:
        yield nginx.port


def run(bench: Bench) -> None:
    """Broadcast, bursts, latency, echo."""
    with bench.arena(clients=CLIENTS, proxy=_before) as arena:
        for key, label, order in (
            ("nginx-500", f"to {CLIENTS} clients, one by one", {"alone": True}),
            ("nginx-burst", f"to {CLIENTS} clients, bursts of {BURST}", {"per_turn": BURST, "alone": True}),
        ):
            bench.broadcast(arena, Row(key, "nginx", label, "deliveries/s"), CLIENTS, **order)
        rows = [
            Row(
                f"nginx-latency-{name}",
                "nginx",
                f"{RATE:g} events/s to {CLIENTS} clients, {name}",
                "ms",
                "less",
            )
            for name, _ in PERCENTILES
        ]
        bench.race(arena, rows, lambda contestant: _publish(contestant, bench.scale.seconds * 2))
        row = Row("nginx-echo", "nginx", f"echo of {CLIENTS} clients", "round trips/s")
        bench.race(arena, [row], lambda contestant: _echo(contestant, bench.scale.seconds))


def _publish(contestant: Contestant, seconds: float) -> Sequence[float]:
    result = contestant.crowd.publish(RATE, seconds, SMALL_BYTES, EVERY)
    if result["late"]:
        raise CrowdError(f"could not keep up with {RATE:g} events/s")
    return [microseconds / 1000 for microseconds in percentiles(result["took_us"])]


def _echo(contestant: Contestant, seconds: float) -> Sequence[float]:
    result = contestant.crowd.echo(seconds, SMALL_BYTES)
    return (result["count"] / result["seconds"],)
