"""The worker against gunicorn's own: the same answers, whether or not it goes the short way."""

from __future__ import annotations

import io
import re
import socket
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.ggevent import GeventWorker

from app.realtime.transport.engine import Engine
from app.realtime.transport.sockets import HEAD
from app.realtime.transport.worker import Answer, TransportWorker
from tests.support.handshakes import LINE, PATH, PEER, SERVER, config, head, shared

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
