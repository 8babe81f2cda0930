"""Sessions of others, those who come and go by the thousand, and those who fall silent."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.waiting import wait_until
from tests.support.wire import Closed, Connection, fetch, query
from tests.support.wire_socketio import Polling, SocketIO
from tests.support.wire_websocket import PING, TEXT, Frame, WebSocket
from tests.transport.hostile.conftest import Through
from tests.transport.hostile.people import NAMESPACE, Witness, join, join_polling, wire_of
from tests.transport.hostile.target import Target, Usage

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
UNKNOWN_SESSION = (400, {"code": 1, "message": "Session ID unknown"})
BAD_REQUEST = (400, {"code": 3, "message": "Bad request"})


def test_sids_are_not_to_be_guessed(tight: Target) -> None:
    """Long enough, all different, and none says much of the next."""
    sids = []
    for _ in range(200):
        with Polling(tight.url) as engine:
            sids.append(engine.open()["sid"])
    assert len(set(sids)) == len(sids)
    assert all(len(sid) >= 20 for sid in sids)
    # A counter at their end makes them different; what comes before is random.
    assert len({sid[:15] for sid in sids}) == len(sids)


@pytest.mark.parametrize(
    "sid",
    [
        " ",
        "0",
        "%00",
        "%ff",
        "..%2f..",
        "x" * 2_000,
        "%F0%9F%98%80",
        "None",
        "null",
        "__class__",
        "a&sid=b",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_sids_that_nobody_has(tight: Target, sid: str, method: str, transport: str) -> None:
    headers = HANDSHAKE if transport == "websocket" else {}
    body = "4" if method == "POST" else None
    answer = fetch(tight.url, method, f"/socket.io/?EIO=4&transport={transport}&sid={sid}", headers, body)
    assert answer.status == 400, answer


def changed(sid: str) -> list[str]:
    """What is almost a sid."""
    other = "A" if sid[0] != "A" else "B"
    return [other + sid[1:], sid[:-1], sid + "A", sid.swapcase(), sid + " ", sid[::-1]]


def test_sids_that_are_almost_right(tight: Target) -> None:
    with join_polling(tight.url) as client:
        for sid in changed(client.eio_sid):
            answer = fetch(tight.url, "GET", query(transport="polling", sid=sid))
            assert (answer.status, answer.json()) == UNKNOWN_SESSION
        assert client.call("message-with-ack", 1, namespace=NAMESPACE) == [1]


def test_the_sid_of_a_namespace_is_no_session(tight: Target, through: Through) -> None:
    """Others may know it; it opens nothing."""
    with SocketIO(WebSocket(through(tight))) as client:
        sid = client.connect(NAMESPACE)
        for transport, headers in (("polling", {}), ("websocket", HANDSHAKE)):
            answer = fetch(through(tight), "GET", query(transport=transport, sid=sid), headers)
            assert (answer.status, answer.json()) == UNKNOWN_SESSION
            assert client.call("message-with-ack", 1, namespace=NAMESPACE) == [1]


def test_requests_for_the_session_of_a_websocket(tight: Target, through: Through) -> None:
    """Whoever knows its sid can neither read, write, end nor take it."""
    tight.handled()
    with join(through(tight), "room") as client:
        url, sid = through(tight), client.eio_sid
        note = f'42{NAMESPACE},["note",1]'
        for method, transport, headers, body in (
            ("GET", "polling", {}, None),
            ("POST", "polling", {}, note),
            ("POST", "polling", {}, "1"),
            ("GET", "websocket", HANDSHAKE, None),
            ("GET", "polling", HANDSHAKE, None),
            ("GET", "websocket", {}, None),
        ):
            answer = fetch(url, method, query(transport=transport, sid=sid), headers, body)
            assert (answer.status, answer.json()) == BAD_REQUEST, (method, transport, body)
            assert client.call("message-with-ack", 1, namespace=NAMESPACE) == [1]
        assert tight.handled() == []


# Those who come and go.


def only_connects(url: str, luck: random.Random) -> None:
    Connection(url).close()


def resets(url: str, luck: random.Random) -> None:
    Connection(url).reset()


def sends_a_part(url: str, luck: random.Random) -> None:
    wire = WebSocket(url)
    lines = [f"GET {query(transport='websocket')} HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in HANDSHAKE.items()]
    data = "\r\n".join([*lines, "", ""]).encode()
    data += Frame(TEXT, f"40{NAMESPACE},".encode()).encode()
    wire.send(data[: luck.randrange(len(data) + 1)])
    luck.choice((wire.close, wire.reset))()


def joins(url: str, luck: random.Random) -> None:
    client = join(url, "crowd")
    luck.choice((client.engine.close, wire_of(client).reset, wire_of(client).half_close))()
    client.engine.close()


def joins_and_talks(url: str, luck: random.Random) -> None:
    with join(url, "crowd") as client:
        client.emit("message-with-ack", "x" * luck.randrange(2_000), namespace=NAMESPACE, ack=1)
        if luck.random() < 0.5:
            client.receive()


def leaves_properly(url: str, luck: random.Random) -> None:
    with join(url, "crowd") as client:
        client.send(f"1{NAMESPACE},")
        wire_of(client).send_frame(8, b"\x03\xe8")
        wire_of(client).read_all()


def polls(url: str, luck: random.Random) -> None:
    with join_polling(url, "crowd"):
        pass


def upgrades(url: str, luck: random.Random) -> None:
    client = join_polling(url, "crowd")
    with WebSocket(url) as wire:
        wire.handshake(query(transport="websocket", sid=client.eio_sid))
        wire.send_frame(TEXT, "2probe")
        wire.read_frame()
        wire.send_frame(TEXT, "5")
        if luck.random() < 0.5:
            wire.send_frame(PING)


WAYS: tuple[Callable[[str, random.Random], None], ...] = (
    only_connects,
    resets,
    sends_a_part,
    joins,
    joins_and_talks,
    leaves_properly,
    polls,
    upgrades,
)


def test_many_who_come_and_go_at_once(roomy: Target, through: Through) -> None:
    """A thousand connections, sixteen at a time, each in another way; one who stays is served."""
    url = through(roomy)

    def one(number: int) -> None:
        luck = random.Random(number)
        luck.choice(WAYS)(url, luck)

    def crowd(count: int, first: int) -> None:
        with ThreadPoolExecutor(16) as pool:
            for done in [pool.submit(one, number) for number in range(first, first + count)]:
                try:
                    done.result()
                except (Closed, ConnectionResetError) as error:
                    raise AssertionError(f"closed without a reason: {error}") from error

    with Witness(roomy.url) as witness:
        crowd(200, 0)
        witness.wait_for_answers(5)
        witness.leave()
    roomy.wait_until_empty()
    usage = Usage.of(roomy)
    with Witness(roomy.url) as witness:
        crowd(1_000, 1_000)
        witness.wait_for_answers(5)
        roomy.emit("hello", room="crowd", namespace=NAMESPACE)
    roomy.wait_until_empty()
    usage.wait_until_back(roomy, rss_kb=12_000)


# Those who fall silent.


def test_who_answers_pings_stays(impatient: Target, through: Through) -> None:
    with join(through(impatient)) as client, join_polling(through(impatient)) as polling:
        for _ in range(8):
            assert client.call("wait", 0.25, namespace=NAMESPACE) == [True]
            assert polling.call("wait", 0.25, namespace=NAMESPACE) == [True]


@pytest.mark.parametrize("connect", [join, join_polling])
def test_who_does_not_answer_pings_is_ended(
    impatient: Target, through: Through, connect: Callable[[str], SocketIO]
) -> None:
    before = impatient.reasons().get("ping timeout", 0)
    with connect(through(impatient)):
        wait_until(lambda: impatient.reasons().get("ping timeout", 0) > before, "the end")


def test_a_flood_of_work_whose_client_falls_silent(impatient: Target) -> None:
    """It is not read from while its handlers are at work, and ended when it does not answer."""
    usage = Usage.of(impatient)
    client = join(impatient.url)
    wire = wire_of(client)
    wire.send(Frame(TEXT, f'42{NAMESPACE},["wait",0.2]'.encode()).encode(b"mask") * 20_000)
    assert Usage.of(impatient).greenlets < usage.greenlets + 100
    wire.close()
    impatient.wait_until_empty()
    usage.wait_until_back(impatient, rss_kb=12_000)
