"""python-socketio's clients as peers: the one of threads, and the one of asyncio."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import aiohttp
import engineio
import requests
import socketio
import websocket
from engineio.packet import CLOSE, Packet

from tests.support.waiting import WAIT_SECONDS
from tests.transport.clients.peers import NAMES, Answer, Log, Peer, Received, Transport

T = TypeVar("T")

# What the libraries wait for one request: 10 MB on a busy machine take their time.
REQUEST_SECONDS = 60.0
RECONNECT: dict[str, Any] = {
    "reconnection_delay": 0.05,
    "reconnection_delay_max": 0.2,
    "randomization_factor": 0,
    "request_timeout": REQUEST_SECONDS,
    "handle_sigint": False,
}


class OrderedEngine(engineio.Client):  # type: ignore[misc]
    """The library's, that handles what comes in its order.

    The library handles each message in a thread of its own: it keeps the order neither of events nor of the
    attachments of one.
    """

    def _trigger_event(self, event: str, *args: Any, **options: Any) -> Any:
        return super()._trigger_event(event, *args, **options | {"run_async": False})


class OrderedClient(socketio.Client):  # type: ignore[misc]
    """The library's, on that engine."""

    def _engineio_client_class(self) -> type:
        return OrderedEngine


class PythonPeer(Peer):
    """What both have in common."""

    client: Any

    def __init__(self, url: str, transport: Transport, **options: Any) -> None:
        super().__init__(url, transport, **options)
        self.logs = {namespace: Log() for namespace in self.namespaces}

    def connected(self, namespace: str) -> bool:
        return namespace in self.client.namespaces

    def sid(self, namespace: str = "/") -> str:
        return str(self.client.get_sid(namespace))

    def engine_id(self) -> str:
        return str(self.client.eio.sid)

    def transport(self) -> str:
        return str(self.client.transport())

    def extensions(self) -> str:
        return ""  # Neither library knows any.

    def connects(self, namespace: str = "/") -> int:
        return self.logs[namespace].connects

    def disconnects(self, namespace: str = "/") -> list[str]:
        return list(self.logs[namespace].disconnects)

    def received(self, event: str | None = None, namespace: str = "/") -> list[Received]:
        return [each for each in list(self.logs[namespace].received) if event in (None, each.event)]

    def answer(self, event: str, *values: Any, namespace: str = "/", after_seconds: float = 0.0) -> None:
        self.logs[namespace].answers[event] = (values, after_seconds)

    def echoes(self, kind: str, size: int, timeout_seconds: float) -> bool:
        sent = noise(kind, size)
        answer = self.call(
            "message-with-ack", sent, namespace=self.namespaces[0], timeout_seconds=timeout_seconds
        )
        return answer == [sent]

    def throw(self, kind: str, size: int) -> None:
        self.emit("message", noise(kind, size), namespace=self.namespaces[0])

    def _polls(self) -> bool:
        """Whether it is connected by long-polling; it does not come back from now on."""
        self.client.reconnection = False
        engine = self.client.eio
        return bool(engine.state == "connected" and engine.current_transport == "polling")

    def _options(self) -> dict[str, Any]:
        """Of the libraries' `connect`."""
        return {
            "namespaces": list(self.namespaces),
            "transports": NAMES[self.wanted],
            "auth": self.auth,
            # The libraries take some out.
            "headers": dict(self.headers or {}),
            "wait_timeout": WAIT_SECONDS,
        }

    def _note_connects(self) -> None:
        for namespace, log in self.logs.items():

            def connected(log: Log = log) -> None:
                log.connects += 1

            self.client.on("connect", connected, namespace=namespace)
            self.client.on("disconnect", log.disconnects.append, namespace=namespace)


class SyncPeer(PythonPeer):
    """The client that works with threads."""

    def __init__(self, url: str, transport: Transport, **options: Any) -> None:
        super().__init__(url, transport, **options)
        self._session = requests.Session()
        self._websockets: list[websocket.WebSocket] = []
        extra = {"class_": self._new_websocket}
        self.client = OrderedClient(http_session=self._session, websocket_extra_options=extra, **RECONNECT)
        self._note_connects()
        for namespace, log in self.logs.items():
            self.client.on("*", self._handler(log), namespace=namespace)

    def open(self) -> None:
        self.client.connect(self.url, **self._options())

    def close(self) -> None:
        if self._polls():
            # The library says goodbye, and its writer ends before it has sent that, more often than not.
            self.client.eio._send_packet(Packet(CLOSE))
            self.client.eio.queue.join()
        self.client.shutdown()
        # The library leaves the sockets of connections that broke to the garbage collector.
        for each in self._websockets:
            each.shutdown()  # type: ignore[no-untyped-call]
        self._session.close()

    def emit_all(self, events: Sequence[tuple[str, Sequence[Any]]], namespace: str = "/") -> None:
        for event, args in events:
            self.client.emit(event, tuple(args), namespace=namespace)

    def call(
        self, event: str, *args: Any, namespace: str = "/", timeout_seconds: float = WAIT_SECONDS
    ) -> list[Any]:
        answer = Answer()
        self.client.emit(event, tuple(args), namespace=namespace, callback=answer)
        return answer.wait(timeout_seconds)

    def _new_websocket(self, **options: Any) -> websocket.WebSocket:
        self._websockets.append(websocket.WebSocket(**options))
        return self._websockets[-1]

    def _handler(self, log: Log) -> Any:
        def handle(event: str, *args: Any) -> Any:
            log.received.append(Received(event, list(args), self.transport()))
            values, after_seconds = log.answers.get(event, ((), 0.0))
            if after_seconds:
                time.sleep(after_seconds)
            return values

        return handle


class Loop:
    """An event loop in a thread of its own, for `with`; beside Playwright there is no other place for one."""

    def __enter__(self) -> Loop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T], timeout_seconds: float = REQUEST_SECONDS) -> T:
        """Let it do something, and wait for what comes of it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_seconds)

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class AsyncPeer(PythonPeer):
    """The client that works with asyncio."""

    def __init__(self, loop: Loop, url: str, transport: Transport, **options: Any) -> None:
        super().__init__(url, transport, **options)
        self._loop = loop
        loop.run(self._prepare())

    async def _prepare(self) -> None:
        # The library reads some answers only halfway, and leaves them to the garbage collector.
        self._answers: list[aiohttp.ClientResponse] = []
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._keep)
        jar = aiohttp.CookieJar(unsafe=True)
        self._session = aiohttp.ClientSession(cookie_jar=jar, trace_configs=[trace])
        # The library under it takes 4 MiB at most, if it is not told otherwise.
        extra = {"max_msg_size": 0}
        self.client = socketio.AsyncClient(
            http_session=self._session, websocket_extra_options=extra, **RECONNECT
        )
        self._note_connects()
        for namespace, log in self.logs.items():
            self.client.on("*", self._handler(log), namespace=namespace)

    async def _keep(self, _: object, __: object, ended: aiohttp.TraceRequestEndParams) -> None:
        self._answers.append(ended.response)

    def open(self) -> None:
        self._loop.run(self.client.connect(self.url, **self._options()))

    def close(self) -> None:
        self._loop.run(self._leave())

    async def _leave(self) -> None:
        if self._polls():
            # As above.
            await self.client.eio._send_packet(Packet(CLOSE))
            await self.client.eio.queue.join()
        await self.client.shutdown()
        await self._session.close()
        for each in self._answers:
            each.close()

    def emit_all(self, events: Sequence[tuple[str, Sequence[Any]]], namespace: str = "/") -> None:
        async def emit() -> None:
            for event, args in events:
                await self.client.emit(event, tuple(args), namespace=namespace)

        self._loop.run(emit())

    def call(
        self, event: str, *args: Any, namespace: str = "/", timeout_seconds: float = WAIT_SECONDS
    ) -> list[Any]:
        answer = Answer()
        self._loop.run(self.client.emit(event, tuple(args), namespace=namespace, callback=answer))
        return answer.wait(timeout_seconds)

    def _handler(self, log: Log) -> Any:
        async def handle(event: str, *args: Any) -> Any:
            log.received.append(Received(event, list(args), self.transport()))
            values, after_seconds = log.answers.get(event, ((), 0.0))
            if after_seconds:
                await asyncio.sleep(after_seconds)
            return values

        return handle


def noise(kind: str, size: int) -> str | bytes:
    """Something large, always the same: printable text, or bytes."""
    data = random.Random(size).randbytes(size)
    return data if kind == "bytes" else data.translate(_PRINTABLE).decode()


# One byte, one letter; no more than a few that JSON escapes.
_PRINTABLE = bytes(32 + number % 90 for number in range(256))
