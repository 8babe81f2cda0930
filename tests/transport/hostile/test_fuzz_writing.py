"""Events for any audiences, and clients that read as they like: each gets its own, whole and in order.

Real sessions on real sockets whose buffers are small, without a server around them.
"""

from __future__ import annotations

import random
import socket

import engineio
import gevent
import pytest

from app.realtime.transport import Engine, Session, TransportOptions
from app.realtime.transport.outgoing import Packet
from app.realtime.transport.sockets import PlainSocket
from app.realtime.transport.wire import Wire

LARGEST_BYTES = 20_000


class Client:
    """One end of a connection, and what should come out of it."""

    def __init__(self, engine: Engine, number: int, polls: bool) -> None:
        self.session = Session(engine, f"client {number}")
        engine.sockets[self.session.sid] = self.session
        self.expected: list[bytes] = []
        self.came = b""
        self.polls = polls
        ours, theirs = socket.socketpair()
        self.sock = ours
        ours.setblocking(False)
        for each in (ours, theirs):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        taken = PlainSocket(theirs.family, theirs.type, theirs.proto, theirs.detach())
        taken.setblocking(False)
        self.wire = Wire(taken, self.session, 1000, 10)
        self.session.open(self.wire)

    def read(self, size: int) -> int:
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return 0
        self.came += data
        return len(data)


def turn() -> None:
    """Let the loop look at everything once."""
    gevent.sleep(0)
    gevent.sleep(0.001)


def run(seed: int, clients_count: int, steps: int, volatile_bytes: int = 64 * 1024) -> None:
    luck = random.Random(seed)
    engine = engineio.Server(async_mode="gevent")
    engine.__class__ = Engine
    engine.prepare(TransportOptions(volatile_bytes=volatile_bytes), lambda _: True)
    clients = [Client(engine, number, False) for number in range(clients_count)]
    rooms = [
        tuple(each.session for each in luck.sample(clients, luck.randrange(1, clients_count + 1)))
        for _ in range(5)
    ]
    by_session = {client.session: client for client in clients}
    try:
        for number in range(steps):
            match luck.randrange(10):
                case 0 | 1 | 2 | 3 | 4:
                    audience = luck.choice(rooms)
                    skip = (
                        tuple(luck.sample(audience, luck.randrange(len(audience) + 1))) if number % 3 else ()
                    )
                    size = luck.choice((0, 10, 10, 130, 1_000, 5_000, LARGEST_BYTES))
                    packets = [Packet(f"4{number}:{'x' * size}")]
                    if luck.random() < 0.3:
                        packets.append(Packet(f"{number}".encode() * (size // 4)))
                    engine.fanout.send(audience, packets, skip)
                    for session in audience:
                        if session not in skip:
                            by_session[session].expected += [packet.frame() for packet in packets]
                case 5:
                    client = luck.choice(clients)
                    packet = Packet(f"2{number}")
                    engine.fanout.send((client.session,), (packet,))
                    client.expected.append(packet.frame())
                case 6 | 7:
                    for client in luck.sample(clients, 2):
                        client.read(luck.choice((1, 3, 100, 5_000, 100_000)))
                case _:
                    turn()
        check(clients)
    finally:
        for client in clients:
            client.wire.lost()
            client.sock.close()


def check(clients: list[Client]) -> None:
    for _ in range(20_000):
        turn()
        if not sum([client.read(1_000_000) for client in clients]) and all(
            len(client.came) >= sum(map(len, client.expected)) for client in clients
        ):
            break
    for client in clients:
        assert client.came == b"".join(client.expected), client.session.sid
        assert client.wire.buffered == 0
        assert not client.session.closing


@pytest.mark.parametrize("seed", range(25))
def test_everybody_gets_what_is_for_him(seed: int) -> None:
    run(seed, clients_count=7, steps=150)


def test_with_a_new_seed() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    run(seed, clients_count=20, steps=300)
