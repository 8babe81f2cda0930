"""A node inside the test process, with one client in each namespace that notes what it receives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

import flask_socketio
from flask import Flask

from app.realtime import SocketIO
from tests.support.servers import ROOT, child_environment
from tests.support.waiting import wait_until

Event = tuple[str, list[Any]]
ROOM = "sports"


class Hearing:
    """One such node; for `with`, which begins when it hears all brokers that are up.

    The clients are in the room `sports`.

    :param urls: of the brokers, best first.
    :param deaf: how many of them do not work.
    :param options: further arguments of `SocketIO`.
    """

    def __init__(
        self,
        urls: Sequence[str],
        channel: str,
        *,
        namespaces: Sequence[str] = ("/",),
        deaf: int = 0,
        **options: Any,
    ) -> None:
        self._up = len(urls) - deaf
        self._app = Flask("hearing")
        self.socketio = SocketIO(
            self._app, message_queue=list(urls), channel=channel, async_mode="gevent", **options
        )
        self._events: dict[str, list[Event]] = {name: [] for name in namespaces}
        for name in namespaces:
            self.socketio.on_event("connect", lambda: flask_socketio.join_room(ROOM), namespace=name)
        self._clients = {name: self.socketio.test_client(self._app, namespace=name) for name in namespaces}

    def __enter__(self) -> Self:
        self.socketio.start_queue()
        wait_until(
            lambda: sum(link["state"] == "up" for link in self.status["brokers"].values()) == self._up,
            lambda: f"the brokers work: {self.status['brokers']}",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.socketio.close(0)

    @property
    def status(self) -> dict[str, Any]:
        """How the queue looks from here."""
        return self.socketio.queue_status()

    def sid(self, namespace: str = "/") -> str:
        """The client's id."""
        client = self._clients[namespace]
        return str(self.socketio.server.manager.sid_from_eio_sid(client.eio_sid, namespace))

    def events(self, namespace: str = "/") -> list[Event]:
        """What the client has received: (name, arguments), in order."""
        received = self._clients[namespace].get_received(namespace)
        self._events[namespace] += [(packet["name"], packet["args"]) for packet in received]
        return self._events[namespace]

    def values(self, event: str, namespace: str = "/") -> list[Any]:
        """The first arguments of an event, in order."""
        return [arguments[0] for name, arguments in self.events(namespace) if name == event]

    def wait_for(self, event: str, count: int, namespace: str = "/") -> list[Any]:
        """Wait for so many events of a name, and return their first arguments."""
        wait_until(
            lambda: len(self.values(event, namespace)) >= count,
            lambda: f"{count} {event!r}; there are {len(self.values(event, namespace))}",
        )
        return self.values(event, namespace)


def run(
    *command: str, timeout_seconds: float = 60.0, text: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of this interpreter to its end, in the project's folder.

    :param command: the arguments of python.
    :param text: its input.
    """
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=child_environment(environment),
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def start(command: Sequence[str], environment: Mapping[str, str], **options: Any) -> subprocess.Popen[str]:
    """Start such a program; what it says comes by its pipes."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=child_environment(environment),
        text=True,
        **pipes | options,
    )
