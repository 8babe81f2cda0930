"""The environ of a plain handshake against gunicorn's own; and what is left to gunicorn."""

from __future__ import annotations

import io
import random
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser
from gunicorn.workers.ggevent import GeventWorker

from app.realtime.transport.engine import Engine
from app.realtime.transport.plain_handshake import MAX_HEAD_BYTES, REMEMBERED_NAMES, PlainHandshakes
from app.realtime.transport.sockets import HEAD
from app.realtime.transport.worker import Answer, TransportWorker

PATH = "/socket.io/"
PEER = ("127.0.0.1", 40123)
SERVER = ("0.0.0.0", 5000)
LINE = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1"
HEADERS = [
    "Host: example.test:5000",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]
# Objects of a request's own.
OWN = ("wsgi.input", "wsgi.errors", "wsgi.early_hints", "gunicorn.socket", HEAD)


def head(*more: str, line: str = LINE, headers: Iterable[str] = HEADERS, end: str = "\r\n\r\n") -> bytes:
    """A request's head."""
    return ("\r\n".join((line, *headers, *more)) + end).encode("latin-1")


def config(**settings: Any) -> Config:
    """gunicorn's configuration."""
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


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


def shared(environ: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in environ.items() if key not in OWN}


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


# What the application answered before gunicorn asked it.


class Told:
    """gunicorn's start_response, and what it was told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        return self.calls.append


def test_an_answer_is_told_again() -> None:
    answer, told = Answer(), Told()
    answer.start_response("400 Bad Request", [("A", "b")])
    answer.parts = [b"no"]

    assert answer({}, told) == [b"no"]
    assert told.calls == [("400 Bad Request", [("A", "b")])]


def test_what_was_written_is_written_then() -> None:
    answer, told = Answer(), Told()
    write = answer.start_response("200 OK", [])
    write(b"a")
    write(b"b")

    answer({}, told)

    assert told.calls == [("200 OK", []), b"a", b"b"]


def test_an_iterator_that_begins_late() -> None:
    answer, told = Answer(), Told()

    def parts() -> Iterator[bytes]:
        answer.start_response("200 OK", [])
        yield b"late"

    answer.parts = parts()

    assert list(answer({}, told)) == [b"late"]
    assert told.calls == [("200 OK", [])]


def test_an_error_is_raised_again() -> None:
    answer = Answer()
    answer.error = KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        answer({}, Told())


# The worker, with one connection over a pair of sockets.


class Listener:
    """The server's socket."""

    def getsockname(self) -> Any:
        return SERVER


class Calls:
    """An application that counts, with a SocketIO as the worker looks for one."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.environs: list[dict[str, Any]] = []
        socketio = SimpleNamespace(
            server=SimpleNamespace(eio=object.__new__(Engine)),
            sockio_mw=SimpleNamespace(engineio_path=PATH),
        )
        self.extensions = {"socketio": socketio}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.environs.append(environ)
        return self._app(environ, start_response)


class Log(Logger):  # type: ignore[misc]
    """gunicorn's log, which notes the access log down."""

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.requests: list[tuple[str, str]] = []
        self.errors: list[str] = []

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        self.requests.append((resp.status, environ["RAW_URI"]))

    def exception(self, message: str, *arguments: Any, **more: Any) -> None:
        self.errors.append(message)


def serve(kind: type[GeventWorker], app: Any, data: bytes, **settings: Any) -> tuple[bytes, Calls, Any]:
    """Let a worker of a kind serve one connection.

    :returns: what came back, the application, and the worker.
    """
    worker = object.__new__(kind)
    worker.cfg = config(keepalive=1, **settings)
    worker.log = Log(worker.cfg)
    worker.alive, worker.nr, worker.max_requests = True, 0, 1000
    worker.wsgi = Calls(app)
    if kind is TransportWorker:
        worker._answers, worker._names = {}, {}
    mine, its = gevent.socket.socketpair()
    with mine:
        mine.sendall(data)
        mine.shutdown(socket.SHUT_WR)
        worker.handle(Listener(), its, PEER)
        assert its.fileno() == -1
        answer = b"".join(iter(lambda: mine.recv(65536), b""))
    return DATE.sub(b"Date: x", answer), worker.wsgi, worker


DATE = re.compile(rb"Date: [^\r]*")


def refuses(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("426 Upgrade Required", [("Content-Length", "2"), ("Upgrade", "websocket")])
    return [b"no"]


def streams(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b"a"
    yield b"b"


def writes(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "3")])(b"a")
    return [b"bc"]


def sends_a_file(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "6")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"a file"))


def fails(environ: dict[str, Any], start_response: Any) -> Any:
    raise KeyError("nothing")


def fails_late(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "3")])
    yield b"a"
    raise KeyError("nothing")


def mends(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])
    try:
        raise KeyError("nothing")
    except KeyError:
        start_response("500 Internal Server Error", [("Content-Length", "0")], sys.exc_info())
    return []


def breaks(environ: dict[str, Any], start_response: Any) -> Any:
    raise ConnectionResetError("gone")


def exits(environ: dict[str, Any], start_response: Any) -> Any:
    raise gevent.GreenletExit


def answers_with_nonsense(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("A", "b\r\nc")])
    return []


def answers_nothing(environ: dict[str, Any], start_response: Any) -> Any:
    return []


def closes(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("400 Bad Request", [("Content-Length", "0"), ("Connection", "close")])
    return []


APPS = [
    refuses, streams, writes, sends_a_file, fails, fails_late, mends, breaks, exits, answers_with_nonsense,
    answers_nothing, closes,
]  # fmt: skip


@pytest.mark.parametrize("more", [b"", head(), b"GET /page HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"])
@pytest.mark.parametrize("app", APPS, ids=lambda app: app.__name__)
def test_an_answer_is_what_gunicorn_makes_of_it(app: Any, more: bytes) -> None:
    expected, by_gunicorn, its_worker = serve(GeventWorker, app, head() + more)
    answer, by_us, worker = serve(TransportWorker, app, head() + more)

    assert answer == expected
    assert list(map(shared, by_us.environs)) == list(map(shared, by_gunicorn.environs))
    assert worker.log.requests == its_worker.log.requests
    assert worker.log.errors == its_worker.log.errors
    assert worker.nr == its_worker.nr
    assert not worker._answers


def takes_over(environ: dict[str, Any], start_response: Any) -> Any:
    head = environ.get(HEAD)
    if head is not None:
        head.take(environ["gunicorn.socket"])
        rest = environ["gunicorn.socket"].recv(100)
    else:
        rest = environ["wsgi.input"].reader.unreader.take_buffered()
    environ["gunicorn.socket"].sendall(b"mine: " + rest)
    raise StopIteration


@pytest.mark.parametrize("kind", [GeventWorker, TransportWorker])
def test_a_connection_that_is_taken_over(kind: Any) -> None:
    answer, app, worker = serve(kind, takes_over, head() + b"frames")

    assert answer == b"mine: frames"
    assert worker.log.requests == worker.log.errors == []
    assert worker.nr == 1
    assert (HEAD in app.environs[0]) == (kind is TransportWorker)


def test_a_fault_after_the_connection_was_taken_over() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ[HEAD].take(environ["gunicorn.socket"])
        raise KeyError("nothing")

    answer, calls, worker = serve(TransportWorker, app, head())

    assert answer == b""
    assert len(calls.environs) == 1
    assert worker.log.errors == ["Error handling request"]


@pytest.mark.parametrize("kind", [GeventWorker, TransportWorker])
def test_a_worker_that_has_had_its_requests(kind: Any) -> None:
    worker = object.__new__(TransportWorker)
    worker.nr, worker.max_requests, worker.alive = 1, 3, True
    worker.log = Log(config())

    worker._count()
    assert worker.alive
    worker._count()
    assert not worker.alive


def hook(worker: Any, req: Any) -> None:
    """A hook of gunicorn's configuration."""
    req.headers.append(("X-HOOK", "seen"))


def later_hook(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """Another one."""
    worker.log.errors.append("seen")


def test_hooks_are_called() -> None:
    _, app, worker = serve(TransportWorker, refuses, head(), pre_request=hook, post_request=later_hook)

    assert app.environs[0]["HTTP_X_HOOK"] == "seen"
    assert worker.log.errors == ["seen"]


def test_an_application_without_our_transport_is_left_to_gunicorn() -> None:
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(environ)
        return refuses(environ, start_response)

    worker = object.__new__(TransportWorker)
    worker.cfg, worker.wsgi = config(), app
    assert worker._reader() is None
    worker.wsgi = Calls(app)
    assert worker._reader() is not None
    worker.wsgi.extensions["socketio"].server.eio = object()
    assert worker._reader() is None


def test_an_application_that_is_loaded_again() -> None:
    worker = object.__new__(TransportWorker)
    worker.cfg = config(keepalive=1)
    worker.log = Log(worker.cfg)
    worker.alive, worker.nr, worker.max_requests = True, 0, 1000
    worker._answers, worker._names = {}, {}
    for path in ("/one/", "/two/"):
        worker.wsgi = Calls(refuses)
        worker.wsgi.extensions["socketio"].sockio_mw.engineio_path = path
        mine, its = gevent.socket.socketpair()
        with mine:
            mine.sendall(head(line=LINE.replace("/socket.io/", path)))
            mine.shutdown(socket.SHUT_WR)
            worker.handle(Listener(), its, PEER)
        assert HEAD in worker.wsgi.environs[0]
