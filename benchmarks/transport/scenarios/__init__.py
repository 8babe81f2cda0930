"""What is measured, by name, in the order in which it is done."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.transport.bench import Bench
from benchmarks.transport.scenarios import (
    broadcast,
    connections,
    echo,
    growth,
    latency,
    memory,
    polling,
    proxied,
)

SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "broadcast": broadcast.run,
    "latency": latency.run,
    "http": latency.run_http,
    "echo": echo.run,
    "connections": connections.run,
    "memory": memory.run,
    "heartbeats": memory.run_heartbeats,
    "polling": polling.run,
    "nginx": proxied.run,
    "growth": growth.run,
    "namespaces": growth.run_namespaces,
}
# Those that --quick leaves out: each needs minutes to say anything.
LONG = ("growth", "namespaces", "nginx", "heartbeats")
