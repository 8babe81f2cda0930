"""The change of a session from long polling to a WebSocket, while polling goes on.

client: 2probe -> server: 3probe, and an answer to the poll that waits
client: 5      -> the session is on the WebSocket
anything else, or too late: the WebSocket ends, and polling goes on
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.realtime.transport.outgoing import PING, PROBE_PACKET, UPGRADE
from app.realtime.transport.wire import Wire

if TYPE_CHECKING:
    from app.realtime.transport.session import Session


class Upgrade:
    """A WebSocket that a session may change to; it is the wire's owner until then.

    :param session: whose it is.
    """

    __slots__ = ("_session", "probed", "wire")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.wire: Wire | None = None
        self.probed = False

    def open(self, wire: Wire) -> None:
        """Begin, after the handshake."""
        self.wire = wire
        options = self._session.server.options
        self._session.server.clock.after(options.upgrade_seconds, self._late)

    def received(self, wire: Wire, message: str | bytes) -> None:
        """Take a message (for `Wire`)."""
        if message == f"{PING}probe" and not self.probed:
            self.probed = True
            wire.write(PROBE_PACKET.frame())
            self._session.probed()
        elif message == UPGRADE and self.probed:
            self.wire = None
            wire.owner = self._session
            self._session.upgrade_to(wire)
        else:
            wire.finish()

    def congested(self, wire: Wire) -> None:
        """Something waits to be written (for `Wire`)."""

    def drained(self, wire: Wire) -> None:
        """Nothing waits to be written (for `Wire`)."""

    def ended(self, wire: Wire) -> None:
        """It came to nothing (for `Wire`)."""
        self.wire = None
        self._session.not_upgraded()

    def failed(self) -> None:
        """The connection could not be taken over."""
        self._session.not_upgraded()

    def end(self) -> None:
        """Give it up."""
        if self.wire is not None:
            self.wire.finish()

    def _late(self, _now: float) -> None:
        self.end()
