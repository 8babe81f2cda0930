"""The conversation of one process with all others over several brokers. Pure: no IO, time is passed in.

    send()     a message is numbered and waits in the outbox
    collect()  what a broker is to be handed now: notes, copies for others, repairs, messages
    done() / failed()   what became of it
    take_in()  what came over a broker; what may be delivered is appended to `ready`
    tick()     what time brings: health, requests, repairs, bounds

Channel does the IO around it, in threads or greenlets, and holds a lock around every call.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields

from msgspec import Raw

from app.realtime.queue import envelope
from app.realtime.queue.envelope import AnyNote, Newest, Parcel, Rejected, Sealer
from app.realtime.queue.inbox import Inbox, Wanted
from app.realtime.queue.lanes import PARCEL_BYTES, PARCEL_MESSAGES, Lane, Packer, Recently, Work
from app.realtime.queue.options import QueueOptions, QueueStrategy
from app.realtime.queue.outbox import Limits, Outbox
from app.realtime.queue.peers import Peers
from app.realtime.queue.routing import EventKind, QueueEvent, Router

# Above max_message_bytes: the header and the other messages of a parcel.
PARCEL_OVERHEAD_BYTES = 128 * 1024
PULSE_SECONDS = 1.0
# A process without clients that has nothing to say is silent for longer.
IDLE_PULSE_SECONDS = IDLE_AFTER_SECONDS = 5.0
REPORTS_MAX = 1_000
REPORTS_SECONDS = 10.0  # for which reports are kept after asking


class Exchange:
    """One process on a channel.

    :param names: the brokers, best first.
    :param is_node: whether it has clients; otherwise it only emits, and takes no messages in.
    :param now: a monotonic time in seconds; so is every other `now`.
    :param wall: the time of day.
    """

    def __init__(
        self,
        names: list[str],
        *,
        strategy: QueueStrategy,
        channel: str,
        secret: str | None,
        options: QueueOptions,
        is_node: bool,
        now: float,
        wall: Callable[[], float] = time.time,
        origin: str | None = None,
    ) -> None:
        self.origin = origin or envelope.new_origin()
        self.is_node = is_node
        self.options = options
        self.limits = Limits(**{field.name: getattr(options, field.name) for field in fields(Limits)})
        self.outbox = Outbox(self.origin, self.limits, is_node)
        self.outboxes = {self.origin: self.outbox}
        self.inbox: Inbox[Raw] = Inbox(options.repair_seconds, options.max_age_seconds)
        self.peers = Peers(self.origin, frozenset(names))
        self.router = Router(
            names,
            strategy,
            patience_seconds=options.patience_seconds,
            failback_seconds=options.failback_seconds,
            now=now,
            wall=wall,
        )
        self.ready: deque[tuple[str, Raw]] = deque()
        self.rejected, self.failures = Counter[str](), Counter[str]()
        self.bridged = 0
        self.asked = False  # somebody wants a report
        self.reports: deque[bytes] = deque(maxlen=REPORTS_MAX)
        self._asked_until = 0.0
        self._sealer = Sealer(
            secret,
            channel,
            options.max_message_bytes + PARCEL_OVERHEAD_BYTES,
            options.max_age_seconds,
        )
        self._packer = Packer(self.origin, self._sealer, wall, self.router.sending)
        self._wall = wall
        self._lanes = {name: Lane() for name in names}
        self._joined: set[str] = set()
        self._stirred = False
        self._born = self._sent_at = self._ticked = now
        self._told: tuple[list[str], list[str]] = ([], [])
        self._recently = Recently()
        self._newest = {name: Newest() for name in names}

    # Out.

    def send(self, body: bytes, now: float) -> int:
        """Number a message and let it wait; returns its seq.

        :raises Full: when there is no room.
        """
        self._sent_at = now
        return self.outbox.append(body, now)

    def adopt(self, outbox: Outbox, now: float) -> None:
        """Publish the messages of an earlier process, for our own clients too if they cannot have them."""
        self.outboxes[outbox.origin] = outbox
        if self.is_node and not outbox.of_node:
            self.inbox.start(outbox.origin, outbox.first, now)
        for name in self._joined:
            outbox.join(name)

    def note(self, note: AnyNote, names: Sequence[str] | None = None) -> None:
        """Let a note go out, over some brokers or all that work."""
        for name in names or [link.name for link in self.router.links.values() if link.reaches]:
            self._lanes[name].notes.append(note)

    def ask(self, now: float) -> None:
        """Ask all nodes for a report."""
        self._asked_until = now + REPORTS_SECONDS
        self.note(envelope.Ask())

    def collect(self, name: str, now: float) -> Work | None:
        """What to hand to a broker now; None: nothing."""
        link = self.router.links[name]
        if now < link.retry_at:
            return None
        lane = self._lanes[name]
        work = Work()
        if now >= lane.pulse_at:
            self._pulse(lane, now)
        if lane.notes:
            self._packer.notes(work, name, list(lane.notes), now)
            lane.notes.clear()
        while lane.copies and not work.full:
            work.add(lane.copies.popleft())
        while not work.half_full and (repair := lane.next_repair(self.outboxes)):
            self._packer.run(work, name, *repair, now, again=True)
        self._route(name)
        if name in self._joined:
            for about, outbox in self.outboxes.items():
                upto = 0
                for run in outbox.read(outbox.cursor(name), outbox.last, PARCEL_MESSAGES, PARCEL_BYTES):
                    if work.full:
                        break
                    self._packer.run(work, name, about, run, now, again=False)
                    upto = run.last
                if upto:
                    work.upto.append((outbox, upto))
        return work if work.parcels else None

    def done(self, name: str, work: Work) -> None:
        """A broker has accepted what it was handed."""
        again = self.router.accepted(name, work.messages)
        for outbox, upto in work.upto:
            outbox.confirm(name, upto)
        if again and name in self._joined:
            for outbox in self.outboxes.values():
                outbox.join(name)

    def failed(self, name: str, work: Work, reason: str, now: float, *, refused: bool) -> None:
        """A broker has not accepted what it was handed.

        :param refused: it answered, so it may well go on bringing others' messages.
        """
        self.router.failed(name, reason, now, refused=refused)
        # The next attempt brings a pulse at least, so that a broker that is back is noticed.
        self._lanes[name].clear()
        for outbox, upto in work.upto:
            outbox.refuse(name, upto, self.options.max_attempts)

    def urgent(self) -> list[str]:
        """The brokers whose publishers have something to do, besides new messages."""
        stirred, self._stirred = self._stirred or bool(self.router.events), False
        return [name for name, lane in self._lanes.items() if stirred or lane.urgent]

    @property
    def used(self) -> Collection[str]:
        """The brokers that new messages are handed to; all, while none is."""
        return self._joined or self._lanes

    def wait_seconds(self, name: str, now: float) -> float:
        """How long a broker need not be handed anything, unless something new comes."""
        retry_at = self.router.links[name].retry_at
        return (retry_at if retry_at > now else self._lanes[name].pulse_at) - now

    # In.

    def hears(self, name: str) -> None:
        """We listen to a broker from now on; what it was handed before that may not come back."""
        self.router.hears(name)
        self._resend(name, [outbox for outbox in self.outboxes.values() if outbox.returned < outbox.accepted])

    def take_in(self, name: str, data: bytes, now: float) -> None:
        """Take what came over a broker."""
        try:
            parcel = self._sealer.open(data, self._wall(), now - self._born)
            link = self.router.links[name]
            link.parcels += 1
            if parcel.sender == self.origin:
                self.router.came_back(name, parcel.number, now)
            else:
                self._bridge(name, parcel, data)
            newer = self._newest[name].advance(parcel.sender, parcel.number)
            if not newer and parcel.sender != self.origin:
                # Brought again by the broker, or replayed by somebody. Messages are known by their numbers.
                self.rejected["replayed"] += 1
            if not parcel.first:
                if newer:
                    self._take_notes(name, parcel, now)
                return
            link.received += len(parcel.bodies)
            own = self.outboxes.get(parcel.about)
            if own is not None and parcel.sender == self.origin:
                own.came_back(parcel.first, parcel.first + len(parcel.bodies) - 1)
            if self._wants(parcel.about):
                about, first = parcel.about, parcel.first
                bodies = self.inbox.receive(about, first, parcel.bodies, now, again=parcel.again)
                self._make_ready(about, bodies)
        except Rejected as error:
            self.rejected[error.reason] += 1

    def _take_notes(self, name: str, parcel: Parcel, now: float) -> None:
        for body in parcel.bodies:
            try:
                note = envelope.decode_note(body)
            except envelope.UNDECODABLE:
                raise Rejected("malformed") from None
            if not note.plausible():
                raise Rejected("malformed")
            self._take_note(name, parcel.sender, note, now)

    def _take_note(self, name: str, sender: str, note: AnyNote, now: float) -> None:
        match note:
            case envelope.Gone():
                if note.about in self.outboxes and sender == self.origin:
                    self.outboxes[note.about].came_back(note.first, note.last, gone=True)
                if self._wants(note.about):
                    self._make_ready(note.about, self.inbox.gone(note.about, note.first, note.last, now))
            case envelope.Report() if now < self._asked_until:
                self.reports.append(note.status[: envelope.MAX_REPORT_BYTES])
            case envelope.Ask() if self.is_node:
                self.asked = True
            case _ if sender == self.origin:
                pass
            case envelope.Pulse():
                if note.about == sender:
                    self._stirred |= self.peers.pulse(
                        sender,
                        is_node=note.is_node,
                        hears=note.hears,
                        reaches=note.reaches,
                        every_seconds=note.every_seconds,
                        now=now,
                    )
                if self.is_node:
                    self.inbox.pulse(note.about, note.last, now)
            case envelope.Request() if note.about in self.outboxes:
                self._repair(name, note, now)
            case envelope.Locate() if note.about in self.outboxes:
                outbox = self.outboxes[note.about]
                first = outbox.first_since(now - note.since_seconds)
                if note.about != self.origin:
                    # What an earlier process left is news to everybody.
                    first = min(first, outbox.first)
                self.note(envelope.Start(note.about, sender, first), self._answer_over(name))
            case envelope.Start() if note.to == self.origin:
                self._make_ready(note.about, self.inbox.start(note.about, note.first, now))
            case envelope.Goodbye():
                self.peers.goodbye(sender)
            case _:
                pass

    def _repair(self, name: str, note: envelope.Request, now: float) -> None:
        """Queue what somebody misses, over the broker that brought the request; later over all."""
        names = self._answer_over(name) if note.attempt == 1 else list(self._lanes)
        for first, last in self._recently.new(note, now):
            for each in names:
                if self.router.links[each].reaches:
                    self._lanes[each].repair(note.about, first, last)

    def _answer_over(self, name: str) -> list[str]:
        if self.router.links[name].reaches:
            return [name]
        return [link.name for link in self.router.links.values() if link.reaches]

    def _wants(self, about: str) -> bool:
        """Whether our clients are to get an origin's messages, and have not had them at once."""
        own = self.outboxes.get(about)
        return self.is_node and (own is None or not own.of_node)

    def _make_ready(self, origin: str, bodies: Sequence[Raw]) -> None:
        for body in bodies:
            self.ready.append((origin, body))

    def _bridge(self, name: str, parcel: Parcel, data: bytes) -> None:
        """Copy a parcel for those whom its sender does not reach."""
        if len(self._lanes) == 1:
            return
        reaches = [link.name for link in self.router.links.values() if link.state == "up"]
        copies = self.peers.bridge(parcel.sender, parcel.number, name, self._hearing(), reaches)
        for copy in copies:
            self._lanes[copy].copies.append(data)
            self.bridged += 1

    # Time.

    def tick(self, now: float, listening_seconds: float) -> None:
        """Do what is due.

        :param listening_seconds: for how long some broker has been listened to.
        """
        elapsed = min(max(0.0, now - self._ticked), 1.0)
        self._ticked = now
        self.router.tick(now)
        self.peers.expire(now)
        for outbox in self.outboxes.values():
            outbox.trim(now)
            if outbox.stuck(now, self.options.timeout_seconds):
                for name in self._joined:
                    self._resend(name, [outbox])
        told = self._hearing(), self._reaching()
        if told != self._told:
            self._told = told
            for lane in self._lanes.values():
                lane.pulse_at = 0.0
        if self.inbox.incomplete:
            works = any(link.state == "up" for link in self.router.links.values())
            wanted, released = self.inbox.due(now, elapsed if works else 0.0)
            for each in wanted:
                self._want(each, listening_seconds)
            for origin, bodies in released:
                self._make_ready(origin, bodies)

    def forget(self, now: float) -> None:
        """Forget who and what is long gone; now and then is enough."""
        self.inbox.forget(now)
        for origin, outbox in list(self.outboxes.items()):
            if outbox is not self.outbox and outbox.returned == outbox.last and not outbox.retained:
                del self.outboxes[origin]
                self.outbox.dropped.update(outbox.dropped)

    def _resend(self, name: str, outboxes: list[Outbox]) -> None:
        """Hand a broker again what did not come back, if we would hear it now."""
        if name in self._joined and self.router.links[name].hears:
            for outbox in outboxes:
                outbox.join(name)
                self._stirred = True

    def _want(self, wanted: Wanted, listening_seconds: float) -> None:
        if wanted.ranges:
            self.note(envelope.Request(wanted.origin, wanted.ranges, wanted.attempt))
        else:
            self.note(envelope.Locate(wanted.origin, listening_seconds))

    def _hearing(self) -> list[str]:
        return [link.name for link in self.router.links.values() if link.hearing]

    def _reaching(self) -> list[str]:
        return [link.name for link in self.router.links.values() if link.reaches and link.state != "silent"]

    def _route(self, name: str) -> None:
        """See whether a broker is published on now."""
        if name in self.router.route(self.peers.uncovered):
            if name not in self._joined:
                self._joined.add(name)
                for outbox in self.outboxes.values():
                    outbox.join(name)
        elif name in self._joined:
            self._joined.remove(name)
            for outbox in self.outboxes.values():
                outbox.leave(name)

    def _pulse(self, lane: Lane, now: float) -> None:
        idle = not self.is_node and now - self._sent_at > IDLE_AFTER_SECONDS and not self.unreturned
        every = IDLE_PULSE_SECONDS if idle else PULSE_SECONDS
        lane.pulse_at = now + every
        for about, outbox in self.outboxes.items():
            pulse = envelope.Pulse(
                about, outbox.accepted, every, self.is_node, self._hearing(), self._reaching()
            )
            lane.notes.append(pulse)

    @property
    def unreturned(self) -> int:
        """Messages that have not come back from any broker."""
        return sum(outbox.unreturned for outbox in list(self.outboxes.values()))

    def dropped(self) -> Counter[str]:
        """What was given up, adopted messages included, by cause."""
        counts = [Counter(outbox.dropped) for outbox in self.outboxes.values()]
        return Counter({cause: sum(each[cause] for each in counts) for cause in self.outbox.dropped})

    def tell(self, kind: EventKind, detail: str, count: int = 0) -> None:
        """Note that something happened that is not about one broker."""
        self.router.events.append(QueueEvent(kind, None, None, detail, self._wall(), count))
