"""The external emitter for asyncio programs: nothing here blocks the event loop.

`SocketIO.emit` waits for nobody either, except for room in a full outbox (`overflow="block"`). That wait is
done here by looking again, so an emit that was cancelled while it waited has not happened. What has to wait
otherwise, flush and close, does so in a thread of its own; a task that is cancelled does not wait for it, and
neither does the end of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self, TypeVar

from app.realtime.errors import OutboxFull
from app.realtime.queue.options import QueueOptions
from app.realtime.socketio import SocketIO

T = TypeVar("T")

# How often to look for room; a broker that works takes some milliseconds to make it.
LOOK_SECONDS = 0.005
# An emit takes some microseconds and waits for nothing, so a loop full of them would let nobody else run.
EMITS_PER_TURN = 50


class AsyncEmitter:
    """Emits to the clients of all nodes from an asyncio program, for example FastAPI's.

        async with AsyncEmitter("redis://host:6379/0", channel="chat") as emitter:
            await emitter.emit("news", {"headline": "It works"}, namespace="/chat", to="sports")

    One for the whole process is right; it may be made before the loop runs.

    :param message_queue: the brokers' addresses, as of the nodes.
    :param options: further arguments of `SocketIO` that concern the queue: queue_strategy, channel,
        channel_secret, stock_channel, queue_options.
    :raises ValueError: without an address, or for an option that makes no sense.
    """

    def __init__(self, message_queue: str | list[str], **options: Any) -> None:
        if not message_queue:
            raise ValueError("message_queue is empty: write the address that the nodes have in MESSAGE_QUEUE")
        bounds = options.pop("queue_options", None) or QueueOptions()
        self._wait_seconds = bounds.block_seconds if bounds.overflow == "block" else 0.0
        if self._wait_seconds:
            bounds = replace(bounds, overflow="reject")
        self._socketio = SocketIO(message_queue=message_queue, queue_options=bounds, **options)
        self._started = False
        self._emits = 0
        # Whoever waits for room has his turn in the order of asking.
        self._turn = asyncio.Lock()

    async def emit(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Emit an event; returns when it is in the outbox.

        :param args: the data.
        :param kwargs: namespace, to (or room), skip_sid, as of `SocketIO.emit`.
        :raises NotSerializable: when the data cannot travel; nobody has got anything then.
        :raises MessageTooLarge: when it is too much.
        :raises OutboxFull: as the overflow policy says; with "block" after `block_seconds`.
        :raises QueueClosed: after close().
        """
        if not self._started:
            # Threads are started, and a spool is opened, so not on the loop.
            await _in_thread(self._socketio.start_queue)
            self._started = True
        self._emits += 1
        if self._emits % EMITS_PER_TURN == 0:
            await asyncio.sleep(0)
        if not self._wait_seconds:
            self._socketio.emit(event, *args, **kwargs)
            return
        deadline = time.monotonic() + self._wait_seconds
        async with self._turn:
            while True:
                try:
                    self._socketio.emit(event, *args, **kwargs)
                    return
                except OutboxFull:
                    if time.monotonic() >= deadline:
                        raise
                await asyncio.sleep(LOOK_SECONDS)

    async def flush(self, timeout_seconds: float = 5.0) -> int:
        """Wait until everything emitted has gone through a broker; returns how many messages have not."""
        return await _in_thread(lambda: self._socketio.flush(timeout_seconds))

    async def close(self, timeout_seconds: float = 5.0) -> int:
        """Flush and leave the channel; returns how many messages could not be delivered."""
        return await _in_thread(lambda: self._socketio.close(timeout_seconds))

    def queue_status(self) -> dict[str, Any]:
        """Tell how the queue is; see `SocketIO.queue_status`."""
        return self._socketio.queue_status()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _in_thread(work: Callable[[], T]) -> T:
    """Do something in a native thread; the default executor's would hold up the end of the loop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(act: Callable[[Any], None], outcome: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if done.done() else act(outcome))

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            tell(done.set_exception, error)
        else:
            tell(done.set_result, result)

    threading.Thread(target=run, daemon=True, name="queue waiter").start()
    return await done
