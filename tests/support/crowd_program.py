"""A crowd of guests, as a process: `python -m tests.support.crowd_program SOCKET URL TAG`.

It takes commands on a Unix socket, one JSON line each, and answers with one: see the methods of `Program`
whose names begin with `do_`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.support.crowd_guest import Guest

PATHS = ("/", "/api/v1/rooms")
# A polling client waits for the answer to its last request.
LEAVE_SECONDS = 3.0
# How often to look whether whoever started the crowd is still there.
LOOK_SECONDS = 1.0


class Program:
    """What the process does when it is told to."""

    def __init__(self, url: str, tag: str) -> None:
        self.guests: list[Guest] = []
        self._url = url
        self._tag = tag
        self._choice = random.Random(tag)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._visits: set[asyncio.Task[None]] = set()
        self.done = asyncio.Event()

    async def do_connect(self, count: int, rooms: int, transports: Sequence[str], at_once: int) -> None:
        """Let more guests come, so many at the same time; they are all connected then."""
        turn = asyncio.Semaphore(at_once)
        names = [f"{self._tag}-room-{number}" for number in range(rooms)]
        first = len(self.guests)
        coming = [
            Guest(
                self._url,
                f"{self._tag}-{number}",
                transports[number % len(transports)],
                names[number // len(transports) % rooms],
            )
            for number in range(first, first + count)
        ]
        self.guests += coming

        async def arrive(guest: Guest, rooms: Sequence[str] = ()) -> None:
            async with turn:
                await guest.arrive(rooms)

        if first == 0:
            await arrive(coming[0], names)
            coming = coming[1:]
        async with asyncio.TaskGroup() as group:
            for guest in coming:
                group.create_task(arrive(guest))

    async def do_talk(self, per_second: float) -> None:
        """Write messages from now on, by everybody in turn; 0: no more."""
        self._regularly("talk", per_second, lambda guest: guest.write())

    async def do_visit(self, per_second: float) -> None:
        """Get pages from now on, by everybody in turn; 0: no more."""
        paths = itertools.cycle(PATHS)

        def visit(guest: Guest) -> None:
            task = asyncio.create_task(guest.visit(next(paths)))
            self._visits.add(task)
            task.add_done_callback(self._visits.discard)

        self._regularly("visit", per_second, visit)

    async def do_state(self) -> dict[str, int]:
        """Count what is not done yet."""
        last: dict[str, int] = {}
        for guest in self.guests:
            for _, seq in guest.record.accepted:
                last[guest.record.room] = max(seq, last.get(guest.record.room, 0))
        return {
            "away": sum(not guest.in_step for guest in self.guests),
            "to_write": sum(len(guest.to_write) for guest in self.guests),
            "accepted": sum(len(guest.record.accepted) for guest in self.guests),
            "missing": sum(len(guest.missing(last.get(guest.record.room, 0))) for guest in self.guests),
            "visiting": len(self._visits),
        }

    async def do_report(self) -> list[dict[str, Any]]:
        """Tell everything."""
        return [asdict(guest.record) for guest in self.guests]

    def _regularly(self, name: str, per_second: float, act: Any) -> None:
        if name in self._tasks:
            self._tasks.pop(name).cancel()
        if per_second:
            self._tasks[name] = asyncio.create_task(self._act(1 / per_second, act))

    async def _act(self, seconds: float, act: Any) -> None:
        begun = time.monotonic()
        turns = self._turns()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, begun + number * seconds - time.monotonic()))
            act(next(turns))

    def _turns(self) -> Any:
        while True:
            yield from self._choice.sample(self.guests, len(self.guests))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one command."""
        command = json.loads(await reader.readline())
        try:
            value = await getattr(self, f"do_{command.pop('do')}")(**command)
            line = json.dumps({"value": value})
        except Exception as error:
            details = getattr(error, "exceptions", (error,))
            line = json.dumps({"error": "; ".join(repr(each) for each in details[:3])})
        writer.write(line.encode() + b"\n")
        await writer.drain()
        writer.close()


async def main(socket_path: str, url: str, tag: str) -> None:
    """Take commands until the end."""
    program = Program(url, tag)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, program.done.set)
    parent = os.getppid()
    async with await asyncio.start_unix_server(program.answer, socket_path):
        # Tests that were killed must not leave a crowd behind that talks for ever.
        while not program.done.is_set() and os.getppid() == parent:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(program.done.wait(), LOOK_SECONDS)
    leaving = [asyncio.create_task(guest.leave()) for guest in program.guests]
    if leaving:
        await asyncio.wait(leaving, timeout=LEAVE_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
