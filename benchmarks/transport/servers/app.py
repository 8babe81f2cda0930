"""Flask-SocketIO under gunicorn: the native transport, the same class with stock, or the library's own.

BENCHMARK_KIND says which; `-c benchmarks/transport/servers/gunicorn.conf.py` runs it.
"""

from __future__ import annotations

import os
from typing import Any

import flask_socketio
import gevent
from flask import Flask, jsonify, request

from app.realtime import SocketIO
from benchmarks.transport import events
from benchmarks.transport.servers.sampler import Sampler
from benchmarks.transport.servers.work import Collector, Order, describe, settle

NAMESPACES = 50

kind = os.environ["BENCHMARK_KIND"]
options: dict[str, Any] = {
    "async_mode": "gevent",
    "ping_interval": float(os.environ["BENCHMARK_PING_SECONDS"]),
    "ping_timeout": 60,
}

app = Flask(__name__)
if kind == "library":
    socketio = flask_socketio.SocketIO(app, **options)
else:
    socketio = SocketIO(app, transport=kind, **options)
collector = Collector()
collector.watch()
sampler = Sampler()


def connect(auth: Any = None) -> None:
    """Seat a client in the rooms that it wants."""
    for name in (auth or {}).get("rooms", ()):
        flask_socketio.join_room(name)


for space in ("/", *events.namespaces(NAMESPACES)):
    socketio.on_event("connect", connect, namespace=space)


@socketio.on("publish")  # type: ignore[untyped-decorator]
def publish(data: Any) -> None:
    """Tell everybody."""
    socketio.emit("tick", data)


@socketio.on("echo")  # type: ignore[untyped-decorator]
def echo(data: Any) -> None:
    """Send it back."""
    flask_socketio.emit("echo", data)


@app.post("/emit")
def start_to_emit() -> Any:
    """Begin with an order, and tell when that was."""
    order = Order(**request.get_json())
    socketio.start_background_task(order.run, _emit, _wait_until_written if order.alone else socketio.sleep)
    return jsonify(started=events.stamp())


def _emit(data: Any, room: str | None, namespace: str) -> None:
    socketio.emit("tick", data, to=room, namespace=namespace)


def _wait_until_written(seconds: float) -> None:
    if kind != "native" or seconds:
        socketio.sleep(seconds)
    if kind == "native":
        hub = gevent.get_hub()
        busy = True
        while busy:
            # One turn of the loop; the others write in the turn in which they emit.
            hub.wait(hub.loop.idle())
            busy = socketio.server.eio.fanout.busy


@app.get("/ping")
def ping() -> str:
    """Answer quickly."""
    return "pong"


@app.get("/status")
def status() -> Any:
    """Tell how the process is."""
    assert socketio.server is not None
    clients = len(socketio.server.environ)
    transport = socketio.transport_status() if hasattr(socketio, "transport_status") else {}
    return jsonify(describe() | {"clients": clients, "gc": collector.status(), "transport": transport})


@app.post("/settle")
def collect() -> Any:
    """Drop garbage."""
    return jsonify(settle())


@app.post("/profile/start")
def start_profile() -> str:
    """Begin to look where time goes."""
    sampler.start()
    return "ok"


@app.post("/profile/stop")
def stop_profile() -> str:
    """Tell."""
    return sampler.stop()
