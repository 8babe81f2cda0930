"""Handshakes that are wrong, strange, slow, or come to nothing."""

from __future__ import annotations

import time

import pytest

from tests.support.waiting import wait_until
from tests.support.wire import Answer, Closed, Connection, fetch, query
from tests.support.wire_socketio import Polling, SocketIO
from tests.support.wire_websocket import TEXT, Frame, WebSocket
from tests.transport.hostile.conftest import TIGHT, Through
from tests.transport.hostile.people import NAMESPACE, join, join_polling
from tests.transport.hostile.target import Target

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
HEADERS = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
CONNECT_SECONDS = float(TIGHT["connect_seconds"])


def ask(
    url: str, headers: dict[str, str], method: str = "GET", version: str = "1.1", body: bytes = b""
) -> tuple[Answer, Connection]:
    """Ask for a WebSocket in one's own words. Whoever calls closes the connection."""
    connection = Connection(url)
    lines = [f"{method} {query(transport='websocket')} HTTP/{version}", f"Host: {connection.host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.send("\r\n".join([*lines, "", ""]).encode() + body)
    return connection.read_answer(), connection


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Sec-WebSocket-Version": None}, 426),
        *[({"Sec-WebSocket-Version": version}, 426) for version in ("0", "8", "12", "14", "x", "13, 8", "")],
        ({"Sec-WebSocket-Key": None}, 400),
        *[
            ({"Sec-WebSocket-Key": key}, 400)
            for key in (
                "",
                "c2hvcnQ=",
                KEY[:-1],
                KEY + "=",
                KEY + KEY,
                "?" * 24,
                f"{KEY}, {KEY}",
                " ",
                "x" * 5000,
            )
        ],
        ({"Connection": None}, 400),
        *[
            ({"Connection": value}, 400)
            for value in ("keep-alive", "close", "upgraded", "x-upgrade", ",", "")
        ],
        ({"Upgrade": None}, 400),
        *[({"Upgrade": value}, 400) for value in ("h2c", "web socket", "websockets", "")],
        ({"Content-Length": "5"}, 400),
        ({"Transfer-Encoding": "chunked"}, 400),
    ],
    ids=str,
)
def test_what_is_no_handshake(tight: Target, changed: dict[str, str | None], status: int) -> None:
    """Refused, with what is right said for a wrong version, and no session is left."""
    headers = {name: value for name, value in (HEADERS | changed).items() if value is not None}
    body = b"5\r\nhello\r\n0\r\n\r\n" if "Transfer-Encoding" in headers else b"hello"
    answer, connection = ask(tight.url, headers, body=body if len(headers) > len(HEADERS) else b"")
    connection.close()
    assert answer.status == status, answer
    assert (answer.headers.get("sec-websocket-version") == "13") == (status == 426)
    assert tight.status()["left"]["sockets"] == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "DELETE", "CONNECT", "get"])
def test_another_method(tight: Target, method: str) -> None:
    with Connection(tight.url) as connection:
        lines = [f"{method} {query(transport='websocket')} HTTP/1.1", "Host: x", "Content-Length: 0"]
        lines += [f"{name}: {value}" for name, value in HEADERS.items()]
        connection.send("\r\n".join([*lines, "", ""]).encode())
        assert 400 <= connection.read_answer(head=method == "HEAD").status < 500


def test_an_old_version_of_http(tight: Target) -> None:
    answer, connection = ask(tight.url, HEADERS, version="1.0")
    connection.close()
    assert answer.status in (400, 426, 505)


@pytest.mark.parametrize(
    "changed",
    [
        {"Connection": "upgrade"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "UPGRADE,keep-alive"},
        {"Connection": " , upgrade ,, x"},
        {"Upgrade": "WebSocket"},
        {"Upgrade": "WEBSOCKET"},
        {"Origin": "null"},
        {"Sec-WebSocket-Protocol": "chat, superchat"},
        {"X-Long": "x" * 7_000},
        {f"X-{number}": "y" for number in range(90)},
    ],
    ids=lambda changed: str(changed)[:40],
)
def test_what_is_a_handshake(roomy: Target, changed: dict[str, str]) -> None:
    if "Origin" in changed:
        changed = {"Origin": roomy.url}
    answer, connection = ask(roomy.url, HEADERS | changed)
    with connection:
        assert (answer.status, answer.headers["sec-websocket-accept"]) == (101, ACCEPT)
        assert (answer.headers["upgrade"], answer.headers["connection"]) == ("websocket", "Upgrade")
        assert "content-length" not in answer.headers
        assert "sec-websocket-protocol" not in answer.headers


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 7, 20, 10_000])
def test_frames_in_the_same_segment_as_the_request(roomy: Target, cut: int) -> None:
    """Data before the answer is against the rules, and not lost: some clients and proxies send it.

    `cut` bytes of it come with the request, the rest after the answer.
    """
    frames = [Frame(TEXT, f"40{NAMESPACE},".encode())]
    frames += [Frame(TEXT, f'42{NAMESPACE},{n}["message-with-ack",{n}]'.encode()) for n in range(50)]
    data = b"".join(frame.encode() for frame in frames)
    answer, connection = ask(roomy.url, HEADERS, body=data[:cut])
    with connection:
        assert answer.status == 101
        connection.send(data[cut:])
        wire = connection
        wire.__class__ = WebSocket
        assert isinstance(wire, WebSocket)
        assert wire.read_frame().text.startswith("0{")
        assert wire.read_frame().text.startswith(f"40{NAMESPACE},")
        assert [wire.read_frame().text for _ in range(50)] == [f"43{NAMESPACE},{n}[{n}]" for n in range(50)]


# Who does not go on.


def assert_closed_in_time(connection: Connection, least_seconds: float = 0.0) -> None:
    began = time.monotonic()
    connection.read_all()
    assert time.monotonic() - began >= least_seconds


def test_a_connection_that_says_nothing(tight: Target, through: Through) -> None:
    with Connection(through(tight)) as connection:
        assert_closed_in_time(connection)


@pytest.mark.parametrize("part", [b"G", b"GET /socket.io/?EIO=4", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_request_that_does_not_go_on(tight: Target, through: Through, part: bytes) -> None:
    with Connection(through(tight)) as connection:
        connection.send(part)
        assert_closed_in_time(connection)


def test_a_request_that_goes_on_for_ever(tight: Target, through: Through) -> None:
    """A byte now and then does not keep it open: the time is for the whole head."""
    with Connection(through(tight)) as connection:

        def refused() -> bool:
            time.sleep(0.1)
            try:
                connection.send(b"x")
            except (Closed, OSError):
                return True
            return False

        connection.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        wait_until(refused, "the connection to be closed")


def test_many_who_say_nothing(tight: Target) -> None:
    """A thousand connections without a request keep nobody from being served."""
    silent = [Connection(tight.url) for _ in range(1000)]
    with join(tight.url) as client:
        assert client.call("message-with-ack", 1, namespace=NAMESPACE) == [1]
    for connection in silent:
        connection.close()


def test_who_joins_nothing(tight: Target, through: Through) -> None:
    with WebSocket(through(tight)) as wire:
        wire.open()
        assert_closed_in_time(wire, CONNECT_SECONDS / 2)
    tight.wait_until_empty()


def test_who_joins_nothing_by_polling(tight: Target, through: Through) -> None:
    with Polling(through(tight)) as engine:
        engine.open()
        answer = engine.poll()
        assert answer.status == 400 or answer.packets[-1] in ("1", "6")
        wait_until(lambda: engine.poll().status == 400, "the end of the session")


def test_who_is_refused_and_stays(tight: Target, through: Through) -> None:
    with SocketIO(WebSocket(through(tight))) as client:
        client.send("0/refused,")
        client.expect("4/refused,")
        client.send("0/nowhere,")
        client.expect("4/nowhere,")
        assert client.closed()


def test_who_leaves_the_last_namespace(tight: Target, through: Through) -> None:
    with join(through(tight)) as client:
        client.join("/custom")
        client.send(f"1{NAMESPACE},")
        # Longer than it may be in none.
        time.sleep(1.5 * CONNECT_SECONDS)
        assert client.call("message-with-ack", 1, namespace="/custom") == [1]
        client.send("1/custom,")
        began = time.monotonic()
        assert client.closed()
        assert time.monotonic() - began >= CONNECT_SECONDS / 2


def test_who_comes_back_in_time(tight: Target, through: Through) -> None:
    with join(through(tight)) as client:
        for _ in range(3):
            client.send(f"1{NAMESPACE},")
            time.sleep(0.3 * CONNECT_SECONDS)
            client.connect(NAMESPACE)
        time.sleep(1.2 * CONNECT_SECONDS)
        assert client.call("message-with-ack", 1, namespace=NAMESPACE) == [1]


@pytest.mark.parametrize("probed", [False, True])
def test_an_upgrade_that_does_not_go_on(tight: Target, through: Through, probed: bool) -> None:
    """It ends, polling goes on, and the next upgrade is welcome."""
    with join_polling(through(tight)) as client:
        target = query(transport="websocket", sid=client.eio_sid)
        with WebSocket(through(tight)) as wire:
            wire.handshake(target)
            if probed:
                wire.send_frame(TEXT, "2probe")
                assert wire.read_frame().text == "3probe"
            # Meanwhile there is room for one only.
            refused = fetch(through(tight), "GET", target, HEADERS)
            assert (refused.status, refused.json()["code"]) == (400, 3)
            assert_closed_in_time(wire, float(TIGHT["upgrade_seconds"]) / 2)
        engine = client.engine
        assert isinstance(engine, Polling)
        while engine.waiting and engine.waiting[0] == "6":
            engine.waiting.popleft()
        client.emit("message-with-ack", 1, namespace=NAMESPACE, ack=1)
        assert receive_by_polling(client) == f"3{NAMESPACE},1[1]"
        with WebSocket(through(tight)) as wire:
            wire.handshake(target)
            wire.send_frame(TEXT, "2probe")
            assert wire.read_frame().text == "3probe"
            wire.send_frame(TEXT, "5")
            wire.send_frame(TEXT, f'42{NAMESPACE},2["message-with-ack",2]')
            assert wire.read_frame().text == f"43{NAMESPACE},2[2]"
            engine.sid = ""


def receive_by_polling(client: SocketIO) -> str:
    """The next packet that is no filling."""
    while (packet := client.engine.receive()) == "6":
        pass
    assert isinstance(packet, str)
    return packet[1:]


@pytest.mark.parametrize("garbage", ["", "2", "2probes", "5", "3probe", "42[]", "x" * 1000])
def test_an_upgrade_with_something_else(tight: Target, through: Through, garbage: str) -> None:
    with join_polling(through(tight)) as client:
        with WebSocket(through(tight)) as wire:
            wire.handshake(query(transport="websocket", sid=client.eio_sid))
            wire.send_frame(TEXT, garbage)
            wire.read_all()
        client.emit("message-with-ack", 1, namespace=NAMESPACE, ack=1)
        assert receive_by_polling(client) == f"3{NAMESPACE},1[1]"


def test_binary_in_the_place_of_the_probe(tight: Target, through: Through) -> None:
    with join_polling(through(tight)) as client:
        with WebSocket(through(tight)) as wire:
            wire.handshake(query(transport="websocket", sid=client.eio_sid))
            wire.send_frame(2, b"2probe")
            wire.read_all()
        client.emit("message-with-ack", 1, namespace=NAMESPACE, ack=1)
        assert receive_by_polling(client) == f"3{NAMESPACE},1[1]"
