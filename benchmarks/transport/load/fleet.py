"""All WebSocket clients of the generator: they connect together, stay, and leave together."""

from __future__ import annotations

import select
import time
from collections import deque
from typing import Any

from benchmarks.transport.load.client import PING_FRAME, PONG, RECEIVE_BYTES, Client, ClientError

# A server in a storm may refuse somebody; real clients try again too.
TRIES = 5
RETRY_SECONDS = 0.1


class Fleet:
    """The clients.

    :param host: the server.
    :param port: its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.clients: list[Client] = []
        self.by_fd: dict[int, Client] = {}
        self.epoll = select.epoll()

    def connect(
        self, count: int, blocks: list[int], namespaces: int, in_flight: int, timeout_seconds: float
    ) -> dict[str, Any]:
        """Let so many more come in.

        :param in_flight: how many at the same time.
        :return: how long it took altogether, and each.
        :raises ClientError: when one does not get in, or not in time.
        """
        first = len(self.clients)
        waiting = deque(Client(first + i, blocks, namespaces) for i in range(count))
        new = list(waiting)
        later: deque[tuple[float, Client]] = deque()
        tries = dict.fromkeys((client.index for client in new), 1)
        errors = 0
        connecting: set[int] = set()
        ready = 0
        begun = time.perf_counter()
        while ready < count:
            now = time.perf_counter()
            if now - begun > timeout_seconds:
                raise ClientError(f"{ready} of {count} clients were connected in {timeout_seconds:g} s")
            while later and later[0][0] <= now:
                waiting.append(later.popleft()[1])
            while waiting and len(connecting) < in_flight:
                client = waiting.popleft()
                client.connect(self.host, self.port)
                connecting.add(client.sock.fileno())
                self.by_fd[client.sock.fileno()] = client
                self.epoll.register(client.sock, select.EPOLLIN | select.EPOLLOUT)
            for fd, mask in self.epoll.poll(RETRY_SECONDS):
                if fd not in connecting:
                    self.drain(fd)
                    continue
                client = self.by_fd[fd]
                try:
                    if mask & select.EPOLLOUT:
                        client.request(self.host, self.port)
                        # Told once of what has come, the kernel need not look again whether all was read.
                        self.epoll.modify(fd, select.EPOLLIN | select.EPOLLET)
                    if mask & (select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP) and client.advance():
                        connecting.discard(fd)
                        ready += 1
                except (OSError, ClientError) as error:
                    errors += 1
                    connecting.discard(fd)
                    del self.by_fd[fd]
                    client.sock.close()
                    tries[client.index] += 1
                    if tries[client.index] > TRIES:
                        raise ClientError(f"client {client.index} did not get in: {error!r}") from None
                    again = Client(client.index, blocks, namespaces)
                    new[client.index - first] = again
                    later.append((now + RETRY_SECONDS, again))
        self.clients += new
        return {
            "seconds": time.perf_counter() - begun,
            "took_ms": sorted(client.took * 1000 for client in new),
            "errors": errors,
        }

    def drain(self, fd: int) -> None:
        """Take what nobody waits for.

        :raises ClientError: when the server has closed a connection.
        """
        sock = self.by_fd[fd].sock
        received = sock.recv(RECEIVE_BYTES)
        if not received:
            raise ClientError(f"the server closed client {self.by_fd[fd].index}")
        if received == PING_FRAME:
            sock.send(PONG)

    def close(self) -> None:
        """Leave, all at once and without a word."""
        for client in self.clients:
            self.epoll.unregister(client.sock)
            client.sock.close()
        self.clients.clear()
        self.by_fd.clear()
