"""The Engine.IO server (protocol revision 4): answers requests, and keeps the sessions.

It is python-engineio's server with sessions and WebSockets of its own. Events, handlers, settings and the
methods that applications call are the library's.
"""

from __future__ import annotations

import json
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NoReturn
from urllib.parse import parse_qs

import engineio
import gevent
from engineio import packet as library

from app.realtime import fast_json
from app.realtime.transport import sockets
from app.realtime.transport.clock import Clock
from app.realtime.transport.fanout import Fanout
from app.realtime.transport.garbage import Garbage
from app.realtime.transport.handshake import answer, is_handshake, negotiate_deflate, wrong_handshake
from app.realtime.transport.homeless import Homeless
from app.realtime.transport.options import TransportOptions
from app.realtime.transport.outgoing import OPEN, PING_PACKET, Packet, payload
from app.realtime.transport.requests import kept_environ, most_packets, opening_data, parse_query
from app.realtime.transport.session import Session, Unanswerable
from app.realtime.transport.upgrade import Upgrade
from app.realtime.transport.wire import Wire

Answer = Iterable[bytes]
StartResponse = Callable[..., object]

Pairs = list[tuple[str, str]]

TEXT = [("Content-Type", "text/plain; charset=UTF-8"), ("Cache-Control", "no-store")]
# How long a client that polls may take to fetch what it was sent before the end.
LEFT_SECONDS = 30.0

# How the protocol's reference server names what is wrong with a request.
UNKNOWN_TRANSPORT = (0, "Transport unknown")
UNKNOWN_SESSION = (1, "Session ID unknown")
BAD_METHOD = (2, "Bad handshake method")
BAD_REQUEST = (3, "Bad request")
UNKNOWN_VERSION = (5, "Unsupported protocol version")

NO_HANDSHAKE = b"This is no WebSocket handshake of version 13.\n"


class Engine(engineio.Server):  # type: ignore[misc]
    """An Engine.IO server on gevent's loop; `prepare` makes it of the library's.

    `sockets` has the sessions, by their sids.
    """

    sequence_number: int
    options: TransportOptions
    fanout: Fanout
    clock: Clock
    slow_disconnects: int
    volatile_dropped: int
    busy: int
    ending: dict[Session, str]

    def prepare(self, options: TransportOptions, in_namespace: Callable[[str], bool]) -> None:
        """Add to the library's server what it lacks.

        :param options: the bounds.
        :param in_namespace: whether the client of a session is in any namespace.
        """
        self.options = options
        self.in_namespace = in_namespace
        self.fanout = Fanout()
        self.clock = Clock()
        self.homeless = Homeless(self)
        self._garbage = Garbage(options.freeze_sessions)
        self.slow_disconnects = self.volatile_dropped = 0
        # How many handlers or lists of them are at work; and why sessions end that still have some to come.
        self.busy = 0
        self.ending = {}
        self._left: dict[str, list[Packet]] = {}
        self._to_ping: list[Session] = []
        # One timer does what the library has a task for.
        self.start_service_task = False

    def status(self) -> dict[str, Any]:
        """The connections in numbers."""
        sessions = list(self.sockets.values())
        websockets = sum(session.upgraded for session in sessions)
        return {
            "connections": len(sessions),
            "websocket": websockets,
            "polling": len(sessions) - websockets,
            "buffered_bytes": sum(session.buffered for session in sessions),
            "slow_disconnects": self.slow_disconnects,
            "volatile_dropped": self.volatile_dropped,
        }

    # What the library and the layer above call.

    def generate_id(self) -> str:
        """An id of the library's form, by a shorter way."""
        number = self.sequence_number
        self.sequence_number = (number + 1) & 0xFFFFFF
        return urlsafe_b64encode(os.urandom(12) + number.to_bytes(3, "big")).decode("ascii")

    def send_packet(self, sid: str, pkt: Any) -> None:
        """Send a packet of the library's."""
        session = self.sockets.get(sid)
        if session is None or session.closed:
            return
        if isinstance(session, Session):
            self.fanout.send((session,), (_packet(pkt),))
        else:
            # Put there by hand, as tests do.
            session.send(pkt)

    def disconnect(self, sid: str | None = None) -> None:
        """End a session, or all of them."""
        sessions = [self.sockets.get(sid)] if sid is not None else list(self.sockets.values())
        for session in sessions:
            if session is not None:
                session.close(reason=self.reason.SERVER_DISCONNECT)

    def forget(self, session: Session) -> None:
        """Keep a session no longer."""
        if self.sockets.get(session.sid) is session:
            del self.sockets[session.sid]
            self._garbage.closed(len(self.sockets))

    def left_namespace(self, sid: str) -> None:
        """The client of a session is in one namespace less."""
        session = self.sockets.get(sid)
        if session is not None and not session.closing and not self.in_namespace(sid):
            self.homeless.expect(session, time.monotonic())

    def keep(self, sid: str, packets: list[Packet]) -> None:
        """Keep what the client of a session that is no more has not fetched."""
        self._left[sid] = packets
        self.clock.after(LEFT_SECONDS, partial(self._drop_left, sid))

    def _drop_left(self, sid: str, _now: float) -> None:
        self._left.pop(sid, None)

    # Time.

    def ping(self, session: Session) -> None:
        """Ping a session, with all others that are due in this turn."""
        if not self._to_ping:
            gevent.get_hub().loop.run_callback(self._ping)
        self._to_ping.append(session)

    def _ping(self) -> None:
        pinged, self._to_ping = tuple(self._to_ping), []
        self.fanout.send(pinged, (PING_PACKET,))

    # Requests.

    def handle_request(self, environ: dict[str, Any], start_response: StartResponse) -> Answer:
        """Answer a request of a client; a WSGI application.

        :raises StopIteration: after the connection was taken over as a WebSocket (see sockets.py).
        """
        if self._foreign(environ):
            body = b'"Not an accepted origin."'
            return self._answer(environ, start_response, "400 Bad Request", TEXT, body, cors=False)
        query = parse_query(environ.get("QUERY_STRING", ""))
        transport = query.get("transport", [""])[0]
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return self._answer(environ, start_response, "200 OK", TEXT, b"OK")
        if transport not in self.transports:
            return self._refuse(environ, start_response, UNKNOWN_TRANSPORT)
        upgrade = is_handshake(environ)
        if upgrade:
            if wrong := wrong_handshake(environ):
                status, headers = wrong
                return self._answer(environ, start_response, status, TEXT + headers, NO_HANDSHAKE)
            sockets.find(environ)
        if "sid" not in query:
            if method != "GET":
                return self._refuse(environ, start_response, BAD_METHOD)
            if query.get("EIO") != ["4"]:
                return self._refuse(environ, start_response, UNKNOWN_VERSION)
            if (transport == "websocket") != upgrade:
                return self._refuse(environ, start_response, BAD_REQUEST)
            return self._open(environ, start_response, upgrade)
        sid = query["sid"][0]
        session = self.sockets.get(sid)
        if query.get("EIO") != ["4"]:
            return self._refuse(environ, start_response, BAD_REQUEST)
        polls = transport == "polling" and method == "GET" and not upgrade
        if session is None and polls and (left := self._left.pop(sid, None)):
            # What it was sent before it was closed.
            most = most_packets(environ) or len(left)
            if rest := left[most:]:
                self.keep(sid, rest)
            return self._fetched(environ, start_response, payload(left[:most]), query)
        if session is None or session.closed:
            return self._refuse(environ, start_response, UNKNOWN_SESSION)
        if upgrade:
            allowed = transport == "websocket" and self.allow_upgrades
            opening = session.open_upgrade() if allowed else None
            if opening is None:
                return self._refuse(environ, start_response, BAD_REQUEST)
            self._open_wire(environ, opening, [])
        if transport != "polling" or not session.connected or session.upgraded:
            return self._refuse(environ, start_response, BAD_REQUEST)
        if method == "GET":
            return self._poll(environ, start_response, session, query)
        if method == "POST":
            return self._post(environ, start_response, session, query)
        return self._refuse(environ, start_response, BAD_METHOD)

    def _open(self, environ: dict[str, Any], start_response: StartResponse, websocket: bool) -> Answer:
        """Begin a session."""
        sid = self.generate_id()
        session = Session(self, sid)
        self.sockets[sid] = session
        accepted = False
        try:
            said = self._trigger_event("connect", sid, kept_environ(environ), run_async=False)
            accepted = said is None or said is True
        finally:
            if not accepted:
                self.sockets.pop(sid, None)
        if not accepted:
            message = library.Packet.json.dumps(said or "Unauthorized").encode()
            return self._answer(
                environ, start_response, "401 Unauthorized", [("Content-Type", "application/json")], message
            )
        session.start(time.monotonic())
        self._garbage.opened(len(self.sockets))
        opening = Packet(OPEN + fast_json.dumps(opening_data(self, sid, websocket), separators=(",", ":")))
        if websocket:
            self._open_wire(environ, session, self._cookie_headers(sid), opening.frame())
        session.connected = True
        return self._answer(
            environ, start_response, "200 OK", TEXT + self._cookie_headers(sid), opening.text().encode()
        )

    def _open_wire(
        self, environ: dict[str, Any], owner: Session | Upgrade, headers: Pairs, begin: bytes = b""
    ) -> NoReturn:
        """Answer a WebSocket handshake, and take the connection over from the web server.

        :param headers: of the answer.
        :param begin: what is written first.
        """
        options = self.options
        agreed, extensions = negotiate_deflate(environ) if options.per_message_deflate else ([], [])
        try:
            sock = sockets.take_over(environ)
        except Exception:
            owner.failed()
            raise
        wire = Wire(sock, owner, self.max_http_buffer_size, options.max_fragments, extensions)
        owner.open(wire)
        wire.write(answer(environ, headers + agreed) + begin)
        if early := sockets.early_data(environ):
            wire.feed(early)
        sockets.leave(environ, sock)

    def _poll(
        self,
        environ: dict[str, Any],
        start_response: StartResponse,
        session: Session,
        query: dict[str, list[str]],
    ) -> Answer:
        try:
            packets = session.poll(most_packets(environ), sockets.descriptor(environ))
        except Unanswerable:
            return self._refuse(environ, start_response, BAD_REQUEST)
        return self._fetched(environ, start_response, payload(packets), query)

    def _post(
        self,
        environ: dict[str, Any],
        start_response: StartResponse,
        session: Session,
        query: dict[str, list[str]],
    ) -> Answer:
        limit, polling = self.max_http_buffer_size, session.polling
        alone, polling.posting = not polling.posting, True
        try:
            body = self._body(environ, limit) if alone else None
            if body is not None and len(body) > limit:
                session.close(wait=False, abort=True, reason=self.reason.TRANSPORT_ERROR)
                return self._answer(environ, start_response, "413 Content Too Large", TEXT, b"")
            packets = self._packets(body, query) if body is not None else None
            if packets is None or not session.post(packets):
                session.close(wait=False, abort=True, reason=self.reason.TRANSPORT_ERROR)
                return self._refuse(environ, start_response, BAD_REQUEST)
        finally:
            polling.posting = False
        return self._fetched(environ, start_response, "ok", query)

    def _body(self, environ: dict[str, Any], limit: int) -> bytes | None:
        """Read a body: one byte more than it may have, if there are so many; None: it did not come whole."""
        length = environ.get("CONTENT_LENGTH") or ""
        whole = int(length) if length.isdecimal() else None
        if whole is not None and whole > limit:
            return bytes(limit + 1)
        try:
            with gevent.Timeout(self.options.post_seconds):
                body: bytes = environ["wsgi.input"].read(limit + 1)
        except (Exception, gevent.Timeout) as error:
            # What a web server raises is its own: for chunks that are none, for a connection that broke.
            self.logger.info("a body did not come: %s", error)
            return None
        return body if whole is None or len(body) == whole else None

    def _packets(self, body: bytes, query: dict[str, list[str]]) -> list[str] | None:
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            return None
        if "j" in query:
            text = parse_qs(text).get("d", [""])[0].replace("\\n", "\n")
        packets = text.split("\x1e")
        return packets if len(packets) <= self.options.max_packets else None

    def _fetched(
        self, environ: dict[str, Any], start_response: StartResponse, text: str, query: dict[str, list[str]]
    ) -> Answer:
        headers = TEXT
        if "j" in query:
            # JSONP, for browsers that nobody has any more; the library has it.
            if not query["j"][0].isdecimal():
                return self._refuse(environ, start_response, BAD_REQUEST)
            text = f"___eio[{query['j'][0]}]({json.dumps(text)});"
            headers = [("Content-Type", "text/javascript; charset=UTF-8"), ("Cache-Control", "no-store")]
        return self._answer(environ, start_response, "200 OK", headers, text.encode("utf-8", "replace"))

    def _refuse(
        self, environ: dict[str, Any], start_response: StartResponse, error: tuple[int, str]
    ) -> Answer:
        body = json.dumps({"code": error[0], "message": error[1]}).encode()
        headers = [("Content-Type", "application/json")]
        # As the library: whoever asks in a way that nobody knows is told nothing of origins.
        cors = error not in (UNKNOWN_TRANSPORT, UNKNOWN_VERSION)
        return self._answer(environ, start_response, "400 Bad Request", headers, body, cors=cors)

    def _answer(
        self,
        environ: dict[str, Any],
        start_response: StartResponse,
        status: str,
        headers: Pairs,
        body: bytes,
        *,
        cors: bool = True,
    ) -> Answer:
        headers = [*headers, *(self._cors_headers(environ) if cors else [])]
        if self.http_compression and len(body) >= self.compression_threshold:
            for accepted in environ.get("HTTP_ACCEPT_ENCODING", "").split(","):
                encoding = accepted.split(";")[0].strip()
                if encoding in self.compression_methods and not accepted.replace(" ", "").endswith(";q=0"):
                    body = getattr(self, f"_{encoding}")(body)
                    headers += [("Content-Encoding", encoding), ("Vary", "Accept-Encoding")]
                    break
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def _cookie_headers(self, sid: str) -> Pairs:
        if not self.cookie:
            return []
        attributes = (
            self.cookie
            if isinstance(self.cookie, dict)
            else {"name": self.cookie, "path": "/", "SameSite": "Lax"}
        )
        return [("Set-Cookie", self._generate_sid_cookie(sid, attributes))]

    def _foreign(self, environ: dict[str, Any]) -> bool:
        """Whether a request comes from another site that is not allowed to."""
        origin = environ.get("HTTP_ORIGIN")
        if not origin or self.cors_allowed_origins == []:
            return False
        allowed = self._cors_allowed_origins(environ)
        if allowed is None or origin in allowed:
            return False
        self._log_error_once(f"{origin} is not an accepted origin.", "bad-origin")
        return True


def _packet(pkt: Any) -> Packet:
    """Take over a packet of the library's."""
    if pkt.binary:
        return Packet(bytes(pkt.data))
    return Packet(pkt.encode())
