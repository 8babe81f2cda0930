"""The Flask-SocketIO programs that run once on the library and once on the engine; only an import differs.

python -m tests.support.programs PROGRAM stock|ours gevent|threading PORT '{"argument": "expression"}'
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.argv[3] == "gevent":
    from gevent import monkey

    monkey.patch_all()

import ast
import collections
import datetime
import json
import socket
import threading
import time
from typing import Any

import flask
import flask_socketio
import msgspec
import socketio as pysocketio
from flask import Flask, session
from flask_socketio import Namespace
from gevent.pywsgi import WSGIHandler
from markupsafe import Markup
from werkzeug.serving import WSGIRequestHandler

import app.realtime
from app.realtime import frames
from tests.support.servers import HOST


def socketio_class(library: str) -> Any:
    """The one line that a program changes."""
    return app.realtime.SocketIO if library == "ours" else flask_socketio.SocketIO


class BinaryPacket(pysocketio.packet.Packet):  # type: ignore[misc]
    """A serializer without text, as serializer="msgpack" is; that one needs a further package."""

    uses_binary_events = False

    def encode(self) -> bytes:
        """Encode the packet."""
        return msgspec.msgpack.encode(self._to_dict())

    def decode(self, encoded_packet: bytes) -> None:
        """Decode a packet."""
        decoded = msgspec.msgpack.decode(encoded_packet)
        self.packet_type = decoded["type"]
        self.data = decoded["data"]
        self.id = decoded.get("id")
        self.namespace = decoded["nsp"]


class Runner:
    """Evaluates the test's expressions; what they return, or raise, travels as text."""

    def __init__(self, application: Flask, socketio: Any) -> None:
        self.notes: list[Any] = []
        self.kept: dict[str, Any] = {}
        self.names: dict[str, Any] = {
            "app": application,
            "socketio": socketio,
            "flask": flask,
            "flask_socketio": flask_socketio,
            "pysocketio": pysocketio,
            "realtime": app.realtime,
            "frames": frames,
            "collections": collections,
            "datetime": datetime,
            "time": time,
            "threading": threading,
            "session": session,
            "Markup": Markup,
            "notes": self.notes,
            "note": self.note,
            "collect": self.collect,
            "kept": self.kept,
        }

    def note(self, *values: Any) -> None:
        """A callback that remembers what it was called with."""
        self.notes.append(values)

    def collect(self, *values: Any) -> None:
        """A callback for values that have no literal."""
        self.kept.setdefault("collected", []).append(values)

    def run(self, expression: str, names: str) -> dict[str, Any]:
        """Evaluate one expression."""
        socketio = self.names["socketio"]
        scope = {**self.names, "server": socketio.server, "manager": socketio.server.manager}
        scope |= ast.literal_eval(names)
        try:
            return {"value": repr(eval(expression, scope))}
        except Exception as error:
            return {"kinds": [kind.__name__ for kind in type(error).__mro__], "error": str(error)}


def add_runner(application: Flask, socketio: Any, path: str = "") -> Runner:
    """Let a test run expressions in the program, outside of handlers and within."""
    runner = Runner(application, socketio)

    @application.get(f"{path}/ready")
    def ready() -> str:
        return "ready"

    @application.post(f"{path}/run")
    def run_outside() -> dict[str, Any]:
        body = flask.request.get_json()
        return runner.run(body["expression"], body["names"])

    for namespace in ("/", "/class"):

        @socketio.on("run", namespace=namespace)  # type: ignore[untyped-decorator]
        def run_inside(expression: str, names: str) -> dict[str, Any]:
            return runner.run(expression, names)

    return runner


def everything(library: str, **options: Any) -> tuple[Flask, Any]:
    """Build a program with a handler of every kind."""
    application = Flask("everything")
    application.secret_key = "not secret"
    application.config["JSON_SORT_KEYS"] = False
    socketio = socketio_class(library)(application, **options)
    runner = add_runner(application, socketio)
    note = runner.note
    kept = runner.kept
    if library == "ours":

        @socketio.on_queue_event  # type: ignore[untyped-decorator]
        def on_queue_event(event: Any) -> None:
            kept.setdefault("events", []).append((event.kind, event.broker, event.state))

    @socketio.on("connect")  # type: ignore[untyped-decorator]
    def connect(auth: Any) -> Any:
        session["seen"] = 0
        if auth == {"who": "nobody"}:
            return False
        if auth == {"who": "eve"}:
            raise flask_socketio.ConnectionRefusedError("not you", {"code": 7})
        flask_socketio.emit("welcome", {"auth": auth, "rooms": len(flask_socketio.rooms())})
        return None

    @socketio.on("disconnect")  # type: ignore[untyped-decorator]
    def disconnect(reason: str) -> None:
        note("disconnect", reason)
        if "pause_seconds" in kept:
            socketio.sleep(kept["pause_seconds"])
            note("disconnected")

    @socketio.on("message")  # type: ignore[untyped-decorator]
    def message(data: Any) -> None:
        flask_socketio.send(["message", data], broadcast=True, include_self=False)

    @socketio.on("json")  # type: ignore[untyped-decorator]
    def json_message(data: Any) -> None:
        flask_socketio.send({"json": data}, json=True)

    @socketio.on("several")  # type: ignore[untyped-decorator]
    def several(*arguments: Any) -> tuple[Any, ...]:
        return (*arguments, len(arguments))

    @socketio.on("nothing")  # type: ignore[untyped-decorator]
    def nothing() -> None:
        return None

    @socketio.event  # type: ignore[untyped-decorator]
    def decorated(data: Any) -> list[Any]:
        return ["decorated", data]

    @socketio.event(namespace="/class")  # type: ignore[untyped-decorator]
    def elsewhere(data: Any) -> list[Any]:
        return ["elsewhere", data]

    socketio.on_event("added", lambda data: ["added", data])

    @socketio.on("fail")  # type: ignore[untyped-decorator]
    def fail() -> None:
        raise ValueError("it")

    @socketio.on("fail", namespace="/class")  # type: ignore[untyped-decorator]
    def fail_in_class() -> None:
        raise ValueError("there")

    @socketio.on_error()  # type: ignore[untyped-decorator]
    def on_error(error: Exception) -> list[Any]:
        return ["on_error", str(error), flask.request.event["message"]]  # type: ignore[attr-defined]

    @socketio.on_error_default  # type: ignore[untyped-decorator]
    def on_error_default(error: Exception) -> list[Any]:
        return ["on_error_default", str(error)]

    @socketio.on("count")  # type: ignore[untyped-decorator]
    def count() -> int:
        session["seen"] += 1
        return int(session["seen"])

    @socketio.on("*")  # type: ignore[untyped-decorator]
    def anything(event: str, *data: Any) -> list[Any]:
        return ["anything", event, *data]

    @socketio.on("somewhere", namespace="*")  # type: ignore[untyped-decorator]
    def somewhere(data: Any) -> list[Any]:
        return ["somewhere", flask.request.namespace, data]  # type: ignore[attr-defined]

    @socketio.on("work")  # type: ignore[untyped-decorator]
    def work(number: int) -> None:
        def job(sid: str, number: int) -> None:
            socketio.sleep(0.01)
            socketio.emit("worked", number * 2, to=sid)

        socketio.start_background_task(job, flask.request.sid, number=number)  # type: ignore[attr-defined]

    class Class(Namespace):  # type: ignore[misc]
        def on_connect(self) -> None:
            self.emit("hello", {"from": self.namespace}, to=flask.request.sid)  # type: ignore[attr-defined]

        def on_disconnect(self, reason: str) -> None:
            note("class disconnect", reason)

        def on_shout(self, text: str) -> str:
            self.emit("heard", text.upper())
            return "done"

        def on_whisper(self, room: str, text: str) -> None:
            self.emit("heard", text, room=room)

        def on_say(self, text: str) -> None:
            self.send(text)

        def on_close(self, room: str) -> None:
            self.close_room(room)

    socketio.on_namespace(Class("/class"))
    return application, socketio


def variants(library: str, **options: Any) -> tuple[Any, Any]:
    """Build one application per argument of SocketIO that shows outside, each below a path of its own."""
    made: dict[str, Any] = {}

    def add(name: str, namespace: str = "/", **arguments: Any) -> Any:
        application = Flask(name)
        application.secret_key = name
        arguments = {"path": f"/{name}/socket.io", **options, **arguments}
        socketio = socketio_class(library)(application, **arguments)
        add_runner(application, socketio, f"/{name}")

        @socketio.on("echo")  # type: ignore[untyped-decorator]
        def echo(*data: Any) -> Any:
            flask_socketio.emit("echoed", data, broadcast=True)
            return data

        @application.get(f"/{name}/session")
        def show() -> dict[str, Any]:
            return {"value": session.get("value")}

        @application.get(f"/{name}/session/<value>")
        def store(value: str) -> str:
            session["value"] = value
            return value

        @socketio.on("session")  # type: ignore[untyped-decorator]
        def see(value: str | None = None) -> Any:
            if value is not None:
                session["value"] = value
            return session.get("value")

        made[name] = application
        return socketio

    class Shouting(pysocketio.packet.Packet):  # type: ignore[misc]
        """A serializer of the application's own."""

        def encode(self) -> Any:
            encoded = super().encode()
            return encoded.replace('"quiet"', '"LOUD"') if isinstance(encoded, str) else encoded

    class Logger:
        """A logger of the application's own."""

        def __init__(self) -> None:
            self.lines: list[str] = []

        def info(self, text: str, *arguments: Any) -> None:
            self.lines.append(text)

        debug = warning = error = exception = info

    add("plain")
    add("binary", serializer=BinaryPacket)
    add("own", serializer=Shouting)
    add("resource", path=None, resource="/resource/other")
    add("cookie", cookie="io")
    add("cookies", cookie={"name": "io", "path": "/", "SameSite": "Lax"})
    add("cors", cors_allowed_origins=["http://friend.example"])
    add("nocors", cors_allowed_origins=[])
    add("credentials", cors_allowed_origins="*", cors_credentials=False)
    add("session", manage_session=False)
    add("polling", transports=["polling"])
    add("upgrade", allow_upgrades=False, ping_interval=7, ping_timeout=3, max_http_buffer_size=1234)
    add("everywhere", namespaces="*")
    add("logger", logger=Logger(), engineio_logger=False)
    add("inline", async_handlers=False)
    always = add("always", always_connect=True)
    manager = pysocketio.Manager() if library == "stock" else app.realtime.HybridManager()
    add("manager", client_manager=manager)

    @always.on("connect")  # type: ignore[untyped-decorator]
    def refuse(auth: Any = None) -> bool:
        flask_socketio.emit("before", "the end")
        return False

    factory = socketio_class(library)(ping_interval=9, path="/lost")
    emitted: list[str] = []

    @factory.on("early")  # type: ignore[untyped-decorator]
    def early(data: Any) -> list[Any]:
        return ["early", data]

    class Late(Namespace):  # type: ignore[misc]
        def on_early(self, data: Any) -> list[Any]:
            return ["late", data]

    factory.on_namespace(Late("/late"))
    try:
        factory.emit("too early", 1)
    except AttributeError:
        emitted.append("too early")
    # Tests of many programs make several applications of one SocketIO.
    for name in ("factory1", "factory2"):
        application = made[name] = Flask(name)
        application.secret_key = name
        factory.init_app(application, path=f"/{name}/socket.io", **options)

    @factory.on("after")  # type: ignore[untyped-decorator]
    def after() -> list[Any]:
        return ["after", *emitted]

    add_runner(made["factory2"], factory, "/factory2")

    class Dispatcher(Flask):
        """Hands each request to the application that its path names."""

        def wsgi_app(self, environ: Any, start_response: Any) -> Any:
            name = environ["PATH_INFO"].split("/")[1]
            application = made.get(name, made["plain"])
            if name == "ready":
                environ["PATH_INFO"] = "/plain/ready"
            return application.wsgi_app(environ, start_response)

    dispatcher = Dispatcher("dispatcher")
    return dispatcher, factory


class WerkzeugHandler(WSGIRequestHandler):
    """Sends at once; otherwise each answer after an event waits 40 ms."""

    disable_nagle_algorithm = True


class GeventHandler(WSGIHandler):
    """The same."""

    def __init__(self, sock: socket.socket, *arguments: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock, *arguments)


PROGRAMS = {"everything": everything, "variants": variants}


def main(program: str, library: str, mode: str, port: str, expressions: str) -> None:
    """Run one program."""
    scope = {"realtime": app.realtime, "flask": flask, "pysocketio": pysocketio}
    options = {name: eval(text, scope) for name, text in json.loads(expressions).items()}
    application, socketio = PROGRAMS[program](library, async_mode=mode, **options)
    if mode == "threading":
        server: dict[str, Any] = {"allow_unsafe_werkzeug": True, "request_handler": WerkzeugHandler}
    else:
        server = {"handler_class": GeventHandler}
    socketio.run(application, host=HOST, port=int(port), **server)


if __name__ == "__main__":
    main(*sys.argv[1:])
