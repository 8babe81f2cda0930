"""One address before two brokers: HAProxy with the configuration that ships, real Redis, real RabbitMQ.

The clients are plain ones, which know one address and come back when their connection ends.
"""

import contextlib
import pwd
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import amqp
import pytest
import redis
import requests
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.haproxy import CONFIG, PROGRAM, HAProxy
from tests.support.rabbitmq import PASSWORD, USER, RabbitMQ
from tests.support.redis import Redis
from tests.support.servers import HOST, child_environment
from tests.support.waiting import WAIT_SECONDS, wait_until

# What the configuration promises, see the comments on the checks there, and time for a busy machine.
GONE_SECONDS = 1.5 + 5
FROZEN_SECONDS = 3.5 + 5
BACK_SECONDS = 6 + 10
# The clients never lose patience: whoever moves was moved by HAProxy.
PATIENCE_SECONDS = 60.0
POLL_MS = 500
STREAM = "talk"
PASSWORD_WITH_SIGNS = "p@ss w:rd#$%"


class Talker:
    """Reads a stream of Redis and publishes to it, each by a connection of its own, as a node does.

    It begins at the start of the stream at each connection, since another server's ids say nothing.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.heard: set[str] = set()
        self._client = redis.Redis(
            HOST,
            port,
            client_name=name,
            socket_timeout=PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._closed.is_set():
            last = "0"
            with contextlib.suppress(redis.RedisError):
                while not self._closed.is_set():
                    for _, entries in self._client.xread({STREAM: last}, block=POLL_MS) or ():
                        last = entries[-1][0]
                        self.heard |= {fields["text"] for _, fields in entries}
            self._client.connection_pool.disconnect(inuse_connections=False)
            time.sleep(0.05)

    def say(self, text: str) -> None:
        """Publish, again and again until it is accepted."""

        def accepted() -> bool:
            with contextlib.suppress(redis.RedisError):
                return bool(self._client.xadd(STREAM, {"text": text}))
            return False

        wait_until(accepted, f"{self.name} says {text}")

    def leave(self) -> None:
        self._closed.set()

    def close(self) -> None:
        self.leave()
        self._thread.join()
        self._client.close()


def clients_of(server: Redis) -> dict[str, set[str]]:
    """Who is connected: the connections' ids by name. HAProxy's checks have no name."""
    found: dict[str, set[str]] = {}
    with server.client() as client:
        for line in client.client_list():
            if line["name"]:
                found.setdefault(line["name"], set()).add(line["id"])
    return found


def assert_all_hear_each_other(talkers: Sequence[Talker], label: str) -> None:
    for talker in talkers:
        talker.say(f"{label}: {talker.name}")
    for talker in talkers:
        wanted = {f"{label}: {other.name}" for other in talkers}
        wait_until(lambda t=talker, w=wanted: w <= t.heard, f"{talker.name} hears everybody, {label}")


def wait_until_all_talk_to(
    server: Redis, other: Redis, talkers: Sequence[Talker], timeout_seconds: float = WAIT_SECONDS
) -> None:
    """Wait until everybody listens on one server, and nobody has any connection to the other."""
    names = {talker.name for talker in talkers}
    wait_until(
        lambda: set(clients_of(server)) == names, lambda: f"all move: {clients_of(server)}", timeout_seconds
    )
    assert not other.running or not clients_of(other), "nobody is left there"


def test_what_ships_is_valid_as_it_is() -> None:
    done = subprocess.run(
        (PROGRAM, "-c", "-f", str(CONFIG)),
        env=child_environment({}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.fixture
def pair() -> Iterator[tuple[Redis, Redis]]:
    with Redis() as primary, Redis() as backup:
        yield primary, backup


@pytest.fixture
def proxy(pair: tuple[Redis, Redis]) -> Iterator[HAProxy]:
    with HAProxy(redis=(pair[0].port, pair[1].port)) as proxy:
        yield proxy


@pytest.fixture
def talkers(proxy: HAProxy) -> Iterator[list[Talker]]:
    talkers = [Talker(f"talker-{number}", proxy.redis_port) for number in range(4)]
    yield talkers
    for talker in talkers:
        talker.leave()
    for talker in talkers:
        talker.close()


def test_redis_killed_and_back(pair: tuple[Redis, Redis], proxy: HAProxy, talkers: list[Talker]) -> None:
    primary, backup = pair
    assert_all_hear_each_other(talkers, "at first")
    wait_until_all_talk_to(primary, backup, talkers)

    primary.kill()
    wait_until_all_talk_to(backup, primary, talkers, GONE_SECONDS)
    assert proxy.backends()["redis/primary"].status == "DOWN"
    assert_all_hear_each_other(talkers, "on the backup")

    primary.start()
    wait_until_all_talk_to(primary, backup, talkers, BACK_SECONDS)
    assert proxy.backends()["redis/backup"].sessions == 0
    assert_all_hear_each_other(talkers, "at home")
    assert not clients_of(backup), "who publishes is at home too"


def test_redis_frozen_and_thawed(pair: tuple[Redis, Redis], proxy: HAProxy, talkers: list[Talker]) -> None:
    primary, backup = pair
    assert_all_hear_each_other(talkers, "at first")

    primary.freeze()
    wait_until(
        lambda: set(clients_of(backup)) == {t.name for t in talkers},
        "all leave the frozen one",
        FROZEN_SECONDS,
    )
    assert_all_hear_each_other(talkers, "on the backup")
    assert proxy.backends()["redis/primary"].sessions == 0

    primary.thaw()
    wait_until_all_talk_to(primary, backup, talkers, BACK_SECONDS)
    assert_all_hear_each_other(talkers, "at home")
    assert not clients_of(backup)


def test_redis_that_comes_and_goes_moves_nobody(
    pair: tuple[Redis, Redis], proxy: HAProxy, talkers: list[Talker]
) -> None:
    primary, backup = pair
    primary.kill()
    wait_until_all_talk_to(backup, primary, talkers)
    assert_all_hear_each_other(talkers, "on the backup")
    before = clients_of(backup)
    for attempt in range(2):
        primary.start()
        wait_until(lambda: proxy.backends()["redis/primary"].good_checks >= 2, "it seems to be back")
        assert proxy.backends()["redis/primary"].status.startswith("DOWN")
        primary.kill()
        wait_until(lambda: proxy.backends()["redis/primary"].good_checks == 0, "it is gone again")
        assert_all_hear_each_other(talkers, f"still on the backup, {attempt}")
    assert clients_of(backup) == before, "the connections are still the same"


def test_switch_by_hand(pair: tuple[Redis, Redis], proxy: HAProxy, talkers: list[Talker]) -> None:
    primary, backup = pair
    assert_all_hear_each_other(talkers, "at first")
    proxy.set_state("redis/primary", "maint")
    wait_until_all_talk_to(backup, primary, talkers)
    assert_all_hear_each_other(talkers, "on the backup")
    assert not clients_of(primary)
    proxy.set_state("redis/primary", "ready")
    wait_until_all_talk_to(primary, backup, talkers)
    assert_all_hear_each_other(talkers, "at home")
    assert not clients_of(backup)


def test_reload_keeps_nobody_with_the_old_process(
    pair: tuple[Redis, Redis], proxy: HAProxy, talkers: list[Talker]
) -> None:
    """The old process checks no servers: who stayed with it would not follow the others."""
    primary, backup = pair
    assert_all_hear_each_other(talkers, "at first")
    before = set().union(*clients_of(primary).values())
    proxy.reload()

    def all_new() -> bool:
        now = clients_of(primary)
        return len(now) == len(talkers) and not before & set().union(*now.values())

    wait_until(all_new, "all have connected anew")
    assert_all_hear_each_other(talkers, "after the reload")
    primary.freeze()
    wait_until(lambda: set(clients_of(backup)) == {t.name for t in talkers}, "all follow", FROZEN_SECONDS)
    primary.thaw()


def test_replica_takes_nobody_until_it_is_promoted() -> None:
    with (
        Redis() as primary,
        Redis(replicaof=f"{HOST} {primary.port}") as replica,
        HAProxy(redis=(primary.port, replica.port)) as proxy,
    ):
        wait_until(lambda: proxy.backends()["redis/backup"].status == "DOWN", "a replica is not up")
        assert proxy.backends()["redis/primary"].status == "UP"
        with replica.client() as client:
            client.replicaof("NO", "ONE")
        wait_until(lambda: proxy.backends()["redis/backup"].status == "UP", "a master is")


@pytest.mark.parametrize(
    ("settings", "status"), [({"REDIS_PASSWORD": PASSWORD_WITH_SIGNS}, "UP"), ({}, "DOWN")]
)
def test_password(settings: dict[str, str], status: str) -> None:
    with (
        Redis(requirepass=PASSWORD_WITH_SIGNS) as primary,
        Redis(requirepass=PASSWORD_WITH_SIGNS) as backup,
        HAProxy(redis=(primary.port, backup.port), **settings) as proxy,
    ):
        wait_until(
            lambda: {b.status for b in proxy.backends().values()} == {status},
            lambda: f"both are {status}: {proxy.backends()}",
        )


def test_redis_that_cannot_save_is_left(pair: tuple[Redis, Redis], proxy: HAProxy) -> None:
    """It refuses to write then, and says so to PING too."""
    primary, _ = pair
    with primary.client() as client:
        client.set("key", "value")
        client.config_set("save", "3600 1")
        # The file cannot be written where a folder has its name.
        (primary.folder / "dump.rdb").mkdir()
        client.bgsave()
        wait_until(lambda: proxy.backends()["redis/primary"].status == "DOWN", "it is left")
        client.config_set("stop-writes-on-bgsave-error", "no")
        wait_until(lambda: proxy.backends()["redis/primary"].status == "UP", "and taken back", BACK_SECONDS)


def test_gives_up_root_and_shows_its_figures(proxy: HAProxy) -> None:
    assert "primary" in requests.get(f"{proxy.url}/", timeout=5).text
    assert "haproxy_server_status" in requests.get(f"{proxy.url}/metrics", timeout=5).text
    expected = pwd.getpwnam(proxy.environment().get("HAPROXY_USER", "haproxy")).pw_uid
    (worker,) = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()
    assert Path(f"/proc/{worker}").stat().st_uid == expected


class AmqpTalker:
    """Consumes from a fanout exchange and publishes to it, as a plain program with one connection does."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.heard: set[str] = set()
        self._port = port
        self._text = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError, amqp.AMQPError):
                self._talk()
            time.sleep(0.1)

    def _talk(self) -> None:
        connection = amqp.Connection(
            f"{HOST}:{self._port}",
            USER,
            PASSWORD,
            login_method="PLAIN",
            connect_timeout=PATIENCE_SECONDS,
            read_timeout=PATIENCE_SECONDS,
        )
        connection.connect()
        try:
            channel = connection.channel()
            channel.exchange_declare(STREAM, "fanout", auto_delete=False)
            channel.queue_declare(self.name, exclusive=True)
            channel.queue_bind(self.name, STREAM)
            channel.basic_consume(
                self.name, no_ack=True, callback=lambda message: self.heard.add(message.body)
            )
            due = 0.0
            while not self._closed.is_set():
                if self._text and time.monotonic() >= due:
                    channel.basic_publish(amqp.Message(self._text), STREAM)
                    due = time.monotonic() + 0.2
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=0.1)
        finally:
            with contextlib.suppress(OSError, amqp.AMQPError):
                connection.collect()

    def say(self, text: str) -> None:
        """Publish again and again from now on; whoever is there hears it at some time."""
        self._text = text

    def close(self) -> None:
        self._closed.set()
        self._thread.join()


def test_rabbitmq_killed_back_frozen_and_thawed() -> None:
    def queues(server: RabbitMQ) -> int:
        """Each talker has one, which goes when he goes."""
        return int(server.evaluate("length(rabbit_amqqueue:list())"))

    def all_talk(server: RabbitMQ, label: str, timeout_seconds: float) -> None:
        wait_until(lambda: queues(server) == len(talkers), f"all move, {label}", timeout_seconds)
        for talker in talkers:
            talker.say(f"{label}: {talker.name}")
        wanted = {f"{label}: {name}" for name in names}
        for talker in talkers:
            wait_until(lambda t=talker: wanted <= t.heard, f"{talker.name} hears everybody, {label}")

    with contextlib.ExitStack() as stack:
        primary, backup = stack.enter_context(RabbitMQ()), stack.enter_context(RabbitMQ())
        proxy = stack.enter_context(HAProxy(rabbitmq=(primary.port, backup.port)))
        talkers = [AmqpTalker(f"talker-{number}", proxy.rabbitmq_port) for number in range(3)]
        names = {talker.name for talker in talkers}
        for talker in talkers:
            stack.callback(talker.close)
        all_talk(primary, "at first", WAIT_SECONDS)

        primary.kill()
        all_talk(backup, "on the backup", GONE_SECONDS)
        primary.start()
        all_talk(primary, "at home", BACK_SECONDS)
        assert proxy.backends()["rabbitmq/backup"].sessions == 0
        assert queues(backup) == 0

        primary.freeze()
        all_talk(backup, "while it is frozen", FROZEN_SECONDS)
        assert proxy.backends()["rabbitmq/primary"].sessions == 0
        primary.thaw()
        all_talk(primary, "at home again", BACK_SECONDS)
        assert queues(backup) == 0
