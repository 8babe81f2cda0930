"""The WSGI environment of a plain WebSocket handshake, as gunicorn makes it, in a tenth of the time. Sans-IO.

Plain means: there is only one way to read it. Whatever is not is left to gunicorn's parser, which knows what
to refuse and how.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from typing import Any

from gunicorn.http.wsgi import base_environ

# Of a request's head: as much as gunicorn reads at once.
MAX_HEAD_BYTES = 8192
END = b"\r\n\r\n"

# Names without an underscore, which is ambiguous in CGI; values of visible characters, spaces and Latin-1.
_HEAD = re.compile(rb"GET (/[!-~]*) HTTP/1\.1((?:\r\n[!#$%&'*+\-.^`|~0-9A-Za-z]+:[ -~\x80-\xff]*)+)\r\n\r\n")

# A body, or a question before it. Not our business, like a method or a version of another kind.
_NOT_PLAIN = frozenset(
    {"CONTENT_LENGTH", "CONTENT_TYPE", "TRANSFER_ENCODING", "TRAILER", "EXPECT", "HTTP2_SETTINGS"}
)

# Headers are the same for most clients.
REMEMBERED_NAMES = 256


class PlainHandshakes:
    """Reads heads of requests for one path.

    :param cfg: gunicorn's configuration.
    :param path: the Engine.IO server's, from the first slash to the last one.
    :param trusts: whether a peer may say that it has taken TLS off.
    """

    def __init__(self, cfg: Any, path: str, trusts: Callable[[Any], bool]) -> None:
        self._most_line, self._most_fields, self._most_field = (
            limit if limit > 0 else MAX_HEAD_BYTES
            for limit in (cfg.limit_request_line, cfg.limit_request_fields, cfg.limit_request_field_size)
        )
        self._start = f"GET {path}?".encode("latin-1")
        self._path = path
        self._trusts = trusts
        self._secure: dict[str, str] = {
            name.replace("-", "_"): value for name, value in cfg.secure_scheme_headers.items()
        }
        self._names: dict[str, str] = {}
        self._base = {
            **base_environ(cfg),
            "wsgi.multithread": True,
            "wsgi.early_hints": _no_hints,
            "REQUEST_METHOD": "GET",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
        }

    @staticmethod
    def possible(cfg: Any) -> bool:
        """Whether a configuration leaves requests as they come."""
        return not (
            cfg.is_ssl
            or cfg.proxy_protocol != "off"
            or cfg.protocol != "http"
            or "h2" in cfg.http_protocols
            or os.environ.get("SCRIPT_NAME")
        )

    def environ(self, data: bytes, server: Any, client: Any) -> tuple[dict[str, Any], int] | None:
        """Read a request's head.

        :param data: what a connection begins with.
        :param server: the address that the server listens at, as `getsockname` gives it.
        :param client: the peer's, as `accept` gives it.
        :returns: the environment but for `gunicorn.socket`, and how many bytes the head has; None when this
            is something else.
        """
        if not data.startswith(self._start):
            return None
        end = data.find(END) + len(END)
        if end < len(END) or end > MAX_HEAD_BYTES:
            return None
        match = _HEAD.fullmatch(data, 0, end)
        if match is None:
            return None
        target, lines = match[1].decode("ascii"), match[2].decode("latin-1").split("\r\n")
        # The first one is empty.
        if "#" in target or not self._within_limits(len(target), lines, end):
            return None
        environ = self._base.copy()
        environ["RAW_URI"] = target
        environ["QUERY_STRING"] = target[len(self._path) + 1 :]
        environ["wsgi.input"] = io.BytesIO()
        scheme = None
        for number in range(1, len(lines)):
            name, _, value = lines[number].partition(":")
            key = self._names.get(name) or self._key(name)
            if not key or key in environ:
                return None
            environ[key] = value = value.strip(" ")
            if key[5:] in self._secure and self._trusts(client):
                said = "https" if value == self._secure[key[5:]] else "http"
                if scheme not in (None, said):
                    return None
                scheme = said
        if environ.get("HTTP_UPGRADE", "").lower() != "websocket":
            return None
        environ["wsgi.url_scheme"] = scheme or "http"
        self._add_addresses(environ, server, client)
        return environ, end

    def _within_limits(self, target: int, lines: list[str], head: int) -> bool:
        # No limit is above that of the head here; 0 is none.
        line, most = self._most_line, self._most_field
        return (
            target + len("GET  HTTP/1.1") <= line
            and len(lines) - 1 <= self._most_fields
            and (head <= most or all(len(each) + 2 <= most for each in lines))
        )

    def _key(self, name: str) -> str:
        """The key of a header; nothing for those that make a request one of another kind."""
        bare = name.upper().replace("-", "_")
        key = "" if bare in _NOT_PLAIN else f"HTTP_{bare}"
        if len(self._names) < REMEMBERED_NAMES:
            self._names[name] = key
        return key

    @staticmethod
    def _add_addresses(environ: dict[str, Any], server: Any, client: Any) -> None:
        if isinstance(client, tuple):
            environ["REMOTE_ADDR"] = client[0]
            environ["REMOTE_PORT"] = str(client[1])
        else:
            environ["REMOTE_ADDR"] = client.decode() if isinstance(client, bytes) else client
        if isinstance(server, str):
            # A unix socket has no name and port but what the client says.
            host = environ.get("HTTP_HOST")
            server = server.split(":")
            if len(server) == 1:
                server = host.split(":") if host else [*server, ""]
                if len(server) == 1:
                    server.append(443 if environ["wsgi.url_scheme"] == "https" else 80)
        environ["SERVER_NAME"] = server[0]
        environ["SERVER_PORT"] = str(server[1])


def _no_hints(headers: object) -> None:
    """Early hints for a page: a WebSocket has none."""
