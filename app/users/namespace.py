"""The base of namespaces whose clients are users: signed in by cookie or token, renewed, and ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field

from app.auth import by_token, connecting_user, ended, was_ended
from app.errors import EventError
from app.realtime import Client, EventNamespace, QueueError, event
from app.realtime import User as AnyUser
from app.user import User

log = structlog.get_logger(__name__)

Reason = Literal["expired", "ended"]
MESSAGES: dict[Reason, str] = {
    "expired": "Your session has ended: sign in again.",
    "ended": "You were signed out.",
}


class Renew(BaseModel):
    """A new token of the same user."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    token: Annotated[str, Field(strict=True, description="a token (JWT), as in `auth`")]


class Renewed(BaseModel):
    """Until when the session lasts now."""

    expires_at_ms: int


class SessionEnded(BaseModel):
    """The last event before the server disconnects a client whose session is over.

    `reason` is `expired`: its time was up; or `ended`: the user was signed out, here or elsewhere.
    """

    reason: Reason
    message: Annotated[str, Field(description="for people")]


class UserNamespace(EventNamespace):
    """A namespace that asks app/auth.py who its clients are."""

    emits: ClassVar[dict[str, type[BaseModel]]] = {"session_ended": SessionEnded}

    def authenticate(self, auth: object) -> User | None:
        """Take the user from `auth`, or from the cookies of the page."""
        user = connecting_user(auth)
        if user is None and self.requires_user and was_ended():
            raise EventError("unauthorized", MESSAGES["ended"], reason="ended")
        return user

    def still_welcome(self, user: AnyUser) -> bool:
        """Unless the session was ended."""
        return not (isinstance(user, User) and ended(user))

    @event(Renew, Renewed)
    def on_renew(self, client: Client, payload: Renew) -> Renewed:
        """Go on with a new token, before the one of now expires. Each namespace is renewed by itself."""
        user = by_token(payload.token)
        if client.user is None or (user.id, user.name) != (client.user.id, client.user.name):
            raise EventError(
                "bad_payload",
                "This token is for somebody else, or for another name: connect anew with it.",
                field="token",
            )
        self.renew_client(client, user)
        return Renewed(expires_at_ms=round(user.expires_at * 1000))

    def end_sessions(self, whose: Callable[[User], bool], reason: Reason) -> int:
        """End the sessions of clients of this node.

        :param whose: says of a user whether the session is over.
        :returns: how many clients were disconnected.
        """
        farewell = ("session_ended", SessionEnded(reason=reason, message=MESSAGES[reason]))
        gone = [user for user in self.end_clients(whose, farewell) if isinstance(user, User)]  # type: ignore[arg-type]
        for user in dict.fromkeys(gone):
            try:
                self.session_over(user, reason)
            except QueueError as error:
                log.warning("other nodes do not know of a session's end", user=user.name, reason=str(error))
            except Exception:
                # The others' sessions are over all the same.
                log.exception("a session is over, and its traces stay", user=user.name)
        return len(gone)

    def session_over(self, user: User, reason: Reason) -> None:
        """Run after clients of a user were disconnected because the session is over."""
