"""What only Redis can do to its broker: memory, clocks, permissions, sentinels that are wrong."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from app.realtime.brokers import BrokerError, BrokerOptions, BrokerRefused
from app.realtime.brokers.redis import RedisBroker
from tests.support.certificates import make_certificate
from tests.support.redis import Redis, RedisCluster
from tests.support.servers import HOST
from tests.support.waiting import wait_until

QUICK = BrokerOptions(connect_timeout_seconds=1.0, answer_timeout_seconds=1.0, poll_seconds=0.05)
KEY = "socketio:here"


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis() as started:
        yield started


@pytest.fixture
def make(server: Redis) -> Iterator[Callable[..., RedisBroker]]:
    made: list[RedisBroker] = []

    def one(url: str | None = None, options: BrokerOptions = QUICK) -> RedisBroker:
        made.append(RedisBroker(url or server.url, "here", f"origin-{len(made)}", options))
        return made[-1]

    with server.client() as client:
        client.flushall()
    yield one
    for broker in made:
        broker.close()


def hear(listening: Iterator[list[bytes]], count: int) -> list[bytes]:
    """Take so many parcels."""
    heard: list[bytes] = []
    deadline = time.monotonic() + 10
    while len(heard) < count:
        assert time.monotonic() < deadline, f"heard only {heard}"
        heard += next(listening)
    return heard


def test_many_parcels_and_bytes_in_one_call(make: Callable[..., RedisBroker]) -> None:
    broker = make()
    listening = broker.listen()
    next(listening)
    parcels = [b"%d" % number for number in range(1234)] + [bytes(400_000)] * 7 + [b"last"]
    broker.publish(parcels)
    assert hear(listening, len(parcels)) == parcels
    broker.publish([])


def test_a_stream_that_begins_anew_with_an_earlier_clock(
    server: Redis, make: Callable[..., RedisBroker]
) -> None:
    broker = make()
    listening = broker.listen()
    next(listening)
    now = int(time.time() * 1000)
    with server.client() as client:
        for hours in (1, 2):
            # Redis counts on from the highest id, whatever its clock says.
            client.xadd(KEY, {"p": "from the future"}, id=f"{now + hours * 3_600_000}-0")
            broker.publish([b"on"])
            assert hear(listening, 2) == [b"from the future", b"on"]
        assert broker._published.start > (now, 0)
        client.delete(KEY)
        broker._trim_at = 0
        broker.publish([b"anew"])
        assert client.xlen(KEY) == 1, "trimming leaves what is new"
    assert hear(listening, 1) == [b"anew"]
    assert broker._published.start == broker._heard.start == (0, 0)


def test_the_same_while_nobody_listened(server: Redis, make: Callable[..., RedisBroker]) -> None:
    broker = make()
    listening = broker.listen()
    next(listening)
    with server.client() as client:
        client.xadd(KEY, {"p": "from the future"}, id=f"{int(time.time() * 1000) + 3_600_000}-0")
        assert hear(listening, 1)
        next(listening)  # now it is taken
        listening.close()
        client.delete(KEY)
    broker.publish([b"anew"])
    listening = broker.listen()
    assert hear(listening, 1) == [b"anew"]


def test_a_new_master_that_is_behind(server: Redis, make: Callable[..., RedisBroker]) -> None:
    """A replica that takes over has missed the last entries, and its clock is a little behind."""
    with Redis() as other, server.client() as old, other.client() as new:
        broker = make()
        listening = broker.listen()
        next(listening)
        now = int(time.time() * 1000)
        old.xadd(KEY, {"p": "old"}, id=f"{now}-0")
        assert hear(listening, 1) == [b"old"]
        next(listening)
        new.xadd(KEY, {"p": "new 1"}, id=f"{now - 400}-0")
        new.xadd(KEY, {"p": "new 2"}, id=f"{now + 400}-0")
        broker._place._settings["port"] = other.port  # what sentinels would say now
        server.cut()
        with pytest.raises(BrokerError):
            hear(listening, 1)
        assert hear(broker.listen(), 2) == [b"new 1", b"new 2"]


def test_when_one_connection_finds_another_master_the_other_is_cut(
    server: Redis, make: Callable[..., RedisBroker]
) -> None:
    with Redis() as other:
        broker = make()
        broker.publish([b"old"])
        listening = broker.listen()
        next(listening)
        broker._place._settings["port"] = other.port
        assert broker._writer is not None
        broker._writer.cut()
        with pytest.raises(BrokerError):
            broker.publish([b"x"])
        broker.publish([b"new"])
        with pytest.raises(BrokerError):
            hear(listening, 1)
        assert hear(broker.listen(), 1) == [b"new"]


def test_a_stream_that_fills_the_memory_gives_way(make: Callable[..., RedisBroker]) -> None:
    with Redis(maxmemory="12mb", maxmemory_policy="noeviction") as small:
        broker = make(small.url)
        refusals = []
        for number in range(100):
            parcel = b"%06d" % number + bytes(400_000)
            try:
                broker.publish([parcel])
            except BrokerRefused as error:
                refusals.append(str(error))
                broker.publish([parcel])  # there is room now
        assert refusals, "40 MB do not fit"
        assert all("raise maxmemory" in refusal for refusal in refusals)


def test_what_several_publish_together_is_bounded(server: Redis, make: Callable[..., RedisBroker]) -> None:
    """Nobody alone publishes too much; who listens knows that all together do."""
    options = replace(QUICK, keep_bytes=1_000_000)
    talkers = [make(options=options) for _ in range(5)]
    listening = talkers[0].listen()
    next(listening)
    for _ in range(9):
        for talker in talkers:
            talker.publish([bytes(100_000)])
            hear(listening, 1)
    with server.client() as client:
        assert client.xlen(KEY) <= 9 * 5
        talkers[0]._trim_at = 0
        talkers[0].publish([b"pulse"])
        assert 5 <= client.xlen(KEY) <= 12


def test_a_stream_that_nobody_uses_any_more_expires(server: Redis, make: Callable[..., RedisBroker]) -> None:
    make(options=replace(QUICK, keep_seconds=100)).publish([b"x"])
    with server.client() as client:
        assert 150_000 < client.pttl(KEY) <= 160_000


def test_a_key_that_is_no_stream(server: Redis, make: Callable[..., RedisBroker]) -> None:
    with server.client() as client:
        client.set(KEY, "somebody else's")
    broker = make()
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        broker.publish([b"x"])
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        next(broker.listen())


def test_permissions(server: Redis, make: Callable[..., RedisBroker]) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "+@connection")
        rights = ("~socketio:*", "+@read", "+@write", "+@connection")
        client.execute_command("ACL", "SETUSER", "chat", "on", ">pw", *rights)
    with pytest.raises(BrokerRefused, match=r"~socketio:\*"):
        make(f"redis://poor:pw@{HOST}:{server.port}").publish([b"x"])
    broker = make(f"redis://chat:pw@{HOST}:{server.port}")
    listening = broker.listen()
    next(listening)
    broker.publish([b"x"])
    assert hear(listening, 1) == [b"x"]


def test_a_replica_says_that_it_is_one(server: Redis, make: Callable[..., RedisBroker]) -> None:
    with Redis(replicaof=f"{HOST} {server.port}") as replica, pytest.raises(BrokerRefused, match="master"):
        make(replica.url).publish([b"x"])


def test_a_loading_server_is_no_refusal(server: Redis, make: Callable[..., RedisBroker]) -> None:
    """It will be well soon."""
    with answering(b"-LOADING Redis is loading the dataset in memory\r\n") as port:
        with pytest.raises(BrokerError) as caught:
            make(f"redis://{HOST}:{port}").publish([b"x"])
        assert not isinstance(caught.value, BrokerRefused)


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Answer whatever comes with always the same; yield the port."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        while connection.recv(1000):
                            connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def master_is(port: int) -> bytes:
    """What a sentinel answers."""
    return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)


def test_sentinels_that_are_dead_or_wrong_are_left_for_others(
    server: Redis, make: Callable[..., RedisBroker]
) -> None:
    with (
        Redis(replicaof=f"{HOST} {server.port}") as replica,
        answering(master_is(replica.port)) as wrong,
        answering(b"*-1\r\n") as ignorant,
        answering(master_is(server.port)) as right,
    ):
        ports = (1, ignorant, wrong, right)
        broker = make(f"redis+sentinel://{','.join(f'{HOST}:{port}' for port in ports)}/0/mymaster")
        for number in range(6):
            broker.publish([b"%d" % number])
            assert broker._writer is not None
            assert broker._writer.address == (HOST, server.port)
            broker._writer.close()
            broker._writer = None
        broken = make(f"redis+sentinel://{HOST}:{wrong},{HOST}:{ignorant},{HOST}:1/0/mymaster")
        with pytest.raises(BrokerError, match=r"the master it names is none.*knows no service 'mymaster'"):
            broken.publish([b"x"])


def test_sentinels_that_say_nothing_do_not_keep_from_the_others(
    server: Redis, make: Callable[..., RedisBroker]
) -> None:
    """There is not the time to ask all of them; the next call asks those whose turn it is."""
    with (
        socket.create_server((HOST, 0)) as silent,
        socket.create_server((HOST, 0)) as mute,
        answering(master_is(server.port)) as right,
    ):
        ports = (silent.getsockname()[1], mute.getsockname()[1], right)
        broker = make(f"redis+sentinel://{','.join(f'{HOST}:{port}' for port in ports)}/0/mymaster")
        started = time.monotonic()
        with pytest.raises(BrokerError, match="no master found"):
            broker.publish([b"x"])
        assert time.monotonic() - started < QUICK.connect_timeout_seconds
        broker.publish([b"x"])


def test_a_cluster_is_found_when_the_server_in_the_address_is_gone(make: Callable[..., RedisBroker]) -> None:
    with RedisCluster() as cluster:
        only = cluster.master(KEY)
        broker = make(cluster.address(port=only.port))
        broker.publish([b"x"])
        assert cluster.kill_master(KEY) is only

        def published() -> bool:
            with contextlib.suppress(BrokerError):
                broker.publish([b"y"])
                return True
            return False

        wait_until(published, "it finds the new master")
        assert broker._writer is not None
        assert broker._writer.address != (HOST, only.port)


def test_tls_trusts_nobody_unknown(tmp_path_factory: pytest.TempPathFactory) -> None:
    certificate = make_certificate(tmp_path_factory.mktemp("server"))
    stranger = make_certificate(tmp_path_factory.mktemp("stranger"))
    with Redis(certificate=certificate) as server:
        address = server.tls_url
        trusting = RedisBroker(address, "here", "o", QUICK)
        trusting.publish([b"x"])
        trusting.close()
        doubting = RedisBroker(
            address.replace(certificate.authority.parent.name, stranger.authority.parent.name),
            "here",
            "o",
            QUICK,
        )
        with pytest.raises(BrokerError, match="CERTIFICATE_VERIFY_FAILED"):
            doubting.publish([b"x"])


def test_errors_do_not_leak_connections(server: Redis, make: Callable[..., RedisBroker]) -> None:
    with server.client() as client:

        def connections() -> int:
            return len(client.client_list())

        before = connections()
        broker = make()
        for _ in range(10):
            broker.publish([b"x"])
            listening = broker.listen()
            next(listening)
            server_side = [each["id"] for each in client.client_list() if each["cmd"] != "client|list"]
            for connection in server_side:
                client.client_kill_filter(_id=connection)
            with pytest.raises(BrokerError):
                broker.publish([b"x"])
            with pytest.raises(BrokerError):
                list(listening)
        broker.close()
        wait_until(lambda: connections() == before, "all are closed")
