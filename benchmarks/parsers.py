"""What it costs to take in a WebSocket message: the candidates for the transport's parser, side by side.

Run it from the project's root with `python -m benchmarks.parsers`; it takes a few seconds.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side
from wsproto.connection import Connection, ConnectionType

from app.realtime.transport.incoming import Incoming
from app.realtime.transport.outgoing import Packet

MAX_BYTES = 1_000_000
MESSAGE = b'42["echo","' + b"x" * 117 + b'"]'
FRAME = Frame(Opcode.TEXT, MESSAGE).serialize(mask=True)
TEXT = "4" + '{"id":1234,"name":"ACME","price":17.25},' * 26
TIMES = 20_000
ROUNDS = 5
OBJECTS = 2_000


def each_us(act: Callable[[], object], times: int = TIMES) -> float:
    """The processor time of a call in microseconds, in the best of some rounds."""
    took = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(times):
            act()
        took.append(time.process_time() - begun)
    return min(took) / times * 1e6


def each_bytes(make: Callable[[], object]) -> float:
    """The memory of an object, in bytes."""
    tracemalloc.start()
    kept = [make() for _ in range(OBJECTS)]
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / len(kept)


def main() -> None:
    """Print a table."""
    wsproto = Connection(ConnectionType.SERVER)
    protocol = Protocol(Side.SERVER, max_size=MAX_BYTES)
    incoming = Incoming(MAX_BYTES, 1000)

    def take_wsproto() -> None:
        wsproto.receive_data(FRAME)
        list(wsproto.events())

    def take_protocol() -> None:
        protocol.receive_data(FRAME)
        protocol.events_received()

    makers: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "wsproto": (take_wsproto, lambda: Connection(ConnectionType.SERVER)),
        "websockets' Protocol": (take_protocol, lambda: Protocol(Side.SERVER, max_size=MAX_BYTES)),
        "Incoming, kept": (lambda: incoming.feed(FRAME), lambda: Incoming(MAX_BYTES, 1000)),
        "Incoming, made for each": (lambda: Incoming(MAX_BYTES, 1000).feed(FRAME), lambda: None),
    }
    print(f"a masked text of {len(MESSAGE)} bytes   us each   bytes of memory while idle")
    for name, (take, make) in makers.items():
        print(f"{name:32s}  {each_us(take):7.2f}   {each_bytes(make):10.0f}")
    small = len(Packet(TEXT).deflated())
    cost = each_us(lambda: Packet(TEXT).deflated(), TIMES // 10)
    print(f"deflating {len(TEXT)} bytes to {small}: {cost:.0f} us")


if __name__ == "__main__":
    main()
