"""What kombu reaches besides RabbitMQ, with Redis as the example: no memory, no confirms, bounded waits."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from app.realtime.brokers.base import BrokerError, BrokerOptions, BrokerRefused
from app.realtime.brokers.kombu import KombuBroker
from tests.support.redis import Redis
from tests.support.waiting import wait_until

OPTIONS = BrokerOptions(connect_timeout_seconds=1.0, answer_timeout_seconds=0.7, poll_seconds=0.1)
BOUND_SECONDS = OPTIONS.connect_timeout_seconds + OPTIONS.answer_timeout_seconds + 1.5


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis(requirepass="s3cr:t/") as server:
        yield server


@pytest.fixture
def make(server: Redis) -> Iterator[Callable[..., KombuBroker]]:
    made: list[KombuBroker] = []
    channel = uuid.uuid4().hex

    def make(url: str | None = None) -> KombuBroker:
        broker = KombuBroker(f"kombu+{url or server.url}", channel, f"origin-{len(made)}", OPTIONS)
        made.append(broker)
        return broker

    yield make
    for broker in made:
        broker.close(forget=True)


class Ear:
    """Listens in a thread of its own, anew after each error."""

    def __init__(self, broker: KombuBroker) -> None:
        self.broker = broker
        self.heard: list[bytes] = []
        self.errors: list[BrokerError] = []
        self.subscribed = 0
        self._closed = False
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        wait_until(lambda: self.subscribed, lambda: f"subscribed; {self.errors}")

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
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def listen(make: Callable[..., KombuBroker]) -> Iterator[Callable[..., Ear]]:
    ears: list[Ear] = []

    def listen() -> Ear:
        ears.append(Ear(make()))
        return ears[-1]

    yield listen
    for ear in ears:
        ear.close()


def heard_again(broker: KombuBroker, ear: Ear) -> None:
    """Publish until it is heard: nothing is remembered for a listener that was cut off."""
    numbers = itertools.count()

    def attempt() -> bool:
        try:
            broker.publish([b"again %d" % next(numbers)])
        except BrokerError:
            return False
        return any(parcel.startswith(b"again") for parcel in ear.heard)

    wait_until(attempt, lambda: f"heard again; {ear.errors[-2:]}")


def test_everybody_hears_bytes_of_all_kinds_in_order(
    make: Callable[..., KombuBroker], listen: Callable[[], Ear]
) -> None:
    ears = [listen(), listen()]
    parcels = [
        bytes(range(256)),
        b"\xff\xfe",
        b"",
        b"x" * 300_000,
        *(b"%d" % number for number in range(1000)),
    ]
    ears[0].broker.publish(parcels)
    make().publish([b"last"])
    for ear in ears:
        wait_until(lambda ear=ear: ear.heard[-1:] == [b"last"], "heard")
        assert ear.heard == [*parcels, b"last"]


def test_a_server_that_was_killed_is_used_again(
    server: Redis, make: Callable[..., KombuBroker], listen: Callable[[], Ear]
) -> None:
    ear, broker = listen(), make()
    broker.publish([b"before"])
    server.kill()
    wait_until(lambda: ear.errors, "the listener is told")
    began = time.monotonic()
    with pytest.raises(BrokerError):
        broker.publish([b"lost"])
    assert time.monotonic() - began < BOUND_SECONDS
    server.start()
    heard_again(broker, ear)


def test_a_frozen_server_is_noticed(
    server: Redis, make: Callable[..., KombuBroker], listen: Callable[[], Ear]
) -> None:
    ear, broker = listen(), make()
    broker.publish([b"before"])
    server.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(BrokerError):
            broker.publish([b"lost"])
        assert time.monotonic() - began < BOUND_SECONDS
        wait_until(lambda: ear.errors, "the listener notices", BOUND_SECONDS)
        began = time.monotonic()
        broker.close(forget=True)
        assert time.monotonic() - began < BOUND_SECONDS
    finally:
        server.thaw()
    heard_again(make(), ear)


def test_cut_connections_are_made_anew(
    server: Redis, make: Callable[..., KombuBroker], listen: Callable[[], Ear]
) -> None:
    ear, broker = listen(), make()
    broker.publish([b"before"])
    server.cut()
    wait_until(lambda: ear.subscribed == 2, lambda: f"subscribed again; {ear.errors}")
    heard_again(broker, ear)


def test_a_refusal_is_one_and_names_no_password(server: Redis, make: Callable[..., KombuBroker]) -> None:
    with pytest.raises(BrokerRefused) as refused:
        make(server.address("wr0ng-secret")).publish([b"x"])
    assert "wr0ng" not in f"{refused.value} {refused.value.__cause__!r}"


def test_nothing_is_left_when_forgetting(server: Redis, listen: Callable[[], Ear]) -> None:
    ear = listen()
    channel = ear.broker.channel
    with server.client() as client:
        assert client.exists(f"_kombu.binding.socketio.{channel}")
        ear.broker.close(forget=True)
        assert not client.exists(f"_kombu.binding.socketio.{channel}")
