"""Neighbours on python-socketio's own managers, the real ones, on a real Redis and a real RabbitMQ.

The clients are sockets of Engine.IO that write down what a server sends; all above is the real thing.
"""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
import socketio
from engineio.packet import MESSAGE
from engineio.packet import Packet as EngineIOPacket
from flask import Flask
from socketio.packet import EVENT, Packet

from app.realtime import HybridManager, QueueOptions, SocketIO
from app.realtime.stock import copies
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis, RedisCluster, RedisSentinelGroup
from tests.support.servers import HOST, child_environment, free_port
from tests.support.waiting import wait_until

QUIET_SECONDS = 0.3  # for what must not happen; what does takes milliseconds


class Client:
    """A client of a `socketio.Server`; `frames` are what it got, attachments included, as they came."""

    connected = True
    closed = upgrading = False
    upgraded = True

    def __init__(self, server: Any, namespace: str = "/") -> None:
        self.server = server
        self.namespace = namespace
        self.eio_sid = uuid.uuid4().hex
        self.session: dict[str, Any] = {}
        self.frames: list[str | bytes] = []
        server.eio.sockets[self.eio_sid] = self
        server.eio._trigger_event("connect", self.eio_sid, {}, run_async=False)
        self.say("0" if namespace == "/" else f"0{namespace},")
        self.sid = server.manager.sid_from_eio_sid(self.eio_sid, namespace)
        assert self.sid, "not let in"
        self.frames.clear()

    def send(self, packet: EngineIOPacket) -> None:
        assert packet.packet_type == MESSAGE
        self.frames.append(packet.data)

    def close(self, *_: Any, **__: Any) -> None:
        self.closed = True

    def say(self, text: str) -> None:
        self.server.eio._trigger_event("message", self.eio_sid, text, run_async=False)

    @property
    def packets(self) -> list[Packet]:
        packets: list[Packet] = []
        for frame in self.frames:
            if isinstance(frame, bytes):
                packets[-1].add_attachment(frame)
            else:
                packets.append(Packet(encoded_packet=frame))
        return packets

    @property
    def events(self) -> list[Any]:
        """Every event with its arguments."""
        return [packet.data for packet in self.packets if isinstance(packet.data, list)]

    def names(self) -> list[str]:
        return [event[0] for event in self.events]

    def acknowledge(self, name: str, values: list[Any]) -> None:
        """Answer the first event of this name."""
        [id, *_] = [
            packet.id for packet in self.packets if packet.packet_type == EVENT and packet.data[0] == name
        ]
        prefix = "" if self.namespace == "/" else f"{self.namespace},"
        self.say(f"3{prefix}{id}{json.dumps(values)}")

    @property
    def here(self) -> bool:
        return bool(self.server.manager.is_connected(self.sid, self.namespace))


class Place:
    """A broker, as the engine and the stock managers are told of it."""

    def __init__(self, url: str, manager: type[Any], stock_url: str | None = None) -> None:
        self.url = url
        self.manager = manager
        self.stock_url = stock_url or url


class Neighbourhood:
    """Engine and stock nodes on one broker, and one stock channel of their own."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.channel = f"test-{uuid.uuid4().hex}"
        self._managers: list[HybridManager] = []
        self._stock: list[Any] = []

    def engine(self, *more_urls: str, stock: bool = True, **options: Any) -> Any:
        """Start a node of the engine, and wait until it hears its neighbours on the first broker."""
        manager = HybridManager(
            [self.place.url, *more_urls],
            channel=self.channel,
            stock_channel=self.channel if stock else None,
            options=QueueOptions(**options),
        )
        self._managers.append(manager)
        server = socketio.Server(async_mode="gevent", client_manager=manager, namespaces="*")
        server.eio._trigger_event("connect", "nobody", {}, run_async=False)
        if stock:
            wait_until(lambda: self.link(server)["listening"], lambda: str(manager.status()["stock"]))
        return server

    def stock(self) -> Any:
        """Start a stock node, and wait until it hears the channel."""
        manager = self.place.manager(self.place.stock_url, channel=self.channel)
        server = socketio.Server(async_mode="gevent", client_manager=manager, namespaces="*")
        self._stock.append(manager)
        client = Client(server)
        emitter = self.emitter()

        def hears() -> bool:
            emitter.emit("ready", None, to=client.sid)
            return "ready" in client.names()

        wait_until(hears, "the stock node hears")
        return server

    def emitter(self) -> Any:
        """Make an external process's manager; its first publishing connects."""
        manager = self.place.manager(self.place.stock_url, channel=self.channel, write_only=True)
        self._stock.append(manager)
        return manager

    def link(self, server: Any) -> Any:
        """What a node's status says of the first broker."""
        return next(iter(server.manager.status()["stock"]["brokers"].values()))

    def close(self) -> None:
        for manager in self._managers:
            manager.close(0)
        for stock in self._stock:
            if not stock.write_only:
                stock.thread.kill()
            # They have no close() of their own.
            if isinstance(stock, socketio.KombuManager):
                stock.publisher_connection.release()
            elif stock.redis is not None:
                stock.pubsub.close()
                stock.redis.close()


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    with RabbitMQ() as server:
        yield server


@pytest.fixture(scope="module")
def redis_sentinels() -> Iterator[RedisSentinelGroup]:
    with RedisSentinelGroup() as group:
        yield group


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as group:
        yield group


PLACES: dict[str, Callable[[Any], Place]] = {
    "redis": lambda server: Place(server.url, socketio.RedisManager),
    "rabbitmq": lambda server: Place(server.url(), socketio.KombuManager),
    "kombu": lambda server: Place(f"kombu+{server.url}", socketio.KombuManager, server.url),
    "redis_sentinels": lambda group: Place(group.url, socketio.RedisManager),
    # The stock managers know no cluster, but each node of one tells all others.
    "redis_cluster": lambda group: Place(group.url, socketio.RedisManager, group.servers[-1].url),
}


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    name = getattr(request, "param", "redis")
    return PLACES[name](request.getfixturevalue("redis" if name == "kombu" else name))


@pytest.fixture
def around(place: Place) -> Iterator[Neighbourhood]:
    neighbourhood = Neighbourhood(place)
    yield neighbourhood
    neighbourhood.close()


@pytest.fixture(params=["to ours", "to theirs"])
def pair(around: Neighbourhood, request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """The node that has the clients, and the other one, which is its neighbour."""
    nodes = around.engine(), around.stock()
    return nodes if request.param == "to ours" else nodes[::-1]


everywhere = pytest.mark.parametrize("place", PLACES, indirect=True)
both = pytest.mark.parametrize("place", ["redis", "rabbitmq"], indirect=True)

DATA: dict[str, Any] = {
    "text": "grüß 🎈",
    "nothing": None,
    "dict": {"a": [1, 2.5, True, None]},
    "list": [1, 2],
    "empty list": [],
    "tuple": ("one", {"two": 2}),
    "empty tuple": (),
    "tuple of one list": ([1, 2],),
    "bytes": b"\x00\xff",
    "nested bytes": {"deep": [{"raw": b"123", "also": b""}], "text": "t"},
    "tuple with bytes": (b"1", "2", [b"3"]),
    "no placeholder": {"_placeholder": True, "num": 7},
    "large number": 2**60,
}


@everywhere
def test_all_data_arrives_at_our_clients_as_at_theirs(around: Neighbourhood) -> None:
    ours, theirs = Client(around.engine()), Client(around.stock())
    emitter = around.emitter()
    for name, data in DATA.items():
        emitter.emit(name, data)
    wait_until(lambda: ours.names()[-1:] == list(DATA)[-1:], lambda: str(ours.events))
    wait_until(lambda: theirs.names()[-1:] == list(DATA)[-1:], lambda: str(theirs.events))
    # JSON may be written with and without spaces.
    assert ours.events == theirs.events
    assert ours.names() == list(DATA)


@everywhere
def test_all_data_arrives_at_their_clients_as_at_ours(around: Neighbourhood) -> None:
    engine = around.engine()
    ours, theirs = Client(engine), Client(around.stock())
    for name, data in DATA.items():
        engine.emit(name, data)
    wait_until(lambda: theirs.names()[-1:] == list(DATA)[-1:], lambda: str(theirs.events))
    assert ours.events == theirs.events
    assert around.link(engine)["dropped"] == 0


@both
def test_rooms_namespaces_and_skipped_clients(pair: tuple[Any, Any]) -> None:
    server, other = pair
    clients = [Client(server), Client(server), Client(server, "/other")]
    a, b, elsewhere = clients
    server.enter_room(a.sid, "red")
    server.enter_room(b.sid, "blue")
    server.enter_room(b.sid, 5)
    other.emit("red", 1, to="red")
    other.emit("five", 1, to=5)
    other.emit("either", 1, to=["red", "blue", "none"])
    other.emit("sid", 1, to=b.sid)
    other.emit("not a", 1, skip_sid=a.sid)
    other.emit("neither", 1, skip_sid=[a.sid, b.sid])
    other.emit("nobody", 1, to="none")
    other.emit("away", 1, namespace="/other")
    other.emit("end", 1)
    wait_until(lambda: "end" in a.names() + b.names(), lambda: str(a.events))
    wait_until(lambda: elsewhere.names() == ["away"], lambda: str(elsewhere.events))
    wait_until(lambda: b.names() == ["five", "either", "sid", "not a", "end"], lambda: str(b.events))
    assert a.names() == ["red", "either", "end"]


@both
def test_control_from_either_side(pair: tuple[Any, Any]) -> None:
    server, other = pair
    client, witness = Client(server), Client(server)
    rooms = server.manager.get_rooms

    def inside(one: Client, room: str) -> bool:
        return room in rooms(one.sid, "/")

    other.enter_room(client.sid, "lobby")
    wait_until(lambda: inside(client, "lobby"), "in the room")
    other.leave_room(client.sid, "lobby")
    wait_until(lambda: not inside(client, "lobby"), "out of the room")
    for one in (client, witness):
        server.enter_room(one.sid, "lobby")
    other.close_room("lobby")
    wait_until(lambda: not inside(client, "lobby") and not inside(witness, "lobby"), "closed")
    other.disconnect(client.sid)
    wait_until(lambda: not client.here, "disconnected")
    assert witness.here


@everywhere
def test_acknowledgements_across_the_border(pair: tuple[Any, Any]) -> None:
    server, other = pair
    client = Client(server, "/other")
    answers: list[Any] = []
    other.emit("ask", "?", to=client.sid, namespace="/other", callback=lambda *a: answers.append(a))
    wait_until(lambda: "ask" in client.names(), "asked")
    client.acknowledge("ask", ["yes", {"n": 1}])
    wait_until(lambda: answers, "answered")
    client.acknowledge("ask", ["again"])
    time.sleep(QUIET_SECONDS)
    assert answers == [("yes", {"n": 1})]


def test_every_client_of_a_room_at_a_stock_node_is_heard(around: Neighbourhood) -> None:
    engine, stock = around.engine(), around.stock()
    clients = [Client(stock), Client(stock)]
    for client in clients:
        stock.enter_room(client.sid, "panel")
    answers: list[Any] = []
    engine.emit("ask", to="panel", callback=answers.append)
    for number, client in enumerate(clients):
        wait_until(lambda client=client: "ask" in client.names(), "asked")
        client.acknowledge("ask", [number])
    wait_until(lambda: sorted(answers) == [0, 1], lambda: str(answers))


def test_an_acknowledgement_with_bytes_for_a_stock_node_is_dropped_and_counted(around: Neighbourhood) -> None:
    engine, stock = around.engine(), around.stock()
    client = Client(engine)
    stock.emit("ask", to=client.sid, callback=print)
    wait_until(lambda: "ask" in client.names(), "asked")
    [packet] = client.packets
    client.say(f'61-{packet.id}[{{"_placeholder":true,"num":0}}]')
    client.say(b"raw")  # type: ignore[arg-type]
    wait_until(lambda: around.link(engine)["dropped"] == 1, "counted")
    engine.emit("still here")
    wait_until(lambda: around.link(engine)["published"] == 1, lambda: str(around.link(engine)))


@both
def test_nodes_of_the_engine_hear_each_other_once(around: Neighbourhood) -> None:
    nodes = [around.engine(), around.engine()]
    clients = [Client(node) for node in nodes]
    stock = around.stock()
    theirs = Client(stock)
    for number in range(50):
        nodes[number % 2].emit("n", number)
        stock.emit("s", number)
    for client in [*clients, theirs]:
        wait_until(lambda c=client: len(c.events) >= 100, lambda c=client: str(c.events))
    time.sleep(QUIET_SECONDS)
    for client in [*clients, theirs]:
        events = client.events
        assert [n for name, n in events if name == "s"] == list(range(50))
        for parity in (0, 1):
            assert [n for name, n in events if name == "n" and n % 2 == parity] == list(range(parity, 50, 2))
    assert all(node.manager.status()["rejected"] == {} for node in nodes)


# A neighbour may send anything. What "s" says afterwards must be heard.
GARBAGE: list[bytes] = [
    b"",
    b"no json",
    b"\xff\xfe",
    b"[]",
    b"{}",
    b"null",
    b'{"method": "explode"}',
    b'{"method": 5}',
    b'{"method": "emit"}',
    b'{"method": "emit", "event": 5, "data": []}',
    b'{"method": "emit", "event": "x", "data": [], "room": {"a": 1}}',
    b'{"method": "emit", "event": "x", "data": [], "room": [[1]]}',
    b'{"method": "emit", "event": "x", "data": [], "namespace": []}',
    b'{"method": "emit", "event": "x", "data": [], "skip_sid": 5}',
    b'{"method": "emit", "event": "x", "data": [], "callback": "abc"}',
    b'{"method": "emit", "event": "x", "data": 5, "binary": true}',
    b'{"method": "emit", "event": "x", "data": [], "binary": true}',
    b'{"method": "emit", "event": "x", "data": [[], 5], "binary": true}',
    b'{"method": "emit", "event": "x", "data": [[], "%%%"], "binary": true}',
    b'{"method": "emit", "event": "x", "data": [[{"_placeholder": true, "num": 1}], "QQ=="], "binary": true}',
    b'{"method": "emit", "event": "x", "data": [{"_placeholder": true, "num": "0"}, "QQ=="], "binary": true}',
    b'{"method": "emit", "event": "x", "data": [NaN]}',
    b'{"method": "emit", "event": "x", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"method": "emit", "event": "x", "data": ["' + b"x" * 3_000_000 + b'"]}',
    b'{"method": "disconnect"}',
    b'{"method": "disconnect", "sid": ["a"]}',
    b'{"method": "enter_room", "sid": "a"}',
    b'{"method": "enter_room", "sid": "a", "room": ["b"]}',
    b'{"method": "leave_room", "sid": "a", "room": null}',
    b'{"method": "close_room"}',
    b'{"method": "callback", "id": "a", "args": []}',
    b'{"method": "callback", "host_id": "hybrid-x", "id": 1}',
]
HARMLESS: list[bytes] = [
    b'{"method": "callback", "host_id": "hybrid-x", "sid": "", "id": 1, "args": []}',
    b'{"method": "disconnect", "sid": "nobody", "namespace": "/nowhere"}',
    b'{"method": "enter_room", "sid": "nobody", "room": "x", "namespace": "/nowhere"}',
    b'{"method": "emit", "event": "x", "data": [1], "namespace": "/nowhere", "callback": [1]}',
    b'{"host_id": "hybrid-x", "method": "emit", "event": "x", "data": [1]}',
    b'{"method": "emit", "event": "x", "data": [1], "host_id": "hybrid-x"}',
]


class Exploding:
    """Unpickled, it leaves a trace."""

    traces: list[str] = []  # noqa: RUF012

    def __reduce__(self) -> Any:
        return (self.traces.append, ("unpickled",))


def publish_raw(place: Place, channel: str, bodies: list[bytes], content_type: str) -> None:
    if place.manager is socketio.RedisManager:
        client = socketio.RedisManager(place.stock_url)
        client._redis_connect()
        for body in bodies:
            client.redis.publish(channel, body)
        client.redis.close()
    else:
        with kombu.Connection(place.stock_url) as connection:
            producer = connection.Producer(exchange=kombu.Exchange(channel, "fanout", durable=False))
            for body in bodies:
                producer.publish(body, content_type=content_type, content_encoding="binary")


@pytest.mark.parametrize("place", ["redis", "rabbitmq", "kombu"], indirect=True)
def test_garbage_is_counted_and_ends_nothing(around: Neighbourhood, caplog: pytest.LogCaptureFixture) -> None:
    engine = around.engine()
    client = Client(engine)
    garbage = [*GARBAGE, pickle.dumps(Exploding()), pickle.dumps({"method": "emit", "event": "x", "data": 1})]
    for content_type in ("text/plain", "application/json", "application/x-python-serialize"):
        publish_raw(around.place, around.channel, garbage + HARMLESS, content_type)
    wanted = 3 * len(garbage)
    wait_until(
        lambda: sum(engine.manager.status()["rejected"].values()) >= wanted,
        lambda: f"{wanted} rejected: {engine.manager.status()['rejected']}",
    )
    around.emitter().emit("well", 1)
    wait_until(lambda: client.events == [["well", 1]], lambda: str(client.events))
    assert engine.manager.status()["rejected"] == {"stock malformed": wanted - 3, "stock oversized": 3}
    assert Exploding.traces == []
    told = [record for record in caplog.records if "malformed" in record.getMessage()]
    assert len(told) == 1, "once per interval"
    assert not any(record.exc_info for record in told)


@everywhere
def test_a_broker_that_restarts_is_heard_again_and_hears(around: Neighbourhood, request: Any) -> None:
    name = request.node.callspec.params["place"]
    broker = request.getfixturevalue("redis" if name == "kombu" else name)
    engine = around.engine()
    client = Client(engine)
    if isinstance(broker, Redis | RabbitMQ):
        broker.kill()
        wait_until(lambda: not around.link(engine)["listening"], "noticed")
        started = time.monotonic()
        for number in range(100):
            engine.emit("meanwhile", number)
        assert time.monotonic() - started < 1, "nobody waits"
        broker.start()
    else:
        dead = broker.kill_master()
        broker.wait_for_failover(dead)
        broker.restart_dead()
    wait_until(lambda: around.link(engine)["listening"], lambda: str(around.link(engine)), 30)
    emitter = around.emitter()

    def heard() -> bool:
        emitter.emit("again", 1)
        return "again" in client.names()

    wait_until(heard, "hears again", 30)
    wait_until(lambda: around.link(engine)["waiting"] == 0, lambda: str(around.link(engine)), 30)
    theirs = Client(around.stock())

    def hears() -> bool:
        engine.emit("back", 1)
        return "back" in theirs.names()

    wait_until(hears, "is heard again", 30)


@both
def test_a_broker_that_hangs_is_noticed(around: Neighbourhood, request: pytest.FixtureRequest) -> None:
    broker = request.getfixturevalue(request.node.callspec.params["place"])
    engine = around.engine(timeout_seconds=0.5)
    client = Client(engine)
    broker.freeze()
    try:
        wait_until(lambda: not around.link(engine)["listening"], "noticed")
    finally:
        broker.thaw()
    wait_until(lambda: around.link(engine)["listening"], "hears again")
    around.emitter().emit("again", 1)
    wait_until(lambda: "again" in client.names(), "heard")


def test_a_broker_that_is_down_disturbs_nothing_and_what_it_misses_is_counted(
    around: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "WAITING_MAX", 20)
    engine = around.engine(f"amqp://guest:guest@{HOST}:{free_port()}//", max_age_seconds=1)
    ours, theirs = Client(engine), Client(around.stock())
    started = time.monotonic()
    for number in range(200):
        engine.emit("n", number)
        engine.sleep(0.001)
    assert time.monotonic() - started < 3
    wait_until(lambda: len(theirs.events) == 200, lambda: str(len(theirs.events)))
    assert [n for _, n in ours.events] == [n for _, n in theirs.events] == list(range(200))
    links = engine.manager.status()["stock"]["brokers"]
    assert links["redis"]["dropped"] == 0
    assert links["rabbitmq"]["error"]
    wait_until(lambda: engine.manager.status()["stock"]["brokers"]["rabbitmq"]["dropped"] == 200, "too old")


def test_two_brokers_and_an_emitter_on_each(around: Neighbourhood, rabbitmq: RabbitMQ) -> None:
    engine = around.engine(rabbitmq.url())
    client = Client(engine)
    links = engine.manager.status
    wait_until(lambda: links()["stock"]["brokers"]["rabbitmq"]["listening"], "both")
    around.emitter().emit("redis", 1)
    other = socketio.KombuManager(rabbitmq.url(), channel=around.channel, write_only=True)
    other.emit("rabbitmq", 1)
    other.publisher_connection.release()
    wait_until(lambda: sorted(client.names()) == ["rabbitmq", "redis"], lambda: str(client.events))
    time.sleep(QUIET_SECONDS)
    assert len(client.events) == 2
    # An answer goes where the question came from.
    stock = around.stock()
    answers: list[Any] = []
    stock.emit("ask", to=client.sid, callback=answers.append)
    wait_until(lambda: "ask" in client.names(), "asked")
    client.acknowledge("ask", [1])
    wait_until(lambda: answers == [1], "answered")
    assert links()["stock"]["brokers"]["rabbitmq"]["published"] == 0


def test_a_neighbour_that_floods_leaves_room_for_others(around: Neighbourhood, redis: Redis) -> None:
    engine = around.engine()
    client = Client(engine)
    # All at once: one at a time they would come slowly enough.
    body = json.dumps({"method": "emit", "event": "n", "data": ["x" * 100], "host_id": "a"})
    publish = (
        f"*3\r\n$7\r\nPUBLISH\r\n${len(around.channel)}\r\n{around.channel}\r\n${len(body)}\r\n{body}\r\n"
    )
    flood = publish.encode() * 20_000
    gaps = [0.0]

    def tick() -> None:
        last = time.monotonic()
        while len(client.frames) < 20_000:
            time.sleep(0.001)
            gaps.append(time.monotonic() - last)
            last += gaps[-1]

    ticking = threading.Thread(target=tick)
    ticking.start()
    with socket.create_connection((HOST, redis.port)) as raw:
        raw.sendall(flood)
        ticking.join()
    print("GAP", max(gaps))
    assert max(gaps) < 0.1


EMITTER = """
import sys
from app.realtime import SocketIO
url, channel = sys.argv[1:]
socketio = SocketIO(message_queue=url, channel=channel, stock_channel=channel)
for number in range(100):
    socketio.emit("n", number)
# No flush, no close: the process ends.
"""


@both
def test_an_emitter_of_the_engine_in_a_plain_process_reaches_both(around: Neighbourhood) -> None:
    ours, theirs = Client(around.engine()), Client(around.stock())
    ended = subprocess.run(
        (sys.executable, "-c", EMITTER, around.place.url, around.channel),
        env=child_environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    for client in (ours, theirs):
        wait_until(lambda c=client: len(c.events) == 100, lambda c=client: f"{c.events} {ended.stderr}")
        assert [n for _, n in client.events] == list(range(100))


def test_through_socketio(around: Neighbourhood) -> None:
    app = Flask("test")
    socketio_ = SocketIO(
        app,
        message_queue=around.place.url,
        channel=around.channel,
        stock_channel=around.channel,
        async_mode="gevent",
    )
    try:
        client = socketio_.test_client(app)
        socketio_.start_queue()
        wait_until(lambda: around.link(socketio_.server)["listening"], "hears")
        around.emitter().emit("hello", {"a": 1})
        [event] = wait_until(client.get_received, "received")
        assert (event["name"], event["args"]) == ("hello", [{"a": 1}])
        assert socketio_.queue_status()["stock"]["channel"] == around.channel
    finally:
        socketio_.close(0)


UNUSED = """
import sys
from app.realtime import SocketIO
socketio = SocketIO(message_queue="memory://x")
socketio.emit("x")
assert not [name for name in sys.modules if "stock" in name], sys.modules
"""


def test_without_a_stock_channel_nothing_of_this_runs(around: Neighbourhood, redis: Redis) -> None:
    engine = around.engine(stock=False)
    client = Client(engine)
    wait_until(lambda: engine.manager.status()["active"], "works")
    engine.emit("x", 1)
    around.emitter().emit("y", 1)
    with redis.client() as raw:
        assert raw.pubsub_channels(around.channel) == []
    assert "stock" not in engine.manager.status()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stock")]
    time.sleep(QUIET_SECONDS)
    assert client.names() == ["x"]
    ended = subprocess.run(
        (sys.executable, "-c", UNUSED),
        cwd=Path(__file__).parent.parent.parent,
        env=child_environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_what_is_left_on_rabbitmq(rabbitmq: RabbitMQ) -> None:
    around = Neighbourhood(PLACES["rabbitmq"](rabbitmq))

    def ours() -> set[str]:
        return {name for name in rabbitmq.queues() if name.startswith("python-socketio.")} - before

    # Those of stock nodes in other tests stay for 5 minutes.
    before: set[str] = set()
    before = ours()
    around.engine()
    assert ours()
    around.close()
    wait_until(lambda: not ours(), "the queue is gone")
