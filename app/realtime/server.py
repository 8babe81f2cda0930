"""python-socketio's server with what the library does not tell a handler, and what a client may not do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import socketio as pysocketio
from socketio.packet import CONNECT, CONNECT_ERROR

from app.realtime.local import LocalManager
from app.realtime.protocol import BadPacketError, StrictPacket
from app.realtime.transport import Engine, Session

logger = logging.getLogger(__name__)

# Names that only the server itself may trigger; and "*", because Flask-SocketIO's handler for all events
# takes the first argument of an event of that name for its sender's sid.
RESERVED_EVENTS = frozenset({"connect", "disconnect", "*"})

_ack_wanted: ContextVar[bool] = ContextVar("ack_wanted", default=False)


def client_wants_ack() -> bool:
    """Whether the client whose event is in hand waits for an acknowledgement."""
    return _ack_wanted.get()


class _EventOf(list[Any]):
    """An event of a client that may be gone when its handler ends."""

    def __init__(self, data: list[Any], session: Session) -> None:
        super().__init__(data)
        self.session = session


class Server(pysocketio.Server):  # type: ignore[misc]
    """python-socketio's server that remembers whether a client asked for an acknowledgement."""

    def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: Any = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
        volatile: bool = False,
    ) -> None:
        """Emit an event; see `socketio.Server.emit`.

        :param volatile: it need not reach a client that is behind, see `TransportOptions`.
        """
        options = {"volatile": True} if volatile else {}
        namespace, room = namespace or "/", to or room
        self.logger.info('emitting event "%s" to %s [%s]', event, room or "all", namespace)
        self.manager.emit(
            event,
            data,
            namespace,
            room=room,
            skip_sid=skip_sid,
            callback=callback,
            ignore_queue=ignore_queue,
            **options,
        )

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        environ = self.environ.get(eio_sid)
        if environ is None:
            # The connection was closed while its first packet waited to be handled.
            return
        name = namespace or "/"
        if isinstance(self.eio, Engine) and (wrong := self._wrong_connect(eio_sid, name)):
            # As the protocol's reference server answers: by an object.
            refusal = self.packet_class(CONNECT_ERROR, data={"message": wrong}, namespace=name)
            self._send_packet(eio_sid, refusal)
            return
        with self._held_back(eio_sid, name):
            super()._handle_connect(eio_sid, namespace, data)
        if eio_sid not in self.environ:
            # It was closed while the connect handler waited, and the library runs no disconnect handler then.
            self.environ[eio_sid] = environ
            try:
                self._handle_disconnect(eio_sid, namespace, self.reason.TRANSPORT_CLOSE)
            finally:
                del self.environ[eio_sid]

    def _wrong_connect(self, eio_sid: str, namespace: str) -> str | None:
        known = self.namespaces == "*" or any(
            namespace in those for those in (self.handlers, self.namespace_handlers, self.namespaces)
        )
        if not known:
            return "Invalid namespace"
        return "Already connected" if self.manager.sid_from_eio_sid(eio_sid, namespace) else None

    @contextlib.contextmanager
    def _held_back(self, eio_sid: str, namespace: str) -> Iterator[None]:
        """Let what a connect handler emits to its client follow the answer to its CONNECT."""
        holds = (
            isinstance(self.eio, Engine)
            and isinstance(self.manager, LocalManager)
            and not self.always_connect
        )
        if holds:
            self.manager.hold_back(eio_sid, namespace)
        try:
            yield
        finally:
            if holds:
                self.manager.release(eio_sid, namespace)

    def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            if not data and eio_sid not in self._binary_packet:
                raise BadPacketError("an empty packet")
            self._expect_connect(eio_sid, data)
            super()._handle_eio_message(eio_sid, data)
        except (BadPacketError, ValueError) as error:
            # The one ValueError of the library's own here; any other comes from a handler and is a defect.
            if isinstance(error, ValueError) and error.args != ("Unexpected binary packet",):
                raise
            logger.info("a client sent a packet that makes no sense: %s", error)
            self._binary_packet.pop(eio_sid, None)
            session = self.eio.sockets.get(eio_sid)
            if isinstance(session, Session):
                session.close(wait=False, abort=True, reason=self.reason.TRANSPORT_ERROR)
            elif session is not None:
                session.close(wait=False)

    def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        if self.async_handlers and isinstance(self.eio, Engine):
            # The handlers of what came before have tasks of their own, which start while there is a client.
            self.sleep(0)
        super()._handle_disconnect(eio_sid, namespace, reason)

    def _expect_connect(self, eio_sid: str, data: Any) -> None:
        """The first packet of a client that is in no namespace is a CONNECT.

        :raises BadPacketError: when it is another one.
        """
        if (
            isinstance(self.eio, Engine)
            and isinstance(data, str)
            and data[:1] != str(CONNECT)
            and issubclass(self.packet_class, StrictPacket)
            and not self.eio.in_namespace(eio_sid)
        ):
            raise BadPacketError(f"{data[:1]!r} of a client that is in no namespace")

    def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:
        # The library trusts a packet: a number in the place of the name ends in a stack trace there, and an
        # event called "disconnect" runs the handler of a real one. Without a name nothing handles them.
        named = isinstance(data, list) and data and isinstance(data[0], str)
        if not named or data[0] in RESERVED_EVENTS:
            logger.info("a client sent an event without a name of its own")
            data = ["", *(data[1:] if isinstance(data, list) else [])]
        session = self.eio.sockets.get(eio_sid)
        if self.async_handlers and isinstance(session, Session):
            session.handlers.begin()
            # It may have left meanwhile, and then there is no task to end.
            sid = self.manager.sid_from_eio_sid(eio_sid, namespace or "/")
            if not self.manager.is_connected(sid, namespace or "/"):
                session.handlers.end()
                return
            data = _EventOf(data, session)
        super()._handle_event(eio_sid, namespace, id, data)

    def _handle_event_internal(
        self, server: Any, sid: str, eio_sid: str, data: list[Any], namespace: str, id: int | None
    ) -> None:
        token = _ack_wanted.set(id is not None)
        try:
            super()._handle_event_internal(server, sid, eio_sid, data, namespace, id)
        finally:
            _ack_wanted.reset(token)
            if isinstance(data, _EventOf):
                data.session.handlers.end()
