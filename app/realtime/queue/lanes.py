"""What waits for each broker, and how it becomes parcels. Pure; time is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msgspec import Raw

from app.realtime.queue import envelope
from app.realtime.queue.envelope import AnyNote, Parcel, Request, Sealer
from app.realtime.queue.outbox import Outbox, Run

# A parcel: large enough that its cost is shared by many messages, small enough to pass quickly.
PARCEL_MESSAGES = 256
PARCEL_BYTES = 64 * 1024
# Handed to a broker at once.
WORK_PARCELS = 16
WORK_BYTES = 512 * 1024
# What waits is sent within milliseconds or, when the broker fails, forgotten: whoever needs it asks again.
NOTES_MAX = 1_000
COPIES_MAX = 2_000
REPAIRS_MAX = 200
ANSWERED_MAX = 1_000
REPAIR_AGAIN_SECONDS = 0.05


@dataclass(slots=True)
class Lane:
    """What waits for one broker, besides new messages; the oldest is dropped when it is too much."""

    notes: deque[AnyNote] = field(default_factory=lambda: deque(maxlen=NOTES_MAX))
    copies: deque[bytes] = field(default_factory=lambda: deque(maxlen=COPIES_MAX))
    repairs: deque[tuple[str, int, int]] = field(default_factory=deque)
    pulse_at: float = 0.0

    @property
    def urgent(self) -> bool:
        """Whether there is something to hand over now."""
        return bool(self.notes or self.copies or self.repairs or not self.pulse_at)

    def repair(self, about: str, first: int, last: int) -> None:
        """Send a range again; what several ask for is sent once."""
        for other in [each for each in self.repairs if each[0] == about]:
            if other[1] <= last + 1 and first <= other[2] + 1:
                self.repairs.remove(other)
                first, last = min(first, other[1]), max(last, other[2])
        if len(self.repairs) < REPAIRS_MAX:
            self.repairs.append((about, first, last))

    def next_repair(self, outboxes: Mapping[str, Outbox]) -> tuple[str, Run] | None:
        """Whose messages to send again next, and which; None: nobody's."""
        while self.repairs:
            about, first, last = self.repairs.popleft()
            outbox = outboxes.get(about)
            run = outbox and next(outbox.read(first, last, PARCEL_MESSAGES, PARCEL_BYTES), None)
            if run:
                if run.last < last:
                    self.repairs.appendleft((about, run.last + 1, last))
                return about, run
        return None

    def clear(self) -> None:
        """The broker failed: forget what waits, and try it with a pulse."""
        self.pulse_at = 0.0
        self.notes.clear()
        self.copies.clear()
        self.repairs.clear()


class Recently:
    """Remembers what was sent again a moment ago: a request comes over each broker, and from each node."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, int, int], float] = {}

    def new(self, request: Request, now: float) -> list[tuple[int, int]]:
        """The ranges of a request that have not just been answered."""
        ranges: list[tuple[int, int]] = []
        for first, last in request.ranges[:REPAIRS_MAX]:
            key = (request.about, first, last)
            if now - self._sent.get(key, -1e9) >= REPAIR_AGAIN_SECONDS:
                self._sent[key] = now
                ranges.append((first, last))
        if len(self._sent) > ANSWERED_MAX:
            self._sent.clear()
        return ranges


@dataclass(slots=True)
class Work:
    """What a broker is handed at once: parcels, and how far they bring which outbox."""

    parcels: list[bytes] = field(default_factory=list)
    size: int = 0
    messages: int = 0
    upto: list[tuple[Outbox, int]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether it is enough for once."""
        return len(self.parcels) >= WORK_PARCELS or self.size >= WORK_BYTES

    @property
    def half_full(self) -> bool:
        """Whether what comes next should be news: repairs must not hold it up."""
        return len(self.parcels) >= WORK_PARCELS // 2 or self.size >= WORK_BYTES // 2

    def add(self, parcel: bytes) -> None:
        """Add a finished parcel."""
        self.parcels.append(parcel)
        self.size += len(parcel)


class Packer:
    """Numbers and packs the parcels of one process.

    :param origin: who it is.
    :param wall: the time of day, in seconds.
    :param sending: told (broker, parcel's number, now) of each parcel.
    """

    def __init__(
        self,
        origin: str,
        sealer: Sealer,
        wall: Callable[[], float],
        sending: Callable[[str, int, float], None],
    ) -> None:
        self._origin = origin
        self._sealer = sealer
        self._wall = wall
        self._sending = sending
        self._number = 0

    def notes(self, work: Work, broker: str, notes: list[AnyNote], now: float) -> None:
        """Add a parcel of notes."""
        bodies = [Raw(envelope.encode_body(note)) for note in notes]
        self._pack(work, broker, self._origin, 0, bodies, now, again=False)

    def run(self, work: Work, broker: str, about: str, run: Run, now: float, *, again: bool) -> None:
        """Add a parcel of an origin's consecutive messages; of a hole, a note that says so."""
        if run.bodies is None:
            self.notes(work, broker, [envelope.Gone(about, run.first, run.last)], now)
            return
        self._pack(work, broker, about, run.first, [Raw(body) for body in run.bodies], now, again=again)
        work.messages += len(run.bodies)

    def _pack(
        self, work: Work, broker: str, about: str, first: int, bodies: list[Raw], now: float, *, again: bool
    ) -> None:
        self._number += 1
        self._sending(broker, self._number, now)
        parcel = Parcel(self._origin, self._number, self._wall(), about, first, again, bodies)
        work.add(self._sealer.pack(parcel))
