"""The program of `TcpProxy`: carries TCP connections to one address, as well or badly as it is told.

Nothing but the standard library, so that it starts at once: `python relay.py CONTROL PORT HOST PORT`. What it
reads on the Unix socket CONTROL, one JSON object a line, is how the road shall be from now on (`Road`), and
whether to cut what is there; it answers with how many connections there are, or were cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import Any

LISTEN_HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
# So much may be under way in each direction of a connection before its sender has to wait: 16 MiB.
CHUNKS = 256
# Closing sends a reset, and what was not yet sent is lost: struct linger, on, 0 s.
ABRUPT = struct.pack("ii", 1, 0)


@dataclass
class Lane:
    """One direction. `opened` is not set while nothing gets through."""

    delay_seconds: float = 0.0
    opened: asyncio.Event = field(default_factory=asyncio.Event)


class Relay:
    """All connections, and the road that they share."""

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self.port = port
        self.target = target
        self.requests = Lane()
        self.answers = Lane()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    async def become(self, order: dict[str, Any]) -> int:
        """Make the road what the order says; return how many connections there are, or were cut."""
        for lane, name in ((self.requests, "requests"), (self.answers, "answers")):
            lane.delay_seconds = order[name]["delay_seconds"]
            (lane.opened.set if order[name]["open"] else lane.opened.clear)()
        if order["listen"] and self._server is None:
            self._server = await asyncio.start_server(self._accept, LISTEN_HOST, self.port, backlog=1000)
        elif not order["listen"] and self._server is not None:
            self._server.close()
            self._server = None
        connections = list(self._connections)
        if order["cut"]:
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
        return len(connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ends = self._connections[task] = [writer]
        try:
            await self._carry(reader, writer, ends)
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            del self._connections[task]
            for end in ends:
                with contextlib.suppress(OSError):  # it is closed already
                    end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPT)
                end.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: list[asyncio.StreamWriter]
    ) -> None:
        await self.requests.opened.wait()
        there_reader, there_writer = await asyncio.open_connection(*self.target)
        ends.append(there_writer)
        async with asyncio.TaskGroup() as tasks:
            for lane, source, sink in (
                (self.requests, reader, there_writer),
                (self.answers, there_reader, writer),
            ):
                chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS)
                tasks.create_task(self._take(lane, source, chunks))
                tasks.create_task(self._hand_over(lane, chunks, sink))
        for end in ends:
            end.close()
            await end.wait_closed()

    async def _take(
        self, lane: Lane, source: asyncio.StreamReader, chunks: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        data = b"any"
        while data:
            await lane.opened.wait()
            try:
                data = await source.read(CHUNK_BYTES)
            except OSError:
                # News of a reset does not get through either.
                await lane.opened.wait()
                raise
            await chunks.put((asyncio.get_running_loop().time() + lane.delay_seconds, data))

    async def _hand_over(
        self, lane: Lane, chunks: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await chunks.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            await lane.opened.wait()
            if not data:
                sink.write_eof()
                return
            sink.write(data)
            await sink.drain()


async def main(control: str, port: int, target: tuple[str, int]) -> None:
    """Do as told, as long as the tests run that started this."""
    relay = Relay(port, target)
    parent = os.getppid()

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            connections = await relay.become(json.loads(line))
            writer.write(json.dumps(connections).encode() + b"\n")
        writer.close()

    async with await asyncio.start_unix_server(obey, control):
        while os.getppid() == parent:
            await asyncio.sleep(1)
    # Whoever still talks through this need not be waited for.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), (sys.argv[3], int(sys.argv[4]))))
