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
from collections.abc import Collection, Sequence
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

    __slots__ = ("_data", "_deflated", "_firm", "audience", "packets", "skip", "volatile")

    def __init__(self, audience: Audience, skip: Collection[Session]) -> None:
        self.audience = audience
        self.skip = skip
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
        self._segments: list[Segment] = []
        # A single segment that is being written, and to how many of its audience it was.
        self._current: Segment | None = None
        self._written = 0
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
        if last is None or last.audience is not audience or last.skip != skip:
            last = Segment(audience, skip)
            segments.append(last)
            if len(segments) == 1:
                self._wake()
        last.add(packets, volatile)

    @property
    def busy(self) -> bool:
        """Whether something waits to be written for the first time."""
        return bool(self._segments or self._dirty or self._current is not None)

    def settle(self) -> None:
        """Give every client what is for it, so that it can be written or counted alone."""
        rest = self._rest_of_current()
        for segment in (*rest, *self._segments):
            for session in segment.audience:
                if session not in segment.skip:
                    if not session.outbox:
                        self._dirty.append(session)
                        session.outbox = [segment]
                    else:
                        session.outbox.append(segment)
        self._segments.clear()

    def _rest_of_current(self) -> list[Segment]:
        current = self._current
        if current is None:
            return []
        self._current = None
        rest = Segment(current.audience[self._written :], current.skip)
        rest.packets, rest.volatile, rest._firm = current.packets, current.volatile, current._firm
        rest._data, rest._deflated = current._data, current._deflated
        return [rest]

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
            self._write_for(SLICE_SECONDS)
        except Exception:
            logger.exception("could not write to clients")
        if self.busy:
            self._wake()

    def _write_for(self, seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        if self._segments:
            if self._current is None and not self._dirty and len(self._segments) == 1:
                self._current, self._written = self._segments.pop(), 0
            else:
                self.settle()
        while self._current is not None:
            self._write_chunk(self._current)
            if time.perf_counter() > deadline:
                return
        while self._dirty:
            for _ in range(min(CHUNK, len(self._dirty))):
                session = self._dirty.popleft()
                segments, session.outbox = session.outbox, None
                if segments:
                    _write(session, segments)
            if time.perf_counter() > deadline:
                return

    def _write_chunk(self, segment: Segment) -> None:
        """Write a segment to the next clients, straight to their sockets where nothing waits before it."""
        begin = self._written
        chunk = segment.audience[begin : begin + CHUNK]
        self._written = begin + len(chunk)
        if self._written >= len(segment.audience):
            self._current = None
        data = segment.data()
        size = len(data)
        skip = segment.skip
        for session in chunk:
            if skip and session in skip:
                continue
            send = session.direct
            if send is None:
                _write(session, [segment])
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


def _write(session: Session, segments: list[Segment]) -> None:
    """Write to one client; whatever is wrong there does not concern the others."""
    try:
        session.write(segments)
    except Exception:
        logger.exception("could not write to %s", session.sid)
        session.lost()
