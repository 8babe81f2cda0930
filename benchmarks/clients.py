"""Measure what a connected client costs a node: memory, and how many can come in a second.

Run it from the project's root with `python -m benchmarks.clients`; it takes about 30 s. The clients hold
a WebSocket each and say nothing, on the market; with --chat each is a guest of its own, and all are in the
first room of the chat, where everybody hears of everybody who comes. With --nginx they come through nginx,
and its memory is told too.
"""

# ruff: noqa: E402 - patch first
from gevent import monkey

monkey.patch_all()

import argparse
import base64
import contextlib
import os
import resource
import socket
import time
from pathlib import Path

import gevent
from gevent.pool import Pool

from tests.support.clients import sign_in
from tests.support.nginx import Nginx
from tests.support.servers import HOST, Node

COUNT = 2_000
STEPS = 4
# How many connect at the same time.
AT_ONCE = 50
# A node with a thousand guests in one room needs a while for the next.
TIMEOUT_SECONDS = 120.0
# Until the allocator and the kernel have settled.
SETTLE_SECONDS = 2.0
PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024
TEXT_FRAME = 0x81
MASKED = 0x80


def frame(text: str) -> bytes:
    """Build a WebSocket frame of a client, up to 125 bytes; its mask is zero, which changes nothing."""
    data = text.encode()
    return bytes((TEXT_FRAME, MASKED | len(data), 0, 0, 0, 0)) + data


def guest(node: Node, number: int) -> str:
    """Sign a guest in, and return the cookie."""
    with sign_in(node.url, f"Guest {number}") as session:
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)


def connect(port: int, namespace: str, cookie: str) -> socket.socket:
    """Open a WebSocket, enter a namespace, and take what comes from then on.

    :raises OSError: when the node does not let it in.
    """
    connection = socket.create_connection((HOST, port), timeout=TIMEOUT_SECONDS)
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: {HOST}:{port}",
        *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
        f"Sec-WebSocket-Key: {key}",
        f"Cookie: {cookie}",
        *("", ""),
    )
    connection.sendall("\r\n".join(request).encode())
    heard = b""
    # Engine.IO's greeting, and Socket.IO's.
    for expected, answer in ((b"0{", f"40{namespace},"), (f"40{namespace},".encode(), "")):
        while expected not in heard:
            part = connection.recv(65_536)
            if not part:
                raise ConnectionError(f"the node closed the connection after {heard!r}")
            heard += part
        if answer:
            connection.sendall(frame(answer))
    gevent.spawn(listen, connection)
    return connection


def listen(connection: socket.socket) -> None:
    """Take what comes, so that the node need not keep it."""
    connection.settimeout(None)
    with contextlib.suppress(OSError):
        while connection.recv(65_536):
            pass


def resident_kb(pid: int) -> float:
    """How much memory a process has, in KB; what it shares with its parent is counted too."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE_KB


def worker(master: int) -> int:
    """The process id of gunicorn's only worker."""
    return int(Path(f"/proc/{master}/task/{master}/children").read_text("ascii").split()[0])


def shared_out_mb(pid: int) -> float:
    """How much memory a process has, in MB; what several share is divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:"))) / 1024


def nginx_kb(nginx: Nginx | None) -> float:
    """How much memory all workers of nginx have together, in KB."""
    if nginx is None:
        return 0.0
    children = Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children").read_text("ascii").split()
    return sum(resident_kb(int(pid)) for pid in children)


def main() -> None:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=COUNT, help=f"how many clients (default: {COUNT})")
    parser.add_argument("--chat", action="store_true", help="guests in the chat, not on the market")
    parser.add_argument("--nginx", action="store_true", help="through nginx (2000 clients of one address)")
    arguments = parser.parse_args()
    if arguments.count < STEPS:
        parser.error(f"--count {arguments.count}: {STEPS} or more")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    namespace = "/chat" if arguments.chat else "/market"

    with contextlib.ExitStack() as stack:
        settings = {"RATE_CONNECT": "1000000/second", "WORKER_CONNECTIONS": "100000", "TRUSTED_PROXIES": "1"}
        node = stack.enter_context(Node(**settings))
        nginx = stack.enter_context(Nginx([f"{HOST}:{node.port}"])) if arguments.nginx else None
        port = nginx.port if nginx else node.port
        pid = worker(node.pid)
        gevent.sleep(SETTLE_SECONDS)
        empty_kb, empty_nginx_kb = resident_kb(pid), nginx_kb(nginx)
        print(f"empty: master {shared_out_mb(node.pid):.0f} MB, worker {shared_out_mb(pid):.0f} MB")
        print("clients  MB in all  KB each  new ones a second  KB each in nginx")
        connections: list[socket.socket] = []
        pool = Pool(AT_ONCE)
        for step in range(1, STEPS + 1):
            numbers = range(len(connections), arguments.count * step // STEPS)
            cookies = pool.map(lambda number: guest(node, number) if arguments.chat else "", numbers)
            begun = time.monotonic()
            connections += pool.map(lambda cookie: connect(port, namespace, cookie), cookies)
            rate = len(numbers) / (time.monotonic() - begun)
            gevent.sleep(SETTLE_SECONDS)
            used_kb = resident_kb(pid)
            each_kb = (used_kb - empty_kb) / len(connections)
            proxy_kb = (nginx_kb(nginx) - empty_nginx_kb) / len(connections)
            figures = f"{len(connections):7d}  {used_kb / 1024:9.0f}  {each_kb:7.1f}  {rate:17.0f}"
            print(figures + (f"  {proxy_kb:16.1f}" if nginx else ""))
        for connection in connections:
            connection.close()


if __name__ == "__main__":
    main()
