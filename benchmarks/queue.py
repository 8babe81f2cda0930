"""Compare the engine's queue with python-socketio's own managers: processor time, throughput, delay, memory.

Run it from the project's root with `python -m benchmarks.queue`, about 2 minutes. It starts its own Redis and
RabbitMQ, and each node as a process of its own; the processor time of a node is read from the system. Compare
only figures of one run: they move with the machine and with what else runs on it.
"""

# ruff: noqa: E402 - patch first
from gevent import monkey

monkey.patch_all()

import gc
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import flask_socketio
import gevent
import psutil
import websocket
from flask import Flask
from gevent.pywsgi import WSGIServer

from app.realtime import QueueOptions, SocketIO
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.servers import ROOT, free_port
from tests.support.waiting import wait_until

Kind = Literal["engine", "stock"]

CHANNEL = "benchmark"
PAYLOAD = "x" * 80  # with its name and number an event of about 130 bytes
# 10 events at once, as of one request or one tick of a feed.
BURST, PAUSE_SECONDS = 10, 0.005
STEADY_EVENTS = 10_000
FLOOD_EVENTS = 40_000
DELAY_EVENTS, DELAY_PAUSE_SECONDS = 1_500, 0.005
TIMEOUT_SECONDS = 120


# A node, in a process of its own: told what to do in JSON lines.


def serve(kind: Kind, url: str, port: int) -> None:
    """Be a node until the input ends."""
    app = Flask(__name__)
    make = SocketIO if kind == "engine" else flask_socketio.SocketIO
    options: dict[str, Any] = (
        {"queue_options": QueueOptions(max_messages=1_000_000)} if kind == "engine" else {}
    )
    socketio = make(app, async_mode="gevent", message_queue=url, channel=CHANNEL, **options)
    server = WSGIServer(("127.0.0.1", port), app, log=None)
    server.start()
    socketio.server.manager.initialize()
    socketio.server.manager_initialized = True
    # What the process does at its start is not what is measured.
    time.sleep(1.0)
    gc.collect()
    gc.freeze()
    _say({"ready": True})
    for line in iter(lambda: gevent.get_hub().threadpool.apply(sys.stdin.readline), ""):
        _say(_emit(socketio, **json.loads(line)))
    os._exit(0)


def _emit(socketio: Any, count: int, burst: int, pause_seconds: float, flush: bool) -> dict[str, Any]:
    costs: list[float] = []
    started = time.monotonic()
    for number in range(count):
        before = time.perf_counter()
        socketio.emit("tick", {"n": number, "at": time.monotonic(), "text": PAYLOAD})
        costs.append(time.perf_counter() - before)
        if pause_seconds and number % burst == burst - 1:
            gevent.sleep(pause_seconds)
    left = socketio.flush(TIMEOUT_SECONDS) if flush else 0
    costs.sort()
    return {
        "seconds": time.monotonic() - started,
        "left": left,
        "emit_us": [costs[len(costs) // 2] * 1e6, costs[int(len(costs) * 0.99)] * 1e6, costs[-1] * 1e6],
    }


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


# The measuring side.


class Node:
    """A node's process."""

    def __init__(self, kind: Kind, url: str) -> None:
        self.kind = kind
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.queue", kind, url, str(self.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._usage = psutil.Process(self._process.pid)

    def wait_until_ready(self) -> None:
        """Wait for its first line."""
        assert self._read()["ready"]

    def cpu_seconds(self) -> float:
        """The processor time that it has used."""
        times = self._usage.cpu_times()
        return float(times.user + times.system)

    def emit(self, count: int, burst: int, pause_seconds: float) -> dict[str, Any]:
        """Let it emit, and return what it found."""
        assert self._process.stdin
        flush = self.kind == "engine"
        order = {"count": count, "burst": burst, "pause_seconds": pause_seconds, "flush": flush}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class Listener:
    """A WebSocket client of a node, which counts what it gets and how long it was on its way."""

    def __init__(self, node: Node) -> None:
        self.delays: list[float] = []
        self._socket: Any = websocket.WebSocket()
        self._socket.connect(f"ws://127.0.0.1:{node.port}/socket.io/?EIO=4&transport=websocket")  # type: ignore[no-untyped-call]
        self._socket.send("40")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                text = self._socket.recv()
            except (OSError, websocket.WebSocketException):
                return
            if isinstance(text, str) and text.startswith("42"):
                self.delays.append(time.monotonic() - json.loads(text[2:])[1]["at"])
            elif text == "2":
                self._socket.send("3")

    def wait_for(self, count: int) -> int:
        """Wait until so many have come, or no more come; returns how many have."""
        seen, since = -1, time.monotonic()
        while len(self.delays) < count and time.monotonic() - since < 3.0:
            if len(self.delays) != seen:
                seen, since = len(self.delays), time.monotonic()
            time.sleep(0.05)
        return len(self.delays)

    def close(self) -> None:
        """Leave."""
        self._socket.shutdown()


@contextmanager
def pair(kind: Kind, url: str) -> Iterator[tuple[Node, Node, Listener]]:
    """A node that emits, one that takes in, and a client of the latter."""
    nodes = [Node(kind, url), Node(kind, url)]
    try:
        for node in nodes:
            node.wait_until_ready()
        listener = Listener(nodes[1])
        # Until both know each other, and the client is in.
        wait_until(lambda: nodes[0].emit(1, 1, 0) and listener.delays, "an event has come", 20)
        time.sleep(2.0)
        listener.delays.clear()
        yield nodes[0], nodes[1], listener
        listener.close()
    finally:
        for node in nodes:
            node.close()


def measure(kind: Kind, url: str) -> dict[str, float]:
    """All figures of one kind of manager on one broker."""
    figures: dict[str, float] = {}
    with pair(kind, url) as (sender, receiver, listener):
        idle = _idle_cpu(sender)
        before = sender.cpu_seconds(), receiver.cpu_seconds()
        result = sender.emit(STEADY_EVENTS, BURST, PAUSE_SECONDS)
        figures["steady_got"] = listener.wait_for(STEADY_EVENTS)
        used = sender.cpu_seconds() - before[0] - idle * result["seconds"]
        figures["publish_us"] = used / STEADY_EVENTS * 1e6
        figures["take_in_us"] = (receiver.cpu_seconds() - before[1]) / STEADY_EVENTS * 1e6
        listener.delays.clear()
        result = sender.emit(DELAY_EVENTS, 1, DELAY_PAUSE_SECONDS)
        listener.wait_for(DELAY_EVENTS)
        delays = sorted(listener.delays)
        figures["delay_p50_ms"] = statistics.median(delays) * 1e3
        figures["delay_p99_ms"] = delays[int(len(delays) * 0.99)] * 1e3
        figures["emit_p50_us"], figures["emit_p99_us"], figures["emit_max_us"] = result["emit_us"]
        listener.delays.clear()
        before = sender.cpu_seconds(), receiver.cpu_seconds()
        result = sender.emit(FLOOD_EVENTS, 20, 1e-9)
        figures["flood_got"] = listener.wait_for(FLOOD_EVENTS)
        figures["flood_per_second"] = FLOOD_EVENTS / result["seconds"]
        figures["flood_publish_us"] = (sender.cpu_seconds() - before[0]) / FLOOD_EVENTS * 1e6
        figures["flood_take_in_us"] = (receiver.cpu_seconds() - before[1]) / FLOOD_EVENTS * 1e6
    return figures


def _idle_cpu(node: Node, seconds: float = 2.0) -> float:
    """The share of a core that a node uses while nothing happens."""
    before = node.cpu_seconds()
    time.sleep(seconds)
    return (node.cpu_seconds() - before) / seconds


def measure_memory() -> dict[str, float]:
    """Bytes that a message costs in a full outbox and in retention, payload included."""
    script = """
import os, sys, time, psutil
from app.realtime import QueueOptions, SocketIO
url, port = sys.argv[1], sys.argv[2]
def grown(socketio, count):
    process = psutil.Process()
    before = process.memory_info().rss
    for number in range(count):
        socketio.emit("tick", {"n": number, "text": "x" * 80})
    return before, process
outbox = SocketIO(message_queue=f"redis://127.0.0.1:{port}/0", channel="full", queue_options=QueueOptions())
outbox.emit("tick", {})
before, process = grown(outbox, 49_999)
full = (process.memory_info().rss - before) / 49_999
assert outbox.queue_status()["outbox"]["depth"] == 50_000
kept = SocketIO(message_queue=url, channel="kept", queue_options=QueueOptions(max_messages=1_000_000))
for _ in range(3000): kept.emit("tick", {})
kept.flush(20)
before, process = grown(kept, 17_000)
kept.flush(20)
retained = (process.memory_info().rss - before) / 17_000
print(full, retained, flush=True)
os._exit(0)
"""
    with Redis() as redis:
        done = subprocess.run(
            [sys.executable, "-c", script, redis.url, str(free_port())],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
        )
    full, retained = map(float, done.stdout.split())
    return {"full": full, "retained": retained}


ROWS = (
    ("CPU to publish an event, 2,000/s", "publish_us", "us"),
    ("CPU to publish an event, flood", "flood_publish_us", "us"),
    ("CPU to take an event in and send it to one client, 2,000/s", "take_in_us", "us"),
    ("CPU to take an event in and send it to one client, flood", "flood_take_in_us", "us"),
    ("events/s published and confirmed, flood", "flood_per_second", ""),
    ("delay at 200/s, emitter to client, p50", "delay_p50_ms", "ms"),
    ("delay at 200/s, emitter to client, p99", "delay_p99_ms", "ms"),
    ("emit() in the caller, p50", "emit_p50_us", "us"),
    ("emit() in the caller, p99", "emit_p99_us", "us"),
    ("arrived of 10,000", "steady_got", ""),
    ("arrived of 40,000, flood", "flood_got", ""),
)


def main() -> None:
    """Print the tables."""
    with Redis() as redis, RabbitMQ() as rabbitmq:
        for broker, url in (("Redis", redis.url), ("RabbitMQ", rabbitmq.url())):
            engine, stock = measure("engine", url), measure("stock", url)
            print(f"| {broker} | engine | stock | stock / engine |")
            print("| --- | --- | --- | --- |")
            for label, key, unit in ROWS:
                left, right = engine[key], stock[key]
                print(f"| {label} | {left:,.4g} {unit} | {right:,.4g} {unit} | {right / left:.2f} |")
            print()
    memory = measure_memory()
    print(f"memory of a message of 130 bytes: {memory['full']:.0f} bytes in a full outbox of 50,000,")
    print(f"{memory['retained']:.0f} bytes in retention")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))  # type: ignore[arg-type]
    else:
        main()
