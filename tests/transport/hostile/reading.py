"""Read when and how one wants, and check every byte that came."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

from tests.support.waiting import WAIT_SECONDS, wait_until
from tests.support.wire_socketio import SocketIO
from tests.support.wire_websocket import BINARY, CLOSE, PING, PONG, TEXT, Frame
from tests.transport.hostile.people import NAMESPACE, wire_of

READ_BYTES = 1 << 18
KNOWN = (TEXT, BINARY, CLOSE, PING, PONG)


class Stream:
    """What a server sent over a WebSocket after its handshake.

    :param client: nobody else reads from it any more.
    """

    def __init__(self, client: SocketIO) -> None:
        self.client = client
        self.frames: list[Frame] = []
        self.bytes = 0
        self.ended = False
        self._wire = wire_of(client)
        self._rest = bytearray(self._wire.received)
        self._parse()

    def read(self, size: int = READ_BYTES, seconds: float = WAIT_SECONDS) -> bool:
        """Read once; returns whether something came.

        :raises TimeoutError: when nothing did, in so many seconds.
        """
        self._wire.sock.settimeout(seconds)
        try:
            data = self._wire.sock.recv(size)
        except ConnectionResetError:
            data = b""
        self.ended = not data
        self.bytes += len(data)
        self._rest += data
        self._parse()
        return bool(data)

    def read_until(self, enough: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
        """Read until something is true. :raises AssertionError: when the server closes before."""
        deadline = time.monotonic() + seconds
        while not enough():
            assert self.read(seconds=deadline - time.monotonic()), f"closed after {self.bytes} bytes"

    def read_to_end(self, seconds: float = WAIT_SECONDS) -> None:
        """Read until the server closes. :raises TimeoutError: when it does not."""
        deadline = time.monotonic() + seconds
        while not self.ended:
            self.read(seconds=max(deadline - time.monotonic(), 0.001))

    def sip(self, sizes: Iterable[int], pause_seconds: float) -> None:
        """Read little, now and then."""
        for size in sizes:
            if not self.read(size):
                break
            time.sleep(pause_seconds)

    def packets(self) -> list[str | bytes]:
        """The Engine.IO packets but for pings, in their order."""
        return [
            frame.text if frame.opcode == TEXT else frame.payload
            for frame in self.frames
            if frame.opcode in (TEXT, BINARY) and frame.payload != b"2"
        ]

    def events(self, name: str | None = None) -> list[list[Any]]:
        """The events, of a name or all, with their names; bytes are where they belong.

        :raises AssertionError: when an attachment does not come right after its event.
        """
        packets = self.packets()
        found: list[list[Any]] = []
        for at, packet in enumerate(packets):
            if not isinstance(packet, str) or packet[:2] not in ("42", "45"):
                continue
            event = json.loads(packet[packet.index("[") :])
            if packet[1] == "5":
                assert packet.startswith("451-"), packet
                (attachment,) = packets[at + 1 : at + 2]
                assert isinstance(attachment, bytes), f"between an event and its attachment: {attachment!r}"[
                    :300
                ]
                event = [
                    attachment if value == {"_placeholder": True, "num": 0} else value for value in event
                ]
            if name in (None, event[0]):
                found.append(event)
        return found

    def came(self, beginning: str) -> bool:
        """Whether the newest frame is a text that begins so."""
        return bool(self.frames) and self.frames[-1].payload.startswith(beginning.encode())

    def acks(self) -> dict[int, Any]:
        """The acknowledgements by their ids."""
        prefix = f"43{NAMESPACE},"
        packets = [packet for packet in self.packets() if isinstance(packet, str)]
        found = [packet[len(prefix) :] for packet in packets if packet.startswith(prefix)]
        return {int(text[: text.index("[")]): json.loads(text[text.index("[") :]) for text in found}

    def pongs(self) -> list[bytes]:
        """What came back of pings, in its order."""
        return [frame.payload for frame in self.frames if frame.opcode == PONG]

    def _parse(self) -> None:
        data, at = self._rest, 0
        while len(data) - at >= 2:
            length, head = data[at + 1], 2
            assert length < 0x80, "a server's frame is not masked"
            if length >= 126:
                size = 2 if length == 126 else 8
                if len(data) - at < 2 + size:
                    break
                length, head = int.from_bytes(data[at + 2 : at + 2 + size], "big"), 2 + size
            if len(data) - at < head + length:
                break
            first = data[at]
            frame = Frame(
                first & 15, bytes(data[at + head : at + head + length]), bool(first & 128), first >> 4 & 7
            )
            assert frame.opcode in KNOWN, f"no frame begins at byte {self.bytes - len(data) + at}: {frame}"[
                :300
            ]
            assert frame.fin, "our server does not fragment"
            self.frames.append(frame)
            at += head + length
        del data[:at]


class Reader:
    """Somebody who reads what comes as it comes, in a thread; closes the client in the end."""

    def __init__(self, client: SocketIO) -> None:
        self.stream = Stream(client)
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and not self.stream.ended:
                with contextlib.suppress(TimeoutError):
                    self.stream.read(seconds=0.2)
        except BaseException as error:
            self._error = error

    def wait_for(self, name: str, count: int, seconds: float = WAIT_SECONDS) -> list[list[Any]]:
        """Wait for so many events of a name."""

        def enough() -> bool:
            return len(self.stream.events(name)) >= count or self._error is not None or self.stream.ended

        wait_until(enough, lambda: f"{count} x {name}; {len(self.stream.events(name))} came", seconds)
        if self._error is not None:
            raise self._error
        events = self.stream.events(name)
        assert len(events) >= count, f"the server closed; {len(events)} of {count} {name} came"
        return events

    def leave(self) -> None:
        """Stop, and close."""
        self._stopping.set()
        self._thread.join(WAIT_SECONDS)
        self.stream.client.engine.close()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
