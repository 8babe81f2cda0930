"""What this process has emitted: a log of messages, with a cursor for each broker. Pure; time is passed in.

            retained            |  back?  |        pending
    ... 41 42 43 44 45 46 47 48 | 49 50 51| 52 53 54 55 56
    ^first              returned^ accepted^             last^

1. A message gets the next seq. It is *pending* until a broker has accepted it, and *retained* afterwards, to
   be sent again to whoever missed it.
2. Each broker has a cursor: the next seq to hand to it. It moves when the broker accepts.
3. A process hears its own messages too. `returned` is the seq up to which all came back, over any broker.
4. A broker that begins to be used, or works again after a failure, starts behind `returned`: what the last
   broker took and never brought back is sent again. Receivers recognise what they had already.
5. What is dropped (overflow, age, attempts) leaves a hole in the numbers. Holes are told to receivers, who
   would otherwise wait for what cannot come. What is older than `first` is a hole too.
6. The message after `accepted` is pending, never a hole: `accepted` passes over those.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# Two brokers, or a broker's two connections, may turn the order around for so long.
OVERTAKEN_SECONDS = 0.2
RESEND_LAST_SECONDS = 5.0

Cause = Literal["overflow", "age", "attempts"]


class Full(Exception):
    """There is no room for another pending message."""


class Run(NamedTuple):
    """Consecutive messages, or, with `bodies` None, a hole of that extent."""

    first: int
    last: int
    bodies: list[bytes] | None


class _Entry(NamedTuple):
    at: float
    body: bytes | None  # None: dropped


_HOLE = _Entry(0.0, None)


@dataclass(slots=True)
class Limits:
    """How much to keep, as in QueueOptions."""

    max_messages: int
    max_bytes: int
    max_age_seconds: float
    retention_messages: int
    retention_bytes: int


@dataclass(slots=True)
class _Cursor:
    next: int
    attempts: int = 0  # failures in a row at `next`


@dataclass(slots=True)
class Outbox:
    """The messages of one origin.

    :param origin: whose they are.
    :param of_node: it has clients, and they got their messages when they were emitted.
    """

    origin: str
    limits: Limits
    of_node: bool = True
    _log: list[_Entry] = field(default_factory=list)
    _skip: int = 0  # so many at the head of _log are gone; the list is cut now and then
    first: int = 1  # the oldest seq that is kept
    accepted: int = 0  # the newest seq that a broker accepted
    returned: int = 0  # up to here everything came back
    _later: list[tuple[int, int]] = field(default_factory=list)  # ranges beyond that came back too
    _cursors: dict[str, _Cursor] = field(default_factory=dict)
    _pending: int = 0  # messages that are not dropped, above `accepted`
    _pending_bytes: int = 0
    _retained_bytes: int = 0
    _holes: deque[tuple[int, Cause]] = field(default_factory=deque)  # dropped, and not come back; in order
    _moved_at: float = 0.0  # when `returned` moved, or what did not come back was sent again
    _moved_to: int = 0
    _wait_seconds: float = 0.0
    dropped: Counter[str] = field(default_factory=lambda: Counter(overflow=0, age=0, attempts=0))
    dropped_seqs: list[int] = field(default_factory=list)  # since the owner last cleared it

    # Emitting.

    @property
    def last(self) -> int:
        """The newest seq."""
        return self.first + len(self._log) - self._skip - 1

    def append(self, body: bytes, now: float) -> int:
        """Add a message and return its seq.

        :raises Full: when there is no room; `drop_oldest` makes some.
        """
        if self.full(len(body)):
            raise Full
        self._log.append(_Entry(now, body))
        self._pending += 1
        self._pending_bytes += len(body)
        return self.last

    def full(self, size: int) -> bool:
        """Whether there is no room for a message of so many bytes; for a single one there always is."""
        limits = self.limits
        crowded = self._pending >= limits.max_messages or self._pending_bytes + size > limits.max_bytes
        return crowded and self._pending > 0

    def drop_oldest(self) -> int:
        """Give up the oldest pending message and return its seq."""
        if not self._pending:
            raise LookupError("nothing is pending")
        seq = self.accepted + 1
        self._drop(seq, "overflow")
        return seq

    def restore(self, messages: Iterable[tuple[int, float, bytes]]) -> None:
        """Fill an empty outbox with what an earlier process left: (seq, emitted at, body), by seq."""
        for seq, at, body in messages:
            if not self._log:
                self.first, self.accepted, self.returned = seq, seq - 1, seq - 1
            self._log.extend(_Entry(at, None) for _ in range(seq - self.last - 1))
            self._log.append(_Entry(at, body))
            self._pending += 1
            self._pending_bytes += len(body)

    # Publishing.

    def join(self, broker: str) -> None:
        """Let a broker begin behind what has come back."""
        self._cursors[broker] = _Cursor(max(self.returned + 1, self.first))

    def leave(self, broker: str) -> None:
        """Hand nothing more to a broker."""
        self._cursors.pop(broker, None)

    def cursor(self, broker: str) -> int:
        """The next seq for a broker."""
        return self._cursors[broker].next

    def take(self, broker: str, max_messages: int, max_bytes: int) -> Run | None:
        """Look at what a broker gets next, at least one message if there is one; None: nothing."""
        cursor = self._cursors.get(broker)
        if cursor is None:
            return None
        return next(self.read(cursor.next, self.last, max_messages, max_bytes), None)

    def confirm(self, broker: str, upto: int) -> None:
        """A broker has accepted everything up to a seq."""
        cursor = self._cursors.get(broker)
        if cursor and cursor.next <= upto:
            cursor.next = upto + 1
            cursor.attempts = 0
        self._accept(min(upto, self.last))

    def refuse(self, broker: str, upto: int, max_attempts: int) -> list[int]:
        """A broker did not accept what it got, from its cursor up to a seq.

        :param max_attempts: give these messages up after so many times; 0: never.
        :returns: the seqs that were given up.
        """
        cursor = self._cursors.get(broker)
        if cursor is None:
            return []
        cursor.attempts += 1
        if not max_attempts or cursor.attempts < max_attempts:
            return []
        seqs = range(max(cursor.next, self.accepted + 1), min(upto, self.last) + 1)
        given_up = [seq for seq in seqs if self._entry(seq).body is not None]
        for seq in given_up:
            self._drop(seq, "attempts")
        cursor.attempts = 0
        return given_up

    def came_back(self, first: int, last: int, *, gone: bool = False) -> None:
        """Messages of ours were heard.

        :param gone: it was only the note that they exist no more.
        """
        last = min(last, self.last)
        if first <= self.accepted + 1:
            # A broker that brings it has accepted it, even if its answer was lost.
            self._accept(last)
        if not gone and self._holes:
            self._undrop(first, last)
        if last <= self.returned:
            return
        if first > self.returned + 1:
            if (first, last) not in self._later:
                self._later.append((first, last))
            return
        self.returned = last
        self._absorb()

    def _undrop(self, first: int, last: int) -> None:
        """What was on its way when it was dropped has arrived after all."""
        for hole in [hole for hole in self._holes if first <= hole[0] <= last]:
            self._holes.remove(hole)
            self.dropped[hole[1]] -= 1

    def _absorb(self) -> None:
        """Move `returned` over what had come back before."""
        if self._later:
            for low, high in sorted(self._later):
                if low <= self.returned + 1:
                    self.returned = max(self.returned, high)
            self._later = [(low, high) for low, high in self._later if high > self.returned]
        while self._holes and self._holes[0][0] <= self.returned:
            self._holes.popleft()

    def stuck(self, now: float, patience_seconds: float) -> bool:
        """Whether what brokers took should be sent again, because it does not come back.

        True at once when later messages came back, else after `patience_seconds`; then less and less often.
        """
        if self.returned >= self.accepted or self.returned > self._moved_to:
            self._moved_to, self._moved_at, self._wait_seconds = self.returned, now, 0.0
            return False
        patience_seconds = OVERTAKEN_SECONDS if self._later else patience_seconds
        if now - self._moved_at < max(patience_seconds, self._wait_seconds):
            return False
        self._wait_seconds = min(RESEND_LAST_SECONDS, 2 * max(patience_seconds, self._wait_seconds))
        self._moved_at = now
        return True

    # Repairing.

    def read(self, first: int, last: int, max_messages: int, max_bytes: int) -> Iterator[Run]:
        """What there is of a range, as runs of messages and of holes.

        :param max_messages: of one run; so is `max_bytes`, which a single message may exceed.
        """
        last = min(last, self.last)
        if first < self.first and first <= last:
            yield Run(first, min(last, self.first - 1), None)
        first = max(first, self.first)
        while first <= last:
            bodies: list[bytes] = []
            size = 0
            seq = first
            hole = self._entry(seq).body is None
            while seq <= last:
                body = self._entry(seq).body
                if (body is None) != hole:
                    break
                if body is not None:
                    size += len(body)
                    if bodies and (len(bodies) >= max_messages or size > max_bytes):
                        break
                    bodies.append(body)
                seq += 1
            yield Run(first, seq - 1, None if hole else bodies)
            first = seq

    def first_since(self, at: float) -> int:
        """The seq of the first message that was emitted at a time or later."""
        return self.first + bisect_left(self._log, at, self._skip, key=lambda entry: entry.at) - self._skip

    # Keeping within the bounds.

    def trim(self, now: float) -> None:
        """Drop what is too old, and forget what need not be retained."""
        limits = self.limits
        oldest = now - limits.max_age_seconds
        while self._pending and self._entry(self.accepted + 1).at < oldest:
            self._drop(self.accepted + 1, "age")
        while self.first <= self.accepted:
            entry = self._log[self._skip]
            if (
                entry.at >= oldest
                and self.accepted - self.first < limits.retention_messages
                and self._retained_bytes <= limits.retention_bytes
            ):
                break
            self._retained_bytes -= len(entry.body or b"")
            self._log[self._skip] = _HOLE
            self._skip += 1
            self.first += 1
        if self._skip > 1000 and self._skip * 2 > len(self._log):  # noqa: PLR2004 - cutting costs a copy
            del self._log[: self._skip]
            self._skip = 0
        if self.returned < self.first - 1:
            self.came_back(self.returned + 1, self.first - 1, gone=True)

    # What there is to tell.

    @property
    def pending(self) -> int:
        """Messages that no broker has accepted."""
        return self._pending

    @property
    def pending_bytes(self) -> int:
        """Their size."""
        return self._pending_bytes

    @property
    def unreturned(self) -> int:
        """Messages that have not come back, and may yet."""
        return self.last - self.returned - len(self._holes)

    @property
    def retained(self) -> int:
        """Messages kept for repair."""
        return max(0, self.accepted - self.first + 1)

    @property
    def retained_bytes(self) -> int:
        """Their size."""
        return self._retained_bytes

    def oldest_age_seconds(self, now: float) -> float:
        """The age of the oldest pending message; 0 when there is none."""
        return max(0.0, now - self._entry(self.accepted + 1).at) if self._pending else 0.0

    def _entry(self, seq: int) -> _Entry:
        return self._log[self._skip + seq - self.first]

    def _accept(self, upto: int) -> None:
        """Count pending messages as retained."""
        for seq in range(self.accepted + 1, upto + 1):
            body = self._entry(seq).body
            if body is not None:
                self._pending -= 1
                self._pending_bytes -= len(body)
                self._retained_bytes += len(body)
        self.accepted = max(self.accepted, upto)
        self._pass_holes()

    def _pass_holes(self) -> None:
        while self.accepted < self.last and self._entry(self.accepted + 1).body is None:
            self.accepted += 1

    def _drop(self, seq: int, cause: Cause) -> None:
        entry = self._entry(seq)
        size = len(entry.body or b"")
        self._log[self._skip + seq - self.first] = _Entry(entry.at, None)
        self._pending -= 1
        self._pending_bytes -= size
        self.dropped[cause] += 1
        self.dropped_seqs.append(seq)
        self._holes.append((seq, cause))
        self._pass_holes()
