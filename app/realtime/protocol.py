"""Packets that make no sense end their connection, and nothing else.

python-socketio and python-engineio let the exception of a broken packet run up to the web server: a stack
trace in the log for each, and on a WebSocket an HTTP answer in mid-stream and a client that stays "connected"
until its ping times out. Here they are caught where they are decoded.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import socket
from typing import Any
from urllib.parse import parse_qs

import engineio
import socketio
from engineio.exceptions import EngineIOError
from engineio.socket import Socket
from socketio import packet

from app.realtime import fast_json
from app.realtime.rooms import RoomManager
from app.realtime.transport import Engine, TransportOptions
from app.realtime.transport.handshake import is_handshake, wrong_handshake

logger = logging.getLogger(__name__)

# What decoding raises for one kind of nonsense or another.
DECODE_ERRORS = (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError)
# What a client may send (Socket.IO protocol, revision 5).
CLIENT_PACKETS = frozenset(
    (packet.CONNECT, packet.DISCONNECT, packet.EVENT, packet.ACK, packet.BINARY_EVENT, packet.BINARY_ACK)
)
LIST_PACKETS = CLIENT_PACKETS - {packet.CONNECT, packet.DISCONNECT}
ENGINE_PACKET_TYPES = "0123456"  # Engine.IO protocol, revision 4
DEFAULT_MAX_BYTES = 1_000_000
# For the other side's answer to the end of a WebSocket.
GOODBYE_SECONDS = 1.0


class BadPacketError(Exception):
    """A Socket.IO packet that cannot be decoded, or that only a server may send."""


class StrictPacket(packet.Packet):  # type: ignore[misc]
    """A packet that says what is wrong with it by one kind of exception, and takes no more than it may."""

    json = fast_json.Default()
    max_attachments = TransportOptions().max_attachments
    max_bytes = DEFAULT_MAX_BYTES

    def decode(self, encoded_packet: Any) -> Any:
        """Decode a packet. :raises BadPacketError: when that cannot be done."""
        try:
            attachments = super().decode(encoded_packet)
        except DECODE_ERRORS as error:
            raise BadPacketError(str(error)) from None
        if self.packet_type not in CLIENT_PACKETS:
            raise BadPacketError(f"packet type {self.packet_type}")
        if self.packet_type in LIST_PACKETS and not isinstance(self.data, list):
            raise BadPacketError("an event or acknowledgement without a list of arguments")
        if self.packet_type in (packet.EVENT, packet.BINARY_EVENT) and not self.data:
            raise BadPacketError("an event without a name")
        if attachments and attachments > self.max_attachments:
            raise BadPacketError(f"{attachments} attachments, where {self.max_attachments} are allowed")
        return attachments

    @classmethod
    def _reconstruct_binary_internal(cls, data: Any, attachments: list[bytes]) -> Any:
        if isinstance(data, dict) and data.get("_placeholder"):
            number = data.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise ValueError(f"no attachment {number!r}")
        return super()._reconstruct_binary_internal(data, attachments)

    def add_attachment(self, attachment: Any) -> bool:
        """Take the next binary part. :raises BadPacketError: when it is none, or does not belong here."""
        if not isinstance(attachment, bytes):
            raise BadPacketError("text in the place of a binary attachment")
        if len(attachment) + sum(map(len, self.attachments)) > self.max_bytes:
            raise BadPacketError(f"attachments of more than {self.max_bytes} bytes")
        try:
            complete: bool = super().add_attachment(attachment)
        except DECODE_ERRORS as error:
            raise BadPacketError(str(error)) from None
        return complete


class EngineSocket(Socket):  # type: ignore[misc]
    """An Engine.IO connection whose polling client may send nonsense."""

    def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Take a POST.

        :raises EngineIOError: for a payload that cannot be decoded; it is answered with 400.
        """
        try:
            super().handle_post_request(environ)
        except (*DECODE_ERRORS, EngineIOError) as error:
            logger.info("a client posted what makes no sense: %s", error)
            # The library would close it too, and wait until somebody fetches what is queued for this client.
            self.close(wait=False, abort=True)
            raise EngineIOError(str(error)) from None


class EngineServer(engineio.Server):  # type: ignore[misc]
    """An Engine.IO server whose connections are EngineSockets."""

    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request; one for a session that has just ended gets a 400 like any unknown session.

        So does a WebSocket handshake that is none: the driver would find out when there is a session already.
        """
        if is_handshake(environ) and (wrong := wrong_handshake(environ)):
            status, headers = wrong
            start_response(status, [("Content-Type", "text/plain"), *headers])
            return [f"{status}: this is no WebSocket handshake of version 13.\n".encode()]
        for sid in parse_qs(environ.get("QUERY_STRING", "")).get("sid", []):
            if sid in self.sockets and self.sockets[sid].closed:
                del self.sockets[sid]
        return super().handle_request(environ, start_response)

    def _get_socket(self, sid: str) -> Any:
        socket = super()._get_socket(sid)
        # The library names its own class where it makes one; this adds to one method.
        socket.__class__ = EngineSocket
        return socket


def careful_websocket(driver: type) -> type:
    """Subclass an Engine.IO WebSocket driver: a frame that is no packet is taken for the end."""

    class CarefulWebSocket(driver):  # type: ignore[misc]
        def __init__(self, handler: Any, server: Any) -> None:
            super().__init__(handler, server)
            self._pause = server.sleep
            self._spawn = server.start_background_task
            # Otherwise a message is in memory before anybody asks how large it is.
            self.server_args["max_message_size"] = server.max_http_buffer_size

        def close(self) -> None:
            super().close()
            # The driver waits for the other side's goodbye, which one that has vanished never says.
            self._spawn(self._cut)

        def _cut(self) -> None:
            self._pause(GOODBYE_SECONDS)
            with contextlib.suppress(OSError, AttributeError):
                self.ws.sock.shutdown(socket.SHUT_RDWR)

        def wait(self) -> str | bytes | None:
            # What has arrived is handed out without a switch: a client that floods would keep the hub.
            self._pause(0)
            data: str | bytes | None = super().wait()
            if data is not None and not _is_engine_packet(data):
                logger.info("a client sent a frame that is no packet")
                return None
            return data

    return CarefulWebSocket


def harden(server: socketio.Server, options: TransportOptions, *, native: bool) -> None:
    """Make a Socket.IO server, and the Engine.IO server below it, see to broken packets.

    :param options: bounds of packets and connections.
    :param native: put our own transport in the place of the library's.
    """
    bounds = {"max_attachments": options.max_attachments, "max_bytes": server.eio.max_http_buffer_size}
    server.packet_class = type("StrictPacket", (StrictPacket,), bounds)
    if native:
        server.eio.__class__ = Engine
        server.eio.prepare(options, lambda eio_sid: _in_namespace(server.manager, eio_sid))
        return
    server.eio.__class__ = EngineServer
    driver = server.eio._async["websocket"]
    if driver is not None:
        server.eio._async = {**server.eio._async, "websocket": careful_websocket(driver)}


def _in_namespace(manager: Any, eio_sid: str) -> bool:
    """Whether the client of a connection is in any namespace."""
    if isinstance(manager, RoomManager):
        return manager.is_anywhere(eio_sid)
    return any(manager.sid_from_eio_sid(eio_sid, namespace) for namespace in manager.get_namespaces())


def _is_engine_packet(data: str | bytes) -> bool:
    if isinstance(data, bytes):
        return True
    if data[:1] == "b":
        try:
            base64.b64decode(data[1:])
        except binascii.Error:
            return False
        return True
    return data[:1] != "" and data[:1] in ENGINE_PACKET_TYPES
