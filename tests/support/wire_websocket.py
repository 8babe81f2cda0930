"""WebSocket frames with any bits, on a plain blocking socket."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.wire import Answer, Closed, Connection, Packet, query

KEY_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
# Opcodes (RFC 6455, 5.2).
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass
class Frame:
    """A WebSocket frame."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0  # three bits
    masked: bool = False

    @property
    def text(self) -> str:
        """The payload as UTF-8."""
        return self.payload.decode()

    @property
    def close_code(self) -> int | None:
        """Of a close frame; None: it has none."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else None

    def encode(self, mask: bytes | None = b"", length: int | None = None) -> bytes:
        """The frame as bytes.

        :param mask: four bytes; none: four random ones; None: not masked.
        :param length: what the head says instead of the real length.
        """
        said = len(self.payload) if length is None else length
        bit = 0 if mask is None else 0x80
        head = bytes(((self.fin << 7) | (self.rsv << 4) | self.opcode,))
        if said < 126:
            head += bytes((bit | said,))
        elif said < 65_536:
            head += struct.pack("!BH", bit | 126, said)
        else:
            head += struct.pack("!BQ", bit | 127, said)
        if mask is None:
            return head + self.payload
        mask = mask or secrets.token_bytes(4)
        return head + mask + masked(self.payload, mask)


def masked(data: bytes, mask: bytes) -> bytes:
    """Mask a payload, or unmask it."""
    if not data:
        return data
    key = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")


class WebSocket(Connection):
    """A WebSocket; `handshake` makes it one."""

    def handshake(
        self,
        target: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        *,
        check: bool = True,
    ) -> Answer:
        """Ask for a WebSocket.

        :param target: by default that of a new Engine.IO connection.
        :param headers: further ones, or others; None leaves a usual one out.
        :param check: insist on a right 101.
        :raises AssertionError: when it is refused, or answered wrongly.
        """
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        usual: dict[str, str | None] = {
            "Host": self.host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
        }
        wanted = usual | dict(headers or {})
        given = {name: value for name, value in wanted.items() if value is not None}
        self.send_request("GET", target or query(transport="websocket"), given)
        answer = self.read_answer()
        if check:
            assert answer.status == 101, f"{answer.status} {answer.reason}: {answer.body!r}"
            accept = base64.b64encode(hashlib.sha1((given["Sec-WebSocket-Key"] + KEY_GUID).encode()).digest())
            assert answer.headers["sec-websocket-accept"] == accept.decode()
            assert answer.headers["upgrade"].lower() == "websocket"
            assert answer.headers["connection"].lower() == "upgrade"
        return answer

    def send_frame(
        self,
        opcode: int,
        payload: bytes | str = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        mask: bytes | None = b"",
        length: int | None = None,
        piece: int | None = None,
    ) -> None:
        """Send a frame; see `Frame.encode` and `send`."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.send(Frame(opcode, data, fin, rsv).encode(mask, length), piece=piece)

    def read_frame(self) -> Frame:
        """Read a frame.

        :raises Closed: when there is none. :raises TimeoutError: when it does not come in time.
        :raises AssertionError: when its length is not written as short as can be (RFC 6455, 5.2).
        """
        first, second = self.read(2)
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(self.read(2), "big")
            assert length > 125, "a length that would have been written shorter"
        elif length == 127:
            length = int.from_bytes(self.read(8), "big")
            assert length > 65_535, "a length that would have been written shorter"
        mask = self.read(4) if second & 0x80 else None
        payload = self.read(length)
        if mask is not None:
            payload = masked(payload, mask)
        return Frame(first & 0x0F, payload, bool(first & 0x80), (first >> 4) & 7, mask is not None)

    def read_close(self) -> int | None:
        """Read until the server's close frame, and on until it closes; returns the code, None: it said none.

        :raises Closed: when there is no close frame. :raises TimeoutError: when it does not close.
        """
        while (frame := self.read_frame()).opcode != CLOSE:
            pass
        with contextlib.suppress(Closed):
            self.send_frame(CLOSE, frame.payload[:2])
        self.read_all()
        return frame.close_code

    # As an Engine.IO transport.

    def open(self, **parameters: Any) -> dict[str, Any]:
        """Make the handshakes of both protocols, and return what the server says of the session."""
        self.handshake(query(transport="websocket", **parameters))
        packet = self.receive()
        assert isinstance(packet, str)
        assert packet.startswith("0"), packet
        opened: dict[str, Any] = json.loads(packet[1:])
        return opened

    def post(self, *packets: Packet) -> None:
        """Send packets, a frame each."""
        for packet in packets:
            self.send_frame(TEXT if isinstance(packet, str) else BINARY, packet)

    def receive(self) -> Packet:
        """Read the next message.

        :raises Closed: when the server has closed, or said that it does.
        """
        frame = self.read_frame()
        while frame.opcode in (PING, PONG):
            frame = self.read_frame()
        if frame.opcode == CLOSE:
            raise Closed(frame.payload)
        payload, opcode = frame.payload, frame.opcode
        while not frame.fin:
            frame = self.read_frame()
            payload += frame.payload
        return payload.decode() if opcode == TEXT else payload
