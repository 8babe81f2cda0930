"""Compare the Emitter with the usual recipe, a queue polled every 10 ms: delay, burst, CPU, HTTP.

Run it from the project's root with `python -m benchmarks.emitter`; it takes about 45 s. Compare
only figures of one run: they move with the machine and with what else runs on it.
"""

# ruff: noqa: E402 - patch first
from gevent import monkey

monkey.patch_all()

import json
import socket
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.pywsgi import WSGIServer
from socketio.packet import EVENT, Packet

from app.realtime.emitter import Emitter

start_native_thread = monkey.get_original("_thread", "start_new_thread")
native_sleep = monkey.get_original("time", "sleep")

SCHEDULE_SECONDS = 0.0073  # no multiple of the 10 ms of the polling, so that every phase occurs
SCHEDULED_EVENTS = 800
BURST_EVENTS = 100_000
BURST_THREADS = 4
IDLE_SECONDS = 3.0
POLL_SECONDS = 0.01
TICK = {"symbol": "ACME", "seq": 123456, "price": 101.25, "change_percent": 1.25, "time_ms": 1.7e12}

# One keep-alive connection and a fixed schedule. A request counts from the time at which it was
# due, so a server that stands still for a second is charged for all requests of that second.
LOAD_CLIENT = """
import http.client, json, sys, time
port, seconds = int(sys.argv[1]), float(sys.argv[2])
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
answers, start = [], time.monotonic()
for i in range(int(seconds * 200)):
    due = start + i / 200
    time.sleep(max(0.0, due - time.monotonic()))
    connection.request("GET", "/")
    connection.getresponse().read()
    answers.append((due, time.monotonic()))
print(json.dumps(answers))
"""


class Sink:
    """Stand in for socketio: encode the packet, which is what an emit to nobody costs."""

    def __init__(self) -> None:
        self.arrived: list[float] = []
        self.handed_in: list[float] = []

    def emit(self, event: str, *args: Any, **kwargs: Any) -> None:
        Packet(EVENT, data=[event, *args], namespace="/market").encode()
        self.arrived.append(time.monotonic())
        self.handed_in.append(args[0]["time_ms"])


class PollingEmitter:
    """The usual recipe: producers append, a greenlet looks every 10 ms and emits what it finds."""

    def __init__(self, socketio: Sink) -> None:
        self._socketio = socketio
        self._queue: deque[tuple[str, object]] = deque()

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def emit(self, event: str, data: object = None) -> None:
        self._queue.append((event, data))

    def _run(self) -> None:
        while True:
            while self._queue:
                self._socketio.emit(*self._queue.popleft())
            gevent.sleep(POLL_SECONDS)

    def stop(self) -> None:
        self._greenlet.kill()


Kind = Callable[[Sink], Emitter | PollingEmitter]
KINDS: dict[str, Kind] = {"Emitter": Emitter, "10 ms polling": PollingEmitter}


@contextmanager
def running(kind: Kind) -> Iterator[tuple[Sink, Emitter | PollingEmitter]]:
    sink = Sink()
    emitter = kind(sink)
    emitter.start()
    try:
        yield sink, emitter
    finally:
        emitter.stop()


def emit_ticks(emitter: Emitter | PollingEmitter, count: int, period_seconds: float = 0.0) -> None:
    """Emit `count` ticks in this OS thread, each on its time of a fixed schedule."""
    start = time.monotonic()
    for i in range(count):
        if period_seconds:
            native_sleep(max(0.0, start + i * period_seconds - time.monotonic()))
        emitter.emit("tick", {**TICK, "time_ms": time.monotonic()})


def wait_for(sink: Sink, count: int) -> None:
    while len(sink.arrived) < count:
        gevent.sleep(0.02)


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def milliseconds(values: list[float]) -> str:
    p50, p99 = percentile(values, 50), percentile(values, 99)
    return f"{p50 * 1e3:.2f} / {p99 * 1e3:.2f} / {max(values) * 1e3:.2f}"


def measure_schedule(kind: Kind) -> dict[str, str]:
    with running(kind) as (sink, emitter):
        start_native_thread(emit_ticks, (emitter, SCHEDULED_EVENTS, SCHEDULE_SECONDS))
        wait_for(sink, SCHEDULED_EVENTS)
    delays = [b - a for a, b in zip(sink.handed_in, sink.arrived, strict=True)]
    intervals = [b - a for a, b in zip(sink.arrived, sink.arrived[1:], strict=False)]
    return {
        "delay p50 / p99 / max, ms": milliseconds(delays),
        "jitter (deviation of intervals), ms": f"{statistics.stdev(intervals) * 1e3:.2f}",
    }


def measure_idle(kind: Kind) -> dict[str, str]:
    with running(kind):
        gevent.sleep(0.1)
        before = time.process_time()
        gevent.sleep(IDLE_SECONDS)
        used = time.process_time() - before
    return {"idle CPU, % of a core": f"{100 * used / IDLE_SECONDS:.3f}"}


def measure_http(kind: Kind, port: int | None) -> dict[str, str]:
    with running(kind):
        answers = load(port, seconds=3.0).get()
        idle = [answered - due for due, answered in answers]
    with running(kind) as (sink, emitter):
        client = load(port, seconds=7.0)
        gevent.sleep(1.0)
        start = time.monotonic()
        for _ in range(BURST_THREADS):
            start_native_thread(emit_ticks, (emitter, BURST_EVENTS // BURST_THREADS))
        wait_for(sink, BURST_EVENTS)
        end = sink.arrived[-1]
        answers = client.get()
    busy = [answered - due for due, answered in answers if answered > start and due < end]
    return {
        "HTTP idle p50 / p99 / max, ms": milliseconds(idle),
        "HTTP in the burst p50 / p99 / max, ms": milliseconds(busy),
        f"burst of {BURST_EVENTS:,} events, events/s": f"{BURST_EVENTS / (end - start):,.0f}",
    }


def load(port: int | None, seconds: float) -> "gevent.Greenlet[..., list[tuple[float, float]]]":
    """Run the load client in a process of its own; return (due, answered) pairs, monotonic time."""
    command = [sys.executable, "-c", LOAD_CLIENT, str(port), str(seconds)]
    return gevent.spawn(lambda: json.loads(subprocess.check_output(command)))


def main() -> None:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    server = WSGIServer(("127.0.0.1", 0), answer, log=None)
    server.init_socket()
    # Connections inherit it. Else the second small write of an answer waits 40 ms for an ACK.
    server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.start()
    columns = {
        name: measure_schedule(kind) | measure_idle(kind) | measure_http(kind, server.server_port)
        for name, kind in KINDS.items()
    }
    server.stop()
    print(f"{'':38}" + "".join(f"{name:>28}" for name in columns))
    for row in next(iter(columns.values())):
        print(f"{row:38}" + "".join(f"{column[row]:>28}" for column in columns.values()))


if __name__ == "__main__":
    main()
