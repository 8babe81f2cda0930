"""Real clients behind one face: Socket.IO's own in Node and in a browser, python-socketio's in threads and in
asyncio. Each remembers every event that it receives.
"""

from __future__ import annotations

import base64
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tests.support.waiting import WAIT_SECONDS, wait_until

Kind = Literal["node", "chromium", "python", "asyncio"]
Transport = Literal["websocket", "polling", "upgrade"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)

# The names that clients know.
NAMES: dict[Transport, list[str]] = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
}


class AckTimeout(Exception):
    """No acknowledgement came in time."""


@dataclass(frozen=True)
class Binary:
    """Bytes as a JavaScript client has them: Buffer, ArrayBuffer, Uint8Array or Blob."""

    data: bytes
    type: str


@dataclass(frozen=True)
class Received:
    """An event that came, and the transport that brought it."""

    event: str
    args: list[Any]
    via: str


class Peer(ABC):
    """One connection with one or several namespaces. It comes back by itself when it breaks.

    :param namespaces: those it connects to.
    :param auth: what it says when it connects.
    :param headers: of every request; a browser allows none.
    """

    def __init__(
        self,
        url: str,
        transport: Transport,
        *,
        namespaces: Sequence[str] = ("/",),
        auth: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.url = url
        self.wanted: Transport = transport
        self.namespaces = tuple(namespaces)
        self.auth = auth
        self.headers = headers

    @abstractmethod
    def open(self) -> None:
        """Begin to connect."""

    @abstractmethod
    def close(self) -> None:
        """Leave for good."""

    @abstractmethod
    def connected(self, namespace: str) -> bool:
        """Whether a namespace has let it in."""

    @abstractmethod
    def sid(self, namespace: str = "/") -> str:
        """Its id in a namespace."""

    @abstractmethod
    def engine_id(self) -> str:
        """The id of the connection."""

    @abstractmethod
    def transport(self) -> str:
        """ "polling" or "websocket"."""

    @abstractmethod
    def extensions(self) -> str:
        """What was agreed upon for the WebSocket."""

    @abstractmethod
    def connects(self, namespace: str = "/") -> int:
        """How often it was let in."""

    @abstractmethod
    def disconnects(self, namespace: str = "/") -> list[str]:
        """Why it was disconnected, each time, in its own words."""

    @abstractmethod
    def received(self, event: str | None = None, namespace: str = "/") -> list[Received]:
        """What has come so far, or what of it under a name."""

    @abstractmethod
    def emit_all(self, events: Sequence[tuple[str, Sequence[Any]]], namespace: str = "/") -> None:
        """Emit several events with their arguments, one right after the other."""

    @abstractmethod
    def call(
        self, event: str, *args: Any, namespace: str = "/", timeout_seconds: float = WAIT_SECONDS
    ) -> list[Any]:
        """Emit, and return what the server acknowledges with.

        :raises AckTimeout: when it does not in time.
        """

    @abstractmethod
    def answer(self, event: str, *values: Any, namespace: str = "/", after_seconds: float = 0.0) -> None:
        """Say what it acknowledges an event of the server's with, and how late."""

    @abstractmethod
    def echoes(self, kind: str, size: int, timeout_seconds: float) -> bool:
        """Send something large to the handler that sends it back, and tell whether it is the same.

        :param kind: "text" or "bytes"; for a JavaScript client also the type of a Binary.
        """

    @abstractmethod
    def throw(self, kind: str, size: int) -> None:
        """Emit something large, and wait for nothing."""

    # What follows from that.

    def wait_until_connected(self, connects: int = 1) -> None:
        """Wait until every namespace has let it in, and so often; after an upgrade if it wants one."""
        for namespace in self.namespaces:
            wait_until(
                lambda each=namespace: self.connected(each) and self.connects(each) >= connects,  # type: ignore[misc]
                lambda each=namespace: f"{self!r} in {each}",  # type: ignore[misc]
            )
        last = NAMES[self.wanted][-1]
        wait_until(
            lambda: self.transport() == last, lambda: f"{self!r} is on {self.transport()}, not on {last}"
        )

    def emit(self, event: str, *args: Any, namespace: str = "/") -> None:
        """Emit an event."""
        self.emit_all([(event, args)], namespace)

    def wait_for(
        self, event: str, count: int = 1, *, namespace: str = "/", timeout_seconds: float = WAIT_SECONDS
    ) -> list[list[Any]]:
        """Wait until an event has come so often, and return the arguments of each."""
        wait_until(
            lambda: len(self.received(event, namespace)) >= count,
            lambda: f"{event} came {len(self.received(event, namespace))} times, not {count}: {self!r}",
            timeout_seconds,
        )
        return [each.args for each in self.received(event, namespace)]

    def __repr__(self) -> str:
        disconnects = {each: self.disconnects(each) for each in self.namespaces}
        return f"{type(self).__name__}({self.wanted}, on {self.transport()}, disconnects: {disconnects})"


class JavaScript(Peer):
    """Socket.IO's own client, in tests/js/agent.js.

    :param ask: calls a function of the agent.
    :param bytes_type: what it makes of bytes.
    :param options: of its `io()`.
    """

    def __init__(
        self,
        ask: Callable[..., Any],
        name: str,
        bytes_type: str,
        url: str,
        transport: Transport,
        *,
        namespaces: Sequence[str] = ("/",),
        auth: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(url, transport, namespaces=namespaces, auth=auth, headers=headers)
        self.ask = ask
        self.options = options
        self._bytes_type = bytes_type
        self._names = {namespace: f"{name}{namespace}" for namespace in self.namespaces}
        self._received: dict[str, list[Received]] = {namespace: [] for namespace in self.namespaces}

    def open(self) -> None:
        first, *others = self.namespaces
        options = {"transports": NAMES[self.wanted], "auth": self.auth, **self.options}
        if self.headers:
            options["extraHeaders"] = self.headers
        self.ask("open", self.name(first), self.url, first, options)
        for namespace in others:
            self.ask("also", self.name(namespace), self.name(first), namespace, self.auth)

    def close(self) -> None:
        for name in self._names.values():
            self.ask("close", name)

    def name(self, namespace: str = "/") -> str:
        """What the agent knows it by."""
        return self._names[namespace]

    def state(self, namespace: str = "/") -> dict[str, Any]:
        """All that the agent tells about it."""
        state: dict[str, Any] = self.ask("state", self.name(namespace))
        return state

    def connected(self, namespace: str) -> bool:
        return bool(self.state(namespace)["connected"])

    def sid(self, namespace: str = "/") -> str:
        return str(self.state(namespace)["sid"])

    def engine_id(self) -> str:
        return str(self.state(self.namespaces[0])["engine"])

    def transport(self) -> str:
        return str(self.state(self.namespaces[0])["transport"])

    def extensions(self) -> str:
        return str(self.state(self.namespaces[0])["extensions"])

    def connects(self, namespace: str = "/") -> int:
        return int(self.state(namespace)["connects"])

    def disconnects(self, namespace: str = "/") -> list[str]:
        return list(self.state(namespace)["disconnects"])

    def errors(self, namespace: str = "/") -> list[dict[str, Any]]:
        """Why it could not connect, each time."""
        return list(self.state(namespace)["errors"])

    def received(self, event: str | None = None, namespace: str = "/") -> list[Received]:
        came = self._received[namespace]
        came += [Received(**_plain(each)) for each in self.ask("take", self.name(namespace))]
        return [each for each in came if event in (None, each.event)]

    def emit_all(
        self, events: Sequence[tuple[str, Sequence[Any]]], namespace: str = "/", *, volatile: bool = False
    ) -> None:
        tagged = [[event, [self._tagged(value) for value in args]] for event, args in events]
        self.ask("emit", self.name(namespace), tagged, volatile)

    def call(
        self, event: str, *args: Any, namespace: str = "/", timeout_seconds: float = WAIT_SECONDS
    ) -> list[Any]:
        tagged = [self._tagged(value) for value in args]
        values: list[Any] = self._patient(timeout_seconds, "call", self.name(namespace), event, tagged)
        return values

    def answer(self, event: str, *values: Any, namespace: str = "/", after_seconds: float = 0.0) -> None:
        tagged = [self._tagged(value) for value in values]
        self.ask("answer", self.name(namespace), event, tagged, after_seconds * 1000)

    def echoes(self, kind: str, size: int, timeout_seconds: float) -> bool:
        kind = self._bytes_type if kind == "bytes" else kind
        return bool(self._patient(timeout_seconds, "big", self.name(self.namespaces[0]), kind, size)["same"])

    def throw(self, kind: str, size: int) -> None:
        kind = self._bytes_type if kind == "bytes" else kind
        self.ask("throwBig", self.name(self.namespaces[0]), kind, size)

    def _patient(self, timeout_seconds: float, function: str, *args: Any) -> Any:
        try:
            value = self.ask(
                function, *args, timeout_seconds * 1000, timeout_seconds=timeout_seconds + WAIT_SECONDS
            )
        except Exception as error:
            # What the client's own error says.
            if "operation has timed out" in str(error):
                raise AckTimeout(str(error)) from None
            raise
        return _plain(value)

    def _tagged(self, value: Any) -> Any:
        if isinstance(value, bytes):
            value = Binary(value, self._bytes_type)
        if isinstance(value, Binary):
            return {"$bytes": base64.b64encode(value.data).decode(), "type": value.type}
        if isinstance(value, dict):
            return {key: self._tagged(item) for key, item in value.items()}
        return [self._tagged(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    """What the agent says, with bytes for binary values of every kind."""
    if isinstance(value, dict):
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


class Log:
    """What happens to a Python client in one namespace; written by its threads, read by the test."""

    def __init__(self) -> None:
        self.connects = 0
        self.disconnects: list[str] = []
        self.received: list[Received] = []
        self.answers: dict[str, tuple[tuple[Any, ...], float]] = {}


class Answer:
    """One acknowledgement that is waited for."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._values: tuple[Any, ...] = ()

    def __call__(self, *values: Any) -> None:
        self._values = values
        self._came.set()

    def wait(self, timeout_seconds: float) -> list[Any]:
        """:raises AckTimeout: when it does not come in time."""
        if not self._came.wait(timeout_seconds):
            raise AckTimeout
        return list(self._values)
