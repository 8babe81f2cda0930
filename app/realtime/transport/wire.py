"""A WebSocket on the loop: a socket, two watchers, and what waits to be written. It holds no greenlet.

All methods run in the hub or in a greenlet, and none waits. What arrives goes to the owner as whole messages;
what is written goes to the kernel at once, or is kept until there is room.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import gevent
from websockets.extensions import Extension
from websockets.frames import CloseCode

from app.realtime.transport.incoming import Incoming, goodbye
from app.realtime.transport.sockets import AnySocket

logger = logging.getLogger(__name__)

# Read at once. A flood of the smallest frames gives 2,700 packets then, some 6 ms of work.
READ_BYTES = 16 * 1024
# In the middle of a large message.
READ_MORE_BYTES = 64 * 1024
# For the other side's answer to the end of a WebSocket.
GOODBYE_SECONDS = 1.0
# So often it may take as long again while it still reads what was sent to it.
GOODBYE_TIMES = 30

READ, WRITE = 1, 2


class Owner(Protocol):
    """Whose wire it is."""

    def received(self, wire: Wire, message: str | bytes) -> None:
        """Take a message."""

    def congested(self, wire: Wire) -> None:
        """Something waits to be written."""

    def drained(self, wire: Wire) -> None:
        """Nothing waits to be written any more."""

    def ended(self, wire: Wire) -> None:
        """Nothing comes any more."""


class Wire:
    """A WebSocket connection after its handshake.

    :param sock: taken over from the web server.
    :param owner: whose it is.
    :param max_bytes: of a message that comes.
    :param max_fragments: of how many frames a message may consist.
    :param extensions: what was agreed on in the handshake.
    """

    __slots__ = (
        "_backlog",
        "_ended",
        "_extensions",
        "_finishing",
        "_incoming",
        "_late_reply",
        "_max_bytes",
        "_max_fragments",
        "_reader",
        "_writer",
        "buffered",
        "owner",
        "sock",
    )

    def __init__(
        self,
        sock: AnySocket,
        owner: Owner,
        max_bytes: int,
        max_fragments: int,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self.sock = sock
        self.owner: Owner | None = owner
        self.buffered = 0  # bytes that wait to be written
        self._max_bytes = max_bytes
        self._max_fragments = max_fragments
        self._extensions = extensions
        # Only while a message is incomplete.
        self._incoming: Incoming | None = None
        self._backlog: deque[bytes | memoryview] | None = None
        self._late_reply = b""
        self._finishing = False
        self._ended = False
        self._writer: Any = None
        self._reader: Any = gevent.get_hub().loop.io(sock.fileno(), READ)
        self._reader.start(self._readable)

    # Writing.

    @property
    def deflates(self) -> bool:
        """Whether the client takes compressed frames."""
        return bool(self._extensions)

    def write(self, data: bytes) -> None:
        """Write, or keep what the kernel does not take now."""
        if self._ended or self._finishing:
            return
        if self._backlog:
            self.keep(data)
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            self.keep(data)
        except OSError:
            self.lost()
        else:
            if sent != len(data):
                self.keep(memoryview(data)[sent:])

    def write_all(self, parts: list[bytes]) -> None:
        """Write parts at once; what several clients have to wait for is kept once for all of them."""
        if len(parts) == 1 or self._backlog or self._ended or self._finishing:
            for part in parts:
                self.write(part)
            return
        try:
            sent = self.sock.send(b"".join(parts))
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lost()
            return
        for part in parts:
            if sent < len(part):
                self.keep(memoryview(part)[sent:] if sent else part)
            sent = max(sent - len(part), 0)

    def keep(self, data: bytes | memoryview) -> None:
        """Write it as soon as there is room."""
        if self._backlog is None:
            self._backlog = deque()
            if self.owner is not None:
                self.owner.congested(self)
        self._backlog.append(data)
        self.buffered += len(data)
        if self._writer is None:
            self._writer = gevent.get_hub().loop.io(self.sock.fileno(), WRITE)
        if not self._writer.active:
            self._writer.start(self._writable)

    def _writable(self) -> None:
        backlog = self._backlog
        try:
            while backlog:
                data = backlog[0]
                sent = self.sock.send(data)
                self.buffered -= sent
                if sent != len(data):
                    backlog[0] = memoryview(data)[sent:]
                    return
                backlog.popleft()
        except BlockingIOError:
            return
        except OSError:
            self.lost()
            return
        self._stop_writing()
        if self._late_reply:
            reply, self._late_reply = self._late_reply, b""
            self.write(reply)
        if self._finishing:
            self._half_close()
        elif self.owner is not None:
            self.owner.drained(self)

    def _stop_writing(self) -> None:
        self._backlog = None
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
            self._writer = None

    # Reading.

    def pause(self) -> None:
        """Read no more until `resume`."""
        if not self._ended:
            self._reader.stop()

    def resume(self) -> None:
        """Read again."""
        if not self._ended and not self._reader.active:
            self._reader.start(self._readable)

    def _readable(self) -> None:
        incoming = self._incoming
        large = incoming is not None and incoming.waiting_bytes > READ_BYTES
        try:
            data = self.sock.recv(READ_MORE_BYTES if large else READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.lost()
            return
        if not data:
            self.lost()
        elif not self._finishing:
            self.feed(data)

    def feed(self, data: bytes) -> None:
        """Take in what came over the socket."""
        incoming = self._incoming
        if incoming is None:
            incoming = self._incoming = Incoming(self._max_bytes, self._max_fragments, self._extensions)
        for message in incoming.feed(data):
            if self.owner is None:
                return
            self.owner.received(self, message)
        if incoming.replies:
            replies, incoming.replies = incoming.replies, []
            # Who pings and does not read has its latest ping answered, when it reads again (5.5.3).
            if incoming.closed or not self._backlog:
                self.write(b"".join(replies))
            else:
                self._late_reply = replies[-1]
            if incoming.closed:
                self._goodbye()
        if incoming.idle or self._ended:
            self._drop_incoming()

    def _drop_incoming(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.close()

    # Ending.

    def finish(self, code: CloseCode = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Say goodbye after what waits to be written, and end then."""
        if self._ended or self._finishing:
            return
        self.write(goodbye(code, reason))
        self._goodbye()

    def _goodbye(self) -> None:
        if self._finishing or self._ended:
            return
        self._finishing = True
        self._tell_owner()
        self.resume()
        # Somebody who has vanished never answers, and somebody who stalls never reads it.
        self._be_patient()
        if not self._backlog:
            self._half_close()

    def _be_patient(self, times: int = 1) -> None:
        timer = gevent.get_hub().loop.timer(GOODBYE_SECONDS)
        # `update`: after a long turn the loop's clock is behind, and the time would be over at once.
        timer.start(self._late, timer, self.buffered, times, update=True)

    def _late(self, timer: Any, buffered: int, times: int) -> None:
        timer.close()
        if self.buffered < buffered and times < GOODBYE_TIMES:
            # It reads what is left, or has just read the last of it.
            self._be_patient(times + 1)
        else:
            self.lost()

    def _half_close(self) -> None:
        # To close at once would reset the connection, and what was written last might be lost.
        try:
            self.sock.shutdown_writing()
        except OSError:
            self.lost()

    def lost(self) -> None:
        """End at once, without a word."""
        if self._ended:
            return
        self._ended = True
        self._stop_writing()
        self._drop_incoming()
        self.buffered = 0
        self._reader.stop()
        self._reader.close()
        self.sock.close()
        self._tell_owner()

    def _tell_owner(self) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.ended(self)
