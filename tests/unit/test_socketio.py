"""The drop-in SocketIO: its constructor, the applications it is bound to, its test client."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import flask_socketio
import pytest
import socketio as pysocketio
from flask import Flask, request, session
from flask_socketio import call, close_room, disconnect, emit, join_room, leave_room, rooms, send

from app.realtime import HybridManager, QueueEvent, QueueOptions, SocketIO
from app.realtime.socketio import Server
from tests.support.waiting import wait_until


def bus() -> str:
    """The address of a bus that nobody else is on."""
    return f"memory://{secrets.token_hex(4)}"


# What it is given.


def test_wrong_arguments_are_told() -> None:
    for arguments, reason in (
        ({"queue_strategy": "hope"}, "allowed are failover, dual-write"),
        ({"message_queue": "http://a"}, "no broker speaks http:"),
        ({"message_queue": ["memory://a", "a"]}, "an address has no scheme"),
    ):
        with pytest.raises(ValueError, match=reason):
            SocketIO(Flask("x"), **arguments)


@pytest.mark.parametrize("factory", [False, True])
def test_several_brokers_are_named_by_their_kind(factory: bool) -> None:
    urls = ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//", "redis://127.0.0.1:2/0"]
    options: dict[str, Any] = {
        "queue_strategy": "dual-write",
        "channel": "mine",
        "channel_secret": "s" * 32,
        "queue_options": QueueOptions(ack_seconds=7),
    }
    for message_queue in (urls, tuple(urls), ",".join(urls)):
        app = Flask("x")
        if factory:
            socketio = SocketIO(**options)
            socketio.init_app(app, message_queue=message_queue)
        else:
            socketio = SocketIO(app, message_queue=message_queue, **options)
        status = socketio.queue_status()
        assert list(status["brokers"]) == ["redis", "rabbitmq", "redis-2"]
        assert (status["strategy"], status["active"]) == ("dual-write", None)
        manager = socketio.server.manager
        assert manager.channel.name == "mine"
        assert manager.options.ack_seconds == 7


def test_a_broker_that_refuses_is_down_with_the_reason() -> None:
    socketio = SocketIO(Flask("x"), message_queue="redis://127.0.0.1:1/0", async_mode="gevent")
    socketio.start_queue()
    try:
        wait_until(lambda: socketio.queue_status()["brokers"]["redis"]["state"] == "down", "the refusal")
        status = socketio.queue_status()
        assert status["active"] is None
        assert "refused" in status["brokers"]["redis"]["error"].lower()
    finally:
        socketio.close(0)


def test_a_manager_of_the_application_s_own() -> None:
    socketio = SocketIO(Flask("x"), client_manager=HybridManager(bus(), channel="own"))
    assert socketio.queue_status()["brokers"].keys() == {"memory"}
    assert socketio.server.manager.channel.name == "own"

    stock = pysocketio.Manager()
    socketio = SocketIO(Flask("x"), client_manager=stock, message_queue="redis://nowhere")
    assert socketio.server.manager is stock
    with pytest.raises(RuntimeError, match="client_manager of its own"):
        socketio.queue_status()


def test_before_it_is_bound_it_says_so() -> None:
    socketio = SocketIO()
    with pytest.raises(RuntimeError, match="init_app"):
        socketio.queue_status()


# Several applications, as tests of a program make them.


def test_each_application_has_a_manager_of_its_own_and_what_was_given_before() -> None:
    socketio = SocketIO(channel="mine", message_queue=None, ping_interval=9)
    socketio.on("x", lambda: None)
    managers = []
    for url in (bus(), bus()):
        app = Flask("x")
        socketio.init_app(app, message_queue=url)
        managers.append(socketio.server.manager)
        assert isinstance(socketio.server, Server)
        assert socketio.server.manager.channel.name == "mine"
        assert not socketio.server.manager.write_only
        assert socketio.server.eio.ping_interval == 9
        assert socketio.queue_status()["origin"] == socketio.server.manager.origin
    assert managers[0] is not managers[1]
    assert managers[0].origin != managers[1].origin
    socketio.init_app(Flask("x"))
    assert socketio.server.manager.channel is not None


def test_rooms_of_one_application_are_none_of_another_s() -> None:
    socketio = SocketIO()
    clients = []
    for _ in range(2):
        app = Flask("x")
        socketio.init_app(app)
        clients.append(socketio.test_client(app))
    socketio.emit("x")
    assert [len(client.get_received()) for client in clients] == [0, 1]


def test_a_message_queue_without_an_application_first_emits_then_serves() -> None:
    url = bus()
    socketio = SocketIO(message_queue=url, async_mode="threading")
    assert socketio.server.manager.write_only
    socketio.init_app(Flask("x"))
    assert not socketio.server.manager.write_only
    assert socketio.server.manager.channel._urls == {"memory": url}


def test_an_emitter_leaves_the_async_mode_to_the_application() -> None:
    socketio = SocketIO(message_queue=bus())
    assert socketio.async_mode == "threading"
    socketio.init_app(Flask("x"))
    assert socketio.async_mode == SocketIO(Flask("x")).async_mode


def test_events_of_the_queue_may_be_asked_for_before_it_is_bound() -> None:
    socketio = SocketIO(async_mode="gevent")
    events: list[QueueEvent] = []
    socketio.on_queue_event(events.append)
    socketio.init_app(Flask("x"), message_queue=bus())
    with socketio:
        socketio.start_queue()
        wait_until(lambda: any(event.state == "up" for event in events), "the bus")


# The test client.


def program(socketio: Any) -> None:
    """Add handlers that use what there is."""

    @socketio.on("connect")
    def connect(auth: Any) -> None:
        session["auth"] = auth
        emit("welcome", auth)

    @socketio.on("shout")
    def shout(text: str) -> str:
        join_room("loud")
        emit("heard", text.upper(), to="loud")
        leave_room("loud")
        emit("heard", "nobody", to="loud")
        return "done"

    @socketio.on("say")
    def say(text: str) -> tuple[str, bytes]:
        send(text, broadcast=True)
        send({"text": text}, json=True)
        return text, b"1"

    @socketio.on("rooms")
    def show() -> list[Any]:
        join_room(7)
        close_room("nobody's")
        return sorted(map(str, (set(rooms()) - {request.sid})))  # type: ignore[attr-defined]

    @socketio.on("ask")
    def ask() -> str:
        with pytest.raises(RuntimeError, match="async_handlers"):
            call("question")
        emit("question", callback=lambda: None)
        return "asked"

    @socketio.on("who")
    def who() -> Any:
        return session["auth"]

    @socketio.on("leave")
    def leave() -> None:
        disconnect()

    @socketio.on("*")
    def anything(event: str, *data: Any) -> list[Any]:
        return [event, *data]

    @socketio.on_error_default
    def on_error(error: Exception) -> str:
        return f"caught {error}"

    @socketio.event
    def fail() -> None:
        raise ValueError("it")

    class Class(flask_socketio.Namespace):  # type: ignore[misc]
        def on_ping(self) -> str:
            self.emit("pinged", b"\0")
            return "pong"

    socketio.on_namespace(Class("/class"))


def use(make: Callable[..., Any], factory: bool) -> list[Any]:
    """Go through the program with the library's test client."""
    app = Flask("plain")
    app.secret_key = "x"
    socketio = make(async_mode="threading") if factory else make(app, async_mode="threading")
    program(socketio)
    if factory:
        socketio.init_app(app)
    client = socketio.test_client(app, auth={"a": 1}, flask_test_client=app.test_client())
    other = socketio.test_client(app, namespace="/class")
    seen: list[Any] = [client.is_connected(), other.is_connected(), other.is_connected("/class")]
    for event, *data in (
        ("shout", "hi"),
        ("say", "hi"),
        ("rooms",),
        ("ask",),
        ("who",),
        ("fail",),
        ("other", 1, b"2", [None]),
    ):
        seen.append(client.emit(event, *data, callback=True))
        seen.append(client.get_received())
    seen.append(client.send("text"))
    seen.append(client.send({"a": 1}, json=True, callback=True))
    seen.append(other.emit("ping", namespace="/class", callback=True))
    seen.append(other.get_received("/class"))
    socketio.emit("x", (1, b"2"), namespace="/class")
    socketio.emit("x", {"a": [b"1"]}, callback=print)
    seen.append([client.get_received(), other.get_received("/class")])
    client.emit("leave")
    seen.append(client.is_connected())
    other.disconnect("/class")
    seen.append(other.is_connected("/class"))
    socketio.emit("x")
    return seen


@pytest.mark.parametrize("factory", [False, True])
def test_the_test_client_sees_what_it_sees_on_the_library(factory: bool) -> None:
    seen = use(SocketIO, factory)
    assert seen == use(flask_socketio.SocketIO, factory)
    assert seen[3] == "done"
    assert [event["args"] for event in seen[4]] == [[{"a": 1}], ["HI"]]


def test_the_test_client_works_with_a_queue() -> None:
    url = bus()
    apps = [Flask("one"), Flask("two")]
    nodes = [SocketIO(app, message_queue=url, async_mode="gevent") for app in apps]
    clients = [node.test_client(app) for node, app in zip(nodes, apps, strict=True)]
    try:
        for node in nodes:
            wait_until(lambda node=node: node.queue_status()["active"], "the bus")  # type: ignore[misc]
        nodes[0].emit("x", {"a": b"1"})
        received = [wait_until(client.get_received, "x") for client in clients]
        assert received[0] == received[1] == [{"name": "x", "args": [{"a": b"1"}], "namespace": "/"}]
    finally:
        for node in nodes:
            node.close(0)


# What no client may do.


@pytest.mark.parametrize("event", ["*", "connect", "disconnect"])
def test_no_client_acts_in_another_s_name(event: str) -> None:
    app = Flask("x")
    socketio = SocketIO(app, async_mode="threading")
    acted = []

    @socketio.on("*")
    def anything(event: str, *data: Any) -> None:
        acted.append((event, request.sid))  # type: ignore[attr-defined]

    @socketio.on("disconnect")
    def gone(reason: str) -> None:
        acted.append(("disconnect", reason))

    victim, thief = socketio.test_client(app), socketio.test_client(app)
    sids = {
        client: socketio.server.manager.sid_from_eio_sid(client.eio_sid, "/") for client in (victim, thief)
    }
    thief.emit(event, sids[victim], "data")
    assert acted == [("", sids[thief])]
