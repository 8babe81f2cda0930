"""From an event to the sockets of all who get it: once encoded, once framed, one write for each client.

What is emitted within a turn of the loop is only noted down. At the end of the turn it leaves together:
packets for the same audience are joined once, and every client gets all that is for it by one `send`, which
does not wait. A long list is written in slices, between which the loop looks after everything else.

    send() -> segments -> a single one is written from here, client by client      (a broadcast)
                       -> several are collected at each client, and written then    (everything else)
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import gevent

from app.realtime.transport.outgoing import Packet

if TYPE_CHECKING:
    from app.realtime.transport.session import Session

logger = logging.getLogger(__name__)

# So long may clients be written to until the loop looks for incoming data, and other greenlets have a turn.
SLICE_SECONDS = 0.002
# After so many it is looked at the clock; 64 writes take about 0.3 ms.
CHUNK = 64

Audience = Sequence["Session"]


class Segment:
    """Packets that the same clients get, one after the other."""

    __slots__ = ("_data", "_deflated", "_firm", "audience", "packets", "skip", "then", "volatile")

    def __init__(self, audience: Audience, skip: Collection[Session]) -> None:
        self.audience = audience
        self.skip = skip
        self.then: Callable[[], None] | None = None  # for when it is written
        self.packets: list[Packet] = []
        self.volatile = 0  # events
        self._firm: list[Packet] | None = None
        self._data: bytes | None = None
        self._deflated: bytes | None = None

    def add(self, packets: Sequence[Packet], volatile: bool) -> None:
        """Append the packets of an event."""
        if volatile:
            self.volatile += 1
            if self._firm is None:
                self._firm = self.packets.copy()
        elif self._firm is not None:
            self._firm += packets
        self.packets += packets

    def without_volatile(self) -> Segment:
        """What of it must reach even who is behind."""
        firm = Segment(self.audience, self.skip)
        firm.packets = self._firm if self._firm is not None else self.packets
        return firm

    def data(self) -> bytes:
        """All of it as WebSocket frames."""
        if self._data is None:
            packets = self.packets
            self._data = (
                packets[0].frame() if len(packets) == 1 else b"".join([each.frame() for each in packets])
            )
        return self._data

    def deflated(self) -> bytes:
        """The same for a client that takes compressed frames."""
        if self._deflated is None:
            self._deflated = b"".join([each.deflated() for each in self.packets])
        return self._deflated


class Fanout:
    """What waits to be written, in its order. All methods are for the hub's own thread."""

    def __init__(self) -> None:
        self._segments: deque[Segment] = deque()
        # The segment that is under way, to how many of its audience, and whether straight to the sockets.
        self._current: Segment | None = None
        self._done = 0
        self._direct = False
        # Clients with segments of their own to be written.
        self._dirty: deque[Session] = deque()
        self._timer: Any = None

    def send(
        self,
        audience: Audience,
        packets: Sequence[Packet],
        skip: Collection[Session] = (),
        volatile: bool = False,
    ) -> None:
        """Note down what clients get at the end of this turn.

        :param audience: the clients; the same object again means the same clients again.
        :param packets: of one event, or of none.
        :param skip: those of them who do not get it.
        :param volatile: who is behind need not get it.
        """
        segments = self._segments
        last = segments[-1] if segments else None
        if last is None or last.audience is not audience or last.skip != skip or last.then is not None:
            last = Segment(audience, skip)
            segments.append(last)
            self._wake()
        last.add(packets, volatile)

    def finish(self, session: Session, packets: Sequence[Packet], then: Callable[[], None]) -> None:
        """Note down what a client gets last, and what to do after it."""
        segment = Segment((session,), ())
        segment.add(packets, volatile=False)
        segment.then = then
        self._segments.append(segment)
        self._wake()

    @property
    def busy(self) -> bool:
        """Whether something waits to be written for the first time."""
        return bool(self._segments or self._dirty or self._current is not None)

    def _wake(self) -> None:
        if self._timer is None:
            # 0 s: in the loop's next turn, after it has looked for incoming data.
            self._timer = gevent.get_hub().loop.timer(0.0)
        if not self._timer.active:
            self._timer.start(self._turn)

    def _turn(self) -> None:
        """Runs in the hub."""
        self._timer.stop()
        try:
            self._write_until(time.perf_counter() + SLICE_SECONDS)
        except Exception:
            logger.exception("could not write to clients")
        if self.busy:
            self._wake()

    def _write_until(self, deadline: float) -> None:
        # To collect costs little beside writing; but it may not keep clients from ever being written to.
        collect_until = deadline - SLICE_SECONDS / 2
        while (now := time.perf_counter()) < deadline:
            if self._dirty and (now > collect_until or not (self._current or self._segments)):
                for _ in range(min(CHUNK, len(self._dirty))):
                    self._dirty.popleft().write_outbox()
            elif self._current is not None:
                self._take_chunk(self._current)
            elif self._segments:
                self._current, self._done = self._segments.popleft(), 0
                self._direct = not self._segments and not self._dirty
            else:
                return

    def _take_chunk(self, segment: Segment) -> None:
        """Go on with a segment."""
        chunk = segment.audience[self._done : self._done + CHUNK]
        self._done += len(chunk)
        if self._done >= len(segment.audience):
            self._current = None
        if self._direct:
            self._write_chunk(segment, chunk)
            return
        skip = segment.skip
        for session in chunk:
            if skip and session in skip:
                continue
            if session.outbox:
                session.outbox.append(segment)
            else:
                session.outbox = [segment]
                self._dirty.append(session)

    def _write_chunk(self, segment: Segment, chunk: Audience) -> None:
        """Write a segment to clients, straight to their sockets where nothing waits before it."""
        data = segment.data()
        size = len(data)
        skip = segment.skip
        for session in chunk:
            if skip and session in skip:
                continue
            send = session.direct
            if send is None:
                session.outbox = [segment]
                session.write_outbox()
                continue
            try:
                sent = send(data)
            except BlockingIOError:
                session.keep(data)
            except OSError:
                session.lost()
            else:
                if sent != size:
                    session.keep(memoryview(data)[sent:])
