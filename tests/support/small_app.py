"""The small server's application: what the official test suites of the protocols ask for, and controls.

The environment says how, in JSON but for the first: SMALL_TRANSPORT (native, stock or library), SMALL_OPTIONS
(of TransportOptions) and SMALL_SOCKETIO (arguments of SocketIO).

Namespaces: "/" and "/custom" greet with the event "auth"; "/bench" has the same events and greets nobody;
"/refused" refuses with a message and data, "/closed" refuses without any.
"""

from __future__ import annotations

import base64
import collections
import gc
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask_socketio
import greenlet
from flask import Flask, request
from socketio.exceptions import ConnectionRefusedError as Refused
from socketio.exceptions import TimeoutError as AskTimeoutError

NAMESPACES = ("/", "/custom", "/bench")
TRANSPORT = os.environ.get("SMALL_TRANSPORT", "native")

reasons: collections.Counter[str] = collections.Counter()
connects: collections.Counter[str] = collections.Counter()
# The last ends of clients, each its sid and the reason.
ends: collections.deque[tuple[str, str]] = collections.deque(maxlen=100)
pauses: list[float] = []  # of the garbage collector, in seconds


def make_socketio(application: Flask) -> Any:
    """The SocketIO that the environment asks for."""
    options: dict[str, Any] = {"async_mode": "gevent", **json.loads(os.environ.get("SMALL_SOCKETIO", "{}"))}
    if TRANSPORT == "library":
        return flask_socketio.SocketIO(application, **options)
    import app.realtime

    if not hasattr(app.realtime, "TransportOptions"):
        if TRANSPORT == "native":
            raise SystemExit("SMALL_TRANSPORT=native: there is no native transport in app.realtime yet")
        return app.realtime.SocketIO(application, **options)
    options["transport"] = TRANSPORT
    chosen = json.loads(os.environ.get("SMALL_OPTIONS", "{}"))
    if TRANSPORT == "native":
        options["transport_options"] = app.realtime.TransportOptions(**chosen)
    return app.realtime.SocketIO(application, **options)


app = Flask(__name__)
app.config["SECRET_KEY"] = "small"
socketio = make_socketio(app)
server = socketio.server


def watch_collector() -> None:
    """Measure how long the garbage collector stops everything."""
    began = [0.0]

    def measure(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            began[0] = time.perf_counter()
        else:
            pauses.append(time.perf_counter() - began[0])
            del pauses[:-10_000]

    gc.callbacks.append(measure)


def send(event: str, data: list[Any], to: str | None, namespace: str, volatile: bool = False) -> None:
    """Emit. Only the native transport knows volatile events."""
    more = {"volatile": True} if volatile and TRANSPORT != "library" else {}
    socketio.emit(event, tuple(data), to=to, namespace=namespace, **more)


def on(event: str, namespace: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: the handler of an event."""
    decorate: Callable[[Callable[..., Any]], Any] = socketio.on(event, namespace=namespace)
    return decorate


def add_handlers(namespace: str) -> None:
    """The events of a namespace."""

    def me() -> str:
        return str(request.sid)  # type: ignore[attr-defined]

    @on("connect", namespace)
    def connect(auth: Any = None) -> None:
        connects[namespace] += 1
        for room in auth.get("rooms", []) if isinstance(auth, dict) else []:
            flask_socketio.join_room(room)
        if namespace != "/bench":
            flask_socketio.emit("auth", auth or {})

    @on("disconnect", namespace)
    def disconnect(reason: Any = None) -> None:
        reasons[str(reason)] += 1
        ends.append((me(), str(reason)))

    @on("message", namespace)
    def message(*values: Any) -> None:
        flask_socketio.emit("message-back", values)

    @on("message-with-ack", namespace)
    def message_with_ack(*values: Any) -> tuple[Any, ...]:
        return values

    @on("join", namespace)
    def join(room: str) -> bool:
        flask_socketio.join_room(room)
        return True

    @on("leave", namespace)
    def leave(room: str) -> bool:
        flask_socketio.leave_room(room)
        return True

    @on("emit_to", namespace)
    def emit_to(order: dict[str, Any]) -> bool:
        """Of {room, event, data (a list), count, volatile}; without a room: to the sender."""
        for _ in range(order.get("count", 1)):
            room = order.get("room", me())
            send(order["event"], order.get("data", []), room, namespace, order.get("volatile", False))
        return True

    @on("burst", namespace)
    def burst(event: str, count: int, data: Any = None) -> bool:
        """Emit to the sender, without a pause, as (number, data)."""
        for number in range(count):
            send(event, [number] if data is None else [number, data], me(), namespace)
        return True

    @on("stream", namespace)
    def stream(event: str, count: int, pause_seconds: float, binary: bool = False) -> bool:
        """Emit numbers to the sender, with pauses; or their digits as bytes."""
        for number in range(count):
            send(event, [str(number).encode() if binary else number], me(), namespace)
            socketio.sleep(pause_seconds)
        return True

    @on("ask", namespace)
    def ask(event: str, values: list[Any], timeout_seconds: float = 5.0) -> list[Any]:
        """Ask the sender something, and acknowledge with its answer."""
        options = {"to": me(), "namespace": namespace, "timeout": timeout_seconds}
        try:
            answer = socketio.call(event, tuple(values), **options)
        except AskTimeoutError:
            return [False]
        # One argument comes as it is, none as None, several as a tuple.
        return [True, *(answer if isinstance(answer, tuple | list) else [answer])]

    @on("info", namespace)
    def info() -> dict[str, Any]:
        eio_sid = server.manager.eio_sid_from_sid(me(), namespace)
        return {
            "cookies": dict(request.cookies),
            "origin": request.headers.get("Origin"),
            "user_agent": request.headers.get("User-Agent"),
            "transport": server.eio.transport(eio_sid),
            "sid": me(),
            "eio_sid": eio_sid,
        }

    @on("wait", namespace)
    def wait(seconds: float) -> bool:
        """Keep the handler busy."""
        socketio.sleep(seconds)
        return True

    @on("disconnect_me", namespace)
    def disconnect_me() -> None:
        flask_socketio.disconnect()

    @on("close_me", namespace)
    def close_me() -> None:
        """End the whole connection."""
        server.eio.disconnect(server.manager.eio_sid_from_sid(me(), namespace))


for name in NAMESPACES:
    add_handlers(name)


@on("connect", "/refused")
def refuse(auth: Any = None) -> None:
    """Refuse, and say why."""
    raise Refused("not today", {"code": "E42"})


@on("connect", "/closed")
def refuse_silently(auth: Any = None) -> bool:
    """Refuse, and say nothing."""
    return False


@app.get("/ready")
def ready() -> str:
    """Whether it answers."""
    return "ready"


@app.get("/rooms")
def rooms() -> Any:
    """How many clients are in each room: {namespace: {room: clients}}; a client's own room is left out."""
    found = server.manager.rooms
    return {
        namespace: {str(room): len(members) for room, members in list(of.items()) if room not in members}
        for namespace, of in list(found.items())
    }


@app.get("/status")
def status() -> Any:
    """How the process is; ?greenlets=1 counts greenlets, which takes long when there is much in memory."""
    manager = server.manager
    own = getattr(socketio, "transport_status", None)
    count_greenlets = bool(request.args.get("greenlets"))
    if request.args.get("collect"):
        gc.collect()
    return {
        "transport": own() if own else {"kind": TRANSPORT},
        "rss_kb": _memory("VmRSS"),
        "peak_rss_kb": _memory("VmHWM"),
        "greenlets": _greenlets() if count_greenlets else None,
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "cpu_seconds": time.process_time(),
        "gc": {
            "count": gc.get_count(),
            "frozen": gc.get_freeze_count(),
            "threshold": gc.get_threshold(),
            "collections": [each["collections"] for each in gc.get_stats()],
            "longest_pause_ms": max(pauses, default=0.0) * 1000,
            "pauses_ms": sum(pauses) * 1000,
        },
        "connects": dict(connects),
        "reasons": dict(reasons),
        "ends": list(ends),
        "left": {
            "sockets": len([each for each in list(server.eio.sockets.values()) if not each.closed]),
            "environs": len(server.environ),
            "rooms": sum(len(each) for each in list(manager.rooms.values())),
            "sids": len(manager.eio_to_sid),
            "callbacks": len(manager.callbacks),
            "pending": sum(len(each) for each in list(manager.pending_disconnect.values())),
            "attachments": len(server._binary_packet),
        },
    }


@app.post("/emit")
def emit() -> Any:
    """Emit {event, data (a list), namespace, room, count, volatile}.

    `text_bytes` or `binary_bytes` adds an argument of that size; `pause` in seconds lies between two.
    Or several of them: {orders: [...]}.
    """
    order = request.get_json()
    for each in order.get("orders", [order]):
        obey(each)
    return {}


def obey(order: dict[str, Any]) -> None:
    """Emit as /emit wants it."""
    data = list(order.get("data", []))
    if "text_bytes" in order:
        data.append("x" * order["text_bytes"])
    if "binary_bytes" in order:
        data.append(b"x" * order["binary_bytes"])
    if "binary" in order:
        data.append(base64.b64decode(order["binary"]))
    for _ in range(order.get("count", 1)):
        volatile = order.get("volatile", False)
        send(order["event"], data, order.get("room"), order.get("namespace", "/"), volatile)
        if "pause" in order:
            socketio.sleep(order["pause"])


@app.post("/disconnect")
def disconnect() -> Any:
    """Disconnect {sid, namespace}; without a namespace the sid is a connection's."""
    order = request.get_json()
    if order.get("namespace"):
        flask_socketio.disconnect(order["sid"], namespace=order["namespace"])
    else:
        server.eio.disconnect(order["sid"])
    return {}


@app.post("/collect")
def collect() -> Any:
    """Forget the collector's pauses, and collect."""
    gc.collect()
    pauses.clear()
    return {}


def _memory(field: str) -> int:
    """Of this process, in KB."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)


def _greenlets() -> int:
    return sum(isinstance(each, greenlet.greenlet) and not each.dead for each in gc.get_objects())


watch_collector()
