"""A program that connects to a small server, says a word, and leaves, again and again, as fast as it can.

Clients come by each transport and leave in each way there is:
`python -m tests.transport.clients.storm URL TIMES SEED`. It prints as JSON how many came
and went, by what they did.
"""

from __future__ import annotations

import collections
import itertools
import json
import sys
from collections.abc import Callable, Iterator

from tests.support.wire import Closed, query
from tests.support.wire_socketio import Polling, SocketIO
from tests.support.wire_websocket import CLOSE, TEXT, Frame, WebSocket, masked

SECONDS = 30.0
# Made once: what matters is how fast the server is.
MASK = b"mask"
HELLO = '40{"rooms":["everybody","%s"]}'
GOODBYE = Frame(CLOSE, (1000).to_bytes(2, "big")).encode(MASK)
LEAVE = Frame(TEXT, b"41").encode(MASK)
END = Frame(TEXT, b"1").encode(MASK)
# A head that promises more than comes; an event that waits for its attachments.
HALF_A_FRAME = bytes((0x81, 0x80 | 100)) + MASK + masked(b'42["message', MASK)
HALF_AN_EVENT = Frame(TEXT, b'451-["message",{"_placeholder":true,"num":0}]').encode(MASK)


def websocket(url: str, room: str, farewell: Callable[[WebSocket], None]) -> None:
    """Connect by WebSocket, join rooms, and leave."""
    with WebSocket(url, seconds=SECONDS) as client:
        client.handshake(check=False)
        client.send(Frame(TEXT, (HELLO % room).encode()).encode(MASK))
        # What the server says of the connection, of the namespace, and to those who enter.
        for _ in range(3):
            client.read_frame()
        farewell(client)


def nothing(client: WebSocket) -> None:
    """Close the TCP connection; what is said with one segment is that there is no more."""


def reset(client: WebSocket) -> None:
    """Vanish with a TCP reset."""
    client.reset()


def goodbye(client: WebSocket) -> None:
    """Leave as a browser does."""
    client.send(LEAVE + GOODBYE)
    client.read_all()


def end(client: WebSocket) -> None:
    """End the Engine.IO connection."""
    client.send(END)
    client.read_all()


def in_a_frame(client: WebSocket) -> None:
    """Vanish in the middle of one."""
    client.send(HALF_A_FRAME)


def in_an_event(client: WebSocket) -> None:
    """Vanish before the attachment, which the server waits for; with a reset."""
    client.send(HALF_AN_EVENT)
    client.reset()


def half(client: WebSocket) -> None:
    """Close one direction, and wait for the other."""
    client.half_close()
    client.read_all()


def polling(url: str, room: str) -> None:
    """Connect by long-polling, join rooms, and leave."""
    with Polling(url, SECONDS) as engine:
        engine.open()
        engine.post(HELLO % room)
        engine.receive()
        engine.post("41", "1")
        engine.sid = ""


def upgraded(url: str, room: str) -> None:
    """Connect by long-polling, go on by WebSocket, and leave."""
    engine = Polling(url, SECONDS)
    engine.open()
    engine.post(HELLO % room)
    with WebSocket(url, seconds=SECONDS) as client:
        client.handshake(query(transport="websocket", sid=engine.sid), check=False)
        client.post("2probe")
        assert client.receive() == "3probe"
        client.post("5")
        answers = [client.receive() for _ in range(2)]
        assert any(str(answer).startswith("40{") for answer in answers), answers
        goodbye(client)


def refused(url: str, room: str) -> None:
    """Ask for a namespace that there is not, and leave."""
    with SocketIO(WebSocket(url, seconds=SECONDS)) as client:
        client.send("0/nowhere,")
        client.receive()


def kinds() -> Iterator[tuple[str, Callable[[str, str], None]]]:
    """Who comes, one after the other: mostly WebSockets."""
    farewells = (reset, goodbye, nothing, end, in_a_frame, in_an_event, half)
    sockets = [(f.__name__, lambda url, room, f=f: websocket(url, room, f)) for f in farewells]
    others = [(f.__name__, f) for f in (polling, upgraded, refused)]
    while True:
        yield from (*sockets, *sockets, *others)


def main(url: str, times: int, seed: int) -> None:
    """Come and go so often."""
    done: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    for number, (name, come_and_go) in enumerate(itertools.islice(kinds(), times)):
        try:
            come_and_go(url, f"room {(number + seed) % 500}")
        except (AssertionError, OSError, Closed) as error:
            failures.append(f"{name}: {error!r}")
        else:
            done[name] += 1
    print(json.dumps({"done": done, "failed": len(failures), "failures": failures[:10]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
