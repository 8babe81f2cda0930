"""What every broker must do, with its server well, slow, dead, frozen, full, or somebody else."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from app.realtime.brokers import Broker, BrokerError, BrokerOptions, BrokerRefused
from tests.support.brokers import PASSWORD, STANDS, WRONG_PASSWORD, Ability, Stand
from tests.support.servers import HOST, run_python
from tests.support.waiting import wait_until

QUICK = BrokerOptions(connect_timeout_seconds=1.0, answer_timeout_seconds=0.7, poll_seconds=0.1)
# A call may take this, on a machine that does other things too.
BOUND_SECONDS = QUICK.connect_timeout_seconds + QUICK.answer_timeout_seconds + QUICK.poll_seconds + 1.5


@pytest.fixture(scope="module", params=list(STANDS))
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    with STANDS[request.param]() as started:
        yield started


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    return f"suite-{request.node.name}"


@pytest.fixture
def make(stand: Stand, channel: str) -> Iterator[Callable[..., Broker]]:
    """Make brokers on the stand, and close them when the test ends."""
    made: list[Broker] = []

    def one(options: BrokerOptions = QUICK, *, channel: str = channel, url: str | None = None) -> Broker:
        made.append(stand.broker(channel, options, url))
        return made[-1]

    yield one
    for broker in made:
        broker.close(forget=True)


def needs(stand: Stand, *abilities: Ability) -> None:
    missing = set(abilities) - stand.abilities
    if missing:
        pytest.skip(f"not with this broker: {', '.join(sorted(missing))}")


class Ear:
    """Listens in a thread of its own, and listens anew after each error, as a node does."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.heard: list[bytes] = []
        self.errors: list[BrokerError] = []
        self.empty = 0
        self.subscribed = threading.Event()
        self._ending = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.subscribed.wait(15), self.errors

    def _run(self) -> None:
        while not self._ending:
            try:
                for batch in self.broker.listen():
                    self.subscribed.set()
                    self.heard += batch
                    self.empty += not batch
            except BrokerError as error:
                self.subscribed.clear()
                self.errors.append(error)
                time.sleep(0.02)

    def hears(self, *parcels: bytes) -> None:
        """Wait until it has heard all of them; parcels that come again do not count."""
        missing, scanned = set(parcels), 0

        def complete() -> bool:
            nonlocal scanned
            end = len(self.heard)
            missing.difference_update(self.heard[scanned:end])
            scanned = end
            return not missing

        wait_until(complete, lambda: f"missing: {sorted(missing)[:20]}; errors: {self.errors[-3:]}")
        wanted = set(parcels)
        # The first of each; a repetition may begin again with what came long ago.
        firsts = list(dict.fromkeys(self.heard))
        assert [parcel for parcel in firsts if parcel in wanted] == list(parcels)

    def fails(self, after: int = 0) -> BrokerError:
        """Wait for an error that is not among the first `after` ones."""
        return wait_until(lambda: self.errors[after:], "the listener says that something is wrong")[0]

    def end(self) -> None:
        self._ending = True
        self.broker.close()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def listen(make: Callable[..., Broker]) -> Iterator[Callable[..., Ear]]:
    """Listen by a broker, or by a new one, until the test ends."""
    ears: list[Ear] = []

    def ear(broker: Broker | None = None) -> Ear:
        ears.append(Ear(broker or make()))
        return ears[-1]

    yield ear
    for each in ears:
        each.end()


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%06d" % number for number in range(first, last)]


def refuses(broker: Broker, parcels: list[bytes] | None = None) -> BrokerError:
    """Publish, and demand that it fails in bounded time."""
    started = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        broker.publish(parcels or [b"refused"])
    assert time.monotonic() - started < BOUND_SECONDS
    assert_secret(caught.value)
    return caught.value


def assert_secret(error: BaseException) -> None:
    """No password in an error, and it is one line."""
    assert str(error)
    assert "\n" not in str(error)
    for password in (PASSWORD, WRONG_PASSWORD, "p%40ss"):
        assert password not in f"{error} {error!r} {error.__cause__!r}"


def insist(broker: Broker, parcels: list[bytes]) -> None:
    """Publish again and again until it succeeds, as the outbox does."""

    def published() -> bool:
        try:
            broker.publish(parcels)
        except BrokerError as error:
            errors.append(error)
            return False
        return True

    errors: list[BrokerError] = []
    wait_until(published, lambda: f"publishing works again: {errors[-3:]}")


# When all is well.


def test_everybody_hears_everything_in_order(make: Callable[..., Broker], listen: Callable[..., Ear]) -> None:
    one, other = make(), make()
    ears = [listen(one), listen(other), listen()]
    for first in range(0, 100, 10):
        one.publish(numbers(first, first + 10))
    for ear in ears:
        ear.hears(*numbers(0, 100))
    other.publish([b"one more", b""])
    for ear in ears:
        ear.hears(b"one more", b"")
        assert len(ear.heard) == 102, "nothing twice, when nothing went wrong"


def test_what_is_published_right_after_the_first_batch_is_heard(make: Callable[..., Broker]) -> None:
    publisher = make()
    publisher.publish([b"before"])
    for number in range(10):
        broker = make()
        listening = broker.listen()
        assert next(listening) == []
        parcel = b"after %d" % number
        publisher.publish([parcel])
        heard: list[bytes] = []
        deadline = time.monotonic() + 10
        while parcel not in heard and time.monotonic() < deadline:
            heard += next(listening)
        assert heard == [parcel], "all since, and nothing from before"
        listening.close()


def test_large_parcels(make: Callable[..., Broker], listen: Callable[..., Ear]) -> None:
    ear = listen()
    large = [bytes([number]) * 1024 * 1024 for number in range(5)]
    make().publish(large)
    ear.hears(*large)


def test_many_parcels(make: Callable[..., Broker], listen: Callable[..., Ear]) -> None:
    ear = listen()
    broker = make()
    for first in range(0, 5000, 250):
        broker.publish(numbers(first, first + 250))
    ear.hears(*numbers(0, 5000))


def test_a_batch_has_a_bound(make: Callable[..., Broker]) -> None:
    broker = make(replace(QUICK, batch_parcels=50))
    listening = broker.listen()
    next(listening)
    broker.publish(numbers(0, 300))
    heard: list[bytes] = []
    while len(heard) < 300:
        batch = next(listening)
        assert len(batch) <= 50
        heard += batch
    assert heard == numbers(0, 300)


def test_silence_gives_signs_of_life(listen: Callable[..., Ear]) -> None:
    ear = listen()
    started, before = time.monotonic(), ear.empty
    wait_until(lambda: ear.empty >= before + 5, "empty batches")
    assert time.monotonic() - started < 5 * QUICK.poll_seconds + 3
    assert not ear.errors


def test_channels_do_not_mix(make: Callable[..., Broker], listen: Callable[..., Ear], channel: str) -> None:
    here, there = listen(), listen(make(channel=f"{channel}-other"))
    make().publish([b"here"])
    there.broker.publish([b"there"])
    here.hears(b"here")
    there.hears(b"there")
    assert here.heard == [b"here"]
    assert there.heard == [b"there"]


def test_a_listener_that_begins_anew_misses_nothing(make: Callable[..., Broker]) -> None:
    publisher, broker = make(), make()
    listening = broker.listen()
    next(listening)
    for first in range(0, 50, 10):
        publisher.publish(numbers(first, first + 10))
        # It ends before it has done anything with it: a batch is taken when the next one is asked for.
        next(listening)
        listening.close()
        publisher.publish([b"meanwhile %d" % first])
        listening = broker.listen()
        assert next(listening) == []
    publisher.publish([b"last"])
    heard: list[bytes] = []
    deadline = time.monotonic() + 10
    while b"last" not in heard and time.monotonic() < deadline:
        heard += next(listening)
    listening.close()
    expected = [
        parcel
        for first in range(0, 50, 10)
        for parcel in (*numbers(first, first + 10), b"meanwhile %d" % first)
    ]
    assert list(dict.fromkeys(heard)) == [*expected, b"last"]


def test_close_wakes_a_listener_and_is_final(make: Callable[..., Broker], listen: Callable[..., Ear]) -> None:
    ear = listen(make(replace(QUICK, poll_seconds=30.0)))
    ear.broker.publish([b"x"])
    ear.hears(b"x")
    started = time.monotonic()
    ear.broker.close(forget=True)
    ear.fails()
    assert time.monotonic() - started < 2
    with pytest.raises(BrokerError):
        ear.broker.publish([b"y"])
    with pytest.raises(BrokerError):
        list(ear.broker.listen())
    ear.broker.close()


# When the server is not well.


def test_server_killed_and_restarted(
    stand: Stand, channel: str, make: Callable[..., Broker], listen: Callable[..., Ear]
) -> None:
    needs(stand, "restart")
    broker, ear = make(), listen()
    broker.publish([b"before"])
    ear.hears(b"before")
    stand.crash(channel)
    try:
        ear.fails()
        refuses(broker)
        refuses(make())
    finally:
        stand.restart(channel)
    for number in numbers(0, 20):
        insist(broker, [number])
    ear.hears(*numbers(0, 20))
    insist(make(), [b"from a new one"])
    ear.hears(b"from a new one")


def test_connections_ended_by_the_server(
    stand: Stand, make: Callable[..., Broker], listen: Callable[..., Ear]
) -> None:
    needs(stand, "cut")
    broker, ear = make(), listen()
    for first in range(0, 100, 20):
        for number in numbers(first, first + 20):
            insist(broker, [number])
        stand.cut()
    insist(broker, [b"last"])
    ear.hears(*numbers(0, 100), b"last")
    assert ear.errors


def test_frozen_server(
    stand: Stand, channel: str, make: Callable[..., Broker], listen: Callable[..., Ear]
) -> None:
    needs(stand, "freeze")
    broker, ear = make(), listen()
    broker.publish([b"before"])
    ear.hears(b"before")
    stand.freeze(channel)
    try:
        refuses(broker)
        started = time.monotonic()
        ear.fails()
        assert time.monotonic() - started < BOUND_SECONDS
        closing = make()
        with contextlib.suppress(BrokerError):
            closing.publish([b"x"])
        started = time.monotonic()
        closing.close(forget=True)
        assert time.monotonic() - started < BOUND_SECONDS
    finally:
        stand.thaw(channel)
    for number in numbers(0, 20):
        insist(broker, [number])
    ear.hears(*numbers(0, 20))


def test_close_wakes_a_publisher(stand: Stand, channel: str, make: Callable[..., Broker]) -> None:
    needs(stand, "freeze")
    broker = make(replace(QUICK, answer_timeout_seconds=30.0))
    broker.publish([b"before"])
    errors: list[BaseException] = []

    def publish() -> None:
        try:
            broker.publish([b"x"])
        except BaseException as error:
            errors.append(error)

    stand.freeze(channel)
    try:
        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        time.sleep(0.1)  # it must be waiting for the answer, which nobody can see from outside
        assert not errors
        started = time.monotonic()
        broker.close()
        thread.join(10)
        assert isinstance(errors[0], BrokerError)
        assert time.monotonic() - started < 5
    finally:
        stand.thaw(channel)


def test_wrong_password(stand: Stand, make: Callable[..., Broker]) -> None:
    needs(stand, "password")
    broker = make(url=stand.wrong_password_url())
    assert isinstance(refuses(broker), BrokerRefused)
    with pytest.raises(BrokerRefused) as caught:
        next(broker.listen())
    assert_secret(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"AMQP\x00\x00\x09\x01",
        b"\xff" * 64,
        b"",
        None,
    ],
    ids=["http", "amqp", "noise", "goodbye", "silence"],
)
def test_somebody_else_on_the_port(stand: Stand, make: Callable[..., Broker], answer: bytes | None) -> None:
    needs(stand, "address")
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    kept.append(connection)
                    if answer is not None:
                        connection.recv(1)
                        connection.sendall(answer)
                        connection.close()

        kept: list[socket.socket] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        broker = make(url=stand.address_url(server.getsockname()[1]))
        refuses(broker)
        started = time.monotonic()
        with pytest.raises(BrokerError) as caught:
            next(broker.listen())
        assert time.monotonic() - started < BOUND_SECONDS
        assert_secret(caught.value)
        for connection in kept:
            connection.close()
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_nobody_on_the_port(stand: Stand, make: Callable[..., Broker]) -> None:
    needs(stand, "address")
    broker = make(url=stand.address_url(1))
    refuses(broker)
    with pytest.raises(BrokerError):
        next(broker.listen())


def test_what_is_kept_is_deleted(
    stand: Stand, channel: str, make: Callable[..., Broker], listen: Callable[..., Ear]
) -> None:
    needs(stand, "delete")
    broker, ear = make(), listen()
    for number in numbers(0, 5):
        insist(broker, [number])
        ear.hears(number)
        stand.delete(channel)
    wait_until(ear.subscribed.is_set, "it listens")

    def heard() -> bool:
        insist(broker, [b"after"])
        return b"after" in ear.heard

    wait_until(heard, "it hears again")


def test_full_memory_refuses(stand: Stand, make: Callable[..., Broker], listen: Callable[..., Ear]) -> None:
    needs(stand, "full")
    broker, ear = make(), listen()
    stand.full(True)
    try:
        assert isinstance(refuses(broker), BrokerRefused)
    finally:
        stand.full(False)
    insist(broker, [b"after"])
    ear.hears(b"after")


def test_read_only_refuses(stand: Stand, make: Callable[..., Broker], listen: Callable[..., Ear]) -> None:
    needs(stand, "read_only")
    broker, ear = make(), listen()
    stand.read_only(True)
    try:
        assert isinstance(refuses(broker), BrokerRefused)
    finally:
        stand.read_only(False)
    insist(broker, [b"after"])
    ear.hears(b"after")


# What the server keeps.


def absent(broker: Broker) -> None:
    """Subscribe, and go."""
    listening = broker.listen()
    next(listening)
    listening.close()


def test_the_count_is_bounded(stand: Stand, channel: str, make: Callable[..., Broker]) -> None:
    needs(stand, "kept")
    options = replace(QUICK, keep_parcels=100)
    broker = make(options)
    absent(make(options))
    for first in range(0, 2000, 200):
        broker.publish(numbers(first, first + 200))
    # A server may delete in blocks.
    wait_until(lambda: 100 <= stand.kept(channel) <= 300, lambda: f"{stand.kept(channel)} are kept")


def test_the_bytes_are_bounded(stand: Stand, channel: str, make: Callable[..., Broker]) -> None:
    needs(stand, "kept")
    options = replace(QUICK, keep_bytes=2_000_000)
    broker = make(options)
    absent(make(options))
    for number in range(100):
        broker.publish([b"%06d" % number + bytes(99_994)])
    wait_until(lambda: 15 <= stand.kept(channel) <= 30, lambda: f"{stand.kept(channel)} are kept")


def test_the_age_is_bounded(stand: Stand, channel: str, make: Callable[..., Broker]) -> None:
    needs(stand, "kept")
    options = replace(QUICK, keep_seconds=0.5)
    broker = make(options)
    absent(make(options))
    broker.publish(numbers(0, 500))
    assert stand.kept(channel) == 500

    def few() -> bool:
        broker.publish([b"pulse"])
        return stand.kept(channel) < 300

    wait_until(few, lambda: f"{stand.kept(channel)} are kept")


# Without gevent: a script, a worker of a task queue.

NATIVE = """
import json, sys, threading, time
from app.realtime.brokers import BrokerError, BrokerOptions, broker_class
monkey = sys.modules.get("gevent.monkey")
assert not monkey or not monkey.is_module_patched("threading")
url, channel = sys.argv[1:]
options = BrokerOptions(poll_seconds=30.0)
listener, publisher = (broker_class(url)(url, channel, origin, options) for origin in ("a", "b"))
heard, error, subscribed, complete = [], [], threading.Event(), threading.Event()

def listen():
    try:
        for batch in listener.listen():
            subscribed.set()
            heard.extend(batch)
            if len(heard) >= 1000:
                complete.set()
    except BrokerError as caught:
        error.append(str(caught))

thread = threading.Thread(target=listen)
thread.start()
assert subscribed.wait(20)
for first in range(0, 1000, 100):
    publisher.publish([b"%d" % number for number in range(first, first + 100)])
assert complete.wait(20), len(heard)
time.sleep(0.1)  # it waits for more
started = time.monotonic()
listener.close()
publisher.close()
thread.join(10)
assert not thread.is_alive()
print(json.dumps({
    "in_order": heard == [b"%d" % number for number in range(1000)],
    "error": error, "woke_in": time.monotonic() - started,
}))
"""


def test_with_native_threads(stand: Stand, channel: str) -> None:
    needs(stand, "outside")
    result = json.loads(run_python(NATIVE, stand.url, channel))
    assert result["in_order"]
    assert result["error"], "close() makes the listener end with an error"
    assert result["woke_in"] < 3
