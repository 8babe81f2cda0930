"""The drop-in SocketIO: its constructor, and what it tells of the queue."""

import flask_socketio
import pytest
from flask import Flask
from flask_socketio import emit, join_room

from app.realtime import SocketIO
from app.realtime.socketio import parse_message_queue


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        (None, []),
        ("", []),
        ("redis://a", ["redis://a"]),
        ("redis://a, amqp://b", ["redis://a", "amqp://b"]),
        (["redis://a", " amqp://b "], ["redis://a", "amqp://b"]),
    ],
)
def test_message_queue_takes_none_one_a_list_or_a_string(
    value: str | list[str] | None, urls: list[str]
) -> None:
    assert parse_message_queue(value) == urls


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="allowed are failover, dual-write"):
        SocketIO(Flask("x"), queue_strategy="hope")
    with pytest.raises(ValueError, match="2 brokers"):
        SocketIO(Flask("x"), message_queue="redis://a,amqp://b")


def test_in_process_the_queue_is_up() -> None:
    status = SocketIO(Flask("x")).queue_status()
    assert status["active"] == "memory"
    assert status["brokers"]["memory"]["state"] == "up"


def test_a_broker_that_refuses_is_down_with_the_reason() -> None:
    for url, name in (("redis://127.0.0.1:1/0", "redis"), ("amqp://127.0.0.1:1//", "rabbitmq")):
        socketio = SocketIO(Flask("x"))
        socketio.queue_urls = [url]
        status = socketio.queue_status()
        assert status["active"] is None
        assert status["brokers"][name]["state"] == "down"
        assert "refused" in status["brokers"][name]["error"].lower()


@pytest.mark.parametrize("factory", [False, True])
def test_a_plain_flask_socketio_program_runs_on_it(factory: bool) -> None:
    app = Flask("plain")
    socketio = SocketIO(async_mode="threading") if factory else SocketIO(app, async_mode="threading")

    @socketio.on("shout")
    def shout(text: str) -> str:
        join_room("loud")
        emit("heard", text.upper(), to="loud")
        return "done"

    @socketio.on_error_default
    def on_error(error: Exception) -> str:
        return f"caught {error}"

    @socketio.event
    def fail() -> None:
        raise ValueError("it")

    class Class(flask_socketio.Namespace):  # type: ignore[misc]
        def on_ping(self) -> str:
            return "pong"

    socketio.on_namespace(Class("/class"))
    if factory:
        socketio.init_app(app)
    client = socketio.test_client(app)
    assert client.emit("shout", "hi", callback=True) == "done"
    assert client.get_received()[0]["args"] == ["HI"]
    assert client.emit("fail", callback=True) == "caught it"
    other = socketio.test_client(app, namespace="/class")
    assert other.emit("ping", namespace="/class", callback=True) == "pong"
