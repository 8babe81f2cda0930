"""The base namespace: what it promises to any namespace built on it."""

import logging
from typing import Annotated, Any

import pytest
from flask import Flask
from pydantic import BaseModel, ConfigDict, Field

from app.realtime import (
    Client,
    EventError,
    EventNamespace,
    Nothing,
    OutboxFull,
    QueueClosed,
    Rates,
    SocketIO,
    User,
    event,
)
from app.user import User as Guest


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
    plenty = {"default": "1000/second", "connect": "1000/second", "rare": "1/minute"}
    namespace = EchoNamespace("/echo", Rates(plenty if rates is None else rates))
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


@pytest.mark.parametrize("error", [OutboxFull("no room"), QueueClosed("closed")])
def test_others_that_cannot_be_told_are_no_defect(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(EchoNamespace, "on_echo", fail)
    _, socket = make()
    assert ask(socket, "echo")["error"]["code"] == "unavailable"
    assert "Traceback" not in caplog.text


def test_an_undeclared_rate_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="rare"):
        make({"default": "1/second", "connect": "1/second"})


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


def test_each_event_spends_its_own_rate_and_unknown_ones_the_default() -> None:
    _, socket = make({"default": "2/hour", "connect": "9/hour", "rare": "1/hour"})
    assert ask(socket, "rare")["ok"]
    assert ask(socket, "rare")["error"]["code"] == "rate_limited"
    assert ask(socket, "echo")["ok"]
    assert ask(socket, "unknown")["error"]["code"] == "unknown_event"
    refused = ask(socket, "echo")["error"]
    assert refused["code"] == "rate_limited"
    assert 0 < refused["retry_after_ms"] <= 1_800_000


def test_another_connection_brings_no_new_budget() -> None:
    namespace, socket = make({"default": "1/hour", "connect": "3/hour", "rare": "1/hour"})
    assert ask(socket, "echo")["ok"]
    app = socket.app
    other = namespace.socketio.test_client(app, namespace="/echo")
    assert ask(other, "echo")["error"]["code"] == "rate_limited"
    assert namespace.socketio.test_client(app, namespace="/echo").is_connected("/echo")
    assert not namespace.socketio.test_client(app, namespace="/echo").is_connected("/echo"), "3 an hour"


def test_a_client_that_goes_while_it_is_let_in_is_gone() -> None:
    def vanish(client: Client) -> None:
        namespace.server.environ.pop(next(iter(namespace.server.environ)))

    namespace, first = make()
    namespace.gone.clear()
    first.disconnect("/echo")
    namespace.gone.clear()
    namespace.server.environ.clear()
    namespace.connected = vanish  # type: ignore[method-assign]
    namespace.socketio.test_client(first.app, namespace="/echo")
    assert len(namespace.gone) == 1, "the disconnect handler ran"
    assert not namespace._clients
    assert not namespace.server.environ


def test_a_connection_that_is_gone_already_is_not_let_in() -> None:
    namespace, _ = make()
    namespace.server._handle_connect("nobody", "/echo", None)
    assert len(namespace._clients) == 1


def test_nothing_is_kept_of_clients_that_are_gone() -> None:
    namespace, socket = make()
    for _ in range(20):
        socket.disconnect("/echo")
        socket.connect("/echo")
        ask(socket, "echo")
    socket.disconnect("/echo")
    assert not namespace._clients


def test_a_subclass_keeps_the_events_of_its_base() -> None:
    class More(EchoNamespace):
        @event()
        def on_wave(self, client: Client, payload: Nothing) -> None:
            """Wave."""

    assert set(More.events) == {*EchoNamespace.events, "wave"}


def test_a_handler_that_is_not_declared_is_refused() -> None:
    with pytest.raises(TypeError, match=r"on_wave would never be called.*@event"):

        class Forgotten(EventNamespace):
            def on_wave(self) -> None:
                """Look like a handler."""


def test_long_names_of_events_are_cut_in_answers() -> None:
    _, socket = make()
    socket.emit("x" * 500, {}, namespace="/echo")
    (error,) = socket.get_received("/echo")
    assert error["args"][0]["event"] == "x" * 64


def test_a_flood_of_refusals_is_worth_one_line(caplog: pytest.LogCaptureFixture) -> None:
    _, socket = make({"default": "1/hour", "connect": "9/hour", "rare": "1/hour"})
    with caplog.at_level(logging.INFO):
        for _ in range(50):
            ask(socket, "echo")
    assert caplog.text.count("rate_limited") == 1


class GuestNamespace(EchoNamespace):
    """Lets everybody in whose session was not ended meanwhile."""

    asked = 0
    welcome = True
    left: list[str] = []  # noqa: RUF012

    def authenticate(self, auth: object) -> Guest:
        self.asked += 1
        return Guest("a", "Ada", 2e10)

    def still_welcome(self, user: User) -> bool:
        return self.welcome

    def disconnected(self, client: Client, reason: str) -> None:
        self.left.append(reason)


@pytest.mark.parametrize("welcome", [True, False])
def test_who_connects_is_asked_for_once_and_may_be_unwelcome_by_then(welcome: bool) -> None:
    app = Flask("guests")
    socketio = SocketIO(app, async_mode="gevent", async_handlers=False)
    namespace = GuestNamespace(
        "/echo", Rates({"default": "9/second", "connect": "9/second", "rare": "9/second"})
    )
    namespace.welcome, namespace.left = welcome, []
    socketio.on_namespace(namespace)
    assert socketio.test_client(app, namespace="/echo").is_connected("/echo") is welcome
    assert namespace.asked == 1
    assert namespace.left == ([] if welcome else ["refused"])
    assert len(namespace._clients) == welcome
