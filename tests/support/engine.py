"""Socket.IO programs in child processes, driven from a test; and clients that remember what they got.

A *program* is a small Flask-SocketIO application (`programs.py`). It runs Python expressions that the test
gives it: within a handler (`Peer.run`), or outside of all handlers (`Program.run`). What they return travels
as text, so that bytes, tuples and None stay what they are.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import itertools
import json
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import requests
import socketio
import websocket

from tests.support.clients import RawClient, RefusedConnect
from tests.support.redis import quiet_port
from tests.support.servers import HOST, Server
from tests.support.waiting import WAIT_SECONDS, wait_until

Library = Literal["stock", "ours"]
Mode = Literal["gevent", "threading"]
Received = tuple[str, tuple[Any, ...]]

# A node that has no clients, and owes nobody anything.
EMPTY = """not (
    manager.rooms or manager.eio_to_sid or manager.callbacks or manager.pending_connect
    or manager.pending_disconnect or manager.acks or manager.acks._owed_by or manager._expiring
    or server.environ or server._binary_packet
    or [each for each in server.eio.sockets.values() if not each.closed]
)"""


class Failed(Exception):
    """An expression raised in the program. `kinds` are the names of the error's classes, own class first."""

    def __init__(self, kinds: Sequence[str], text: str) -> None:
        super().__init__(f"{kinds[0]}: {text}")
        self.kinds = tuple(kinds)
        self.text = text


class Program(Server):
    """One program in a child process.

    :param library: whose SocketIO it imports.
    :param mode: its `async_mode`; "gevent" also patches the standard library.
    :param name: which program of `programs.py`.
    :param options: arguments of SocketIO, as Python expressions by name.
    """

    def __init__(
        self, library: Library, mode: Mode = "gevent", *, name: str = "everything", **options: str
    ) -> None:
        super().__init__(f"{library}-{mode}-{name}")
        self.port = quiet_port()
        self.library = library
        self.mode = mode
        self._program = name
        self._options = options

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        arguments = (self._program, self.library, self.mode, str(self.port), json.dumps(self._options))
        return (sys.executable, "-m", "tests.support.programs", *arguments)

    def ready(self) -> bool:
        """Ask it something."""
        try:
            return requests.get(f"{self.url}/ready", timeout=5).ok
        except requests.RequestException:
            return False

    def run(self, expression: str, *, path: str = "", **names: Any) -> Any:
        """Evaluate an expression in the program, outside of its handlers, and return the value.

        Its names are `app`, `socketio`, `server`, `manager`, `flask_socketio`, `notes` (a list) and those of
        a few modules; and `names`.

        :param path: of the variant, with a slash before it.
        :raises Failed: when it raises.
        """
        body = {"expression": expression, "names": repr(names)}
        answer = requests.post(f"{self.url}{path}/run", json=body, timeout=WAIT_SECONDS)
        answer.raise_for_status()
        return result(answer.json())

    def wait_for(self, expression: str, **names: Any) -> Any:
        """Wait until an expression is true there, and return its value."""
        return wait_until(lambda: self.run(expression, **names), f"{expression} in {self.name}")


def result(answer: Mapping[str, Any]) -> Any:
    """What an expression returned.

    :raises Failed: what it raised.
    """
    if "error" in answer:
        raise Failed(answer["kinds"], answer["error"])
    return ast.literal_eval(answer["value"])


class _WebSocket(websocket.WebSocket):
    """A WebSocket that does not wait at its end for an answer which another greenlet reads."""

    def close(self, *arguments: Any, **options: Any) -> None:
        super().close(*arguments, **options | {"timeout": 0})


class Peer:
    """A real Socket.IO client in one namespace. It remembers all events, with all their arguments.

    :param answers: what to acknowledge an event with; a function is called with the event's arguments.
    :param options: of `socketio.Client`.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "/",
        auth: Any = None,
        path: str = "socket.io",
        transports: Sequence[str] = ("websocket",),
        answers: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.namespace = namespace
        self.received: list[Received] = []
        self.reasons: list[str] = []
        self.refusal: Any = None
        self._changed = threading.Condition()
        self._answers = dict(answers or {})
        self._session = requests.Session()
        self._websocket: websocket.WebSocket | None = None
        self.socket = socketio.Client(
            http_session=self._session,
            reconnection=False,
            request_timeout=WAIT_SECONDS,
            websocket_extra_options={"class_": self._new_websocket},
            **options,
        )
        self.socket.on("*", self._take, namespace=namespace)
        self.socket.on("disconnect", self._take_end, namespace=namespace)
        self.socket.on("connect_error", self._take_refusal, namespace=namespace)
        self._connect: Callable[[], None] = lambda: self.socket.connect(
            url,
            headers=dict(headers or {}),
            auth=auth,
            namespaces=[namespace],
            transports=list(transports),
            socketio_path=path,
            wait_timeout=WAIT_SECONDS,
        )

    def connect(self) -> Self:
        """Connect, and wait until the namespace has let the client in.

        :raises RefusedConnect: when it does not.
        """
        try:
            self._connect()
        except socketio.exceptions.ConnectionError as error:
            self.close()
            raise RefusedConnect(self.refusal or error) from None
        return self

    @property
    def sid(self) -> str:
        """The client's id in its namespace."""
        return str(self.socket.get_sid(self.namespace))

    @property
    def connected(self) -> bool:
        """Whether the namespace still has the client in."""
        return self.namespace in self.socket.namespaces

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that the server has set."""
        return {str(cookie.name): str(cookie.value) for cookie in self._session.cookies}

    def emit(self, event: str, *data: Any) -> None:
        """Emit an event."""
        self.socket.emit(event, data, namespace=self.namespace)

    def call(self, event: str, *data: Any) -> Any:
        """Emit an event and return its acknowledgement."""
        return self.socket.call(event, data, namespace=self.namespace, timeout=WAIT_SECONDS)

    def run(self, expression: str, **names: Any) -> Any:
        """Evaluate an expression in the program, within a handler of this client's event.

        :raises Failed: when it raises.
        """
        return result(self.call("run", expression, repr(names)))

    def got(self, *names: str) -> list[Received]:
        """Every event so far; or those of these names."""
        return [event for event in list(self.received) if not names or event[0] in names]

    def wait_for(self, name: str, count: int = 1) -> list[tuple[Any, ...]]:
        """Wait until so many events of a name have come, and return their arguments."""
        self.wait_until(lambda: len(self.got(name)) >= count, f"{count} {name!r}")
        return [arguments for _, arguments in self.got(name)]

    def wait_until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until something holds that depends on what came."""
        with self._changed:
            if not self._changed.wait_for(condition, WAIT_SECONDS):
                raise AssertionError(f"{what} did not come; there is {self.received}, {self.reasons}")

    def leave(self) -> None:
        """Disconnect, as a client does."""
        # Sent before the connection is closed; the library does both at once, and waits for 3 s after it.
        self.socket.eio.send("1" if self.namespace == "/" else f"1{self.namespace},")
        self.socket.eio.queue.join()
        self.socket.disconnect()

    def cut(self) -> None:
        """End a WebSocket without a goodbye."""
        # The library leaves the socket of a connection that broke to the garbage collector.
        if self._websocket is not None:
            self._websocket.shutdown()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Leave, and end what runs in the background."""
        self.socket.shutdown()
        self.cut()
        self._session.close()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, event: str, *arguments: Any) -> Any:
        with self._changed:
            self.received.append((event, arguments))
            self._changed.notify_all()
        answer = self._answers.get(event)
        return answer(*arguments) if callable(answer) else answer

    def _take_end(self, reason: str) -> None:
        with self._changed:
            self.reasons.append(reason)
            self._changed.notify_all()

    def _take_refusal(self, data: Any) -> None:
        self.refusal = data

    def _new_websocket(self, **options: Any) -> websocket.WebSocket:
        self.cut()
        self._websocket = _WebSocket(**options)
        return self._websocket


class Nodes:
    """Several nodes of one application, and their clients.

    :param queue: the brokers' addresses.
    :param modes: how each node works.
    :param options: further arguments of SocketIO, as Python expressions by name.
    """

    def __init__(self, queue: Sequence[str], modes: Sequence[Mode], **options: str) -> None:
        options |= {"message_queue": repr(list(queue)), "channel": repr(f"nodes-{secrets.token_hex(4)}")}
        self._nodes = [Program("ours", mode, **options) for mode in modes]
        self._exits = contextlib.ExitStack()
        self._peers = contextlib.ExitStack()
        self._fences = itertools.count()

    def __getitem__(self, number: int) -> Program:
        return self._nodes[number]

    def __len__(self) -> int:
        return len(self._nodes)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as exits:
            for node in self._nodes:
                exits.enter_context(node)
                node.run("socketio.start_queue()")
            others = len(self._nodes) - 1
            for node in self._nodes:
                node.wait_for(
                    f"socketio.queue_status()['active'] and len(socketio.queue_status()['nodes']) == {others}"
                )
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        logs = [node.log() for node in self._nodes]
        self._exits.close()
        for log in logs:
            assert "Traceback" not in log, log

    def join(self, number: int, **options: Any) -> Peer:
        """Connect a client to a node; it leaves with `tidy`."""
        return self._peers.enter_context(Peer(self[number].url, **options))

    def raw(self, number: int) -> RawClient:
        """Connect a client that acknowledges nothing by itself; it leaves with `tidy`."""
        client = self._peers.enter_context(RawClient(self[number].url))
        client.send("40")
        client.receive_until("40")
        return client

    def seen(self, *peers: Peer, sender: int = 0) -> list[list[Received]]:
        """What each client got, greetings aside, until everything that a node has done has come."""
        fence = next(self._fences)
        for namespace in {peer.namespace for peer in peers}:
            names: dict[str, Any] = {"fence": fence, "namespace": namespace}
            self[sender].run("socketio.emit('fence', fence, namespace=namespace)", **names)
        for peer in peers:
            fences = functools.partial(peer.received.__contains__, ("fence", (fence,)))
            peer.wait_until(fences, "the fence")
        events = [[event for event in peer.got() if event[0] not in ("fence", "welcome")] for peer in peers]
        for peer in peers:
            peer.received.clear()
        return events

    def tidy(self) -> None:
        """Let all clients leave, and wait until no node remembers them, nor what they owed.

        :raises AssertionError: when one does.
        """
        self._peers.close()
        for node in self._nodes:
            node.wait_for(EMPTY)
            node.run("(notes.clear(), kept.clear()) and None")
