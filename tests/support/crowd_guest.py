"""One guest of the crowd: a real Socket.IO client that does what the page does.

It signs in through the form, keeps cookies in a jar of its own, reconnects by the library's own rules, and
then does as static/js/chat/outbox.js, history.js and chat.js: it asks for the messages it has missed, and
repeats under the same id what was not acknowledged.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import aiohttp
import socketio

from tests.support.crowd import Failure, Record

NAMESPACE = "/chat"
# How patient the page is: static/js/connection.js.
REQUEST_SECONDS = 8.0
ATTEMPT_SECONDS = 10.0
AGAIN_SECONDS = 1.0
# How it catches up: static/js/chat/history.js.
PAGE = 100
REREAD = 50
TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}


class Offline(Exception):
    """There is no connection, or it broke before the answer came."""


class Refused(Exception):
    """The server refused an event."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["code"])
        self.code: str = error["code"]
        self.retry_seconds: float = error.get("retry_after_ms", AGAIN_SECONDS * 1000) / 1000


class Client(socketio.AsyncClient):  # type: ignore[misc]
    """The library's client with the page's patience."""

    async def connect(self, *arguments: Any, **options: Any) -> None:
        """Connect once, for at most ATTEMPT_SECONDS in each step."""
        try:
            await super().connect(*arguments, **options | {"wait_timeout": ATTEMPT_SECONDS})
        except (socketio.exceptions.ConnectionError, ValueError):
            raise
        except Exception as error:
            # Anything else would end the library's reconnection for good.
            raise socketio.exceptions.ConnectionError(repr(error)) from error


class Guest:
    """One person with one tab, in one room."""

    def __init__(self, url: str, name: str, transport: str, room: str) -> None:
        self.record = Record(name, transport, room)
        self.to_write: deque[str] = deque()
        self._url = url
        self._written = itertools.count(1)
        self._unbroken = 0  # Up to here nothing is missing.
        self._newest = 0
        self._in_step = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Future[dict[str, Any]]] = set()
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._note_answer)
        trace.on_request_exception.append(self._note_failure)
        self._http = aiohttp.ClientSession(
            # A browser keeps cookies of an address, too; this library wants to be told.
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(connect=ATTEMPT_SECONDS),
            trace_configs=[trace],
        )
        self._socket = Client(http_session=self._http, request_timeout=ATTEMPT_SECONDS, handle_sigint=False)
        self._socket.on("connect", self._connected, namespace=NAMESPACE)
        self._socket.on("disconnect", self._disconnected, namespace=NAMESPACE)
        self._socket.on("message", self._heard, namespace=NAMESPACE)

    @property
    def in_step(self) -> bool:
        """Whether it is connected and has caught up."""
        return self._in_step.is_set()

    def missing(self, last_seq: int) -> list[int]:
        """Which messages of the room, up to a number, it does not show."""
        shown = self.record.shown
        return [seq for seq in range(self.record.first_seq + 1, last_seq + 1) if seq not in shown]

    # Coming and going.

    async def arrive(self, rooms: Sequence[str]) -> None:
        """Sign in, connect, and go to the room; the rooms that there are not are made."""
        form = {"name": self.record.name}
        async with self._http.post(f"{self._url}/sign-in", data=form, allow_redirects=False) as answer:
            if answer.status != 303:
                raise RuntimeError(f"the sign-in answered {answer.status}: {(await answer.text())[:500]}")
        for room in rooms:
            async with self._http.post(f"{self._url}/api/v1/rooms", json={"name": room}) as answer:
                if answer.status != 201:
                    raise RuntimeError(f"a new room answered {answer.status}: {(await answer.text())[:500]}")
        transports = TRANSPORTS[self.record.transport]
        await self._socket.connect(self._url, transports=transports, namespaces=[NAMESPACE])
        await self._in_step.wait()
        self._pumping = asyncio.create_task(self._pump())

    async def leave(self) -> None:
        """Leave for good."""
        if self._pumping is not None:
            self._pumping.cancel()
        await self._socket.shutdown()
        await self._http.close()

    def _connected(self) -> None:
        sid = self._socket.get_sid(NAMESPACE)
        node = sid.partition(".")[0] if "." in sid else ""
        self.record.connects.append((time.monotonic(), node, self._socket.eio.sid))
        self._reading = asyncio.create_task(self._sync())

    def _disconnected(self, reason: str) -> None:
        self.record.disconnects.append((time.monotonic(), reason))
        self._in_step.clear()
        if self._reading is not None:
            self._reading.cancel()
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(Offline())

    async def _sync(self) -> None:
        while True:
            try:
                hello = await self._request("hello")
                rooms = {room["name"]: room for room in hello["rooms"]}
                if not self.record.room_id:
                    await self._settle_in(rooms)
                await self._catch_up(max(self.record.first_seq, self._unbroken - REREAD), why="reconnect")
            except Offline:
                return  # The next connect begins again.
            except (TimeoutError, Refused) as error:
                self._note_refusal(error)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self._in_step.set()
                return

    async def _settle_in(self, rooms: dict[str, dict[str, Any]]) -> None:
        """Go from where everybody is put at first to the own room."""
        room = rooms[self.record.room]["id"]
        for other in rooms.values():
            if other["joined"] and other["id"] != room:
                await self._request("leave", room=other["id"])
        answer = await self._request("join", room=room)
        self.record.first_seq = self._unbroken = self._newest = answer["room"]["last_seq"]
        self.record.room_id = room

    # Reading.

    def _heard(self, message: dict[str, Any]) -> None:
        if message["room"] != self.record.room_id or message["seq"] <= self.record.first_seq:
            return
        self.record.live.append((len(self.record.connects), message["seq"]))
        self._receive(message)

    def _receive(self, message: dict[str, Any]) -> None:
        """Take a message from the event or from the acknowledgement, whichever comes first."""
        self._show(message)
        if self._unbroken < self._newest and self._reading is not None and self._reading.done():
            self._reading = asyncio.create_task(self._fill())

    def _show(self, message: dict[str, Any]) -> bool:
        shown = self.record.shown
        new = message["seq"] not in shown
        shown.setdefault(message["seq"], message["client_id"])
        self._newest = max(self._newest, message["seq"])
        while self._unbroken + 1 in shown:
            self._unbroken += 1
        return new

    async def _fill(self) -> None:
        try:
            await self._catch_up(self._unbroken, why="gap")
        except Offline:
            pass  # The next connect begins again.
        except (TimeoutError, Refused) as error:
            self._note_refusal(error)  # The next message shows the gap again.

    async def _catch_up(self, after: int, why: str) -> None:
        more = True
        while more:
            page = await self._request("history", room=self.record.room_id, after_seq=after, limit=PAGE)
            for message in page["messages"]:
                after = message["seq"]
                if self._show(message):
                    self.record.caught_up.append((why, message["seq"]))
            more = page["has_more"] and page["messages"]

    # Writing.

    def write(self) -> None:
        """Write the next message; it goes out when it can."""
        self.to_write.append(f"{self.record.name}-{next(self._written)}")

    async def _pump(self) -> None:
        sent = ""
        while True:
            await self._in_step.wait()
            if not self.to_write:
                await asyncio.sleep(0.02)
                continue
            message_id = self.to_write[0]
            if message_id == sent:
                self.record.repeated.append(sent)
            sent = message_id
            try:
                answer = await self._request(
                    "send", room=self.record.room_id, client_id=message_id, text=message_id
                )
            except Offline:
                continue
            except (TimeoutError, Refused) as error:
                self._note_refusal(error)
                await asyncio.sleep(getattr(error, "retry_seconds", AGAIN_SECONDS))
                continue
            self.record.accepted.append((message_id, answer["message"]["seq"]))
            self._receive(answer["message"])
            self.to_write.popleft()

    async def _request(self, event: str, **payload: object) -> dict[str, Any]:
        """Send an event and return its acknowledgement.

        :raises Offline, Refused, TimeoutError: when there is none, or it says no.
        """
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def answered(value: dict[str, Any]) -> None:
            if not answer.done():
                answer.set_result(value)

        self._waiting.add(answer)
        try:
            await self._socket.emit(event, payload, NAMESPACE, callback=answered)
            outcome = await asyncio.wait_for(answer, REQUEST_SECONDS)
        except socketio.exceptions.BadNamespaceError:
            raise Offline from None
        finally:
            self._waiting.discard(answer)
        if not outcome["ok"]:
            raise Refused(outcome["error"])
        return outcome

    # HTTP.

    async def visit(self, path: str) -> None:
        """Get a page, as the same browser does."""
        try:
            async with self._http.get(f"{self._url}{path}", allow_redirects=False) as answer:
                await answer.read()
        except aiohttp.ClientError:
            pass  # It is in the record.

    def _note_refusal(self, error: Exception) -> None:
        code = error.code if isinstance(error, Refused) else "timeout"
        self.record.refusals[code] = self.record.refusals.get(code, 0) + 1

    async def _note_answer(self, _session: Any, _context: Any, request: Any) -> None:
        self._note(request, request.response.status)

    async def _note_failure(self, _session: Any, _context: Any, request: Any) -> None:
        if not isinstance(request.exception, asyncio.CancelledError):
            self._note(request, type(request.exception).__name__)

    def _note(self, request: Any, outcome: int | str) -> None:
        sid = request.url.query.get("sid", "")
        kind = "page"
        if request.url.path.startswith("/socket.io/"):
            kind = "session" if sid else "handshake"
        counted = f"{kind} {outcome}"
        self.record.outcomes[counted] = self.record.outcomes.get(counted, 0) + 1
        if isinstance(outcome, str) or outcome >= 400:
            where = sid or request.url.path
            self.record.errors.append(Failure(time.monotonic(), kind, request.method, str(outcome), where))
