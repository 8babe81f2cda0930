"""The one dispatch hook that every client event passes: user, schema, rate, log, answer.

A namespace lists its events as methods under `@event(Schema, rate=...)`. A handler gets a checked payload
and returns the model of its acknowledgement, or raises EventError. The hook sees to the rest: nothing that
a client sends ends in silence or in a stack trace.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import structlog
from flask import request
from flask_socketio import ConnectionRefusedError, Namespace
from pydantic import BaseModel, ConfigDict, ValidationError

from app.realtime.errors import EventError, OutboxFull, QueueClosed
from app.realtime.presence import User
from app.realtime.rates import Rates
from app.realtime.server import RESERVED_EVENTS, client_wants_ack

log = structlog.get_logger(__name__)

# Many sessions may end in the same second; others are served in between.
ENDED_AT_ONCE = 50
PAUSE_SECONDS = 0.001


def payer_of(user: User | None, address: str) -> str:
    """Name who pays for what counts against a rate: the user, or the address of who has not signed in.

    Not the connection: another one costs nothing.
    """
    return f"user:{user.id}" if user else f"address:{address}"


@dataclass(frozen=True)
class Client:
    """One connection to one namespace."""

    sid: str
    user: User | None
    address: str

    @property
    def payer(self) -> str:
        """Who pays for this client's events."""
        return payer_of(self.user, self.address)


@dataclass(frozen=True)
class Event:
    """What the hook knows of one event: its schema, its answer's, and the name of its rate."""

    schema: type[BaseModel]
    answer: type[BaseModel]
    rate: str
    meaning: str


class Nothing(BaseModel):
    """No fields; for an event that needs none, or an answer that says only that it is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def event(
    schema: type[BaseModel] = Nothing, answer: type[BaseModel] = Nothing, rate: str = "default"
) -> Callable[..., Any]:
    """Declare a method `on_<name>(client, payload)` to be the handler of a client event.

    :param schema: pydantic model of the one object that the event carries.
    :param answer: model of the fields of its acknowledgement, which the handler returns.
    :param rate: name of the rate that applies, a key of the namespace's `rates`.
    """

    def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
        meaning = inspect.getdoc(handler) or ""
        handler.__event__ = Event(schema, answer, rate, meaning)  # type: ignore[attr-defined]
        return handler

    return declare


class EventNamespace(Namespace):  # type: ignore[misc]
    """A class-based namespace whose events are checked before a handler sees them.

    :param namespace: its name, for example "/chat".
    :param rates: how often clients may do what; must have "default" and "connect".
    :raises ValueError: when a rate is missing that an event names.
    """

    requires_user: ClassVar[bool] = True
    events: ClassVar[dict[str, Event]] = {}
    # What the namespace sends by itself: the model of each event's payload.
    emits: ClassVar[dict[str, type[BaseModel]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.emits = {**getattr(super(cls, cls), "emits", {}), **cls.emits}
        handlers = {name[3:]: method for name, method in vars(cls).items() if name.startswith("on_")}
        cls.events = cls.events | {
            name: method.__event__ for name, method in handlers.items() if hasattr(method, "__event__")
        }
        for name in handlers.keys() - cls.events.keys() - RESERVED_EVENTS:
            raise TypeError(f"{cls.__name__}.on_{name} would never be called: declare it with @event(Schema)")

    def __init__(self, namespace: str, rates: Rates) -> None:
        super().__init__(namespace)
        self._rates = rates
        self._clients: dict[str, Client] = {}
        # Connections whose last event came too fast; a flood is worth one line.
        self._too_fast: set[str] = set()
        for rate in {"default", "connect", *(spec.rate for spec in self.events.values())}:
            if rate not in rates:
                raise ValueError(f"{namespace}: there is no rate {rate!r}")

    # What a subclass may override.

    def authenticate(self, auth: object) -> User | None:
        """Say who connects; runs in the Flask request of the connection."""
        return None

    def connected(self, client: Client) -> None:
        """Run after a client was let in; may refuse it with EventError."""

    def still_welcome(self, user: User) -> bool:
        """Say whether the user may stay, after `connected` waited; runs in the request of the connection."""
        return True

    def disconnected(self, client: Client, reason: str) -> None:
        """Run after a client has gone."""

    # The way in.

    def trigger_event(self, event: str, *args: Any) -> Any:
        """Take one event from the server: a connection's begin or end, or what a client sent."""
        if event in RESERVED_EVENTS:
            return super().trigger_event(event, *args)
        sid, *payload = args
        handler = functools.partial(self._answer, event, sid)
        # Flask-SocketIO's own dispatch, for the application's and the request's context.
        return self.socketio._handle_event(handler, event, self.namespace, sid, *payload)

    def on_connect(self, auth: object = None) -> None:
        """Let a client in, or refuse it with a code in the connect error's data."""
        try:
            user = self.authenticate(auth)
            if user is None and self.requires_user:
                raise EventError("unauthorized", "Sign in first.")
            client = Client(request.sid, user, request.remote_addr or "")  # type: ignore[attr-defined]
            self.spend("connect", client.payer)
            self.connected(client)
            if user is not None and not self.still_welcome(user):
                # Ended while `connected` waited: `end_clients` did not find it yet.
                self.disconnected(client, "refused")
                raise EventError("unauthorized", "Your session has ended: sign in again.", reason="ended")
        except Exception as error:
            refusal = error if isinstance(error, EventError) else self._defect("connect")
            self.socketio.meters.refuse(refusal.code)
            log.info("connection refused", namespace=self.namespace, code=refusal.code)
            raise ConnectionRefusedError(refusal.message, refusal.as_dict()) from None
        self._clients[client.sid] = client
        log.debug("connected", namespace=self.namespace, sid=client.sid, user=user and user.name)

    def on_disconnect(self, reason: str = "") -> None:
        """Forget a client."""
        client = self._clients.pop(request.sid, None)  # type: ignore[attr-defined]
        self._too_fast.discard(request.sid)  # type: ignore[attr-defined]
        # Before a handler that may wait: whoever is gone is seen to be gone.
        self.socketio.withdraw(request.sid, self.namespace)  # type: ignore[attr-defined]
        if client:
            self.disconnected(client, reason)
            log.debug("disconnected", namespace=self.namespace, sid=client.sid, reason=reason)

    def client(self, sid: str) -> Client | None:
        """Find a client of this node that was let in."""
        return self._clients.get(sid)

    def announce(self, client: Client) -> None:
        """Let all nodes know where a signed-in client is, until it disconnects; see `SocketIO.members`."""
        assert client.user is not None
        self.socketio.announce(client.sid, self.namespace, client.user)

    def tell(
        self,
        name: str,
        payload: BaseModel,
        to: str | None = None,
        skip_sid: Any = None,
        *,
        here: bool = False,
        volatile: bool = False,
    ) -> None:
        """Emit one of the events in `emits`.

        :param to: a room or sid; None is everybody in the namespace.
        :param skip_sid: a sid, or several, to leave out.
        :param here: only to clients of this node, because every node does the same.
        :param volatile: of no use later: not kept for who is behind, nor for nodes that cannot be reached.
        :raises TypeError: when the payload is not what `emits` says.
        """
        if type(payload) is not self.emits.get(name):
            raise TypeError(f"{self.namespace} declares {name} as {self.emits.get(name)}, not {payload!r}")
        options = {"ignore_queue": True} if here else {}
        if volatile:
            options["volatile"] = True
        self.socketio.emit(
            name, payload.model_dump(), namespace=self.namespace, to=to, skip_sid=skip_sid, **options
        )

    def renew_client(self, client: Client, user: User) -> None:
        """Let a client go on with a session that ends at another time.

        :param user: the same one; its `expires_at` counts from now on.
        """
        if client.sid in self._clients:
            self._clients[client.sid] = replace(client, user=user)

    def end_clients(self, whose: Callable[[User], bool], farewell: tuple[str, BaseModel]) -> list[User]:
        """Disconnect signed-in clients of this node, and close the connections that carry them.

        :param whose: says of a client's user whether it is to go.
        :param farewell: the last event that they get: a name of `emits`, and its payload.
        :returns: the users of the clients that went, each as often as there were clients.
        """
        gone: list[User] = []
        for client in list(self._clients.values()):
            # It may have gone meanwhile, or come back as somebody else.
            if client.user is None or self._clients.get(client.sid) is not client or not whose(client.user):
                continue
            gone.append(client.user)
            try:
                self.tell(*farewell, to=client.sid, here=True)
                self.drop(client.sid)
            except Exception:
                log.exception("a client could not be ended", namespace=self.namespace, sid=client.sid)
            if len(gone) % ENDED_AT_ONCE == 0:
                self.server.sleep(PAUSE_SECONDS)
        return gone

    def drop(self, sid: str) -> None:
        """Disconnect a client of this node, and close the connection that carries it."""
        connection = self.server.manager.eio_sid_from_sid(sid, self.namespace)
        self.disconnect(sid)
        # The connection below still carries the cookie of before, and would let the client in again.
        if connection in self.server.eio.sockets:
            # A polling client that stops polling at this very moment would be waited for.
            self.server.start_background_task(self.server.eio.disconnect, connection)

    # The hook.

    def _answer(self, name: str, sid: str, *args: object) -> dict[str, object] | None:
        """Run one client event and turn its outcome into the answer that the client asked for."""
        started = time.perf_counter()
        client = self._clients.get(sid)
        context = {"sid": sid, "user": client.user.name if client and client.user else None}
        with structlog.contextvars.bound_contextvars(**context):
            try:
                answer: dict[str, object] = {"ok": True, **self._run(name, client, args)}
                failure = None
            except EventError as error:
                failure = error.as_dict()
            except (OutboxFull, QueueClosed) as error:
                log.warning("event not told", namespace=self.namespace, name=name, reason=str(error))
                failure = EventError("unavailable", "Others cannot be told now. Try again.").as_dict()
            except Exception:
                failure = self._defect(name).as_dict()
            elapsed_seconds = time.perf_counter() - started
            elapsed_ms = round(elapsed_seconds * 1000, 2)
            self.socketio.meters.event(elapsed_seconds, failure and str(failure["code"]))
            if failure is None:
                self._too_fast.discard(sid)
                log.debug("event", namespace=self.namespace, name=name, elapsed_ms=elapsed_ms)
            else:
                answer = {"ok": False, "error": failure}
                self._log_refusal(name, sid, str(failure["code"]))
        if failure is not None and not client_wants_ack():
            self.emit("error", {"event": name[:64], **failure}, room=sid)
        return answer

    def _log_refusal(self, name: str, sid: str, code: str) -> None:
        level = logging.DEBUG if code == "rate_limited" and sid in self._too_fast else logging.INFO
        log.log(level, "event refused", namespace=self.namespace, name=name[:64], code=code)
        if code == "rate_limited":
            self._too_fast.add(sid)

    def _defect(self, name: str) -> EventError:
        """Log the exception in hand; the client learns no more than the number to quote."""
        incident = secrets.token_hex(4)
        log.exception("event failed", namespace=self.namespace, name=name, incident=incident)
        return EventError("internal", "Something went wrong on our side.", incident=incident)

    def _run(self, name: str, client: Client | None, args: tuple[object, ...]) -> dict[str, object]:
        """Check user, rate and payload, then call the handler."""
        if client is None:
            raise EventError("unauthorized", "This connection is not signed in: connect again.")
        if client.user and client.user.expires_at <= time.time():
            raise EventError("unauthorized", "Your session has ended: sign in again.")
        spec = self.events.get(name)
        self.spend(spec.rate if spec else "default", client.payer)
        if spec is None:
            known = ", ".join(self.events)
            raise EventError("unknown_event", f"{self.namespace} has no such event. It has: {known}.")
        handler = getattr(self, f"on_{name}")
        answer: BaseModel | None = handler(client, _parse(spec.schema, args))
        return answer.model_dump() if answer else {}

    def spend(self, rate: str, payer: str) -> None:
        """Count something against a rate.

        :param payer: whose; see `Client.payer`.
        :raises EventError: `rate_limited`, with `retry_after_ms`.
        """
        wait_seconds = self._rates.spend(rate, payer, time.monotonic())
        if wait_seconds:
            raise EventError(
                "rate_limited",
                f"That was too fast. Try again in {math.ceil(wait_seconds)} s.",
                retry_after_ms=math.ceil(wait_seconds * 1000),
            )


def _parse(schema: type[BaseModel], args: tuple[object, ...]) -> BaseModel:
    """Check what a client sent along: one object, or nothing where every field has a default."""
    if len(args) > 1:
        raise EventError("bad_payload", f"Send one object, not {len(args)} arguments.")
    try:
        return schema.model_validate(args[0] if args and args[0] is not None else {})
    except ValidationError as error:
        raise payload_error(error) from None


def payload_error(error: ValidationError) -> EventError:
    """Turn the first problem that pydantic found into an error for a client."""
    problem = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, problem["loc"])) or None
    if problem["type"] == "string_too_long":
        limit = problem["ctx"]["max_length"]
        return EventError("too_long", f"{field}: at most {limit} characters.", field=field, limit=limit)
    message = str(problem["msg"]).removeprefix("Value error, ")
    return EventError("bad_payload", f"{field}: {message}" if field else message, field=field)
