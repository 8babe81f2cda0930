"""What presence costs: a client that comes and goes, here and at another node, and a node that joins.

Run it with `python -m benchmarks.presence`. Pure processor time of one process, without any broker.
"""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable

import msgspec

from app.realtime import presence_messages
from app.realtime.presence import Member, Presence

CLIENTS = 5_000
ROOMS = 3


def timed(work: Callable[[], object]) -> float:
    """Seconds of processor time that something takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def travel(node: Presence) -> list[bytes]:
    """What a node has to say, as the queue carries it."""
    parcels = [msgspec.msgpack.encode(presence_messages.encode(message)) for message in node.outgoing]
    node.outgoing.clear()
    return parcels


def take(node: Presence, origin: str, parcels: list[bytes]) -> None:
    """Let another node take it, and forget what its listeners would be told."""
    for parcel in parcels:
        node.take(origin, presence_messages.decode(msgspec.msgpack.decode(parcel)), time.monotonic())
    node.moved.clear()


def main() -> None:
    """Print the figures."""
    gc.disable()  # a node relieves the collector by itself (app/realtime/transport/garbage.py)
    first, second, third = Presence(), Presence(), Presence()
    for name, node in (("n1", first), ("n2", second), ("n3", third)):
        node.begin(name)
        node.outgoing.clear()

    def come() -> None:
        for number in range(CLIENTS):
            sid = f"n1.{number:020d}"
            first.connect("/chat", sid, Member(f"user-{number:011d}", f"Somebody {number}"))
            for room in range(ROOMS):
                first.enter("/chat", sid, f"room:{room}")
        first.publish()

    def go() -> None:
        for number in range(CLIENTS):
            first.disconnect("/chat", f"n1.{number:020d}")
        first.publish()

    here = timed(come)
    parcels = travel(first)
    there = timed(lambda: take(second, "n1", parcels))
    print(f"{CLIENTS} clients come, each into {ROOMS} rooms:")
    print(f"  at their own node      {here / CLIENTS * 1e6:6.1f} us each")
    bytes_each = sum(map(len, parcels)) / CLIENTS
    print(f"  at another node        {there / CLIENTS * 1e6:6.1f} us each, {bytes_each:.0f} bytes")

    first.take("n3", presence_messages.Ask([]), time.monotonic())
    answering = timed(lambda: first.tick(time.monotonic(), ["n3"], hearing=True))
    state = travel(first)
    joining = [timed(functools.partial(take, third, "n1", [part])) for part in state]
    longest = max(joining) * 1e3
    assert third.where.count(None, "/chat") == second.where.count(None, "/chat") == CLIENTS
    print(f"a node that joins asks for all of it, {len(state) - 1} messages:")
    print(f"  answering takes        {answering * 1e3:6.1f} ms")
    print(f"  taking takes           {sum(joining) * 1e3:6.1f} ms, the longest piece {longest:.1f} ms")

    print(f"asking who is in a room of {CLIENTS}, by name:")
    print(f"                         {timed(lambda: second.where.members('room:1', '/chat')) * 1e3:6.1f} ms")
    leaving = timed(go)
    print(f"they go: at their own node {leaving / CLIENTS * 1e6:4.1f} us each")


if __name__ == "__main__":
    main()
