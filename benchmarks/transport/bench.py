"""The arena: every peer with its crowd, and measurements in turns, for the machine is never equally quiet."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.transport import machine, targets
from benchmarks.transport.crowd import Crowd, CrowdError
from benchmarks.transport.peers import KINDS, LABELS, QUIET_SECONDS, Peer
from benchmarks.transport.results import Results, Row

# A first run that tells how many events fill the time.
TRIAL_SECONDS = 0.15
MOST_EVENTS = 20_000


@dataclass(frozen=True)
class Scale:
    """How much is done.

    :param seconds: of one measurement.
    :param rounds: how often each is repeated.
    :param many: clients, where many are wanted.
    :param most: clients, where as many as possible are wanted.
    """

    seconds: float
    rounds: int
    many: int
    most: int


FULL = Scale(seconds=0.6, rounds=3, many=5000, most=machine.most_clients())
QUICK = Scale(seconds=0.3, rounds=1, many=2000, most=4000)


@dataclass
class Flight:
    """What came of one order.

    :param rate: deliveries a second.
    :param processor_us: of the server's processor time, for a delivery.
    :param joined: events that a client found at a time.
    :param busy: the generator's share of its core.
    """

    rate: float
    processor_us: float
    joined: float
    busy: float


@dataclass
class Contestant:
    """A peer, and its crowd."""

    kind: str
    peer: Peer
    crowd: Crowd

    def deliver(self, members: int, **order: Any) -> Flight:
        """Let the server emit, and wait until everybody has everything.

        :param members: how many clients, from the first, get something.
        :raises CrowdError: when they do not get that, and nothing else.
        """
        expected = {
            name: order[name] for name in ("count", "size", "block", "rooms", "namespaces") if name in order
        }
        self.crowd.get_ready(members, **expected)
        before = self.peer.processor_seconds()
        started = self.peer.emit(**order)
        result = self.crowd.received()
        used = self.peer.processor_seconds() - before
        deliveries = result["deliveries"]
        return Flight(
            rate=deliveries * 1e6 / (result["last"] - started),
            processor_us=used * 1e6 / deliveries,
            joined=deliveries / max(result["reads"], 1),
            busy=result["busy"],
        )

    def fitting(self, members: int, seconds: float, **order: Any) -> int:
        """Find out how many events fill a time."""
        # In rooms each event reaches some of them only.
        step = math.lcm(order.get("rooms", 1), order.get("per_turn", 1), order.get("namespaces", 1))
        each = members / order.get("rooms", 1)
        count = step
        while True:
            took = count * each / self.deliver(members, count=count, **order).rate
            if took > TRIAL_SECONDS or count * 2 > MOST_EVENTS:
                break
            count = max(count * 2, int(count * min(TRIAL_SECONDS / took, 20)) // step * step)
            count = min(count, max(MOST_EVENTS // step, 1) * step)
        wanted = min(count * seconds / took, MOST_EVENTS)
        return max(int(wanted) // step, 1) * step


@dataclass
class Bench:
    """A run of the benchmarks.

    :param kinds: which peers take part.
    :param say: is told what has come out.
    """

    scale: Scale
    kinds: Sequence[str]
    results: Results = field(default_factory=Results)
    say: Callable[[str], None] = print
    # Whose clients did not come in, and why.
    _absent: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def arena(
        self,
        kinds: Sequence[str] | None = None,
        clients: int = 0,
        *,
        ping_seconds: float = QUIET_SECONDS,
        proxy: Callable[[Peer], contextlib.AbstractContextManager[int]] | None = None,
        **connect: Any,
    ) -> Iterator[list[Contestant]]:
        """Start peers, and let as many clients come in at each.

        :param kinds: which; those that take part in this run.
        :param proxy: stands between, and tells its port.
        """
        server_core, crowd_core = machine.cores()
        wanted = [kind for kind in kinds or self.kinds if kind in (*self.kinds, "stock")]
        with contextlib.ExitStack() as stack:
            arena = []
            for kind in wanted:
                peer = stack.enter_context(_killed(KINDS[kind](server_core, ping_seconds)))
                port = stack.enter_context(proxy(peer)) if proxy else peer.port
                contestant = Contestant(kind, peer, stack.enter_context(Crowd(port, crowd_core)))
                try:
                    if clients:
                        contestant.crowd.connect(clients, **connect)
                except CrowdError as error:
                    self._absent[kind] = str(error)
                else:
                    arena.append(contestant)
            try:
                yield arena
            finally:
                self._absent.clear()

    def race(
        self,
        arena: list[Contestant],
        rows: Sequence[Row],
        measure: Callable[[Contestant], Sequence[float | None]],
        rounds: int | None = None,
    ) -> None:
        """Measure in turns, and note the figures in rows, one for each that `measure` returns.

        A contestant that fails takes no further part in the arena: nobody knows what its clients still get.
        """
        for row in rows:
            self.results.row(row)
            for kind, why in self._absent.items():
                row.fail(kind, why)
        for _ in range(rounds or self.scale.rounds):
            for contestant in arena.copy():
                contestant.crowd.busy = 0.0
                try:
                    figures = measure(contestant)
                except CrowdError as error:
                    for row in rows:
                        row.fail(contestant.kind, str(error))
                    arena.remove(contestant)
                    continue
                for row, figure in zip(rows, figures, strict=True):
                    if figure is not None:
                        row.add(contestant.kind, figure, contestant.crowd.busy)
        for row in rows:
            self.report(row)
        self._explain(arena, rows, measure)

    def report(self, row: Row) -> None:
        """Say what came out, and whether it is enough."""
        verdicts = {True: "met", False: "NOT met", None: "not to be told"}
        bounds = [f"{each.text(row)}: {verdicts[each.met(self.results)]}" for each in targets.of(row)]
        self.say(" -- ".join((summary(row), *bounds)))

    def _explain(
        self, arena: list[Contestant], rows: Sequence[Row], measure: Callable[[Contestant], object]
    ) -> None:
        """Look where the time goes, when a target is missed."""
        missed = [row for row in rows if any(each.met(self.results) is False for each in targets.of(row))]
        native = next((each for each in arena if each.kind == "native"), None)
        if missed and native:
            native.peer.ask("/profile/start", {})
            measure(native)
            self.results.profiles[missed[0].key] = native.peer.ask("/profile/stop", {})

    def broadcast(
        self, arena: list[Contestant], row: Row, members: int, *, rounds: int | None = None, **order: Any
    ) -> None:
        """Measure deliveries a second, and in a second row the processor time of each."""
        counts: dict[str, int] = {}

        def measure(contestant: Contestant) -> Sequence[float]:
            if contestant.kind not in counts:
                counts[contestant.kind] = contestant.fitting(members, self.scale.seconds, **order)
            flight = contestant.deliver(members, count=counts[contestant.kind], **order)
            return flight.rate, flight.processor_us, flight.joined

        details = [
            Row(f"{row.key}-{what}", f"{row.table}-{what}", row.label, unit, "less", row.x)
            for what, unit in (("processor", "us"), ("joined", "events"))
        ]
        self.race(arena, [row, *details], measure, rounds)


def summary(row: Row) -> str:
    """A row in a line for the terminal."""
    ours = row.value("native")
    parts = []
    for kind, cell in row.cells.items():
        figure = cell.failed if cell.value is None else f"{cell.value:,.4g}"
        ratio = f" ({ours / cell.value:.2f})" if ours and cell.value and kind != "native" else ""
        busy = f" [generator {cell.busy:.0%}{'!' if cell.bottleneck else ''}]" if cell.busy else ""
        parts.append(f"{LABELS[kind]} {figure}{ratio}{busy}")
    return f"{row.label}, {row.unit}: {'; '.join(parts)}"


@contextlib.contextmanager
def _killed(peer: Peer) -> Iterator[Peer]:
    """Start a server, and end it without a word: thousands of clients need no goodbye."""
    try:
        yield peer.start()
    finally:
        peer.kill()
        peer.close()
