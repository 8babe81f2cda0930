"""The tests' own proxy: slow, cut, refusing, silent."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.proxy import TcpProxy
from tests.support.relay import ABRUPT
from tests.support.servers import HOST, free_port
from tests.support.waiting import WAIT_SECONDS, wait_until

# What is silent is silent for so long at least; a message over loopback takes far less.
SILENCE_SECONDS = 0.3


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    """A server that says everything again."""

    def echo(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

    with socket.create_server((HOST, 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def started(echo_port: int) -> Iterator[TcpProxy]:
    with TcpProxy(echo_port) as proxy:
        yield proxy
        assert proxy.log() == ""


@pytest.fixture
def proxy(started: TcpProxy) -> TcpProxy:
    """A proxy without connections, on which all is well."""
    started.resume()
    started.cut()
    return started


@pytest.fixture
def connect(proxy: TcpProxy) -> Iterator[Callable[[], socket.socket]]:
    opened: list[socket.socket] = []

    def connect() -> socket.socket:
        opened.append(socket.create_connection((HOST, proxy.port), timeout=WAIT_SECONDS))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def say(connection: socket.socket, text: bytes) -> float:
    """Say something, hear it back, and return how many seconds that took."""
    began = time.monotonic()
    connection.sendall(text)
    hear(connection, text)
    return time.monotonic() - began


def hear(connection: socket.socket, text: bytes) -> None:
    heard = b""
    while len(heard) < len(text):
        data = connection.recv(len(text) - len(heard))
        assert data, f"ended after {heard[-100:]!r}"
        heard += data
    assert heard == text


def assert_silent(connection: socket.socket) -> None:
    connection.settimeout(SILENCE_SECONDS)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(WAIT_SECONDS)


def test_carries_both_ways_and_counts(proxy: TcpProxy, connect: Callable[[], socket.socket]) -> None:
    connections = [connect() for _ in range(5)]
    for number, connection in enumerate(connections):
        say(connection, b"%d" % number * 300_000)
    assert proxy.connections() == 5
    connections[0].shutdown(socket.SHUT_WR)
    assert connections[0].recv(1) == b"", "the end is passed on"
    wait_until(lambda: proxy.connections() == 4, "one has left")


def test_delays_each_direction_without_slowing_the_flow(
    proxy: TcpProxy, connect: Callable[[], socket.socket]
) -> None:
    connection = connect()
    proxy.delay(answers_seconds=0.2)
    assert say(connection, b"a") >= 0.2
    proxy.delay(requests_seconds=0.1, answers_seconds=0.2)
    assert say(connection, b"b") >= 0.3
    began = time.monotonic()
    for _ in range(100):
        connection.sendall(b"c")
        time.sleep(0.001)
    hear(connection, b"c" * 100)
    assert 0.3 <= time.monotonic() - began < 5, "each waits 0.3 s, but not for the one before"
    proxy.resume()
    say(connection, b"d")


def test_cut_resets_at_once_and_lets_come_back(proxy: TcpProxy, connect: Callable[[], socket.socket]) -> None:
    connections = [connect() for _ in range(3)]
    for connection in connections:
        say(connection, b"hello")
    assert proxy.cut() == 3
    for connection in connections:
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert proxy.connections() == 0
    say(connect(), b"again")


def test_refuses_new_ones_only(proxy: TcpProxy, connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    say(connection, b"hello")
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect()
    say(connection, b"still here")
    proxy.resume()
    say(connect(), b"again")


@pytest.mark.parametrize("direction", ["both", "requests", "answers"])
def test_blackhole_says_nothing_and_heals(
    proxy: TcpProxy, connect: Callable[[], socket.socket], direction: str
) -> None:
    before = connect()
    say(before, b"hello")
    proxy.blackhole(direction)
    new = connect()
    for connection in (before, new):
        connection.sendall(b"anybody?")
        assert_silent(connection)
    proxy.resume()
    for connection in (before, new):
        hear(connection, b"anybody?")


def test_cut_in_a_blackhole_loses_what_was_under_way(
    proxy: TcpProxy, connect: Callable[[], socket.socket]
) -> None:
    connection = connect()
    say(connection, b"hello")
    proxy.blackhole()
    connection.sendall(b"anybody?")
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    proxy.resume()


def test_lets_go_of_a_client_that_resets(proxy: TcpProxy, connect: Callable[[], socket.socket]) -> None:
    connection, other = connect(), connect()
    say(connection, b"hello")
    say(other, b"hello")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPT)
    connection.close()
    wait_until(lambda: proxy.connections() == 1, "it is gone")
    say(other, b"still here")


def test_resets_when_the_target_refuses() -> None:
    # On a busy machine the reset may be there before the client knows that it is connected.
    with (
        TcpProxy(free_port()) as proxy,
        pytest.raises(ConnectionResetError),
        socket.create_connection((HOST, proxy.port), timeout=WAIT_SECONDS) as connection,
    ):
        connection.recv(1)
