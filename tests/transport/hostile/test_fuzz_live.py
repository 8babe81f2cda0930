"""Valid traffic with something wrong in it: the real server lives on, serves others, and leaks nothing.

A run is decided by its seed alone (and by the network's timing). HOSTILE_SEED=n repeats one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.wire import Closed, Connection, encode_payload, query
from tests.support.wire_websocket import BINARY, CLOSE, CONTINUATION, PING, TEXT, Frame, WebSocket
from tests.transport.hostile.conftest import Through
from tests.transport.hostile.people import NAMESPACE, Witness
from tests.transport.hostile.target import Target, Usage

FIXED_SEED = 20_240_229
# Of noise and what Python keeps; a leak of 2 KB for each of a thousand connections is more.
LEAK_RSS_KB = 20_000

PACKETS = (
    "0/bench,",
    '0/bench,{"rooms":["fuzz"]}',
    "0",
    '0{"a":1}',
    "0/nowhere,",
    "0/refused,",
    "0/closed,",
    "1/bench,",
    "1",
    '2/bench,["message-with-ack",1]',
    '2/bench,7["message-with-ack",{"a":[1,2.5,null,"ü"]}]',
    '2/bench,["message","x"]',
    '2/bench,["note",1]',
    '2/bench,8["join","fuzz"]',
    '2/bench,["leave","fuzz"]',
    '2/bench,["several","fuzz"]',
    '2/bench,9["info"]',
    '2/bench,["disconnect_me"]',
    '2/bench,["close_me"]',
    '2/bench,["nobody handles this",{}]',
    '2/bench,["rest"]',
    "3/bench,7[]",
    '51-/bench,["message-with-ack",{"_placeholder":true,"num":0}]',
    '52-/bench,1["message-with-ack",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]',
    '61-/bench,1[{"_placeholder":true,"num":0}]',
)
SPICES = (
    '"',
    "\\",
    "[",
    "]",
    "{",
    "}",
    ",",
    "-",
    "/",
    "\x00",
    "\ud83d",
    "9" * 30,
    "NaN",
    "_placeholder",
    "\x1e",
    "b",
)


class Fuzzer:
    """One client that does as its luck says."""

    def __init__(self, url: str, luck: random.Random) -> None:
        self.url = url
        self.luck = luck

    def packet(self) -> str:
        """An Engine.IO packet, most of them of Socket.IO, some with a fault."""
        luck = self.luck
        text = (
            luck.choice(("", "1", "2", "3", "5", "6", "2probe", "0{}", "x", "bAAAA"))
            if luck.random() < 0.1
            else ("4" + luck.choice(PACKETS))
        )
        while luck.random() < 0.25:
            at = luck.randrange(len(text) + 1)
            match luck.randrange(4):
                case 0:
                    text = text[:at] + text[at + luck.randrange(1, 4) :]
                case 1:
                    text = text[:at] + luck.choice(SPICES) + text[at:]
                case 2:
                    text = (
                        text[:at] + chr(luck.choice((0x7F, 0xE9, 0x2028, 0xFFFF, 0x1F600))) + text[at + 1 :]
                    )
                case _:
                    text = text[:at] * 2 + text[at:]
        return text

    def frames(self) -> bytes:
        """A message in one frame or more, and what may stand between."""
        luck = self.luck
        if luck.random() < 0.15:
            data, opcode = luck.randbytes(luck.choice((0, 1, 100, 3_000))), BINARY
        else:
            data, opcode = self.packet().encode("utf-8", "surrogatepass"), TEXT
        pieces = [data]
        if luck.random() < 0.2:
            at = luck.randrange(len(data) + 1)
            pieces = [data[:at], data[at:]]
        out = b""
        for number, piece in enumerate(pieces):
            kind = CONTINUATION if number else opcode
            out += Frame(kind, piece, number == len(pieces) - 1).encode(luck.randbytes(4))
            if luck.random() < 0.1:
                out += Frame(PING, luck.randbytes(luck.randrange(10))).encode()
        if luck.random() < 0.03:
            out += Frame(CLOSE, luck.choice((b"", b"\x03\xe8", b"\x03", b"\x03\xe8bye"))).encode()
        if luck.random() < 0.06:
            spoiled = bytearray(out)
            spoiled[luck.randrange(len(spoiled))] ^= 1 << luck.randrange(8)
            out = bytes(spoiled)
        if luck.random() < 0.02:
            out = out[: luck.randrange(len(out))]
        return out

    def read_some(self, wire: WebSocket) -> None:
        """Whatever comes at once."""
        wire.sock.settimeout(0.005)
        with contextlib.suppress(TimeoutError):
            if not wire.sock.recv(100_000):
                raise Closed

    def talk(self, wire: WebSocket) -> None:
        """Send messages, well or badly, and read now and then."""
        luck = self.luck
        if luck.random() < 0.8:
            wire.send(Frame(TEXT, f'40{NAMESPACE},{{"rooms":["fuzz"]}}'.encode()).encode())
        for _ in range(luck.randrange(1, 25)):
            data = b"".join(self.frames() for _ in range(luck.choice((1, 1, 1, 10))))
            wire.send(data, piece=luck.choice((None, None, None, 1, 7, 500)))
            if luck.random() < 0.3:
                self.read_some(wire)
        match luck.randrange(4):
            case 0:
                wire.reset()
            case 1:
                wire.half_close()
                self.read_some(wire)

    def over_websocket(self) -> None:
        """A connection that is a WebSocket from the beginning."""
        with WebSocket(self.url) as wire:
            wire.open()
            self.talk(wire)

    def post(self, sid: str) -> None:
        """A request with packets in it, well or badly."""
        luck = self.luck
        packets = [self.packet() for _ in range(luck.choice((1, 1, 2, 16, 17)))]
        body = encode_payload(packets).encode("utf-8", "surrogatepass")
        if luck.random() < 0.1:
            body = luck.randbytes(50) + body
        method = luck.choice(("POST",) * 20 + ("PUT", "GET", "OPTIONS"))
        target = query(transport=luck.choice(("polling",) * 20 + ("websocket", "x")), sid=sid)
        length = len(body) + (luck.choice((-3, 3, 10**9)) if luck.random() < 0.05 else 0)
        with Connection(self.url, seconds=0.5) as connection:
            headers = {"Content-Length": str(max(length, 0)), "Connection": "close"}
            connection.send_request(method, target, headers, body)
            if luck.random() < 0.9:
                with contextlib.suppress(TimeoutError):
                    connection.read_answer()

    def over_polling(self) -> None:
        """A session by polling, which may end as a WebSocket."""
        luck = self.luck
        with Connection(self.url) as connection:
            opened = connection.request("GET", query(transport="polling"), {"Connection": "close"})
        sid = json.loads(opened.text[1:])["sid"]
        self.post(sid)
        for _ in range(luck.randrange(6)):
            self.post(sid)
            if luck.random() < 0.5:
                with Connection(self.url, seconds=0.1) as connection:
                    connection.send_request("GET", query(transport="polling", sid=sid))
                    with contextlib.suppress(TimeoutError):
                        connection.read_answer()
        if luck.random() < 0.5:
            with WebSocket(self.url) as wire:
                if wire.handshake(query(transport="websocket", sid=sid), check=False).status == 101:
                    wire.send_frame(TEXT, luck.choice(("2probe",) * 5 + ("2", "5", "")))
                    if luck.random() < 0.8:
                        self.read_some(wire)
                        wire.send_frame(TEXT, "5")
                    self.talk(wire)
        # Else it lives until its ping is due.
        with Connection(self.url) as connection:
            connection.request("POST", query(transport="polling", sid=sid), {"Connection": "close"}, "1")

    def request(self) -> None:
        """A request of any kind, with a byte or two of another one."""
        luck = self.luck
        target = query(
            transport=luck.choice(("polling", "websocket")), sid=luck.choice((None, None, "x" * 20))
        )
        lines = [f"GET {target} HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        luck.shuffle(lines[1:])
        data = bytearray("\r\n".join([*lines, "", ""]).encode())
        for _ in range(luck.randrange(3)):
            at = luck.randrange(len(data))
            data[at : at + luck.randrange(2)] = luck.randbytes(luck.randrange(3))
        with Connection(self.url, seconds=0.3) as connection:
            connection.send(bytes(data), piece=luck.choice((None, None, 30)))
            with contextlib.suppress(TimeoutError, ValueError):
                connection.read_answer()

    def act(self) -> None:
        """Something."""
        way = self.luck.choice((self.over_websocket, self.over_websocket, self.over_polling, self.request))
        with contextlib.suppress(Closed, OSError):
            way()


def fuzz(server: Target, url: str, seed: int, connections: int, seconds: float) -> int:
    """Let clients do as they like, eight at a time; returns how many there were."""
    ends = time.monotonic() + seconds
    done = 0

    def one(number: int) -> None:
        nonlocal done
        if time.monotonic() < ends:
            Fuzzer(url, random.Random(f"{seed} {number}")).act()
            done += 1

    with Witness(server.url) as witness, ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(one, number) for number in range(connections)]:
            future.result()
        witness.wait_for_answers(5)
    server.wait_until_empty()
    return done


def run(server: Target, url: str, seed: int, connections: int, seconds: float) -> None:
    print(f"HOSTILE_SEED={seed}")
    # What is needed once for everybody.
    fuzz(server, url, seed + 1, connections // 4, seconds / 4)
    usage = Usage.of(server)
    done = fuzz(server, url, seed, connections, seconds)
    print(f"{done} connections")
    assert done >= min(100, connections)
    usage.wait_until_back(server, rss_kb=LEAK_RSS_KB)


SEEDS = {"fixed": FIXED_SEED, "new": int(os.environ.get("HOSTILE_SEED", "0")) or random.randrange(2**32)}


@pytest.mark.parametrize("kind", SEEDS)
def test_mutated_traffic(lively: Target, through: Through, kind: str) -> None:
    run(lively, through(lively), SEEDS[kind], connections=400, seconds=6)


@pytest.mark.soak
@pytest.mark.timeout(1000)
def test_mutated_traffic_for_long(lively: Target, through: Through) -> None:
    run(lively, through(lively), SEEDS["new"], connections=20_000, seconds=300)
