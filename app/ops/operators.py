"""The namespaces of operators, and how connections end: when their time is over, or when they sign out."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import structlog
from pydantic import BaseModel

from app.ops.access import Operator, operator_from
from app.realtime import Client, EventNamespace, User
from app.users.namespace import Reason, SessionEnded

log = structlog.get_logger(__name__)

MESSAGES: dict[Reason, str] = {
    "expired": "Your time is over: show the token again.",
    "ended": "You have signed out.",
}


class OperatorNamespace(EventNamespace):
    """A namespace that lets operators in, and writes down what they ask for."""

    emits: ClassVar[dict[str, type[BaseModel]]] = {"session_ended": SessionEnded}

    def authenticate(self, auth: object) -> Operator | None:
        """Only operators; see `app.ops.access`."""
        return operator_from(auth)

    def note(self, client: Client, asked: str, **about: object) -> None:
        """Leave a trace in the log, before it is done.

        :param asked: what for.
        :param about: what else to know of it.
        """
        operator = client.user.id if client.user else None
        log.info("operator asked", asked=asked, operator=operator, address=client.address, **about)


class Operators:
    """All namespaces of operators on this node."""

    def __init__(self) -> None:
        self._namespaces: list[OperatorNamespace] = []

    def add(self, namespace: OperatorNamespace) -> None:
        """From now on its clients go with their operators."""
        self._namespaces.append(namespace)

    def leave(self, operator_id: str) -> None:
        """End the connections of an operator who has signed out."""
        self._end(lambda user: user.id == operator_id, "ended")

    def end_expired(self, wall_seconds: float) -> None:
        """End the connections of operators whose time is over, who only look on and would not notice.

        :param wall_seconds: now, since 1970.
        """
        self._end(lambda user: user.expires_at <= wall_seconds, "expired")

    def _end(self, whose: Callable[[User], bool], reason: Reason) -> None:
        farewell = ("session_ended", SessionEnded(reason=reason, message=MESSAGES[reason]))
        for namespace in self._namespaces:
            try:
                namespace.end_clients(whose, farewell)
            except Exception:
                # The others end all the same.
                log.exception("operators could not be ended", namespace=namespace.namespace)
