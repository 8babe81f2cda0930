"""An Engine.IO session (protocol revision 4): a client over long polling, a WebSocket, or both in turn.

new --connect--> polling --probe--> upgrading --5--> websocket
                    |         '--- fails or is late ---> polling
                    '-- close, ping timeout, transport lost, slow client --> closed
"""

from __future__ import annotations

import base64
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent

from app.realtime.transport.heartbeat import Heartbeat
from app.realtime.transport.inbox import Handlers, Inbox
from app.realtime.transport.outgoing import (
    CLOSE,
    CLOSE_PACKET,
    MESSAGE,
    NOOP,
    NOOP_PACKET,
    PONG,
    UPGRADE,
    Packet,
)
from app.realtime.transport.polling import Polling
from app.realtime.transport.upgrade import Upgrade
from app.realtime.transport.wire import Wire

if TYPE_CHECKING:
    from app.realtime.transport.engine import Engine
    from app.realtime.transport.fanout import Segment

logger = logging.getLogger(__name__)

# Disconnect handlers get it as their reason, beside those of the library.
SLOW_CLIENT = "slow client"

# How often a polling client that waits for its handlers is looked after.
CONGESTED_SECONDS = 0.02


class Unanswerable(Exception):
    """A request that a session cannot answer; it is answered with 400."""


class Session:
    """What `engineio.Server.sockets` has for each client.

    :param engine: the server.
    :param sid: the session's id.
    """

    __slots__ = (
        "_handlers",
        "_heartbeat",
        "_inbox",
        "_polling",
        "_session",
        "_upgrade",
        "_wire",
        "closed",
        "closing",
        "connected",
        "direct",
        "homeless_since",
        "is_expected",
        "outbox",
        "server",
        "sid",
        "upgraded",
    )

    def __init__(self, engine: Engine, sid: str) -> None:
        self.server = engine
        self.sid = sid
        self.connected = False
        self.upgraded = False  # on a WebSocket, be it from the beginning
        self.closing = False
        self.closed = False
        # Writes to the socket at once; None: not now, or not at all.
        self.direct: Any = None
        # What is to be written in this turn; see fanout.py.
        self.outbox: list[Segment] | None = None
        self._wire: Wire | None = None
        self._upgrade: Upgrade | None = None
        self._polling: Polling | None = None
        self._inbox: Inbox | None = None
        self._handlers: Handlers | None = None
        self._session: dict[str, Any] | None = None
        # Since when it has been in no namespace; whether the clock will look.
        self.homeless_since = 0.0
        self.is_expected = False
        self._heartbeat: Heartbeat | None = None

    @property
    def session(self) -> dict[str, Any]:
        """What the application keeps here."""
        if self._session is None:
            self._session = {}
        return self._session

    @session.setter
    def session(self, value: dict[str, Any]) -> None:
        self._session = value

    @property
    def unfetched(self) -> bool:
        """Whether something waits until the client polls."""
        return bool(self.outbox) or (self._polling is not None and not self._polling.empty)

    @property
    def buffered(self) -> int:
        """How much waits for the client, in bytes."""
        waiting = self._polling.size if self._polling is not None else 0
        return waiting + (self._wire.buffered if self._wire is not None else 0)

    # To the client.

    def write_outbox(self) -> None:
        """Write what was collected in this turn; whatever is wrong with it does not concern other clients."""
        segments, self.outbox = self.outbox or [], None
        try:
            if segments and not self.closed:
                self._write(segments)
        except Exception:
            logger.exception("could not write to %s", self.sid)
            self.lost()
        for segment in segments:
            if segment.then is not None:
                segment.then()

    def _write(self, segments: list[Segment]) -> None:
        """Write segments, or keep them, or drop what may be dropped."""
        server = self.server
        behind = self.buffered
        # What waits from before counts: somebody who reads may get one large message.
        if behind > server.options.buffer_bytes:
            self.too_slow(behind)
            return
        if behind > server.options.volatile_bytes and any(segment.volatile for segment in segments):
            server.volatile_dropped += sum(segment.volatile for segment in segments)
            segments = [segment.without_volatile() for segment in segments]
        wire = self._wire
        if wire is None or not self.upgraded:
            self._enqueue([packet for segment in segments for packet in segment.packets])
            return
        wire.write_all([segment.deflated() if wire.deflates else segment.data() for segment in segments])

    def keep(self, data: bytes | memoryview) -> None:
        """Write the rest of something as soon as there is room."""
        if self._wire is not None:
            self._wire.keep(data)

    def congested(self, wire: Wire) -> None:
        """Something waits now, and all that follows must wait behind it (for `Wire`)."""
        self.direct = None

    def lost(self) -> None:
        """The socket is broken."""
        self.direct = None
        if self._wire is not None:
            self._wire.lost()

    def too_slow(self, behind: int) -> None:
        """End it, because so many bytes wait for it."""
        if self.closing or self.server.ending.get(self) == SLOW_CLIENT:
            return
        self.server.slow_disconnects += 1
        logger.warning("%s reads too slowly: %d bytes wait for it, closing", self.sid, behind)
        self.server.ending[self] = SLOW_CLIENT
        if self._polling is not None:
            self._polling.clear()
        self.lost()
        self.close_soon(SLOW_CLIENT)

    def drained(self, wire: Wire) -> None:
        """Nothing waits any more (for `Wire`)."""
        if self.upgraded and not (wire.buffered or wire.deflates or self.closing):
            self.direct = wire.sock.send

    # From the client.

    def received(self, wire: Wire, message: str | bytes) -> None:
        """Take a message of a WebSocket (for `Wire`)."""
        if not self.take(message):
            self.end(self.server.reason.TRANSPORT_ERROR)
            wire.finish()

    def take(self, packet: str | bytes) -> bool:
        """Take a packet. :returns: whether it is one that a client may send."""
        if isinstance(packet, bytes):
            self._put(packet)
            return True
        kind = packet[:1]
        if kind == MESSAGE:
            self._put(packet[1:])
        elif kind == PONG:
            if self._heartbeat is not None:
                self._heartbeat.answered(time.monotonic())
        elif kind == CLOSE:
            self.end(self.server.reason.CLIENT_DISCONNECT)
        elif kind == "b":
            try:
                self._put(base64.b64decode(packet[1:], validate=True))
            except ValueError:
                return False
        else:
            return kind in (UPGRADE, NOOP)
        return True

    def _put(self, message: str | bytes | None) -> None:
        """Let the handlers have a message; None: the client is gone."""
        if self.closing:
            return
        if self._inbox is None:
            self._inbox = Inbox(self)
        self._inbox.put(message)
        if self._wire is not None and self._inbox.full:
            self._wire.pause()

    def resume(self) -> None:
        """Read on (for `Inbox`)."""
        if self._wire is not None:
            self._wire.resume()

    def handled(self, inbox: Inbox) -> None:
        """All messages are handled (for `Inbox`)."""
        self._inbox = None
        self.resume()

    @property
    def handlers(self) -> Handlers:
        """The asynchronous handlers of its events."""
        self._handlers = self._handlers or Handlers(self.server)
        return self._handlers

    # WebSockets.

    def open(self, wire: Wire) -> None:
        """Begin on a WebSocket, which has the handshake behind it."""
        self._wire = wire
        self.connected = self.upgraded = True
        self.drained(wire)

    def failed(self) -> None:
        """The connection could not be taken over."""
        self.close_soon(self.server.reason.TRANSPORT_ERROR)

    def open_upgrade(self) -> Upgrade | None:
        """Begin to change to a WebSocket; None: that may not be, or not again."""
        if not self.connected or self.upgraded or self._upgrade or self.closing:
            return None
        self._upgrade = Upgrade(self)
        return self._upgrade

    def probed(self) -> None:
        """The client is about to change, and must stop to poll (for `Upgrade`)."""
        if self._polling is not None:
            self._polling.release()

    def not_upgraded(self) -> None:
        """Polling goes on (for `Upgrade`)."""
        self._upgrade = None

    def upgrade_to(self, wire: Wire) -> None:
        """Go on with a WebSocket (for `Upgrade`)."""
        self._upgrade = None
        self._wire = wire
        self.upgraded = True
        polling, self._polling = self._polling, None
        if polling is not None:
            packets = polling.take()
            if packets:
                wire.write(b"".join([each.deflated() if wire.deflates else each.frame() for each in packets]))
            polling.release()
        self.drained(wire)

    @property
    def upgrading(self) -> bool:
        """Whether the client is changing, and is sent nothing."""
        return self._upgrade is not None and self._upgrade.probed

    def ended(self, wire: Wire) -> None:
        """The WebSocket came to its end (for `Wire`)."""
        self.direct = None
        self.end(self.server.reason.TRANSPORT_CLOSE)

    # Long polling.

    @property
    def polling(self) -> Polling:
        """What waits for the client to poll."""
        if self._polling is None:
            self._polling = Polling()
        return self._polling

    def _enqueue(self, packets: list[Packet]) -> None:
        self.polling.put(packets)
        if not self.upgrading:
            self.polling.release()

    def poll(self, at_most: int | None, descriptor: int | None) -> list[Packet]:
        """Wait for packets, and fetch them.

        :param at_most: how many; None: all.
        :param descriptor: of the connection that waits, to see whether it is given up.
        :raises Unanswerable: while another request waits; both are refused then, and the session ends.
        """
        polling = self.polling
        if polling.waiting:
            self.close_soon(self.server.reason.TRANSPORT_ERROR, abort=False)
            raise Unanswerable("two requests poll at the same time")
        waits = polling.empty and not (self.upgrading or self.upgraded or self.closed)
        if waits and not polling.wait(descriptor):
            self.end(self.server.reason.TRANSPORT_CLOSE)
        if self.upgrading or self.upgraded:
            return [NOOP_PACKET]
        packets = polling.fetch(at_most)
        if self.closed and not polling.empty:
            self.server.keep(self.sid, polling.take())
        return packets

    def post(self, packets: list[str]) -> bool:
        """Take the packets of a request. :returns: whether they are some.

        Who posts faster than the handlers run waits for the answer.
        """
        if self.closing or not all(map(self.take, packets)):
            return False
        while self._inbox is not None and self._inbox.full and not self.closing:
            gevent.sleep(CONGESTED_SECONDS)
        return True

    # Time.

    def start(self, now: float) -> None:
        """Begin to ping, and to wait for a namespace."""
        self._heartbeat = Heartbeat(self, now)
        self.server.homeless.expect(self, now)

    # The end.

    def end(self, reason: str) -> None:
        """End after what has come from the client is handled; returns at once."""
        if not self.closing and self not in self.server.ending:
            self.server.ending[self] = reason
            self._put(None)

    def close_soon(self, reason: str, abort: bool = True) -> None:
        """End now, also while a handler does not come back; for the hub."""
        gevent.spawn(self.close, wait=False, abort=abort, reason=reason)

    def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """End the session: runs the disconnect handlers, and says goodbye at the end of the loop's turn.

        :param wait: is here for the library's sake.
        :param abort: without a CLOSE packet, after which python-socketio's clients would never come back.
        :param reason: for the handlers.
        """
        if self.closing or self.closed:
            return
        self.closing = True
        server = self.server
        server.ending.pop(self, None)
        reason = reason or server.reason.SERVER_DISCONNECT
        keeps = reason == server.reason.SERVER_DISCONNECT
        server.busy += 1
        try:
            server._trigger_event("disconnect", self.sid, reason, run_async=False)
        finally:
            server.busy -= 1
            # After all that it was sent before.
            self.direct = None
            server.fanout.finish(self, (), partial(self._end_transports, abort, keeps))

    def _end_transports(self, abort: bool, keeps: bool) -> None:
        """Say goodbye; `keeps`: a client that polls may fetch what it was sent, and that, later."""
        if self._wire is not None:
            if not abort:
                self._wire.write(CLOSE_PACKET.frame())
            self._wire.finish()
        elif not abort:
            self._enqueue([CLOSE_PACKET])
        if self._upgrade is not None:
            self._upgrade.end()
        self.closed = True
        # Nothing of it refers to it any more: the garbage collector may not look.
        if self._heartbeat is not None:
            self._heartbeat.stop()
        self._wire = self._heartbeat = None
        if self._polling is not None:
            self._polling.release()
        self.server.forget(self)
        if keeps and not abort and self._polling is not None and not self._polling.waiting:
            self.server.keep(self.sid, self._polling.take())
