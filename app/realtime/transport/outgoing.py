"""What goes to clients: Engine.IO packets, encoded and framed once for everybody who gets them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from app.realtime.transport.options import DEFLATE_THRESHOLD_BYTES

WINDOW_BITS = 15
# The most that the head's second byte can say.
SHORT_BYTES = 125


class Packet:
    """An Engine.IO packet.

    :param payload: a text that begins with its type, or the bytes of a binary message.
    """

    __slots__ = ("_deflated", "_frame", "payload")

    def __init__(self, payload: str | bytes) -> None:
        self.payload = payload
        self._frame: bytes | None = None
        self._deflated: bytes | None = None

    def __len__(self) -> int:
        """What it takes, in bytes."""
        return len(self.frame())

    def text(self) -> str:
        """The packet as it stands in a payload of long polling."""
        payload = self.payload
        return payload if isinstance(payload, str) else "b" + base64.b64encode(payload).decode("ascii")

    def frame(self) -> bytes:
        """The packet as a WebSocket frame."""
        if self._frame is None:
            payload = self.payload
            if isinstance(payload, str):
                # What is left of half a character, which JSON may carry, is no UTF-8.
                data = payload.encode("utf-8", "replace")
                self._frame = _head(0x81, len(data)) + data
            else:
                self._frame = _head(0x82, len(payload)) + payload
        return self._frame

    def deflated(self) -> bytes:
        """The packet as a compressed frame, which needs no earlier one to be read; a short one as it is."""
        if len(self) < DEFLATE_THRESHOLD_BYTES:
            return self.frame()
        if self._deflated is None:
            payload = self.payload
            is_text = isinstance(payload, str)
            data = payload.encode("utf-8", "replace") if isinstance(payload, str) else payload
            frame = Frame(Opcode.TEXT if is_text else Opcode.BINARY, data)
            deflate = PerMessageDeflate(True, True, WINDOW_BITS, WINDOW_BITS)
            self._deflated = frame.serialize(mask=False, extensions=[deflate])
        return self._deflated


def payload(packets: Sequence[Packet]) -> str:
    """The body of an answer to a client that polls (Engine.IO protocol, revision 4)."""
    return "\x1e".join([packet.text() for packet in packets])


def _head(first: int, length: int) -> bytes:
    """The head of a frame that is not masked (RFC 6455, 5.2)."""
    if length <= SHORT_BYTES:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"
PING_PACKET = Packet(PING)
CLOSE_PACKET = Packet(CLOSE)
NOOP_PACKET = Packet(NOOP)
PROBE_PACKET = Packet(PONG + "probe")
