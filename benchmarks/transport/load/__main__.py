"""The generator's process: told what to do in JSON lines, as `-m benchmarks.transport.load HOST PORT`.

Each answer tells the share of a core that the process used meanwhile (`busy`).
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.transport.load import echo, idle
from benchmarks.transport.load.client import ClientError
from benchmarks.transport.load.fleet import Fleet
from benchmarks.transport.load.polling import PollingFleet
from benchmarks.transport.load.probe import Probe
from benchmarks.transport.load.publish import Publisher
from benchmarks.transport.load.receive import Receiver


class Generator:
    """What it can be told; a command that has to be prepared says so first, with an empty answer."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._fleet = Fleet(host, port)
        self._polling = PollingFleet(host, port)

    def connect(
        self, count: int, blocks: list[int], namespaces: int, in_flight: int, timeout: float
    ) -> Iterator[dict[str, Any]]:
        """More WebSocket clients."""
        yield self._fleet.connect(count, blocks, namespaces, in_flight, timeout)

    def reconnect(self, count: int, timeout: float) -> Iterator[dict[str, Any]]:
        """Everybody leaves at once, and comes back at once."""
        self._fleet.close()
        yield self._fleet.connect(count, [], 1, count, timeout)

    def receive(self, members: int, timeout: float, **order: int) -> Iterator[dict[str, Any]]:
        """Get what the server is about to emit."""
        receiver = Receiver(self._fleet, members, **order)
        yield {}
        yield receiver.run(timeout)

    def publish(
        self, rate: float, seconds: float, size: int, every: int, probe_seconds: float
    ) -> Iterator[dict[str, Any]]:
        """Publish, and see how long it takes; ask over HTTP meanwhile, if wanted."""
        probe = Probe(*self._address, probe_seconds) if probe_seconds else None
        result = Publisher(self._fleet, rate, seconds, size, every).run(probe)
        if probe is not None:
            result["http_ms"] = sorted(probe.took_ms)
            probe.close()
        yield result

    def echo(self, seconds: float, size: int) -> Iterator[dict[str, Any]]:
        """Send events that come back."""
        yield echo.run(self._fleet, seconds, size)

    def idle(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Answer pings."""
        yield idle.run(self._fleet, seconds)

    def connect_polling(self, count: int) -> Iterator[dict[str, Any]]:
        """Clients that poll."""
        yield self._polling.connect(count)

    def receive_polling(self, count: int, size: int, timeout: float) -> Iterator[dict[str, Any]]:
        """Let them get what the server is about to emit."""
        self._polling.poll()
        yield {}
        yield self._polling.receive(count, size, timeout)

    def echo_polling(self, seconds: float, size: int) -> Iterator[dict[str, Any]]:
        """Let them send events that come back."""
        yield self._polling.echo(seconds, size)

    def close(self) -> Iterator[dict[str, Any]]:
        """Everybody leaves."""
        self._fleet.close()
        self._polling.close()
        yield {}


def main() -> None:
    """Do what is told until the input ends."""
    # What it holds is no garbage, and a pause would look like one of the server.
    gc.disable()
    generator = Generator(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        order = json.loads(line)
        wall, processor = time.perf_counter(), time.process_time()
        try:
            for answer in getattr(generator, order.pop("do"))(**order):
                took = time.perf_counter() - wall
                _say({**answer, "busy": (time.process_time() - processor) / took})
                wall, processor = time.perf_counter(), time.process_time()
        except (ClientError, OSError) as error:
            _say({"error": str(error) or repr(error)})
    # Thousands of sockets end quicker with the process.
    os._exit(0)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
