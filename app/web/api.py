"""The REST API, version 1: rooms, messages, and a way in for other processes' events."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, current_app, request
from pydantic import BaseModel, ConfigDict, Field
from spectree import Response

from app.auth import current_user, is_api_token
from app.chat import schemas
from app.chat.namespace import ChatNamespace
from app.errors import EventError
from app.extensions import limiter, openapi, socketio
from app.realtime import Emitter
from app.realtime.emitter import EmitterFull, EmitterStopped
from app.realtime.namespace import payer_of, payload_error
from app.realtime.server import RESERVED_EVENTS
from app.user import User

# A request that waits longer than this for room in the emitter tells its sender to come back.
EMIT_WAIT_SECONDS = 2.0
EMIT_RETRY_AFTER_MS = 1_000


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None
    code: Annotated[str | None, Field(description="a code of docs/events.md")] = None


class NewRoom(BaseModel):
    """A room to make."""

    model_config = ConfigDict(extra="forbid")
    name: str


class NewMessage(BaseModel):
    """A message to post."""

    model_config = ConfigDict(extra="forbid")
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    text: str


class Page(BaseModel):
    """Which messages: the newest, those before a number, or those after one."""

    before_seq: Annotated[int | None, Field(ge=0, le=2**53 - 1)] = None
    after_seq: Annotated[int | None, Field(ge=0, le=2**53 - 1)] = None
    limit: Annotated[int, Field(ge=1, le=schemas.HISTORY_PAGE_MAX)] = schemas.HISTORY_PAGE_DEFAULT


class Emission(BaseModel):
    """An event to emit to clients."""

    model_config = ConfigDict(extra="forbid")
    event: Annotated[str, Field(min_length=1, max_length=64)]
    data: Annotated[Any, Field(description="any JSON value")] = None
    namespace: Annotated[str, Field(description="one that the application has")] = "/chat"
    to: Annotated[
        str | None, Field(min_length=1, max_length=128, description="a room or sid; unset: everybody")
    ] = None


class Accepted(BaseModel):
    """The event waits to be emitted."""

    depth: Annotated[int, Field(description="events that wait in the emitter")]


def raise_payload_error(_request: Any, _response: Any, error: Any, _instance: Any, *_adapter: Any) -> None:
    """Turn what the OpenAPI library found wrong into a problem of ours."""
    if error is not None:
        raise payload_error(error)


ERRORS: dict[str, Any] = {f"HTTP_{status}": Problem for status in (401, 422, 429)}
SESSION: list[dict[str, list[str]]] = [{"session": []}, {"jwt": []}]
SESSION_OR_TOKEN = [*SESSION, {"token": []}]

api = Blueprint("api", __name__, url_prefix="/api/v1")
limiter.limit(lambda: current_app.extensions["settings"].rate_api)(api)


@api.before_request
def check_body() -> None:
    """Refuse a body that is not JSON."""
    # Also what keeps another site's plain form out: a browser asks first before it sends JSON.
    if request.method == "POST":
        try:
            request.get_json()
        except RecursionError:
            raise EventError("bad_payload", "This JSON is nested too deeply.") from None


def chat() -> ChatNamespace:
    """Find the chat of the application in hand."""
    return current_app.extensions["chat"]  # type: ignore[no-any-return]


def has_token() -> bool:
    """Say whether the request carries API_TOKEN."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and is_api_token(token)


def reader() -> User | None:
    """Name who reads; None for a program with the token. Nobody else may."""
    user = current_user()
    if user is None and not has_token():
        raise EventError("unauthorized", "Sign in, or send Authorization: Bearer with API_TOKEN.")
    return user


def writer() -> User:
    """Name who writes. :raises EventError: `unauthorized`; `name_taken` by somebody else meanwhile."""
    user = current_user()
    if user is None:
        raise EventError("unauthorized", "Sign in first: rooms and messages have an author.")
    chat().require_name(user)
    return user


@api.get("/rooms")
@openapi.validate(
    resp=Response(HTTP_200=schemas.RoomsAnswer, **ERRORS), security=SESSION_OR_TOKEN, tags=["rooms"]
)
def list_rooms() -> schemas.RoomsAnswer:
    """List all rooms by name, then your direct conversations."""
    rooms = chat().counted(chat().service.rooms(reader()))
    return schemas.RoomsAnswer(rooms=rooms)


@api.post("/rooms")
@openapi.validate(
    json=NewRoom,
    resp=Response(HTTP_201=schemas.RoomAnswer, HTTP_409=Problem, **ERRORS),
    before=raise_payload_error,
    security=SESSION,
    tags=["rooms"],
)
def create_room(json: NewRoom) -> tuple[schemas.RoomAnswer, int]:
    """Make a room and join it."""
    user = writer()
    chat().spend("create", payer_of(user, ""))
    room = chat().create_room(user, json.name, request.remote_addr or "")
    return schemas.RoomAnswer(room=room), 201


@api.get("/rooms/<int(max=9007199254740991):room_id>")
@openapi.validate(
    resp=Response(HTTP_200=schemas.RoomAnswer, HTTP_404=Problem, **ERRORS),
    security=SESSION_OR_TOKEN,
    tags=["rooms"],
)
def get_room(room_id: int) -> schemas.RoomAnswer:
    """Show one room."""
    room = chat().service.room(room_id, reader())
    return schemas.RoomAnswer(room=chat().counted([room])[0])


@api.get("/rooms/<int(max=9007199254740991):room_id>/messages")
@openapi.validate(
    query=Page,
    resp=Response(HTTP_200=schemas.HistoryAnswer, HTTP_404=Problem, **ERRORS),
    before=raise_payload_error,
    security=SESSION_OR_TOKEN,
    tags=["messages"],
)
def list_messages(room_id: int, query: Page) -> schemas.HistoryAnswer:
    """Read a page of messages, oldest first. Take `before_seq` from the first to go on backwards."""
    return chat().service.history(room_id, query.before_seq, query.after_seq, query.limit, reader())


@api.post("/rooms/<int(max=9007199254740991):room_id>/messages")
@openapi.validate(
    json=NewMessage,
    resp=Response(HTTP_201=schemas.MessageAnswer, HTTP_403=Problem, HTTP_404=Problem, **ERRORS),
    before=raise_payload_error,
    security=SESSION,
    tags=["messages"],
)
def post_message(room_id: int, json: NewMessage) -> tuple[schemas.MessageAnswer, int]:
    """Post a message; the same `client_id` again is the same message."""
    user = writer()
    chat().spend("send", payer_of(user, ""))
    message = chat().post(user, room_id, json.client_id, json.text)
    return schemas.MessageAnswer(message=message), 201


@api.post("/emit")
@limiter.limit(lambda: current_app.extensions["settings"].rate_emit)
@openapi.validate(
    json=Emission,
    resp=Response(HTTP_202=Accepted, HTTP_503=Problem, **ERRORS),
    before=raise_payload_error,
    security=[{"token": []}],
    tags=["emit"],
)
def emit(json: Emission) -> tuple[Accepted, int]:
    """Emit an event from another process: a worker, a cron job, a script."""
    if not has_token():
        raise EventError("unauthorized", "Send Authorization: Bearer with API_TOKEN, which must be set.")
    if json.namespace not in socketio.server.namespace_handlers:
        known = ", ".join(socketio.server.namespace_handlers)
        raise EventError(
            "bad_payload", f"There is no namespace {json.namespace}. There are: {known}.", field="namespace"
        )
    if json.event in RESERVED_EVENTS:
        raise EventError("bad_payload", f"{json.event} is a name of the protocol's own.", field="event")
    emitter: Emitter = current_app.extensions["emitter"]
    try:
        emitter.emit(json.event, json.data, namespace=json.namespace, to=json.to, timeout=EMIT_WAIT_SECONDS)
    except (EmitterFull, EmitterStopped) as error:
        raise EventError("unavailable", str(error), retry_after_ms=EMIT_RETRY_AFTER_MS) from None
    return Accepted(depth=emitter.stats().depth), 202
