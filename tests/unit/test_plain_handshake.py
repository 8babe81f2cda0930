"""The environ of a plain handshake against gunicorn's own; and what is left to gunicorn."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser

from app.realtime.transport.plain_handshake import MAX_HEAD_BYTES, REMEMBERED_NAMES, PlainHandshakes
from app.realtime.transport.worker import TransportWorker
from tests.support.handshakes import HEADERS, LINE, PATH, PEER, SERVER, config, head, shared


def trusts(cfg: Config) -> Any:
    """What the worker asks."""
    worker = object.__new__(TransportWorker)
    worker.cfg = cfg
    return worker._trusts


def gunicorns(cfg: Config, data: bytes, server: Any, peer: Any) -> dict[str, Any]:
    """The environ that gunicorn makes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        request = next(RequestParser(cfg, ours, peer))
        _, environ = wsgi.create(request, ours, peer, server, cfg)
    environ["wsgi.multithread"] = True
    return environ


def ours(cfg: Config, data: bytes, server: Any = SERVER, peer: Any = PEER) -> dict[str, Any] | None:
    """The environ that we make; None: it is left to gunicorn."""
    read = PlainHandshakes(cfg, PATH, trusts(cfg)).environ(data, server, peer)
    if read is None:
        return None
    environ, size = read
    assert data[size - 4 : size] == b"\r\n\r\n"
    return environ


def check_the_same(cfg: Config, data: bytes, server: Any = SERVER, peer: Any = PEER) -> None:
    """It is taken, and in the same way."""
    expected, environ = gunicorns(cfg, data, server, peer), ours(cfg, data, server, peer)
    assert environ is not None
    assert shared(environ) == shared(expected)
    assert set(environ) | {"gunicorn.socket"} == set(expected)
    assert environ["wsgi.input"].read() == b""


PROXY = {"forwarded_allow_ips": "10.0.0.0/8,127.0.0.1"}

PLAIN: dict[str, tuple[dict[str, Any], bytes, Any, Any]] = {
    "as a browser sends it": (
        {},
        head("Origin: http://example.test:5000", "User-Agent: Mozilla/5.0 (X11; Linux)", "Cookie: a=1; b=ü"),
        SERVER,
        PEER,
    ),
    "a query with everything": (
        {},
        head(line="GET /socket.io/?EIO=4&transport=websocket&t=P%C3%A9&x=[1]?/a:b@c,;!$'()*+ HTTP/1.1"),
        SERVER,
        PEER,
    ),
    "an empty query": ({}, head(line="GET /socket.io/? HTTP/1.1"), SERVER, PEER),
    "names in any case": (
        {},
        head("x-FORWARDED-for: 1.2.3.4", "X.Y: z", "!#$%&'*+-.^`|~09: z"),
        SERVER,
        PEER,
    ),
    "spaces around values": ({}, head("A:    b   c   ", "B:", "C: :x:", "D:x"), SERVER, PEER),
    "no Host": ({}, head(headers=HEADERS[1:]), SERVER, PEER),
    "IPv6": ({}, head(), ("::", 5000, 0, 0), ("::1", 40123, 0, 0)),
    "a unix socket": ({}, head(), "/run/app.sock", ""),
    "a unix socket, a name without a port": (
        {},
        head(headers=["Host: a.test", *HEADERS[1:]]),
        "/run/a.sock",
        "",
    ),
    "a unix socket, no Host": ({}, head(headers=HEADERS[1:]), "/run/app.sock", b""),
    "a unix socket, TLS before it": (
        {},
        head("X-Forwarded-Proto: https", headers=["Host: a.test", *HEADERS[1:]]),
        "/run/app.sock",
        "",
    ),
    "a unix socket with a colon": ({}, head(), "/run/app:5.sock", ""),
    "a proxy that is trusted": (PROXY, head("X-Forwarded-Proto: https"), SERVER, ("10.1.2.3", 4)),
    "a proxy of all that are": (
        {"forwarded_allow_ips": "*"},
        head("X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"),
        SERVER,
        ("8.8.8.8", 4),
    ),
    "a proxy that is not trusted": (PROXY, head("X-Forwarded-Proto: https"), SERVER, ("11.1.2.3", 4)),
    "a proxy without TLS": (PROXY, head("X-Forwarded-Proto: http"), SERVER, ("10.1.2.3", 4)),
    "headers of one's own for TLS": (
        {"secure_scheme_headers": {"X-TLS": "yes"}},
        head("X-Tls: yes", "X-Forwarded-Proto: http"),
        SERVER,
        PEER,
    ),
    "frames behind it": ({}, head() + b"\x81\x82\0\0\0\x0040" * 3, SERVER, PEER),
    "a request behind it": ({}, head() + head("Content-Length: 5"), SERVER, PEER),
    "several workers": ({"workers": 3}, head(), SERVER, PEER),
    "no limits": (
        {"limit_request_line": 0, "limit_request_fields": 0, "limit_request_field_size": 0},
        head("A: " + "x" * 4000),
        SERVER,
        PEER,
    ),
    "as many headers as may be": ({"limit_request_fields": 6}, head("A: b"), SERVER, PEER),
    "a line as long as may be": ({"limit_request_line": len(LINE)}, head(), SERVER, PEER),
}


@pytest.mark.parametrize(("settings", "data", "server", "peer"), PLAIN.values(), ids=PLAIN)
def test_a_plain_handshake_is_read_as_gunicorn_reads_it(
    settings: dict[str, Any], data: bytes, server: Any, peer: Any
) -> None:
    check_the_same(config(**settings), data, server, peer)


# Some of it gunicorn takes, too; it is the one to say so.
NOT_PLAIN: dict[str, bytes] = {
    "nothing": b"",
    "half of it": head()[:-2],
    "another method": head(line=LINE.replace("GET", "POST")),
    "a method in small letters": head(line=LINE.replace("GET", "get")),
    "another path": head(line=LINE.replace("socket.io/", "chat/")),
    "a path below": head(line=LINE.replace("socket.io/", "socket.io/x")),
    "no query": head(line="GET /socket.io/ HTTP/1.1"),
    "an encoded path": head(line=LINE.replace("socket", "%73ocket")),
    "two slashes": head(line=LINE.replace("/socket", "//socket")),
    "an absolute address": head(line=LINE.replace("/socket", "http://a.test/socket")),
    "a fragment": head(line=LINE.replace("websocket", "websocket#x")),
    "two spaces": head(line=LINE.replace("GET ", "GET  ")),
    "a tabulator": head(line=LINE.replace("GET ", "GET\t")),
    "a space in the query": head(line=LINE.replace("EIO=4", "EIO= 4")),
    "a letter beyond ASCII": head(line=LINE.replace("EIO=4", "EIO=ü")),
    "HTTP/1.0": head(line=LINE.replace("1.1", "1.0")),
    "HTTP/1.2": head(line=LINE.replace("1.1", "1.2")),
    "HTTP/2": head(line=LINE.replace("1.1", "2")),
    "an empty line before": b"\r\n" + head(),
    "line feeds": head().replace(b"\r\n", b"\n"),
    "a line feed within": head("A: b\nC: d"),
    "a carriage return within": head("A: b\rC: d"),
    "a folded line": head("A: b\r\n c"),
    "a zero": head("A: b\0"),
    "a control character": head("A: b\x07"),
    "DEL": head("A: b\x7f"),
    "a tabulator in a value": head("A: b\tc"),
    "a tabulator before a value": head("A:\tb"),
    "no colon": head("A"),
    "no name": head(": b"),
    "a space before the colon": head("A : b"),
    "a space in the name": head("A B: c"),
    "a name beyond ASCII": head("Ä: b"),
    "an underscore": head("X_Forwarded_For: 1.2.3.4"),
    "SCRIPT_NAME": head("SCRIPT_NAME: /x"),
    "twice the same": head("A: b", "a: c"),
    "two hosts": head("Host: b"),
    "two upgrades": head("Upgrade: websocket"),
    "a length": head("Content-Length: 0"),
    "a type": head("Content-Type: text/plain"),
    "an encoding": head("Transfer-Encoding: chunked"),
    "an expectation": head("Expect: 100-continue"),
    "trailers": head("Trailer: A"),
    "another upgrade": head(headers=[each.replace("websocket", "h2c") for each in HEADERS]),
    "two protocols": head(headers=[each.replace("websocket", "websocket, h2c") for each in HEADERS]),
    "no upgrade": head(headers=[each for each in HEADERS if "Upgrade:" not in each]),
    "schemes that contradict each other": head("X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"),
    "no headers": head(headers=[]),
    "a proxy's line": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + head(),
    "too much": head("A: " + "x" * MAX_HEAD_BYTES),
    "a TLS hello": b"\x16\x03\x01\x02\x00" + bytes(600),
}


@pytest.mark.parametrize("data", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_is_not_plain_is_left_to_gunicorn(data: bytes) -> None:
    assert ours(config(forwarded_allow_ips="*"), data) is None


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        ({"limit_request_fields": 4}, head()),
        ({"limit_request_field_size": 40}, head()),
        ({"limit_request_line": len(LINE) - 1}, head()),
    ],
)
def test_what_is_above_a_limit_is_left_to_gunicorn(settings: dict[str, Any], data: bytes) -> None:
    assert ours(config(**settings), data) is None
    with pytest.raises(Exception, match=r"(?i)limit|large"):
        gunicorns(config(**settings), data, SERVER, PEER)


@pytest.mark.parametrize(
    "settings",
    [
        {"certfile": __file__, "keyfile": __file__},
        {"proxy_protocol": "auto"},
        {"proxy_protocol": "v1"},
        {"protocol": "uwsgi"},
    ],
)
def test_configurations_under_which_nothing_is_plain(settings: dict[str, Any]) -> None:
    assert PlainHandshakes.possible(config())
    assert not PlainHandshakes.possible(config(**settings))


def test_a_prefix_in_the_environment_is_left_to_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/app")

    assert not PlainHandshakes.possible(config())


PIECES = (
    "\r\n", "\r", "\n", " ", "\t", ":", ": ", ",",
    "_", "-", "\0", "\x7f", "\xe4", "\xff", "#", "?", "%2F", "//",
    "GET", "HTTP/1.1", "HTTP/1.0", "Host: b", "Upgrade: websocket", "upgrade: h2c", "Content-Length: 3",
    "Transfer-Encoding: chunked", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "X_A: b", "A: b", "a: c",
    "Expect: 100-continue", "\r\nA: b\r\n", "\r\n\r\n", "\r\n x", "SCRIPT_NAME: /socket.io", "é: b",
)  # fmt: skip


def mutations(seed: int, count: int) -> Iterator[bytes]:
    """Heads with something in them that does not belong there."""
    chance = random.Random(seed)
    plain = [data.decode("latin-1") for _, data, _, _ in PLAIN.values()]
    for _ in range(count):
        text = chance.choice(plain)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text) + 1)
            gone = chance.choice((0, 0, 1, 2, 10))
            text = text[:at] + chance.choice(PIECES) + text[at + gone :]
        yield text.encode("latin-1")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("peer", [PEER, ("8.8.8.8", 1)], ids=["trusted", "not trusted"])
def test_whatever_is_taken_is_taken_as_gunicorn_takes_it(seed: int, peer: Any) -> None:
    cfg = config()
    handshakes = PlainHandshakes(cfg, PATH, trusts(cfg))
    taken = 0
    for data in mutations(seed, 1500):
        read = handshakes.environ(data, SERVER, peer)
        if read is None:
            continue
        taken += 1
        environ, size = read
        # Raises what gunicorn refuses.
        expected = gunicorns(cfg, data, SERVER, peer)
        assert shared(environ) == shared(expected), data
        rest = data[size:]
        assert data.index(b"\r\n\r\n") + 4 == size
        assert expected["wsgi.input"].reader.unreader.take_buffered() == rest
    assert taken > 50


def test_names_that_a_client_invents_are_not_remembered_without_end() -> None:
    cfg = config()
    handshakes = PlainHandshakes(cfg, PATH, trusts(cfg))

    for number in range(2 * REMEMBERED_NAMES):
        assert handshakes.environ(head(f"X-{number}: y"), SERVER, PEER) is not None

    assert len(handshakes._names) <= REMEMBERED_NAMES


def test_two_requests_share_nothing() -> None:
    cfg = config()
    handshakes = PlainHandshakes(cfg, PATH, trusts(cfg))
    first, second = (handshakes.environ(head(more), SERVER, PEER) for more in ("A: b", "C: d"))
    assert first is not None
    assert second is not None
    first[0]["HTTP_X"] = "y"

    assert second[0]["HTTP_C"] == "d"
    assert not {"HTTP_A", "HTTP_X"} & set(second[0])
    assert first[0]["wsgi.input"] is not second[0]["wsgi.input"]
