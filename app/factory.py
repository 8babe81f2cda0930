"""The application: create_app() is the list of what it is made of."""

from __future__ import annotations

from dataclasses import fields

from flask import Flask

from app import chat, logs, market, ops, tour, users, web
from app.extensions import cors, db, limiter, socketio
from app.lifecycle import Lifecycle, UnderWay
from app.realtime import Emitter, QueueOptions, TransportOptions, cli
from app.realtime.drain import Drain
from config import Settings, SettingsError, load_settings


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application.

    :param settings: checked settings; by default those of the environment.
    :raises SettingsError: when a setting is wrong.
    """
    settings = settings or load_settings()
    app = Flask("app")
    app.config.from_mapping(web.flask_config(settings))
    app.extensions["settings"] = settings

    logs.init_app(app, settings)
    db.init_app(app)
    limiter.init_app(app)
    cors.init_app(app, resources=web.cors_resources(settings))
    init_socketio(app, settings)
    cli.init_app(app, **queue_options(settings))
    sessions = users.init_app(app, socketio, settings)
    drain = Drain(socketio, settings.drain_seconds, settings.drain_wait_seconds, settings.worker_connections)

    emitter = Emitter(socketio, settings.emitter_maxsize, settings.emitter_overflow)
    feed = market.init_app(app, socketio, emitter, settings)
    retention = chat.init_app(app, socketio, settings)
    watch = ops.init_app(app, socketio, drain, emitter, settings)
    tour.init_app(app, socketio, settings)
    web.init_app(app, settings)

    under_way = UnderWay(app.wsgi_app)
    app.wsgi_app = under_way  # type: ignore[method-assign]

    # Stopping goes backwards, after the drain: no new ticks, whoever is left is let go, what is in hand is
    # finished, what is queued is emitted, and the other nodes have got everything. A sixth of the time each
    # leaves a sixth to gunicorn.
    patience_seconds = settings.stop_seconds / 6
    lifecycle = Lifecycle()
    lifecycle.add(stop=lambda: db.disconnect(app))
    if retention:
        lifecycle.add(retention.start, retention.stop)
    lifecycle.add(socketio.start_queue, lambda: socketio.close(patience_seconds))
    lifecycle.add(sessions.start, sessions.stop)
    lifecycle.add(emitter.start, lambda: emitter.stop(patience_seconds))
    lifecycle.add(stop=lambda: under_way.wait(patience_seconds))
    lifecycle.add(stop=lambda: drain.finish(patience_seconds))
    if watch:
        lifecycle.add(watch.start, watch.stop)
    if sharing := app.extensions.get("market_sharing"):
        lifecycle.add(sharing.start, sharing.stop)
    if feed:
        lifecycle.add(feed.start, lambda: feed.stop(patience_seconds))
    app.extensions.update(lifecycle=lifecycle, drain=drain, emitter=emitter, feed=feed)
    return app


def init_socketio(app: Flask, settings: Settings) -> None:
    """Bind the sockets and the queue to an application.

    :raises SettingsError: when what they say of the queue makes no sense.
    """
    try:
        socketio.init_app(app, **socketio_options(settings))
    except ValueError as error:
        raise SettingsError(
            f"The settings of the queue are wrong: {error}\nEvery setting: docs/configuration.md"
        ) from None


def queue_options(settings: Settings) -> dict[str, object]:
    """The arguments of SocketIO that concern the queue: for the nodes, and for emitters beside them."""
    bounds = {field.name: getattr(settings, f"queue_{field.name}") for field in fields(QueueOptions)}
    return {
        "message_queue": settings.message_queue,
        "queue_strategy": settings.queue_strategy,
        "channel": settings.channel,
        "channel_secret": settings.channel_secret,
        "stock_channel": settings.stock_channel,
        "queue_options": QueueOptions(**bounds),
    }


def socketio_options(settings: Settings) -> dict[str, object]:
    """The arguments of SocketIO that follow from the settings."""
    return {
        **queue_options(settings),
        "node_id": settings.node_id,
        "transport": settings.socket_transport,
        "transport_options": TransportOptions(
            **{field.name: getattr(settings, f"socket_{field.name}") for field in fields(TransportOptions)}
        ),
        "async_mode": "gevent",
        # One client's events are handled in the order they were sent; who floods waits for himself.
        "async_handlers": False,
        "cors_allowed_origins": web.OriginCheck(settings.cors_origins),
        "ping_interval": settings.socket_ping_interval_seconds,
        "ping_timeout": settings.socket_ping_timeout_seconds,
        "max_http_buffer_size": settings.socket_max_message_bytes,
    }
