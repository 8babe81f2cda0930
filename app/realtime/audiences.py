"""Who gets an event on this node: a room's members, looked up once for as long as nobody comes or goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from app.realtime.transport import Engine, Session

if TYPE_CHECKING:
    from app.realtime.local import LocalManager

# To remember smaller rooms costs more memory than it saves time.
REMEMBERED_MEMBERS = 8


class Audience(NamedTuple):
    """The clients of this node who are in a room.

    :param sessions: those on our own transport; the same object as long as they are the same.
    :param connecting: those whose CONNECT is not answered yet, by the sids of namespace and connection.
    :param others: those on another transport, in the same way.
    """

    sessions: tuple[Session, ...]
    connecting: list[tuple[str, str]]
    others: list[tuple[str, str]]


class Audiences:
    """The audiences of a manager's rooms."""

    def __init__(self, manager: LocalManager) -> None:
        self._manager = manager
        self._known: dict[tuple[str, Any], Audience] = {}

    def of(self, namespace: str, room: Any) -> Audience:
        """Who is in a room, in any of several, or, for None, in the namespace."""
        several = hasattr(room, "__len__") and not isinstance(room, str)
        if not several and (known := self._known.get((namespace, room))) is not None:
            return known
        manager = self._manager
        engine = manager.server.eio
        sockets = engine.sockets if isinstance(engine, Engine) else {}
        leaving = manager.pending_disconnect.get(namespace, ())
        sessions: list[Session] = []
        connecting, others = [], []
        for sid, eio_sid in manager.get_participants(namespace, room):
            if sid in leaving:
                continue
            session = sockets.get(eio_sid)
            if not isinstance(session, Session):
                others.append((sid, eio_sid))
            elif manager.is_held_back(eio_sid, namespace):
                connecting.append((sid, eio_sid))
            else:
                sessions.append(session)
        audience = Audience(tuple(sessions), connecting, others)
        if not several and not connecting and not others and len(sessions) >= REMEMBERED_MEMBERS:
            self._known[namespace, room] = audience
        return audience

    def changed(self, namespace: str, room: Any) -> None:
        """Somebody came or went."""
        self._known.pop((namespace, room), None)
