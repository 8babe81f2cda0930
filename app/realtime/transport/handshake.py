"""The WebSocket handshake (RFC 6455, section 4), from the request that a web server has parsed already."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.server import ServerProtocol
from websockets.utils import accept_key

from app.realtime.transport.outgoing import WINDOW_BITS

KEY_BYTES = 16
VERSION = "13"
# Without context takeover: a broadcast is compressed once for all.
DEFLATE = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)

Header = tuple[str, str]


def is_handshake(environ: dict[str, Any]) -> bool:
    """Whether a request wants to become a WebSocket."""
    return str(environ.get("HTTP_UPGRADE", "")).lower() == "websocket"


def wrong_handshake(environ: dict[str, Any]) -> tuple[str, list[Header]] | None:
    """How to refuse a handshake, as status and headers; None: it is right (4.2.1 and 4.4)."""
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != VERSION:
        return "426 Upgrade Required", [("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket")]
    options = {option.strip().lower() for option in environ.get("HTTP_CONNECTION", "").split(",")}
    right = (
        environ["REQUEST_METHOD"] == "GET"
        and environ.get("SERVER_PROTOCOL", "HTTP/1.1") == "HTTP/1.1"
        and "upgrade" in options
        and _is_key(environ.get("HTTP_SEC_WEBSOCKET_KEY", ""))
        # A body would be taken for frames.
        and environ.get("CONTENT_LENGTH", "") in ("", "0")
        and "HTTP_TRANSFER_ENCODING" not in environ
    )
    return None if right else ("400 Bad Request", [])


def answer(environ: dict[str, Any], headers: list[Header]) -> bytes:
    """The answer to a handshake that is right.

    :param headers: further ones.
    """
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(environ['HTTP_SEC_WEBSOCKET_KEY'])}",
        *[f"{name}: {value}" for name, value in headers],
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def negotiate_deflate(environ: dict[str, Any]) -> tuple[list[Header], list[Extension]]:
    """Agree on permessage-deflate, where the client offers it in a form that one broadcast serves all in."""
    try:
        headers = Headers({"Sec-WebSocket-Extensions": environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", "")})
        header, extensions = ServerProtocol(extensions=[DEFLATE]).process_extensions(headers)
    except InvalidHandshake:
        return [], []
    if header is None or any(_is_small(extension) for extension in extensions):
        return [], []
    return [("Sec-WebSocket-Extensions", header)], list(extensions)


def _is_small(extension: Extension) -> bool:
    return isinstance(extension, PerMessageDeflate) and extension.local_max_window_bits != WINDOW_BITS


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False
