"""A node of the fault tests, or an external emitter, as a process: `python -m tests.faults.node OPTIONS`.

OPTIONS is JSON, see `tests.support.cluster.NodeOptions`. The process takes commands on a Unix socket in its
folder, one JSON line each, and answers with one: see the methods of `Program` whose names begin with `do_`.
"""

from __future__ import annotations

import json
import sys

OPTIONS = json.loads(sys.argv[1])
if OPTIONS["role"] == "node":
    # First of all, as in the application. An external emitter is a plain program, with native threads.
    from gevent import monkey

    monkey.patch_all()

import contextlib  # noqa: E402
import gc  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import flask_socketio  # noqa: E402
from flask import Flask  # noqa: E402

from tests.faults import edge  # noqa: E402
from tests.faults.emitting import Emitting, SwitchCounter  # noqa: E402
from tests.faults.records import Recorder  # noqa: E402
from tests.support.cluster import CONTROL_SOCKET, emitted_path, received_path  # noqa: E402

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def build() -> Any:
    """Make the SocketIO that the options ask for."""
    app = Flask(__name__) if OPTIONS["role"] == "node" else None
    arguments: dict[str, Any] = {"channel": OPTIONS["channel"]}
    if app:
        arguments["async_mode"] = "gevent"
    if OPTIONS["engine"] == "stock":
        return flask_socketio.SocketIO(app, message_queue=OPTIONS["urls"][0], **arguments)
    from app.realtime import QueueOptions, SocketIO

    options = dict(OPTIONS["queue_options"])
    if "spool" in options:
        options["spool"] = Path(options["spool"])
    return SocketIO(
        app,
        message_queue=OPTIONS["urls"],
        queue_strategy=OPTIONS["strategy"],
        channel_secret=OPTIONS["secret"],
        stock_channel=OPTIONS["stock_channel"],
        queue_options=QueueOptions(**options),
        **arguments,
    )


class Program:
    """What the process does when it is told to."""

    def __init__(self) -> None:
        self.folder = Path(OPTIONS["folder"])
        self.is_node = OPTIONS["role"] == "node"
        self.switches = SwitchCounter(greenlets=self.is_node)
        self.socketio = build()
        self.emitting: dict[int, Emitting] = {}
        if self.is_node:
            recorder = Recorder(received_path(self.folder, OPTIONS["life"]))
            edge.connect(self.socketio.server, recorder)

    def do_warm_up(self, label: int) -> None:
        """Emit number 0 once."""
        self.socketio.emit(edge.EVENT, {"label": label, "number": 0})

    def do_emit(self, label: int, rate: float) -> None:
        """Begin to emit."""
        recorder = Recorder(emitted_path(self.folder, label))
        self.emitting[label] = Emitting(self.socketio.emit, label, rate, recorder, self.switches)

    def do_stop(self) -> None:
        """Emit no more."""
        for one in self.emitting.values():
            one.stop()

    def do_busy(self) -> bool:
        """Whether an emit() has not come back."""
        return any(one.running for one in self.emitting.values())

    def do_refusals(self) -> list[str]:
        """What the last refused emit() of each emitter said."""
        return [one.refusal for one in self.emitting.values() if one.refusal]

    def do_status(self) -> Any:
        """The queue's status; None of the stock classes, which have none."""
        return self.socketio.queue_status() if hasattr(self.socketio, "queue_status") else None

    def do_switch(self, name: str) -> None:
        """Switch by hand."""
        self.socketio.switch_queue(name)

    def do_flush(self, timeout_seconds: float) -> int:
        """Wait until everything is delivered, and tell what is not (an external emitter of the engine)."""
        return int(self.socketio.flush(timeout_seconds))

    def do_usage(self) -> dict[str, int]:
        """What the process holds."""
        gc.collect()
        greenlets = 0
        if self.is_node:
            from greenlet import greenlet

            greenlets = sum(isinstance(one, greenlet) and not one.dead for one in gc.get_objects())
        return {
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "greenlets": greenlets,
            "threads": len(list(Path("/proc/self/task").iterdir())),
            "bytes": int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_BYTES,
        }

    def serve(self) -> None:
        """Take commands, until the process is ended."""
        address = self.folder / CONTROL_SOCKET
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen()
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rwb") as stream:
            command = json.loads(stream.readline())
            try:
                answer = {"value": getattr(self, "do_" + command.pop("do"))(**command)}
            except Exception as error:
                logging.exception("a command failed")
                answer = {"error": f"{type(error).__name__}: {error}"}
            stream.write(json.dumps(answer, default=str).encode() + b"\n")


def end_with_parent(parent: int) -> None:
    """End when the tests are gone without having ended this process."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def main() -> None:
    """Run."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("amqp", "kombu"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    Program().serve()


if __name__ == "__main__":
    main()
