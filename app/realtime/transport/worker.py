"""gunicorn's gevent worker with a short way for WebSockets: they come by thousands when a node restarts.

gunicorn parses, wraps and looks after any request, and a handshake of our transport leaves it by a side door
at once. Plain handshakes (see plain_handshake.py) are looked at before that, while they stay in the kernel's
buffer: gunicorn reads whatever else it is as if nobody had.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import gevent
from gunicorn import util
from gunicorn.config import PostRequest, PreRequest
from gunicorn.http.message import _ip_in_allow_list
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from app.realtime.transport.engine import Engine
from app.realtime.transport.plain_handshake import MAX_HEAD_BYTES, PlainHandshakes
from app.realtime.transport.sockets import HEAD, Head


class TransportWorker(GeventWorker):  # type: ignore[misc]
    """`-k app.realtime.transport.worker.TransportWorker`; it needs one of our SocketIO to differ."""

    wsgi: Any
    cfg: Any
    alive: bool

    _handshakes: PlainHandshakes | None = None
    _read_for: Any = None

    def init_process(self) -> None:
        """Start."""
        # What handshakes were answered with that did not become WebSockets.
        self._answers: dict[Any, Answer] = {}
        self._names: dict[Any, Any] = {}
        super().init_process()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection."""
        if self._read_for is not self.wsgi:
            # The application was loaded just now, or again.
            self._handshakes, self._read_for = self._reader(), self.wsgi
        if self._handshakes is None or not self._taken(self._handshakes, listener, client, addr):
            try:
                super().handle(listener, client, addr)
            finally:
                self._answers.pop(client, None)

    def _reader(self) -> PlainHandshakes | None:
        extensions = getattr(self.wsgi, "extensions", {})
        socketio = extensions.get("socketio")
        engine = getattr(getattr(socketio, "server", None), "eio", None)
        path = getattr(getattr(socketio, "sockio_mw", None), "engineio_path", None)
        hooks = self.cfg.pre_request, self.cfg.post_request
        if (
            not isinstance(engine, Engine)
            or path is None
            or quote(path) != path
            or hooks != (PreRequest.default, PostRequest.default)
            or not PlainHandshakes.possible(self.cfg)
        ):
            return None
        return PlainHandshakes(self.cfg, path, self._trusts)

    def _trusts(self, addr: Any) -> bool:
        networks = self.cfg.forwarded_allow_networks()
        return not isinstance(addr, tuple) or bool(
            _ip_in_allow_list(addr[0], self.cfg.forwarded_allow_ips, networks)
        )

    def _taken(self, handshakes: PlainHandshakes, listener: Any, client: Any, addr: Any) -> bool:
        """Look whether a connection begins with a handshake. :returns: whether it is done with."""
        try:
            data = self._peek(client)
        except OSError:
            # gunicorn will find it, too.
            return False
        if data is None:
            util.close(client)
            return True
        name = self._names.get(listener)
        if name is None:
            name = self._names[listener] = listener.getsockname()
        read = handshakes.environ(data, name, addr)
        if read is None:
            return False
        environ, size = read
        environ["gunicorn.socket"] = client
        head = environ[HEAD] = Head(size)
        self.log.debug("%s %s", "GET", environ["PATH_INFO"])
        answer = Answer()
        try:
            answer.parts = self.wsgi(environ, answer.start_response)
        except StopIteration as over:
            self.log.debug("Closing connection. %s", over)
            self._count()
        except (Exception, gevent.GreenletExit, SystemExit) as error:
            if not head.taken:
                answer.error = error
                self._answers[client] = answer
                return False
            self.log.exception("Error handling request")
        else:
            self._answers[client] = answer
            return False
        util.close(client)
        return True

    def _peek(self, client: Any) -> bytes | None:
        """What has come, without taking it; None: nothing in time."""
        client.setblocking(0)
        try:
            data: bytes | None = client.recv(MAX_HEAD_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            client.setblocking(1)
            if not self.cfg.keepalive:
                return bytes(client.recv(MAX_HEAD_BYTES, socket.MSG_PEEK))
            data = None
            with self.timeout_ctx():
                data = client.recv(MAX_HEAD_BYTES, socket.MSG_PEEK)
        else:
            client.setblocking(1)
        return data

    def _count(self) -> None:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request; one that was answered already gets that answer."""
        answer = self._answers.pop(sock, None)
        if answer is None:
            super().handle_request(listener_name, req, sock, addr)
            return
        # As GeventWorker does.
        with contextlib.suppress(gevent.GreenletExit, SystemExit):
            AsyncWorker.handle_request(_Answered(self, answer), listener_name, req, sock, addr)


class Answer:
    """What the application has answered; it is told to gunicorn when that has parsed the request."""

    def __init__(self) -> None:
        self.parts: Iterable[bytes] = ()
        self.error: BaseException | None = None
        self._said: list[tuple[Any, ...]] = []
        self._written: list[bytes] = []
        self._real: Callable[..., Any] | None = None

    def start_response(self, *arguments: Any) -> Callable[[bytes], Any]:
        """Take status and headers."""
        if self._real is not None:
            # By an iterator, when its first part is wanted.
            write: Callable[[bytes], Any] = self._real(*arguments)
            return write
        self._said.append(arguments)
        return self._written.append

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer the same request again, as a WSGI application."""
        self._real = start_response
        for arguments in self._said:
            write = start_response(*arguments)
        for data in self._written:
            write(data)
        if self.error is not None:
            raise self.error
        return self.parts


class _Answered:
    """The worker, whose application is an answer."""

    def __init__(self, worker: TransportWorker, answer: Answer) -> None:
        self.__dict__.update(_worker=worker, wsgi=answer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._worker, name, value)
