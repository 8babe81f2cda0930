"""The base namespace: what it promises to any namespace built on it."""

from typing import Annotated, Any

import pytest
from flask import Flask
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from pydantic import BaseModel, ConfigDict, Field

from app.realtime import Client, EventError, EventNamespace, Nothing, SocketIO, event


class Echo(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(max_length=5)] = "hi"


class EchoNamespace(EventNamespace):
    requires_user = False
    emits = {"echo": Echo}  # noqa: RUF012
    gone: list[str] = []  # noqa: RUF012

    @event(Echo, Echo)
    def on_echo(self, client: Client, payload: Echo) -> Echo:
        """Send it back."""
        return payload

    @event(rate="rare")
    def on_rare(self, client: Client, payload: Nothing) -> None:
        """Do nothing, seldom."""

    @event()
    def on_kick(self, client: Client, payload: Nothing) -> None:
        """Disconnect whoever asks."""
        self.disconnect(client.sid)

    def disconnected(self, client: Client, reason: str) -> None:
        self.gone.append(client.sid)

    def not_an_event(self) -> None:
        """Look like nothing that a client may call."""


def make(rates: dict[str, str] | None = None, connected: Any = None) -> tuple[EchoNamespace, Any]:
    app = Flask("echo")
    socketio = SocketIO(app, async_mode="gevent", async_handlers=False)
    limiter = MovingWindowRateLimiter(MemoryStorage())
    namespace = EchoNamespace("/echo", limiter, rates or {"default": "1000/second", "rare": "1/minute"})
    if connected:
        namespace.connected = connected  # type: ignore[method-assign]
    socketio.on_namespace(namespace)
    return namespace, socketio.test_client(app, namespace="/echo")


def ask(socket: Any, *args: Any) -> Any:
    return socket.emit(*args, namespace="/echo", callback=True)


def test_a_payload_may_be_left_out_when_every_field_has_a_default() -> None:
    _, socket = make()
    assert (
        ask(socket, "echo")
        == ask(socket, "echo", None)
        == ask(socket, "echo", {})
        == {
            "ok": True,
            "text": "hi",
        }
    )


def test_too_long_tells_field_and_limit() -> None:
    _, socket = make()
    error = ask(socket, "echo", {"text": "longer"})["error"]
    assert (error["code"], error["field"], error["limit"]) == ("too_long", "text", 5)


def test_methods_that_are_no_events_are_not_called() -> None:
    _, socket = make()
    for name in ("not_an_event", "connect", "connected", "", "__init__", "x" * 500):
        assert ask(socket, name, {})["error"]["code"] == "unknown_event"


@pytest.mark.parametrize("data", [[5, {}], [None], [["a"], {}], [], {"a": 1}, "text", 7])
def test_packets_without_a_name_are_answered(data: Any) -> None:
    namespace, socket = make()
    server = namespace.socketio.server
    server._handle_event(socket.eio_sid, "/echo", 1, data)
    assert socket.acks["args"][0]["error"]["code"] == "unknown_event"


def test_a_handler_may_disconnect_its_own_client() -> None:
    namespace, socket = make()
    namespace.gone.clear()
    ask(socket, "kick")
    assert len(namespace.gone) == 1, "the disconnect handler ran"
    assert not socket.is_connected("/echo")


def test_an_undeclared_rate_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="rare"):
        make({"default": "1/second"})


def test_only_declared_events_are_emitted() -> None:
    namespace, socket = make()
    namespace.tell("echo", Echo(text="all"))
    assert [packet["args"][0] for packet in socket.get_received("/echo")] == [{"text": "all"}]
    for name, payload in (("other", Echo()), ("echo", Nothing())):
        with pytest.raises(TypeError, match="declares"):
            namespace.tell(name, payload)


def test_a_refused_or_failing_connection_is_told_and_forgotten() -> None:
    def refuse(client: Client) -> None:
        raise EventError("forbidden", "Not today.")

    def fail(client: Client) -> None:
        raise RuntimeError("defect")

    for connected in (refuse, fail):
        namespace, socket = make(connected=connected)
        assert not socket.is_connected("/echo")
        assert not namespace._clients


def test_an_unknown_connection_is_unauthorized() -> None:
    namespace, socket = make()
    namespace._clients.clear()
    assert ask(socket, "echo")["error"]["code"] == "unauthorized"
