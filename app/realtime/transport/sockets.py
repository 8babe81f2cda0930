"""The socket of a WebSocket handshake, taken over from the web server: it needs no greenlet any more."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import ssl
from typing import Any, NoReturn, Protocol

import gevent.event

# In an environ: the request's head is still to be read (see worker.py).
HEAD = "transport.head"


class NoSocketError(Exception):
    """The web server does not say which socket a request came over."""


class AnySocket(Protocol):
    """A socket that does not wait."""

    def fileno(self) -> int:
        """Its descriptor."""

    def recv(self, size: int, /) -> bytes:
        """Read. :raises BlockingIOError: when there is nothing now."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Write; returns how much. :raises BlockingIOError: when there is no room now."""

    def shutdown_writing(self) -> None:
        """Say that nothing more comes."""

    def close(self) -> None:
        """Let it go."""


class PlainSocket(_socket.socket):
    """A socket of its own for the same connection. gevent's has 1 KB of what is not needed."""

    __slots__ = ()

    def shutdown_writing(self) -> None:
        """Say that nothing more comes."""
        self.shutdown(_socket.SHUT_WR)


class HeldSocket(PlainSocket):
    """The same where the web server must not go on before it is closed: pywsgi reads what is left for it."""

    __slots__ = ("closed",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.closed = gevent.event.Event()

    def close(self) -> None:
        """Let it go."""
        with contextlib.suppress(OSError):
            self.shutdown(_socket.SHUT_RDWR)
        super().close()
        self.closed.set()


class TlsSocket:
    """A TLS socket, whose state cannot be copied: the web server's greenlet is kept until it is closed."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._tls: Any = sock._sslobj  # type: ignore[attr-defined]
        self.closed = gevent.event.Event()

    def fileno(self) -> int:
        """Its descriptor."""
        return self._sock.fileno()

    def recv(self, size: int, /) -> bytes:
        """Read, also what was decrypted already: the loop would not tell of that."""
        try:
            data: bytes = self._tls.read(size)
            while self._tls.pending():
                data += self._tls.read(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        return data

    def send(self, data: bytes | memoryview, /) -> int:
        """Write."""
        try:
            sent: int = self._tls.write(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        return sent

    def shutdown_writing(self) -> None:
        """Say that nothing more comes."""
        self._sock.shutdown(_socket.SHUT_WR)

    def close(self) -> None:
        """Give it back to the web server, which closes it."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(_socket.SHUT_RDWR)
        self.closed.set()


class Head:
    """The head of a request that was looked at, and is in the kernel's buffer still.

    :param size: in bytes.
    """

    __slots__ = ("_size", "taken")

    def __init__(self, size: int) -> None:
        self._size = size
        self.taken = False

    def take(self, sock: AnySocket) -> None:
        """Read it; what comes next are frames."""
        self.taken = True
        sock.recv(self._size)


TakenSocket = PlainSocket | HeldSocket | TlsSocket


def find(environ: dict[str, Any]) -> Any:
    """The web server's own socket of a request.

    :raises NoSocketError: when the web server is neither gunicorn's gevent worker nor gevent's pywsgi.
    """
    sock = environ.get("gunicorn.socket")
    if sock is None:
        # pywsgi's input knows its stream, or is it.
        stream = environ.get("wsgi.input")
        stream = getattr(stream, "rfile", stream)
        sock = getattr(getattr(stream, "raw", None), "_sock", None)
    if sock is None:
        raise NoSocketError(
            "WebSockets are taken over from gunicorn's gevent worker or gevent's pywsgi, and this web server "
            'is neither: use one of them, or SocketIO(transport="stock")'
        )
    return sock


def descriptor(environ: dict[str, Any]) -> int | None:
    """The descriptor of a request's connection; None: unknown, or of no use."""
    try:
        sock = find(environ)
    except NoSocketError:
        return None
    return None if isinstance(sock, ssl.SSLSocket) else int(sock.fileno())


def take_over(environ: dict[str, Any]) -> TakenSocket:
    """Get a socket of one's own for the connection of a request.

    :raises NoSocketError: when there is none.
    """
    sock = find(environ)
    if isinstance(sock, ssl.SSLSocket):
        return TlsSocket(sock)
    kind = PlainSocket if "gunicorn.socket" in environ else HeldSocket
    taken = kind(sock.family, sock.type, sock.proto, os.dup(sock.fileno()))
    taken.setblocking(False)
    if HEAD in environ:
        environ[HEAD].take(taken)
    return taken


def early_data(environ: dict[str, Any]) -> bytes:
    """What the web server has read beyond the request: frames that did not wait for the answer."""
    # No browser sends any. gunicorn tells; pywsgi's stream would wait for more.
    unreader = getattr(getattr(environ.get("wsgi.input"), "reader", None), "unreader", None)
    return b"" if unreader is None else bytes(unreader.take_buffered())


def leave(environ: dict[str, Any], sock: TakenSocket) -> NoReturn:
    """End the request without an answer: the connection is somebody else's now.

    :raises StopIteration: which gunicorn takes for that, and closes its own descriptor.
    :raises OSError: which gevent's pywsgi takes for that.
    """
    if not isinstance(sock, PlainSocket) or isinstance(sock, HeldSocket):
        sock.closed.wait()
    if "gunicorn.socket" in environ:
        raise StopIteration
    raise OSError(errno.EPIPE, "handed over")
