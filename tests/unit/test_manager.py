"""The client manager: several nodes in one process, over a bus in memory, with clients that are lists."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import msgspec
import pytest
from flask import Flask

from app.realtime import (
    HybridManager,
    NotSerializable,
    QueueClosed,
    QueueEvent,
    QueueOptions,
    SocketIO,
    frames,
)
from app.realtime.brokers import parse_message_queue
from tests.support.waiting import wait_until


class Node:
    """A node whose clients have no connections: what would be sent to one is kept under its eio_sid."""

    def __init__(self, bus: str | None, **options: Any) -> None:
        self.socketio = SocketIO(Flask("node"), async_mode="gevent", message_queue=bus, **options)
        self.server = self.socketio.server
        self.manager = self.server.manager
        self.sent: dict[str, list[Any]] = {}
        self._count = itertools.count(1)
        self.server._send_eio_packet = lambda eio_sid, packet: self.sent[eio_sid].append(packet.data)
        self.server.eio.send = lambda eio_sid, data: self.sent[eio_sid].append(data)
        self.server.async_handlers = False

    def connect(self, namespace: str = "/") -> tuple[str, list[Any]]:
        """Connect a client; returns its sid and what is sent to it from now on."""
        eio_sid = f"e{next(self._count)}"
        sent = self.sent[eio_sid] = []
        environ = {"flask.app": None, "eio_sid": eio_sid}
        self.server._handle_eio_connect(eio_sid, environ)
        self.server._handle_eio_message(eio_sid, "0" if namespace == "/" else f"0{namespace},")
        sid = json.loads(sent.pop()[1 if namespace == "/" else len(namespace) + 2 :])["sid"]
        return sid, sent

    def eio_sid(self, sid: str) -> str:
        return str(self.manager.eio_sid_from_sid(sid, "/"))

    def receive(self, sid: str, packet: str) -> None:
        """A client sends a packet."""
        self.server._handle_eio_message(self.eio_sid(sid), packet)

    def leave(self, sid: str) -> None:
        """A client's connection breaks."""
        self.server._handle_eio_disconnect(self.eio_sid(sid), "transport close")


MakeNodes = Callable[..., list[Node]]


@pytest.fixture
def make_nodes() -> Iterator[MakeNodes]:
    """Make some nodes on a bus of their own."""
    made: list[Node] = []

    def make(count: int, **options: Any) -> list[Node]:
        bus = f"memory://{secrets.token_hex(4)}"
        nodes = [Node(bus, **options) for _ in range(count)]
        made.extend(nodes)
        for node in nodes:
            node.socketio.start_queue()
        for node in nodes:
            wait_until(lambda node=node: node.socketio.queue_status()["active"], "the bus")  # type: ignore[misc]
        return nodes

    yield make
    for node in made:
        node.socketio.close(0)


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        (None, []),
        ("", []),
        (" , ", []),
        ([], []),
        ("redis://a", ["redis://a"]),
        ("redis://a, amqp://b", ["redis://a", "amqp://b"]),
        (["redis://a", " amqp://b ", ""], ["redis://a", "amqp://b"]),
        (("redis://a",), ["redis://a"]),
        (
            "redis+sentinel://a:1,b:2/main, amqp://c;amqp://d,redis+cluster://e:1,f:2",
            ["redis+sentinel://a:1,b:2/main", "amqp://c;amqp://d", "redis+cluster://e:1,f:2"],
        ),
    ],
)
def test_message_queue_takes_none_one_a_list_or_a_string(value: Any, urls: list[str]) -> None:
    assert parse_message_queue(value) == urls


def test_all_nodes_hand_out_the_same_frames(make_nodes: MakeNodes) -> None:
    here, there = make_nodes(2)
    (_, own), (sid, other) = here.connect(), there.connect()
    here.manager.emit("x", ({"a": b"1"}, [2]), namespace="/")
    here.manager.emit("y", None, room=sid)
    here.manager.emit("z", "ü", skip_sid=sid)
    here.socketio.emit("end")
    wait_until(lambda: '2["end"]' in other, "the end")
    binary = ['51-["x",{"a":{"_placeholder":true,"num":0}},[2]]', b"1"]
    assert own == [*binary, '2["z","ü"]', '2["end"]']
    assert other == [*binary, '2["y"]', '2["end"]']


def test_what_concerns_nobody_here_is_not_decoded(
    make_nodes: MakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there, empty = make_nodes(3)
    _, heard = there.connect()
    decoded = []
    real = frames.decode

    def decode(body: msgspec.Raw) -> Any:
        decoded.append(1)
        return real(body)

    monkeypatch.setattr(frames, "decode", decode)
    for _ in range(20):
        here.socketio.emit("x", to="a room of nobody")
        here.socketio.emit("x", to=["another", "a third"])
        here.socketio.emit("x", namespace="/other")
    here.socketio.emit("end")
    wait_until(lambda: heard, "the end")
    wait_until(lambda: empty.socketio.queue_status()["inbox"]["origins"], "the third node")
    assert len(decoded) == 1


def test_who_is_skipped_may_be_anything(make_nodes: MakeNodes) -> None:
    here, there = make_nodes(2)
    (skipped, nothing), (_, heard) = there.connect(), there.connect()
    for number, skip in enumerate(
        (skipped, [skipped], (skipped,), {skipped}, [None, skipped, 7], [[], skipped])
    ):
        here.socketio.emit("x", number, skip_sid=skip)
    wait_until(lambda: len(heard) == 6, "all")
    assert nothing == []


def test_who_is_skipped_is_not_counted_as_sent(make_nodes: MakeNodes) -> None:
    (here,) = make_nodes(1)
    (first, _), (second, _), (_, heard) = here.connect(), here.connect(), here.connect()
    here.server.enter_room(second, "room")

    def sent(**options: Any) -> int:
        before = here.manager.meters.sent
        here.socketio.emit("x", **options)
        return here.manager.meters.sent - before

    assert sent() == 3
    assert sent(skip_sid=first) == 2
    assert sent(skip_sid=[first, first, second, "elsewhere"]) == 1
    assert sent(to="room", skip_sid=first) == 1
    assert sent(to="room", skip_sid=second) == 0
    assert sent(to=["room", first], skip_sid=second) == 1
    assert len(heard) == 3


def test_during_its_disconnect_a_client_is_still_here(make_nodes: MakeNodes) -> None:
    here, there = make_nodes(2)
    sid, _ = here.connect()
    neighbour, heard = here.connect()
    seen = []

    def on_disconnect(sid: str, *_: Any) -> None:
        here.server.enter_room(sid, "last")
        seen.append(here.server.rooms(sid))
        here.server.leave_room(sid, "last")
        seen.append(here.server.rooms(sid))
        here.server.disconnect(sid)
        here.server.emit("bye", room=[sid, neighbour])

    here.server.on("disconnect", on_disconnect, namespace="/")
    before = here.socketio.queue_status()["outbox"]["retained"]
    here.leave(sid)
    assert [set(rooms) for rooms in seen] == [{sid, "last"}, {sid}]
    assert heard == ['2["bye"]']
    # Nothing but the emit concerned the other node.
    assert here.manager.channel is not None
    wait_until(lambda: here.socketio.flush(1) == 0, "the bus")
    assert here.socketio.queue_status()["outbox"]["retained"] - before <= 1
    assert not there.manager.rooms


def test_a_disconnect_handler_that_fails_leaves_nobody_behind(make_nodes: MakeNodes) -> None:
    here, there = make_nodes(2)
    sid, sent = there.connect()

    def on_disconnect(*_: Any) -> None:
        raise ValueError("a defect of the application")

    there.server.on("disconnect", on_disconnect, namespace="/")
    hub = gevent.get_hub()
    errors: list[Any] = []
    hub.print_exception = lambda *arguments: errors.append(arguments)
    try:
        here.server.disconnect(sid)
        wait_until(lambda: not there.manager.rooms and errors, "the end")
    finally:
        del hub.print_exception
    assert sent == ["1"]
    assert not there.manager.pending_disconnect


def test_a_disconnect_handler_runs_though_the_connection_is_gone_already(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    sid, _ = node.connect()
    eio_sid = node.eio_sid(sid)
    seen: list[Any] = []
    node.server.on("disconnect", lambda sid, reason: seen.append((node.server.get_environ(sid), reason)))
    node.manager.end(sid, "/")
    node.leave(sid)
    assert eio_sid not in node.server.environ
    wait_until(lambda: seen and not node.manager.rooms, "the handler")
    assert seen[0][0]["eio_sid"] == eio_sid
    assert seen[0][1] == "server disconnect"
    assert eio_sid not in node.server.environ


def test_a_room_is_a_string_or_a_number(make_nodes: MakeNodes) -> None:
    here, there = make_nodes(2)
    sid, heard = there.connect()
    (own, _) = here.connect()
    here.server.enter_room(own, "own")
    for room in (("a", "b"), None, object(), ["a"], b"a"):
        for act in (
            lambda room=room: here.server.enter_room(sid, room),
            lambda room=room: here.server.leave_room(sid, room),
            lambda room=room: here.server.close_room(room),
        ):
            with pytest.raises(NotSerializable, match="strings or numbers"):
                act()
    here.socketio.emit("end")
    wait_until(lambda: heard, "the end")
    assert there.socketio.queue_status()["inbox"]["undeliverable"] == 0


def test_in_process_rooms_may_be_anything_as_on_the_library() -> None:
    node = Node(None)
    sid, heard = node.connect()
    room = object()
    node.server.enter_room(sid, room)
    node.socketio.emit("x", to=room)
    assert heard == ['2["x"]']
    node.socketio.close_room(room)
    node.socketio.emit("x", to=room)
    assert heard == ['2["x"]']


def test_in_process_a_callback_has_no_deadline_and_goes_with_its_client() -> None:
    node = Node(None, queue_options=QueueOptions(ack_seconds=0.1))
    sid, heard = node.connect()
    called: list[Any] = []
    node.socketio.emit("x", to=sid, callback=lambda *values: called.append(values))
    node.manager.acks.expire(1e12)
    ack = heard[0][1:].split("[")[0]
    node.receive(sid, f"3{ack}[1,2]")
    node.receive(sid, f"3{ack}[3]")
    node.receive(sid, "30[4]")
    assert called == [(1, 2)]
    with pytest.raises(NotSerializable):
        node.socketio.emit("x", object(), to=sid, callback=called.append)
    node.socketio.emit("x", to=sid, callback=called.append)
    node.leave(sid)
    assert not node.manager.callbacks


def test_a_closed_queue_says_so_and_nobody_gets_anything(make_nodes: MakeNodes) -> None:
    (here,) = make_nodes(1)
    _, heard = here.connect()
    here.socketio.close(1)
    with pytest.raises(QueueClosed):
        here.socketio.emit("x", callback=print, to="room")
    assert heard == []
    assert len(here.manager.acks) == 0


def test_what_is_volatile_is_not_kept_while_no_broker_works(make_nodes: MakeNodes) -> None:
    here, there = make_nodes(2)
    (_, here_heard), (_, there_heard) = here.connect(), there.connect()
    here.socketio.emit("old", volatile=True)
    wait_until(lambda: there_heard == ['2["old"]'], "the other node to hear it")
    link = here.manager.channel.exchange.router.links["memory"]
    link.state = "down"
    here.socketio.emit("typing", volatile=True)
    assert here_heard[1:] == ['2["typing"]'], "who is here hears it all the same"
    outbox = here.socketio.queue_status()["outbox"]
    assert (outbox["volatile_dropped"], outbox["depth"]) == (1, 0)
    link.state = "up"
    here.socketio.emit("new", volatile=True)
    wait_until(lambda: there_heard[1:] == ['2["new"]'], "and nothing of before")


def test_the_state_of_the_queue_has_one_form(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    status, without = node.socketio.queue_status(), Node(None).socketio.queue_status()
    for one in (status, without):
        assert json.loads(json.dumps(one)) == one
        assert one["active"] == "memory"
        assert one["brokers"]["memory"]["state"] == "up"
        assert one["brokers"]["memory"]["since"] > 1e9
    assert set(status) == set(without)
    for name in ("outbox", "inbox"):
        assert set(status[name]) == set(without[name])
    assert set(status["brokers"]["memory"]) == set(without["brokers"]["memory"])


def test_changes_of_the_queue_are_told(make_nodes: MakeNodes) -> None:
    bus = f"memory://{secrets.token_hex(4)}"
    node = Node([bus, f"{bus}-2"])
    events: list[QueueEvent] = []
    node.socketio.on_queue_event(lambda _: 1 / 0)
    assert node.socketio.on_queue_event(events.append) == events.append
    node.socketio.start_queue()
    try:
        wait_until(
            lambda: {("state", "memory-2", "up"), ("state", "memory", "up")} <= _kinds(events), str(events)
        )
        node.socketio.switch_queue("memory-2")
        wait_until(lambda: ("active", "memory-2", "up") in _kinds(events), str(events))
        assert node.socketio.queue_status()["active"] == "memory-2"
        with pytest.raises(ValueError, match=r"there is no broker 'redis'.*memory, memory-2"):
            node.socketio.switch_queue("redis")
        node.socketio.switch_queue(None)
        wait_until(lambda: node.socketio.queue_status()["active"] == "memory", "the first again")
    finally:
        node.socketio.close(0)
    with pytest.raises(ValueError, match="no message queue"):
        Node(None).socketio.switch_queue("memory")


def _kinds(events: list[QueueEvent]) -> set[tuple[str, str | None, str | None]]:
    return {(event.kind, event.broker, event.state) for event in events}


def test_a_switch_everywhere_reaches_other_nodes() -> None:
    bus = f"memory://{secrets.token_hex(4)}"
    nodes = [Node([bus, f"{bus}-2"]) for _ in range(2)]
    for node in nodes:
        node.socketio.start_queue()
    try:
        for node in nodes:
            wait_until(
                lambda node=node: all(  # type: ignore[misc]
                    one["state"] == "up" for one in node.socketio.queue_status()["brokers"].values()
                ),
                "both",
            )
        wait_until(lambda: nodes[1].socketio.queue_status()["nodes"], "the other")
        nodes[0].socketio.switch_queue("memory-2", everywhere=True)
        wait_until(lambda: nodes[1].socketio.queue_status()["active"] == "memory-2", "the switch")
    finally:
        for node in nodes:
            node.socketio.close(0)


def test_arguments_that_make_no_sense_are_told() -> None:
    for arguments in ({"strategy": "hope"}, {"urls": "http://a"}, {"urls": ["redis://a", "b"]}):
        with pytest.raises(ValueError, match=r"allowed|no broker speaks|no scheme"):
            HybridManager(**arguments)  # type: ignore[arg-type]


def test_a_thousand_clients_leave_nothing(make_nodes: MakeNodes) -> None:
    here, there = make_nodes(2, queue_options=QueueOptions(ack_seconds=0.5))
    called: list[str] = []
    for first in range(0, 1000, 100):
        clients = [there.connect() for _ in range(100)]
        for number, (sid, _) in enumerate(clients, first):
            here.server.enter_room(sid, number)
            here.socketio.emit("x", to=sid, callback=lambda: called.append("x"))
            here.socketio.emit("silence", to=[number], callback=called.append)
            if number % 4 == 0:
                # What is for it is still on its way.
                there.leave(sid)
        for number, (sid, heard) in enumerate(clients, first):
            if number % 4 == 0:
                continue
            wait_until(lambda heard=heard: len(heard) == 2, f"client {number}")  # type: ignore[misc]
            if number % 4 > 1:
                there.receive(sid, f"3{heard[0][1:].split('[')[0]}[]")
            if number % 4 > 2:
                here.server.disconnect(sid)
            else:
                there.leave(sid)
    wait_until(lambda: not there.manager.rooms, "the last")
    wait_until(lambda: len(called) == 500, lambda: str(len(called)))
    for node in (here, there):
        manager = node.manager
        wait_until(lambda manager=manager: not len(manager.acks) and not manager._expiring, "the acks")  # type: ignore[misc]
        assert not manager.acks._owed_by
        for table in (manager.rooms, manager.eio_to_sid, manager.callbacks, manager.pending_connect):
            assert not table
        assert not manager.pending_disconnect
        assert not node.server._binary_packet
        inbox = node.socketio.queue_status()["inbox"]
        assert (inbox["waiting"], inbox["undeliverable"], inbox["lost"]) == (0, 0, 0)
    here.socketio.close(0)
    there.socketio.close(0)
