"""The commands `flask emit` and `flask queue`, as processes beside real nodes."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hearing import ROOM, Hearing, run, start
from tests.support.redis import Redis, quiet_port
from tests.support.servers import HOST
from tests.support.waiting import wait_until

Done = subprocess.CompletedProcess[str]
# A command that fails within its time ends within so much more: a start of Python, and a goodbye.
SLACK_SECONDS = 15
SECRET = "a-secret-of-the-channel-with-32-characters"


@pytest.fixture(scope="module")
def first() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def second() -> Iterator[Redis]:
    """Another broker, which a test may kill."""
    with Redis() as server:
        yield server


@pytest.fixture
def channel() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def environment(channel: str, first: Redis, tmp_path: Path) -> dict[str, str]:
    """The settings of the nodes, but for the brokers."""
    return {
        "APP_ENV": "testing",
        "FLASK_SKIP_DOTENV": "1",
        "DATABASE_URL": f"sqlite:///{tmp_path}/chat.db",
        "MESSAGE_QUEUE": first.url,
        "CHANNEL": channel,
    }


@pytest.fixture
def flask(environment: dict[str, str]) -> Callable[..., Done]:
    """Run a command; settings by keyword."""

    def run_flask(*arguments: str, text: str = "", **settings: str) -> Done:
        command = ("-m", "flask", "--app", "wsgi", *arguments)
        done = run(*command, text=text, **environment | settings)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run_flask


@pytest.fixture
def node(first: Redis, channel: str) -> Iterator[Hearing]:
    with Hearing([first.url], channel, namespaces=("/", "/chat")) as hearing:
        yield hearing


@pytest.fixture
def pair(first: Redis, second: Redis, channel: str) -> Iterator[tuple[Hearing, Hearing]]:
    """Two nodes on two brokers."""
    urls = [first.url, second.url]
    with Hearing(urls, channel) as one, Hearing(urls, channel) as other:
        yield one, other


def both(first: Redis, second: Redis) -> dict[str, str]:
    return {"MESSAGE_QUEUE": f"{first.url},{second.url}"}


# flask emit


def test_emit_reaches_the_clients_of_a_node(node: Hearing, flask: Callable[..., Done]) -> None:
    done = flask("emit", "news", '{"headline": "It works"}')
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"'news' to everybody in /: delivered over redis in \d+ ms\n", done.stdout)
    assert node.wait_for("news", 1) == [{"headline": "It works"}]
    assert not node.events("/chat")


def test_emit_to_rooms_of_a_namespace_but_not_to_a_client(
    node: Hearing, flask: Callable[..., Done], tmp_path: Path
) -> None:
    here = ("--namespace", "/chat", "--room", "elsewhere", "--room", ROOM)
    done = flask("emit", "first", "-", *here, "--skip-sid", node.sid("/chat"), text='"skipped"')
    assert done.returncode == 0, done.stderr
    assert f"to elsewhere and {ROOM} in /chat" in done.stdout
    done = flask("emit", "second", "-", *here, text='["from", "the", "input"]')
    assert done.returncode == 0, done.stderr
    done = flask("emit", "third", *here)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: len(node.events("/chat")) >= 2, "two events")
    assert node.events("/chat") == [("second", [["from", "the", "input"]]), ("third", [])]
    assert not node.events("/")
    assert not list(tmp_path.iterdir()), "the database is not touched"


def test_emit_explains_what_it_does_not_understand(flask: Callable[..., Done]) -> None:
    done = flask("emit", "news", "{headline: 1}")
    assert done.returncode == 2
    assert "is not JSON" in done.stderr
    assert """'{"text": "Hello"}'""" in done.stderr
    done = flask("emit", "news", "-", text="nonsense")
    assert done.returncode == 2
    assert "the input is not JSON" in done.stderr
    done = flask("emit", "news", "1", "-n", "chat")
    assert done.returncode == 2
    assert "/chat" in done.stderr
    done = flask("emit", "news", "NaN")
    assert done.returncode == 1
    assert "which JSON does not have" in done.stderr


def test_emit_says_when_it_is_not_delivered(flask: Callable[..., Done]) -> None:
    begun = time.monotonic()
    done = flask("emit", "news", "1", "--timeout", "1", MESSAGE_QUEUE=f"redis://{HOST}:{quiet_port()}/0")
    assert done.returncode == 1
    assert "not delivered within 1 s, it is given up: redis is down" in done.stderr
    assert "Connection refused" in done.stderr
    assert time.monotonic() - begun < 1 + SLACK_SECONDS


def test_emit_tells_when_nobody_listens(node: Hearing, channel: str, flask: Callable[..., Done]) -> None:
    done = flask("emit", "news", "1", CHANNEL_SECRET=SECRET)
    assert done.returncode == 0
    assert f"no node answers on channel '{channel}'" in done.stderr
    assert not node.events()


# flask queue status


def test_status_shows_all_nodes(
    pair: tuple[Hearing, Hearing],
    first: Redis,
    second: Redis,
    channel: str,
    flask: Callable[..., Done],
    tmp_path: Path,
) -> None:
    pair[0].socketio.emit("news", 1)
    done = flask("queue", "status", **both(first, second))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"2 nodes on channel '{channel}', failover\n")
    for node in pair:
        [row] = [line for line in done.stdout.splitlines() if line.startswith(node.status["origin"][:8])]
        assert re.search(r"redis +up .* ms .* in use$", row)
    assert len(re.findall(r"redis-2 +up", done.stdout)) == 2
    assert "lost 0" in done.stdout

    done = flask("queue", "status", "--json", **both(first, second))
    found = json.loads(done.stdout)
    origins = {node.status["origin"] for node in pair}
    assert {said["origin"] for said in found["nodes"]} == origins
    assert (found["channel"], found["silent"]) == (channel, [])
    # A command has no clients, so nobody takes it for a node.
    for said in found["nodes"]:
        assert {said["origin"], *said["nodes"]} == origins
    assert not list(tmp_path.iterdir()), "the database is not touched"


def test_status_says_when_no_node_answers(channel: str, flask: Callable[..., Done]) -> None:
    done = flask("queue", "status", "--timeout", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no node answers on channel '{channel}': is one running" in done.stderr
    done = flask("queue", "status", "--timeout", "1", MESSAGE_QUEUE=f"redis://{HOST}:{quiet_port()}/0")
    assert done.returncode == 1
    assert "no broker works from here: redis is down" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "queue", "why"),
    [
        (("queue", "watch"), "", "MESSAGE_QUEUE is not set"),
        (("emit", "news"), "", "MESSAGE_QUEUE is not set"),
        (("queue", "status"), "memory://", "is inside each node"),
    ],
)
def test_without_a_queue_the_commands_say_so(
    arguments: tuple[str, ...], queue: str, why: str, flask: Callable[..., Done]
) -> None:
    done = flask(*arguments, MESSAGE_QUEUE=queue)
    assert done.returncode == 1
    assert why in done.stderr


def test_the_commands_work_in_production(first: Redis, channel: str, flask: Callable[..., Done]) -> None:
    with Hearing([first.url], channel, channel_secret=SECRET) as node:
        settings = {"APP_ENV": "production", "SECRET_KEY": "s" * 40, "CHANNEL_SECRET": SECRET}
        done = flask("queue", "status", **settings)
        assert (done.returncode, done.stderr) == (0, "")
        assert node.status["origin"][:8] in done.stdout


# flask queue switch


def test_switch_moves_all_nodes_and_waits_for_them(
    pair: tuple[Hearing, Hearing], first: Redis, second: Redis, flask: Callable[..., Done]
) -> None:
    for name, expected in (("redis-2", "redis-2"), ("auto", "redis")):
        done = flask("queue", "switch", name, **both(first, second))
        assert (done.returncode, done.stderr) == (0, "")
        for node in pair:
            # At once, for the command has waited.
            assert (node.status["preferred"], node.status["active"]) == (expected, expected)
            assert f"{node.status['origin'][:8]} prefers {expected}, uses {expected}" in done.stdout


def test_switch_refuses_what_would_not_work(
    pair: tuple[Hearing, Hearing], first: Redis, second: Redis, flask: Callable[..., Done]
) -> None:
    one, other = pair
    queue = both(first, second)
    done = flask("queue", "switch", "rabbitmq", **queue)
    assert done.returncode == 2
    assert "there is no broker 'rabbitmq': there are redis, redis-2, and auto" in done.stderr

    second.kill()
    wait_until(lambda: one.status["brokers"]["redis-2"]["state"] == "down", "it is down")
    done = flask("queue", "switch", "redis-2", **queue)
    assert done.returncode == 1
    assert "redis-2 does not work for" in done.stderr
    assert "--force" in done.stderr
    assert one.status["preferred"] == other.status["preferred"] == "redis"

    done = flask("queue", "switch", "redis-2", "--force", **queue)
    assert done.returncode == 0, done.stderr
    for node in pair:
        assert (node.status["preferred"], node.status["active"]) == ("redis-2", "redis")
        assert f"{node.status['origin'][:8]} prefers redis-2, uses redis\n" in done.stdout


def test_switch_needs_somebody_to_switch(flask: Callable[..., Done]) -> None:
    done = flask("queue", "switch", "redis", "--timeout", "1")
    assert done.returncode == 1
    assert "no node answers" in done.stderr


# flask queue watch


class Watching:
    """`flask queue watch`, and what it has said so far."""

    def __init__(self, environment: dict[str, str], **options: Any) -> None:
        command = ("-m", "flask", "--app", "wsgi", "queue", "watch")
        self.process = start(command, {**environment, "TERM": "xterm"}, **options)
        self.text = ""

    def wait_for(self, pattern: str, descriptor: int | None = None) -> None:
        if descriptor is None:
            assert self.process.stdout
            descriptor = self.process.stdout.fileno()

        def look() -> bool:
            if select.select([descriptor], [], [], 0)[0]:
                self.text += os.read(descriptor, 65536).decode()
            return bool(re.search(pattern, self.text))

        wait_until(look, lambda: f"{pattern!r} in {self.text!r}")

    def interrupt(self) -> None:
        """End it as Ctrl-C does; it must do so quietly."""
        self.process.send_signal(signal.SIGINT)
        try:
            _, errors = self.process.communicate(timeout=30)
        finally:
            self.process.kill()
        assert (self.process.returncode, errors) == (0, "")


def test_watch_prints_lines_and_what_changes(
    pair: tuple[Hearing, Hearing], first: Redis, second: Redis, environment: dict[str, str]
) -> None:
    name = pair[0].status["origin"][:8]
    watching = Watching({**environment, **both(first, second)})
    watching.wait_for(rf"\d\d:\d\d:\d\d {name}: redis up [\d.]+ ms in use, redis-2 up [\d.]+ ms, outbox 0")
    second.kill()
    watching.wait_for(rf"{name} redis-2 was \w+, is down: ")
    pair[0].socketio.switch_queue("redis-2")
    watching.wait_for(rf"{name} prefers redis-2 instead of redis\n")
    pair[1].socketio.close()
    watching.wait_for(rf"{pair[1].status['origin'][:8]} is gone\n")
    watching.interrupt()
    assert "\x1b" not in watching.text


def test_watch_shows_a_table_on_a_terminal(node: Hearing, environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    try:
        watching = Watching(environment, stdout=theirs)
        watching.wait_for(r"(?s)\x1b\[2J.*1 node on channel.*in use.*\x1b\[2J.*1 node on channel", ours)
        watching.interrupt()
    finally:
        os.close(ours)
        os.close(theirs)
