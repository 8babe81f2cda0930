"""What a hostile client sends: bytes as they are, from an address of its own, and what comes back of them."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

from config.settings import Settings
from tests.deploy.front import ClusterNode
from tests.support.nginx import Nginx
from tests.support.servers import HOST
from tests.support.waiting import WAIT_SECONDS, wait_until

Nodes = Sequence[ClusterNode]

# What a body may have at the most: of a page or the API, and of a client that polls.
PAGE_BYTES: int = Settings.model_fields["max_request_bytes"].default
SOCKET_BYTES: int = Settings.model_fields["socket_max_message_bytes"].default
# RFC 6455, 1.3: the example of a key.
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
SID = re.compile(rb'"sid":"([^"]+)"')
ANSWERED = re.compile(rb"HTTP/1.1 \d.*?\r\n\r\n", re.DOTALL)
# The id of a new session, or the head of an answer that is none.
SID_OR_REFUSAL = re.compile(SID.pattern + rb"|HTTP/1.1 [2-5]")

_numbers = itertools.count(257)


def new_address() -> str:
    """An address of this machine that no other test comes from; the whole of 127.0.0.0/8 is."""
    high, low = divmod(next(_numbers), 256)
    return f"127.0.{high}.{low}"


class Wire:
    """One connection to nginx, for `with`.

    :param source: the address to come from.
    :param handshake: whether TLS begins with its handshake, where nginx speaks TLS.
    """

    def __init__(self, nginx: Nginx, source: str = HOST, *, handshake: bool = True) -> None:
        # Whether the server is known to have closed it.
        self.ended = False
        self._socket = socket.create_connection(
            (HOST, nginx.port), timeout=WAIT_SECONDS, source_address=(source, 0)
        )
        if nginx.tls and handshake:
            context = ssl.create_default_context(cafile=nginx.tls.authority)
            self._socket = context.wrap_socket(self._socket, server_hostname=HOST)

    def send(self, data: bytes) -> None:
        """Send bytes; what nobody takes any more is dropped."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def read(self, until: re.Pattern[bytes] | None = None) -> bytes:
        """Read to the end of the connection, or until something has come.

        :raises AssertionError: when neither comes in time.
        """
        found = b""
        try:
            while not (until and until.search(found)):
                data = self._socket.recv(65536)
                if not data:
                    break
                found += data
        except TimeoutError:
            raise AssertionError(f"the connection does not end, after {found[:2000]!r}") from None
        except ConnectionResetError:
            pass
        return found

    def heard(self) -> bytes:
        """Read what has come by now."""
        found = b""
        self._socket.setblocking(False)
        try:
            while data := self._socket.recv(65536):
                found += data
            self.ended = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.ended = True
        finally:
            self._socket.settimeout(WAIT_SECONDS)
        return found

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Answer:
    """What came back on one connection: usually one answer, in `raw` as it is."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.statuses = [int(status) for status in STATUS_LINE.findall(raw)]
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
        self.headers = [(name.lower(), value.strip()) for name, _, value in lines]

    @property
    def status(self) -> int:
        """Its status; there must be exactly one answer."""
        assert len(self.statuses) == 1, self.raw[:2000]
        return self.statuses[0]

    def header(self, name: str) -> str | None:
        """The value of a header that may come once."""
        values = [value for found, value in self.headers if found == name.lower()]
        assert len(values) <= 1, self.headers
        return values[0] if values else None

    @property
    def node_cookie(self) -> str | None:
        """Which node the answer binds the client to; None: to none, or to none other than before."""
        found = re.search(r"NODE=([^;]*)", self.header("Set-Cookie") or "")
        return found and found[1]


def head(nginx: Nginx, target: str, *headers: str, method: str = "GET", close: bool = True) -> bytes:
    """The head of a request; characters above U+007F go as single bytes."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}:{nginx.port}"]
    lines += ["Connection: close"] if close else []
    return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode("latin-1")


def send(nginx: Nginx, data: bytes, source: str = HOST, until: re.Pattern[bytes] | None = None) -> Answer:
    """Send bytes on a connection of their own, and read to its end, or until something has come."""
    with Wire(nginx, source) as wire:
        wire.send(data)
        return Answer(wire.read(until))


def ask(
    nginx: Nginx,
    target: str,
    *headers: str,
    method: str = "GET",
    body: bytes | None = None,
    source: str = HOST,
) -> Answer:
    """Send one request, and return its answer."""
    length = () if body is None else (f"Content-Length: {len(body)}",)
    return send(nginx, head(nginx, target, *headers, *length, method=method) + (body or b""), source)


def shake_hands(nginx: Nginx, *headers: str, target: str = WEBSOCKET, source: str = HOST) -> Answer:
    """Ask for a WebSocket; read a refusal, or until the engine has sent the id of a new session."""
    until = ANSWERED if "sid=" in target else SID_OR_REFUSAL
    return send(nginx, head(nginx, target, *UPGRADE, *headers, close=False), source, until)


def sid_in(answer: Answer) -> str:
    """The id of the session that an answer opens."""
    found = SID.search(answer.raw)
    assert found, answer.raw[:2000]
    return found[1].decode()


class Ear:
    """Stands in for a node, for `with`. It keeps the head of the last request, and answers all alike.

    All but one: it hangs up on those that have `HANG_UP` in their head, as no node should.
    """

    HANG_UP = "X-Poison: yes"
    ANSWER = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"

    def __init__(self) -> None:
        self._head = b""
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    heard = b""
                    while b"\r\n\r\n" not in heard and (data := connection.recv(65536)):
                        heard += data
                    self._head = heard
                    if self.HANG_UP.encode() not in heard:
                        connection.sendall(self.ANSWER)

    def fields(self) -> dict[str, list[str]]:
        """The fields of the last request's head, by their names in lower case."""
        found: dict[str, list[str]] = {}
        for line in self._head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")[1:]:
            name, _, value = line.partition(":")
            found.setdefault(name.lower(), []).append(value.strip())
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes `accept`, which closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def chunked(size: int) -> bytes:
    """A body of so many bytes whose length nobody has said before."""
    whole, rest = divmod(size, 4096)
    chunks = [b"1000\r\n" + b"x" * 4096 + b"\r\n"] * whole
    if rest:
        chunks.append(f"{rest:x}\r\n".encode() + b"x" * rest + b"\r\n")
    return b"".join(chunks) + b"0\r\n\r\n"


def logged(nginx: Nginx, source: str, count: int = 1) -> list[dict[str, Any]]:
    """What nginx has logged of the requests of an address, when there are so many at least."""

    def entries() -> Iterator[dict[str, Any]]:
        # Whoever reads it takes it for JSON, which is UTF-8.
        for line in (nginx.folder / "output.log").read_bytes().splitlines():
            if line.startswith(b"{"):
                entry = json.loads(line)
                if entry["address"] == source:
                    yield entry

    def enough() -> list[dict[str, Any]]:
        found = list(entries())
        return found if len(found) >= count else []

    return wait_until(enough, f"{count} requests of {source} in the log")


def heard_of(nodes: Nodes, text: str) -> list[str]:
    """The lines about something in the nodes' logs."""
    return [line for node in nodes for line in node.log().splitlines() if text in line]


def never_left_nginx(nginx: Nginx, source: str, count: int = 1) -> None:
    """See that nginx has answered all that an address has sent by itself."""
    entries = logged(nginx, source, count)
    assert [entry["upstream"] for entry in entries] == [""] * count, entries
