"""The external emitter: scripts, workers, threads, forks and asyncio, in processes that are not patched."""

import json
import signal
import subprocess
import textwrap
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.hearing import Hearing, run, start
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis, quiet_port
from tests.support.servers import HOST

# A script that can deliver nothing flushes for 5 s at its end, and leaves within 3 s more.
ENDS_SECONDS = 5 + 3
# What a cold start of Python costs on a busy machine.
START_SECONDS = 12

HEAD = """
import json, logging, os, signal, sys, threading, time
from pathlib import Path
from app.realtime import NotSerializable, OutboxFull, QueueClosed, QueueOptions, SocketIO
urls, channel = json.loads(sys.argv[1]), sys.argv[2]
"""
PATCH = "from gevent import monkey; monkey.patch_all()\n"


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    with RabbitMQ() as server:
        yield server


@pytest.fixture(scope="module", params=["redis", "rabbitmq", "both"])
def urls(request: pytest.FixtureRequest) -> list[str]:
    """The addresses of one broker or both."""
    brokers: dict[str, Any] = {
        "redis": lambda: [request.getfixturevalue("redis").url],
        "rabbitmq": lambda: [request.getfixturevalue("rabbitmq").url()],
    }
    names = brokers if request.param == "both" else [request.param]
    return [url for name in names for url in brokers[name]()]


@pytest.fixture
def channel() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def node(urls: list[str], channel: str) -> Iterator[Hearing]:
    with Hearing(urls, channel) as hearing:
        yield hearing


@pytest.fixture
def redis_node(redis: Redis, channel: str) -> Iterator[Hearing]:
    with Hearing([redis.url], channel) as hearing:
        yield hearing


@pytest.fixture
def dead() -> list[str]:
    """Addresses where nobody answers."""
    return [f"redis://{HOST}:{quiet_port()}/0", f"amqp://guest:guest@{HOST}:{quiet_port()}//"]


def program(source: str, *, head: str = HEAD) -> str:
    return head + textwrap.dedent(source)


def script(source: str, urls: list[str], channel: str, *, head: str = HEAD, **options: Any) -> str:
    """Run a script to its end, and return what it printed; it must not fail or show a stack trace."""
    done = run("-c", program(source, head=head), json.dumps(urls), channel, **options)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception" not in done.stderr, done.stderr
    return done.stdout


# One process.


def test_a_script_that_emits_one_event_and_ends_delivers_it(
    node: Hearing, urls: list[str], channel: str
) -> None:
    script("SocketIO(message_queue=urls, channel=channel).emit('one', {'n': 1})", urls, channel)
    assert node.wait_for("one", 1) == [{"n": 1}]


def test_flush_comes_back_when_everything_is_delivered(node: Hearing, urls: list[str], channel: str) -> None:
    source = """
        socketio = SocketIO(message_queue=urls, channel=channel)
        for number in range(500):
            socketio.emit("one", number)
        begun = time.monotonic()
        print(socketio.flush(10), time.monotonic() - begun)
        # What was flushed needs nothing more of this process.
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run("-c", program(source), json.dumps(urls), channel)
    assert done.returncode == -signal.SIGKILL
    # Without the flush's knowledge of what was sent before the process listened it would be 2 s or more.
    assert node.wait_for("one", 500) == list(range(500))


def test_emitting_from_many_native_threads(node: Hearing, urls: list[str], channel: str) -> None:
    source = """
        socketio = SocketIO(message_queue=urls, channel=channel)
        def work(name):
            for number in range(200):
                socketio.emit("many", [name, number])
        threads = [threading.Thread(target=work, args=[name]) for name in range(8)]
        for thread in threads:
            thread.start()
        work("main")
        for thread in threads:
            thread.join()
        print(socketio.flush(10))
    """
    assert script(source, urls, channel).split() == ["0"]
    heard = node.wait_for("many", 9 * 200)
    assert len(heard) == 9 * 200
    for name in (*range(8), "main"):
        assert [number for who, number in heard if who == name] == list(range(200))


def test_nothing_of_gevent_starts_in_a_process_that_is_not_patched(
    node: Hearing, urls: list[str], channel: str
) -> None:
    source = """
        import gevent.hub, gevent.monkey
        made = []
        class Hub(gevent.hub.Hub):
            def __init__(self, *arguments, **options):
                made.append(threading.current_thread().name)
                super().__init__(*arguments, **options)
        gevent._hub_local.set_default_hub_class(Hub)
        socketio = SocketIO(message_queue=urls, channel=channel)
        socketio.emit("one", 1)
        socketio.flush(10)
        names = sorted(thread.name for thread in threading.enumerate())
        print(json.dumps([len(made), gevent.monkey.is_module_patched("threading"), names]))
        socketio.close()
        gevent.sleep(0)
        assert made, "this test notices a hub"
    """
    made, patched, names = json.loads(script(source, urls, channel))
    assert (made, patched) == (0, False)
    assert len(names) == 2 + 2 * len(urls), names


def test_it_works_in_a_patched_process_too(node: Hearing, urls: list[str], channel: str) -> None:
    source = """
        import gevent
        socketio = SocketIO(message_queue=urls, channel=channel)
        gevent.joinall([gevent.spawn(socketio.emit, "one", number) for number in range(50)])
        socketio.emit("one", 50)
    """
    script(source, urls, channel, head=PATCH + HEAD)
    assert sorted(node.wait_for("one", 51)) == list(range(51))


def test_two_emitters_in_one_process(redis: Redis, rabbitmq: RabbitMQ, channel: str) -> None:
    source = """
        one = SocketIO(message_queue=urls[0], channel=channel)
        other = SocketIO(message_queue=urls[1], channel=channel + "-other")
        for number in range(20):
            one.emit("one", number)
            other.emit("other", number)
    """
    addresses = [redis.url, rabbitmq.url()]
    with Hearing(addresses[:1], channel) as first, Hearing(addresses[1:], f"{channel}-other") as second:
        script(source, addresses, channel)
        assert first.wait_for("one", 20) == list(range(20))
        assert second.wait_for("other", 20) == list(range(20))
        assert {name for name, _ in first.events() + second.events()} == {"one", "other"}


def test_a_context_manager_flushes_and_closes(redis_node: Hearing, redis: Redis, channel: str) -> None:
    source = """
        with SocketIO(message_queue=urls, channel=channel) as socketio:
            socketio.emit("one", 1, namespace="/", to="sports")
        print(socketio.close())
        try:
            socketio.emit("one", 2)
        except QueueClosed as error:
            print(error)
    """
    assert script(source, [redis.url], channel).split("\n") == ["0", "the queue is closed", ""]
    assert redis_node.wait_for("one", 1) == [1]


def test_what_cannot_be_sent_raises_where_it_is_emitted(
    redis_node: Hearing, redis: Redis, channel: str
) -> None:
    source = """
        socketio = SocketIO(message_queue=urls, channel=channel)
        try:
            socketio.emit("one", {"when": [1, object()]})
        except NotSerializable as error:
            print(error)
        socketio.emit("one", "good")
    """
    assert "data['when'][1] is a object" in script(source, [redis.url], channel)
    assert redis_node.wait_for("one", 1) == ["good"]


# Ends.


def test_without_any_broker_a_script_ends_in_time_and_says_what_was_not_delivered(
    dead: list[str], channel: str
) -> None:
    source = """
        socketio = SocketIO(message_queue=urls, channel=channel)
        for number in range(7):
            socketio.emit("lost", number)
        print(socketio.flush(0.5), flush=True)
    """
    begun = time.monotonic()
    done = run("-c", program(source), json.dumps(dead), channel)
    assert time.monotonic() - begun < ENDS_SECONDS + START_SECONDS
    assert done.stdout == "7\n"
    assert done.returncode == 0
    assert "the queue was closed with 7 messages not delivered" in done.stderr
    assert "Traceback" not in done.stderr


def test_closing_by_hand_takes_the_time_it_is_given(dead: list[str], channel: str) -> None:
    source = """
        socketio = SocketIO(message_queue=urls, channel=channel)
        socketio.emit("lost", 1)
        begun = time.monotonic()
        print(json.dumps([socketio.close(0.5), time.monotonic() - begun]), flush=True)
    """
    with start(["-c", program(source), json.dumps(dead), channel], {}) as process:
        assert process.stdout
        left, seconds = json.loads(process.stdout.readline())
        closed = time.monotonic()
        process.wait(timeout=60)
        assert time.monotonic() - closed < 3, "the end of the process waits no second time"
    assert left == 1
    assert seconds < 0.5 + 3


def test_a_frozen_broker_does_not_hold_up_the_end(redis: Redis, channel: str) -> None:
    source = """
        socketio = SocketIO(message_queue=urls, channel=channel)
        socketio.emit("late", 1)
        socketio.flush(10)
        print(flush=True)
        sys.stdin.readline()
        longest = 0
        for number in range(1000):
            begun = time.perf_counter()
            socketio.emit("late", number)
            longest = max(longest, time.perf_counter() - begun)
        print(longest)
    """
    with start(
        ["-c", program(source), json.dumps([redis.url]), channel], {}, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        redis.freeze()
        try:
            begun = time.monotonic()
            output, errors = process.communicate("\n", timeout=60)
            seconds = time.monotonic() - begun
        finally:
            redis.thaw()
    assert seconds < ENDS_SECONDS + 3
    assert "1000 messages not delivered" in errors
    assert float(output) < 0.5, "emit does not wait for a broker, whose time is 2 s"


def test_a_broker_that_comes_in_time_gets_everything(channel: str) -> None:
    source = """
        socketio = SocketIO(message_queue=urls, channel=channel)
        for number in range(100):
            socketio.emit("late", number)
        print(socketio.flush(0.2), flush=True)
        sys.stdin.readline()
        print(socketio.flush(30))
    """
    with Redis() as broker, Hearing([broker.url], channel) as hearing:
        broker.kill()
        command = ["-c", program(source), json.dumps([broker.url]), channel]
        with start(command, {}, stdin=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == "100\n"
            broker.start()
            output, _ = process.communicate("\n", timeout=60)
        assert output == "0\n"
        assert hearing.wait_for("late", 100) == list(range(100))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_loses_nothing_that_was_emitted(
    number: signal.Signals, redis_node: Hearing, redis: Redis, channel: str
) -> None:
    """KeyboardInterrupt, and SystemExit from a handler, which come in the middle of an emit."""
    source = """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        socketio = SocketIO(message_queue=urls, channel=channel)
        emitted = 0
        try:
            while True:
                socketio.emit("steady", emitted)
                emitted += 1
                if emitted == 100:
                    print(flush=True)
        finally:
            print(emitted, flush=True)
    """
    with start(["-c", program(source), json.dumps([redis.url]), channel], {}) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    emitted = int(output)
    assert "not delivered" not in errors
    assert process.returncode == (3 if number == signal.SIGTERM else -signal.SIGINT)
    heard = redis_node.wait_for("steady", emitted)
    # The last one may have been in the outbox when the signal came.
    assert heard in (list(range(emitted)), list(range(emitted + 1)))


def test_an_atexit_handler_of_the_script_may_emit(redis_node: Hearing, redis: Redis, channel: str) -> None:
    source = """
        import atexit
        atexit.register(lambda: socketio.emit("bye", "registered first"))
        socketio = SocketIO(message_queue=urls, channel=channel)
        socketio.emit("bye", "main")
        atexit.register(lambda: socketio.emit("bye", "registered last"))
    """
    script(source, [redis.url], channel)
    assert redis_node.wait_for("bye", 3) == ["main", "registered last", "registered first"]


def test_threads_that_go_on_at_the_end_leave_no_stack_trace(
    redis_node: Hearing, redis: Redis, channel: str
) -> None:
    source = """
        socketio = SocketIO(message_queue=urls, channel=channel)
        def work(number):
            while True:
                socketio.emit("daemon", number)
                time.sleep(0.0005)
        for number in range(4):
            threading.Thread(target=work, args=[number], daemon=True).start()
        time.sleep(0.5)
    """
    done = run("-c", program(source), json.dumps([redis.url]), channel)
    assert (done.returncode, done.stderr) == (0, "")
    redis_node.wait_for("daemon", 4)


# Forks.


@pytest.mark.parametrize("ending", ["sys.exit()", "socketio.flush(10); os._exit(0)"])
def test_after_a_fork_every_message_comes_once(
    ending: str, node: Hearing, urls: list[str], channel: str
) -> None:
    source = f"""
        socketio = SocketIO(message_queue=urls, channel=channel)
        def work(name):
            for number in range(50):
                socketio.emit("fork", [name, number])
        work("before")
        children = []
        for name in range(4):
            child = os.fork()
            if not child:
                work(name)
                {ending}
            children.append(child)
            work(f"parent {{name}}")
        for child in children:
            os.waitpid(child, 0)
        work("after")
    """
    script(source, urls, channel)
    names = ["before", *range(4), *(f"parent {name}" for name in range(4)), "after"]
    heard = node.wait_for("fork", len(names) * 50)
    assert set(Counter(map(tuple, heard)).values()) == {1}
    for name in names:
        assert [number for who, number in heard if who == name] == list(range(50)), name


def test_forking_leaves_the_parents_connections_alone(node: Hearing, urls: list[str], channel: str) -> None:
    source = """
        import gc
        socketio = SocketIO(message_queue=urls, channel=channel)
        changed = []
        socketio.emit("fork", 0)
        socketio.flush(10)
        while any(link["state"] != "up" for link in socketio.queue_status()["brokers"].values()):
            time.sleep(0.01)
        def note(event):
            if event.state != "up":
                changed.append(repr(event))
        socketio.on_queue_event(note)
        for number in range(1, 4):
            child = os.fork()
            if not child:
                gc.collect()
                sys.exit()
            os.waitpid(child, 0)
            socketio.emit("fork", number)
            socketio.flush(10)
        time.sleep(0.5)
        print(changed)
    """
    assert script(source, urls, channel) == "[]\n"
    assert node.wait_for("fork", 4) == [0, 1, 2, 3]


def test_children_of_multiprocessing_flush_at_their_end(node: Hearing, urls: list[str], channel: str) -> None:
    source = """
        import multiprocessing
        socketio = SocketIO(message_queue=urls, channel=channel)
        socketio.emit("pool", "parent")
        def work(name):
            socketio.emit("pool", name)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work, args=[str(number)]) for number in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join()
    """
    script(source, urls, channel)
    assert sorted(node.wait_for("pool", 5)) == ["0", "1", "2", "3", "parent"]


# asyncio.

ASYNC = (
    HEAD
    + """
import asyncio
from app.realtime import AsyncEmitter

class Ticking:
    "Notes the longest time for which the loop did nothing else."
    async def __aenter__(self):
        self.longest = 0
        self.task = asyncio.create_task(self.tick())
        await asyncio.sleep(0)
        return self
    async def tick(self):
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.monotonic() - begun)
    async def __aexit__(self, *_):
        self.task.cancel()
"""
)


def test_asyncio_emits_flushes_and_closes(node: Hearing, urls: list[str], channel: str) -> None:
    source = """
        async def main():
            async with AsyncEmitter(urls, channel=channel) as emitter:
                await asyncio.gather(*(emitter.emit("one", number) for number in range(100)))
                print(await emitter.flush())
                await emitter.emit("two", {"a": b"bytes"}, namespace="/", to="sports")
                try:
                    await emitter.emit("one", {1, 2})
                except NotSerializable as error:
                    print(error)
            print(await emitter.close())
            try:
                await emitter.emit("one", 1)
            except QueueClosed as error:
                print(error)
        asyncio.run(main())
    """
    lines = script(source, urls, channel, head=ASYNC).splitlines()
    assert (lines[0], *lines[2:]) == ("0", "0", "the queue is closed")
    assert "data is a set" in lines[1]
    assert sorted(node.wait_for("one", 100)) == list(range(100))
    assert node.wait_for("two", 1) == [{"a": b"bytes"}]


def test_asyncio_goes_on_while_a_broker_is_frozen(redis: Redis, channel: str) -> None:
    source = """
        async def main():
            emitter = AsyncEmitter(urls, channel=channel, queue_options=QueueOptions(max_messages=100))
            await emitter.emit("one", 1)
            await emitter.flush()
            print(flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            async with Ticking() as ticking:
                for number in range(3000):
                    await emitter.emit("one", number)
                left = [await emitter.flush(1), await emitter.close(1)]
            print(json.dumps([ticking.longest, *left]))
        asyncio.run(main())
    """
    command = ["-c", program(source, head=ASYNC), json.dumps([redis.url]), channel]
    with start(command, {}, stdin=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        redis.freeze()
        try:
            output, errors = process.communicate("\n", timeout=60)
        finally:
            redis.thaw()
    longest, flushed, closed = json.loads(output)
    assert longest < 0.5, "a broker has 2 s for its answer"
    assert flushed == 3000
    assert closed, errors


def test_asyncio_waits_for_room_without_stopping_the_loop(channel: str) -> None:
    source = """
        async def main():
            options = QueueOptions(overflow="block", block_seconds=1, max_messages=10)
            emitter = AsyncEmitter(urls, channel=channel, queue_options=options)
            for number in range(10):
                await emitter.emit("room", number)
            async with Ticking() as ticking:
                begun = time.monotonic()
                refused = await asyncio.gather(
                    *(emitter.emit("room", "refused") for _ in range(3)), return_exceptions=True
                )
                waited = time.monotonic() - begun
                cancelled = asyncio.create_task(emitter.emit("room", "cancelled"))
                await asyncio.sleep(0.1)
                cancelled.cancel()
                await asyncio.gather(cancelled, return_exceptions=True)
            print(json.dumps([[type(one).__name__ for one in refused], waited, ticking.longest]), flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            emitter._wait_seconds = 30
            for number in range(10, 30):
                await emitter.emit("room", number)
            print(await emitter.close(30))
        asyncio.run(main())
    """
    with Redis() as broker, Hearing([broker.url], channel) as hearing:
        broker.kill()
        command = ["-c", program(source, head=ASYNC), json.dumps([broker.url]), channel]
        with start(command, {}, stdin=subprocess.PIPE) as process:
            assert process.stdout
            refused, waited, longest = json.loads(process.stdout.readline())
            assert refused == ["OutboxFull"] * 3
            assert 1 <= waited < 3
            assert longest < 0.5
            broker.start()
            output, _ = process.communicate("\n", timeout=60)
        assert output == "0\n"
        assert hearing.wait_for("room", 30) == list(range(30))


def test_a_cancelled_flush_does_not_hold_up_the_end_of_the_loop(dead: list[str], channel: str) -> None:
    source = """
        async def main():
            emitter = AsyncEmitter(urls, channel=channel)
            await emitter.emit("one", 1)
            try:
                async with asyncio.timeout(0.2):
                    await emitter.flush(60)
            except TimeoutError:
                print("cancelled")
        begun = time.monotonic()
        asyncio.run(main())
        print(time.monotonic() - begun < 5)
    """
    assert script(source, dead, channel, head=ASYNC).split() == ["cancelled", "True"]


def test_importing_the_engine_loads_nothing_of_the_application() -> None:
    source = """
        import sys
        import app.realtime
        names = {name for name in sys.modules if name.partition(".")[0] in ("app", "config", "sqlalchemy")}
        print(sorted(name for name in names if not (name + ".").startswith("app.realtime.")))
    """
    done = run("-c", textwrap.dedent(source))
    assert done.stdout == "['app']\n", done.stderr
