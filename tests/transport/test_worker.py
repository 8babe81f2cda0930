"""What comes over a connection is answered by our worker as by gunicorn's own, byte for byte."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.support.servers import HOST
from tests.support.small import SmallServer
from tests.support.waiting import WAIT_SECONDS

KEEPALIVE_SECONDS = 1
LINE = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
HEADERS = (
    b"Host: small.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HANDSHAKE = LINE + HEADERS + b"\r\n"
# Masked by zeros.
CONNECT = b"\x81\x82\0\0\0\x0040"
BYE = b"\x88\x82\0\0\0\0\x03\xe8"
PAGE = b"GET /ready HTTP/1.1\r\nHost: small.test\r\nConnection: close\r\n\r\n"


def changed(old: bytes, new: bytes) -> bytes:
    """A handshake with something else in it."""
    assert old in HANDSHAKE
    return HANDSHAKE.replace(old, new, 1)


def more(line: bytes) -> bytes:
    """A handshake with a further header."""
    return LINE + HEADERS + line + b"\r\n\r\n"


# What is sent, in one piece or in several.
EXCHANGES: dict[str, Sequence[bytes]] = {
    "a handshake and a goodbye": [HANDSHAKE + BYE],
    "a goodbye a moment later": [HANDSHAKE, BYE],
    "frames at once": [HANDSHAKE + CONNECT + BYE],
    "half a frame at once": [HANDSHAKE + CONNECT[:3], CONNECT[3:] + BYE],
    "in two pieces": [HANDSHAKE[:70], HANDSHAKE[70:] + BYE],
    "all but the last byte": [HANDSHAKE[:-1], HANDSHAKE[-1:] + BYE],
    "byte by byte": [*(HANDSHAKE[at : at + 1] for at in range(12)), HANDSHAKE[12:] + BYE],
    "half of it": [HANDSHAKE[:70]],
    "nothing": [],
    "another version": [changed(b"Version: 13", b"Version: 8")],
    "another version, and a page": [changed(b"Version: 13", b"Version: 8") + PAGE],
    "another version, and a handshake": [changed(b"Version: 13", b"Version: 8") + HANDSHAKE + BYE],
    "a wrong key": [changed(b"dGhl", b"dGh!")],
    "no key": [changed(b"Sec-WebSocket-Key", b"X-Key")],
    "another protocol version": [changed(b"EIO=4", b"EIO=3")],
    "an unknown session": [changed(b"EIO=4", b"EIO=4&sid=x")],
    "an unknown session, three times": [changed(b"EIO=4", b"EIO=4&sid=x") * 3],
    "another transport": [changed(b"=websocket", b"=polling")],
    "no transport": [changed(b"=websocket", b"=nonsense")],
    "another origin": [more(b"Origin: http://elsewhere.test")],
    "its own origin": [more(b"Origin: http://small.test") + BYE],
    "no upgrade in Connection": [changed(b"Connection: Upgrade", b"Connection: close")],
    "another upgrade": [changed(b"Upgrade: websocket", b"Upgrade: h2c")],
    "no upgrade": [changed(b"Upgrade: websocket", b"X-Upgrade: websocket")],
    "HTTP/1.0": [changed(b"HTTP/1.1", b"HTTP/1.0")],
    "HTTP/3.0": [changed(b"HTTP/1.1", b"HTTP/3.0")],
    "another method": [changed(b"GET", b"POST")],
    "a method that is none": [changed(b"GET", b"get")],
    "an absolute address": [changed(b"/socket.io", b"http://small.test/socket.io") + BYE],
    "another page": [changed(b"/socket.io/?", b"/ready?")],
    "an encoded path": [changed(b"/socket.io", b"/%73ocket.io") + BYE],
    "an empty line before": [b"\r\n" + HANDSHAKE + BYE],
    "line feeds": [HANDSHAKE.replace(b"\r\n", b"\n")],
    "a folded line": [more(b"A: b\r\n c")],
    "a control character": [more(b"A: b\x01")],
    "a zero": [more(b"A: b\0")],
    "a tabulator": [more(b"A:\tb\tc") + BYE],
    "Latin-1": [more(b"A: \xe4") + BYE],
    "a name with a space": [more(b"A : b")],
    "no colon": [more(b"A")],
    "an underscore": [more(b"X_Forwarded_For: 1.2.3.4") + BYE],
    "two hosts": [more(b"Host: other.test")],
    "two keys": [more(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")],
    "twice the same header": [more(b"A: b\r\na: c") + BYE],
    "a body": [more(b"Content-Length: 4") + b"body" + PAGE],
    "an empty body": [more(b"Content-Length: 0") + BYE],
    "two lengths": [more(b"Content-Length: 0\r\nContent-Length: 4") + b"body"],
    "chunks": [more(b"Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n" + PAGE],
    "an unknown encoding": [more(b"Transfer-Encoding: strange")],
    "an expectation": [more(b"Expect: 100-continue") + BYE],
    "another expectation": [more(b"Expect: the worst")],
    "TLS before it": [more(b"X-Forwarded-Proto: https") + BYE],
    "schemes that contradict each other": [more(b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off")],
    "a long header": [more(b"A: " + b"x" * 9000)],
    "a long query": [changed(b"EIO=4", b"EIO=4&t=" + b"x" * 4000) + BYE],
    "a longer query": [changed(b"EIO=4", b"EIO=4&t=" + b"x" * 4200)],
    "many headers": [more(b"\r\n".join(b"A%d: b" % number for number in range(95))) + BYE],
    "too many headers": [more(b"\r\n".join(b"A%d: b" % number for number in range(96)))],
    "a page": [PAGE],
    "two pages": [PAGE.replace(b"close", b"keep-alive") + PAGE],
    "a page and a handshake": [PAGE.replace(b"close", b"keep-alive") + HANDSHAKE + BYE],
    "a TLS hello": [b"\x16\x03\x01\x00\x05hello\r\n\r\n"],
    "a proxy's line": [b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + HANDSHAKE],
    "HTTP/2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
}

# What differs from one connection to the next.
VARIABLE = re.compile(rb'Date: [^\r]*|"sid":"[^"]*"')


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[SmallServer, SmallServer]]:
    """gunicorn's worker, and ours."""
    arguments = ("--keep-alive", str(KEEPALIVE_SECONDS))
    with (
        SmallServer(worker="gevent", arguments=arguments, ping_interval=3600) as by_gunicorn,
        SmallServer(worker="transport", arguments=arguments, ping_interval=3600) as quick,
    ):
        yield by_gunicorn, quick


def exchange(server: SmallServer) -> dict[str, bytes]:
    """Send everything, each over a connection of its own, and hear what comes back until the end."""
    with contextlib.ExitStack() as stack:
        connections: dict[str, socket.socket] = {}
        for name in EXCHANGES:
            connection = socket.create_connection((HOST, server.port), WAIT_SECONDS)
            stack.enter_context(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections[name] = connection
        for part in range(max(map(len, EXCHANGES.values()))):
            for name, parts in EXCHANGES.items():
                if part < len(parts):
                    # It may have been refused by now.
                    with contextlib.suppress(OSError):
                        connections[name].sendall(parts[part])
            # So that they come one by one, on a machine that is not too busy.
            time.sleep(0.02)
        return {name: VARIABLE.sub(b"", read_all(each, name)) for name, each in connections.items()}


def read_all(connection: socket.socket, name: str = "") -> bytes:
    """Read until the server closes."""
    parts = []
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            break
        except TimeoutError:
            raise AssertionError(f"{name}: open after {b''.join(parts)!r}") from None
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def test_every_connection_is_served_as_by_gunicorn(servers: tuple[SmallServer, SmallServer]) -> None:
    by_gunicorn, quick = servers
    expected = exchange(by_gunicorn)
    heard = exchange(quick)

    different = {name: (expected[name], heard[name]) for name in EXCHANGES if expected[name] != heard[name]}
    assert different == {}
    # That is something to compare.
    assert heard["a handshake and a goodbye"].startswith(b"HTTP/1.1 101 ")
    assert heard["frames at once"].count(b"\x0240{") <= 1
    assert heard["another version, and a page"].startswith(b"HTTP/1.1 426 ")
    assert heard["another version, and a page"].endswith(b"ready")
    assert heard["too many headers"].startswith(b"HTTP/1.1 431 ")
    quick.wait_until_empty()


def test_a_client_that_says_nothing_is_let_go(servers: tuple[SmallServer, SmallServer]) -> None:
    _, quick = servers
    for begin in (b"", HANDSHAKE[:50]):
        with socket.create_connection((HOST, quick.port), WAIT_SECONDS) as connection:
            connection.sendall(begin)
            assert read_all(connection) == b""


def test_a_client_that_leaves_at_once_leaves_nothing(servers: tuple[SmallServer, SmallServer]) -> None:
    _, quick = servers
    for begin in (b"", HANDSHAKE[:50], HANDSHAKE, HANDSHAKE + CONNECT):
        for _ in range(20):
            with socket.create_connection((HOST, quick.port), WAIT_SECONDS) as connection:
                connection.sendall(begin)
    quick.wait_until_empty()
    assert "Traceback" not in quick.log()
