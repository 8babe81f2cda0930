"""The chat: rooms, messages and who is here."""

from __future__ import annotations

from flask import Flask

from app.chat import models as models
from app.chat.names import room_name
from app.chat.namespace import NAME_TOPIC, ChatNamespace
from app.chat.retention import Retention
from app.chat.service import ChatService
from app.errors import EventError
from app.extensions import db
from app.realtime import Rates, SocketIO
from config import Settings, SettingsError


def init_app(app: Flask, socketio: SocketIO, settings: Settings) -> Retention | None:
    """Register `/chat`; pages and API find it as `app.extensions["chat"]`.

    :returns: what deletes old messages, to be started and stopped; None when they are kept for ever.
    :raises SettingsError: for a default room that cannot be.
    """
    try:
        room_name(settings.chat_default_room, settings.chat_room_name_max_chars)
    except EventError as error:
        # Everybody's first sign-in would fail.
        raise SettingsError(f"CHAT_DEFAULT_ROOM={settings.chat_default_room}: {error.message}") from None
    rates = {
        "default": settings.rate_default,
        "connect": settings.rate_connect,
        "send": settings.rate_send,
        "typing": settings.rate_typing,
        "read": settings.rate_read,
        "create": settings.rate_create,
    }
    service = ChatService(db, settings)
    namespace = ChatNamespace(app, service, settings, Rates(rates))
    socketio.on_namespace(namespace)
    socketio.on_moved(namespace.moved)
    socketio.on_nodes(NAME_TOPIC, namespace.take_name)
    app.extensions["chat"] = namespace
    return Retention(app, service, settings.chat_keep_days) if settings.chat_keep_days else None
