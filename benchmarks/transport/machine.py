"""Which machine this is, and which of its cores does what."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks.transport.pinned import raise_file_limit
from tests.support import node_js

PACKAGES = (
    "Flask-SocketIO",
    "python-socketio",
    "python-engineio",
    "simple-websocket",
    "websockets",
    "gevent",
    "gunicorn",
)
# Files that a process needs beside its clients' sockets.
SPARE_FILES = 200


def cores() -> tuple[int, int]:
    """Choose a core for the server and one for the generator: the same where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[min(1, len(usable) - 1)]


def most_clients() -> int:
    """How many clients a process can have."""
    return raise_file_limit() - SPARE_FILES


def describe() -> str:
    """Describe the machine in a line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    kilobytes = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return (
        f"{len(os.sched_getaffinity(0))} cores ({model}), {kilobytes / 2**20:.0f} GB, "
        f"Linux {platform.release()}, at most {raise_file_limit():,} files a process"
    )


def versions() -> str:
    """List the versions of what is compared."""
    node = subprocess.run((node_js.program(), "--version"), capture_output=True, text=True, check=True)
    package = json.loads((node_js.packages() / "socket.io" / "package.json").read_text("utf-8"))
    listed = (f"{name} {metadata.version(name)}" for name in PACKAGES)
    own = f"Python {platform.python_version()}, {', '.join(listed)}"
    return f"{own}; Node {node.stdout.strip().lstrip('v')}, socket.io {package['version']}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8", "replace").splitlines()
