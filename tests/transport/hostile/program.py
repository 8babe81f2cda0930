"""The small server's application, and what only hostile tests need of it."""

from __future__ import annotations

import itertools
from typing import Any

import flask_socketio
import gevent
import gevent.event
from flask import request
from gevent import monkey

from tests.support.small_app import TRANSPORT, app, reasons, server, socketio

__all__ = ["app"]

_handled: list[Any] = []


@socketio.on("note", namespace="/bench")
def note(value: Any) -> None:
    """Remember, so that a test sees what was handled."""
    _handled.append(value)


@socketio.on("several", namespace="/bench")
def several(room: Any = None) -> None:
    """Emit some events that may be dropped and some that may not, whatever was asked."""
    more = {} if TRANSPORT == "library" else {"volatile": True}
    for number in range(10):
        socketio.emit("firm", number, to=str(room), namespace="/bench")
        socketio.emit("volatile", number, to=str(room), namespace="/bench", **more)


@socketio.on("rest", namespace="/bench")
def rest(*_: Any) -> bool:
    """Take some time, and emit after it."""
    socketio.sleep(0.02)
    flask_socketio.emit("rested", to="fuzz")
    return True


@app.post("/handled")
def handled() -> Any:
    """What was noted since the last time."""
    values, _handled[:] = _handled.copy(), []
    return {"values": values}


@app.get("/slow")
def slow() -> Any:
    """Why clients were disconnected, and how much waits for each connection."""
    waiting = {sid: getattr(session, "buffered", None) for sid, session in list(server.eio.sockets.items())}
    return {"reasons": dict(reasons), "waiting": waiting}


@app.post("/storm")
def storm() -> Any:
    """Emit from several greenlets and from several native threads, all at the same time.

    Of {room, greenlets, threads, count, bytes}: each emits (its name, number, data) `count` times; every
    second event of the greenlets carries bytes, the others text.
    """
    order = request.get_json()
    text = "x" * order["bytes"]
    room, count = order["room"], order["count"]

    def blow(source: str) -> None:
        for number in range(count):
            data = text if number % 2 else f"{source} {number} {text}".encode()
            socketio.emit("storm", (source, number, data), to=room, namespace="/bench")
            gevent.sleep(0)

    running = [gevent.spawn(blow, f"greenlet {number}") for number in range(order["greenlets"])]
    if order["threads"] and TRANSPORT != "library":
        _blow_from_threads(order["threads"], count, room, text)
    gevent.joinall(running, raise_error=True)
    return {}


def _blow_from_threads(threads: int, count: int, room: str, text: str) -> None:
    from app.realtime.emitter import Emitter

    emitter = Emitter(socketio)
    emitter.start()
    start_thread = monkey.get_original("_thread", "start_new_thread")
    left = itertools.count(1)
    done = gevent.get_hub().loop.async_()
    finished = gevent.event.Event()
    done.start(finished.set)

    def blow(source: str) -> None:
        for number in range(count):
            emitter.emit("storm", (source, number, text), namespace="/bench", to=room)
        if next(left) == threads:
            done.send()

    for number in range(threads):
        start_thread(blow, (f"thread {number}",))
    finished.wait()
    done.close()
    emitter.stop()
