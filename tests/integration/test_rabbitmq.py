"""What only RabbitMQ has: confirms, alarms, queues and exchanges that somebody deletes, several nodes."""

from __future__ import annotations

import itertools
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.realtime.brokers.base import BrokerError, BrokerOptions, BrokerRefused
from app.realtime.brokers.kombu import KombuBroker
from tests.support.certificates import make_certificate
from tests.support.rabbitmq import PASSWORD, RabbitMQ
from tests.support.servers import HOST, ROOT, child_environment, free_port
from tests.support.waiting import wait_until

# Short, so that a test of a limit does not take long; and long enough for two busy cores.
OPTIONS = BrokerOptions(connect_timeout_seconds=1.0, answer_timeout_seconds=1.0, poll_seconds=0.2)
# What a limit may take longer on a busy machine.
GRACE_SECONDS = 1.5
LIMIT_SECONDS = OPTIONS.connect_timeout_seconds + OPTIONS.answer_timeout_seconds + GRACE_SECONDS


class Ear:
    """Listens in a thread of its own until it is closed, anew after each error, and keeps what it hears."""

    def __init__(self, broker: KombuBroker) -> None:
        self.broker = broker
        self.heard: list[bytes] = []
        self.errors: list[BrokerError] = []
        self.subscribed = 0
        self._closed = False
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._closed:
            try:
                for number, batch in enumerate(self.broker.listen()):
                    self.subscribed += number == 0
                    self.heard += batch
            except BrokerError as error:
                self.errors.append(error)
                time.sleep(0.05)

    def close(self) -> None:
        self._closed = True
        self.broker.close()
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive(), "close ends a listener"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(certificate=make_certificate(tmp_path_factory.mktemp("certificate"))) as server:
        yield server


@pytest.fixture
def channel() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def make(server: RabbitMQ, channel: str) -> Iterator[Callable[..., KombuBroker]]:
    """Make brokers, each for a new origin, and let them be forgotten at the end."""
    made: list[KombuBroker] = []

    def make(url: str | None = None, options: BrokerOptions = OPTIONS) -> KombuBroker:
        broker = KombuBroker(url or server.url(), channel, f"origin-{len(made) + 1}", options)
        made.append(broker)
        return broker

    yield make
    for broker in made:
        broker.close(forget=True)


@pytest.fixture
def listen(make: Callable[..., KombuBroker]) -> Iterator[Callable[..., Ear]]:
    """Start to listen, and return when subscribed."""
    ears: list[Ear] = []

    def listen(broker: KombuBroker | None = None) -> Ear:
        ear = Ear(broker or make())
        ears.append(ear)
        wait_until(lambda: ear.subscribed, lambda: f"subscribed; {ear.errors}")
        return ear

    yield listen
    for ear in ears:
        ear.close()


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


def publish_when_possible(broker: KombuBroker, parcels: list[bytes]) -> None:
    def attempt() -> bool:
        try:
            broker.publish(parcels)
        except BrokerError:
            return False
        return True

    wait_until(attempt, "RabbitMQ accepts", 30)


def test_the_queue_is_durable_and_bounded_as_the_options_say(
    server: RabbitMQ, channel: str, make: Callable[..., KombuBroker], listen: Callable[..., Ear]
) -> None:
    options = BrokerOptions(keep_seconds=90, keep_bytes=5_000_000_000, keep_parcels=3)
    broker = make(options=options)
    listening = broker.listen()
    next(listening)

    queue = server.queues()[f"socketio.{channel}.origin-1"]

    assert queue.durable
    assert queue.arguments == {
        "x-queue-type": "classic",
        "x-expires": 90_000,
        "x-max-length-bytes": 5_000_000_000,
        "x-max-length": 3,
        "x-overflow": "drop-head",
    }
    listening.close()
    make().publish(numbered(10))
    ear = listen(broker)
    wait_until(lambda: b"9" in ear.heard, "the newest is heard")
    assert ear.heard == numbered(3, 7), "the oldest are dropped"


def test_the_queue_stays_when_closing_and_goes_when_forgetting(
    server: RabbitMQ, channel: str, make: Callable[..., KombuBroker], listen: Callable[..., Ear]
) -> None:
    ear = listen()
    ear.close()
    assert server.queues()[f"socketio.{channel}.origin-1"].consumers == 0

    ear.broker.close(forget=True)

    assert f"socketio.{channel}.origin-1" not in server.queues()
    with pytest.raises(BrokerError, match="closed"):
        ear.broker.publish([b"late"])


def test_closing_leaves_no_warning_in_the_log(server: RabbitMQ, listen: Callable[..., Ear]) -> None:
    before = len(server.log())
    ear = listen()
    ear.broker.publish([b"one"])
    wait_until(lambda: ear.heard == [b"one"], "heard")
    ear.close()
    # Those of a test before may come late.
    wait_until(
        lambda: server.log()[before:].count("closing AMQP connection") >= 2,
        lambda: f"both are closed; the log: {server.log()[before:]}",
    )
    assert "unexpectedly" not in server.log()[before:]


def test_parcels_of_all_sizes_arrive_in_order(listen: Callable[..., Ear]) -> None:
    ear = listen()
    # Around what fits into one frame (128 KiB - 8), what is read at once, and much more than both.
    sizes = [0, 1, 1000, 65_535, 131_063, 131_064, 131_065, 262_128, 3_000_000, 10]
    parcels = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    parcels += numbered(3000)

    ear.broker.publish(parcels)

    wait_until(lambda: len(ear.heard) >= len(parcels), lambda: f"heard {len(ear.heard)} of {len(parcels)}")
    assert ear.heard == parcels


def test_a_memory_alarm_is_refused_at_once_and_leaves_no_connections_behind(
    server: RabbitMQ, make: Callable[..., KombuBroker], listen: Callable[..., Ear]
) -> None:
    ear = listen()
    publisher = make()
    publisher.publish([b"before"])
    big = [b"x" * 100_000] * 50
    connections = "length(rabbit_networking:connections_local())"
    open_before = server.evaluate(connections)
    server.set_memory_alarm(True)
    try:
        for parcels in [[b"during"], big, big]:
            began = time.monotonic()
            with pytest.raises(BrokerRefused, match="blocked: low on memory"):
                publisher.publish(parcels)
            assert time.monotonic() - began < LIMIT_SECONDS
        assert server.evaluate(connections) == open_before
        assert not ear.errors, "who listens is not blocked"
    finally:
        server.set_memory_alarm(False)
    publish_when_possible(publisher, [b"after"])
    wait_until(lambda: b"after" in ear.heard, "heard")
    assert ear.heard[0] == b"before"


def test_a_connection_that_blocks_at_the_first_parcel_is_refused_too(
    server: RabbitMQ, make: Callable[..., KombuBroker]
) -> None:
    publisher = make()
    server.set_memory_alarm(True)
    try:
        began = time.monotonic()
        with pytest.raises(BrokerRefused, match="blocked"):
            # More than the sockets on both sides hold.
            publisher.publish([b"x" * 100_000] * 200)
        assert time.monotonic() - began < LIMIT_SECONDS + 200 * 100_000 / 4_000_000
    finally:
        server.set_memory_alarm(False)
    publish_when_possible(publisher, [b"after"])


def test_killing_the_broker_loses_nothing_that_was_confirmed(
    server: RabbitMQ, make: Callable[..., KombuBroker], listen: Callable[..., Ear]
) -> None:
    ear = listen()
    absent = make()
    listening = absent.listen()
    next(listening)
    listening.close()
    publisher = make()
    confirmed: list[bytes] = []
    numbers = itertools.count()

    def publish() -> None:
        try:
            while True:
                batch = [b"%d" % next(numbers) for _ in range(50)]
                publisher.publish(batch)
                confirmed.extend(batch)
        except BrokerError:
            pass

    thread = threading.Thread(target=publish)
    thread.start()
    wait_until(lambda: len(confirmed) > 2000, "published some")
    server.kill()
    thread.join(LIMIT_SECONDS)
    assert not thread.is_alive()

    server.start()

    publish_when_possible(publisher, [b"end"])
    wait_until(lambda: b"end" in ear.heard, lambda: f"heard the end; {ear.errors[-3:]}")
    assert set(confirmed) <= set(ear.heard)
    assert ear.errors, "it was told"
    back = listen(absent)
    wait_until(lambda: b"end" in back.heard, "heard the end")
    assert set(confirmed) <= set(back.heard), "what waited in a queue survived, too"


def test_a_deleted_exchange_is_back_within_a_second_or_so(
    server: RabbitMQ, channel: str, make: Callable[..., KombuBroker], listen: Callable[..., Ear]
) -> None:
    ear = listen()
    publisher = make()
    publisher.publish([b"before"])
    wait_until(lambda: ear.heard, "heard")

    server.delete_exchange(f"socketio.{channel}")

    with pytest.raises(BrokerError, match="no exchange"):
        publisher.publish([b"lost"])
    numbers = itertools.count()

    def heard_again() -> bool:
        publisher.publish([b"after %d" % next(numbers)])
        return len(ear.heard) > 1

    wait_until(heard_again, "bound again", 5)
    assert not ear.errors, "the listener heals without an interruption"


def test_a_deleted_queue_is_an_error_and_the_next_listen_makes_another(
    server: RabbitMQ, channel: str, listen: Callable[..., Ear]
) -> None:
    ear = listen()

    server.delete_queue(f"socketio.{channel}.origin-1")

    wait_until(lambda: ear.subscribed == 2, "subscribed again")
    assert "deleted" in str(ear.errors[0])
    ear.broker.publish([b"after"])
    wait_until(lambda: ear.heard == [b"after"], "heard")


def test_the_rest_of_a_cut_connection_takes_nothing_from_the_new_one(
    server: RabbitMQ, channel: str, listen: Callable[..., Ear]
) -> None:
    ear = listen()
    with server.client() as stale:
        stale.basic_consume(f"socketio.{channel}.origin-1")
        for number in range(20):
            ear.broker.publish([b"%d" % number])
        wait_until(lambda: len(ear.heard) >= 20, lambda: f"heard {ear.heard}")


def test_the_first_of_several_hosts_may_be_down_or_dumb(
    server: RabbitMQ, make: Callable[..., KombuBroker], listen: Callable[..., Ear]
) -> None:
    ear = listen(make(f"{server.url(port=free_port())};{HOST}:{server.port}"))
    ear.broker.publish([b"one"])
    wait_until(lambda: ear.heard == [b"one"], "heard")

    with socket.create_server((HOST, 0)) as dumb:
        broker = make(f"{server.url(port=dumb.getsockname()[1])};{server.url()}")
        began = time.monotonic()
        with pytest.raises(BrokerError, match="no answer in time"):
            broker.publish([b"two"])
        assert time.monotonic() - began < LIMIT_SECONDS
        broker.publish([b"two"])
    wait_until(lambda: ear.heard == [b"one", b"two"], "heard")


class Second(RabbitMQ):
    """A node that joins another one's cluster."""

    def __init__(self, first: RabbitMQ) -> None:
        super().__init__()
        self._first = first
        self.mapper_port = first.mapper_port

    def launch(self) -> None:
        cookie = self.folder / ".erlang.cookie"
        shutil.copyfile(self._first.folder / cookie.name, cookie)
        cookie.chmod(0o400)
        self._mapper = self._first._mapper
        super().launch()

    def join(self) -> None:
        join = f"rabbit_mnesia:join_cluster('{self._first.node_name}', disc)"
        self.evaluate(f"ok = rabbit:stop(), ok = {join}, rabbit:start()")
        wait_until(self.ready, "the second node to be back, as one of two")

    def _end_mapper(self) -> None:
        self._mapper = None


def test_in_a_cluster_the_death_of_the_queues_node_does_not_leave_one_deaf(channel: str) -> None:
    """A classic queue lives on one node, and while that is down RabbitMQ gives its name to nobody."""
    with RabbitMQ() as first, Second(first) as second:
        second.join()
        both = f"{first.url()};{HOST}:{second.port}"
        ear = Ear(KombuBroker(both, channel, "here", OPTIONS))
        mouth = KombuBroker(both, channel, "there", OPTIONS)
        try:
            wait_until(lambda: ear.subscribed > 0, "the listener")
            mouth.publish([b"before"])
            wait_until(lambda: ear.heard == [b"before"], "the first parcel")
            first.signal(signal.SIGKILL)
            first.wait()
            wait_until(lambda: ear.subscribed > 1, "the listener at the other node")
            mouth.publish([b"after"])
            wait_until(lambda: ear.heard[-1:] == [b"after"], "a parcel over the other node")
        finally:
            ear.close()
            mouth.close()


def test_a_frozen_broker_is_noticed_by_both_and_does_not_hold_up_the_end(
    server: RabbitMQ, listen: Callable[..., Ear]
) -> None:
    ear = listen()
    ear.broker.publish([b"one"])
    server.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(BrokerError, match="no answer in time"):
            ear.broker.publish([b"two"])
        assert time.monotonic() - began < LIMIT_SECONDS
        wait_until(lambda: ear.errors, "the listener noticed", LIMIT_SECONDS)
        began = time.monotonic()
        ear.broker.close(forget=True)
        assert time.monotonic() - began < LIMIT_SECONDS
    finally:
        server.thaw()


def test_a_wrong_password_is_refused_and_not_repeated(
    server: RabbitMQ, make: Callable[..., KombuBroker]
) -> None:
    broker = make(server.url(password="wrong-secret"))
    with pytest.raises(BrokerRefused, match="ACCESS_REFUSED") as refused:
        broker.publish([b"one"])
    assert "wrong-secret" not in str(refused.value)
    with pytest.raises(BrokerRefused, match="vhost"):
        make(server.url(vhost="nowhere")).publish([b"one"])


def test_a_certificate_is_checked(server: RabbitMQ, make: Callable[..., KombuBroker], channel: str) -> None:
    make(server.url(tls=True)).publish([b"x" * 1_000_000])
    make(server.url(tls=True, query="ssl_cert_reqs=none")).publish([b"one"])
    with pytest.raises(BrokerError, match="CERTIFICATE_VERIFY_FAILED"):
        make(server.url(tls=True, query="ssl_check_hostname=true")).publish([b"one"])
    # The same place by a name that the certificate does not have.
    elsewhere = server.url(tls=True).replace("@localhost:", "@127.1:")
    with pytest.raises(BrokerError, match="CERTIFICATE_VERIFY_FAILED"):
        make(elsewhere).publish([b"one"])
    make(f"{elsewhere}&ssl_check_hostname=false").publish([b"one"])


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_it_works_in_native_threads_and_rests_when_nothing_happens(server: RabbitMQ, tls: bool) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("native_broker.py")), server.url(tls=tls)],
        cwd=ROOT,
        env=child_environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("amqp://user:sec/ret@host", "percent-encode"),
        ("amqp://user:sec#ret@host", "percent-encode"),
        ("amqp://user:secret@host:port", "number of a port"),
        ("amqp://user:secret@host:0", "number of a port"),
        ("amqp://user:secret@host:99999", "number of a port"),
        ("amqp://user:secret@/vhost", "names no host"),
        ("amqp://user:secret@host;", "names no host"),
        ("amqp://user:secret@host;redis://user:secret@other", "no address of a RabbitMQ"),
        ("amqp://user:secret@host/?heartbeat=3", "nothing that this address can set"),
        ("amqp://user:secret@host/?ssl_cert_reqs=none", "must begin with amqps"),
        ("amqps://user:secret@host/?ssl_cert_reqs=maybe", "required or none"),
        ("amqps://user:secret@host/?ssl_ca_certs=/nowhere.pem", "not there"),
        ("kombu+amqp://user:secret@host", "without kombu"),
        ("kombu+etcd://user:secret@host", "missing|no fanout"),
        ("kombu+sqla+sqlite://", "missing|no fanout"),
        ("kombu+carrier-pigeon://user:secret@host", "no transport"),
        ("kombu+redis://user:sec/ret@host:6379", "percent-encode"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_before_anything_is_connected(
    url: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        KombuBroker(url, "channel", "origin", OPTIONS)
    text = str(refused.value)
    assert "sec" not in text
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_names_that_rabbitmq_could_not_take_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        KombuBroker("amqp://host", "c" * 250, "origin", OPTIONS)


def test_a_password_with_every_special_character_arrives() -> None:
    assert set("@/:?") <= set(PASSWORD), "which all other tests use"
