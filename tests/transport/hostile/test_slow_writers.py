"""Who sends byte by byte, or stops in the middle: waited for, and cleaned up after."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable

import pytest

from tests.support.waiting import wait_until
from tests.support.wire import fetch, query
from tests.support.wire_socketio import Polling, SocketIO
from tests.support.wire_websocket import CONTINUATION, PING, PONG, TEXT, Frame, WebSocket
from tests.transport.hostile.conftest import Through
from tests.transport.hostile.people import NAMESPACE, join, join_polling, wire_of
from tests.transport.hostile.target import Target

JOIN = f'40{NAMESPACE},{{"rooms":["room"]}}'


def handshake(wire: WebSocket, target: str | None = None) -> bytes:
    lines = (
        f"GET {target or query(transport='websocket')} HTTP/1.1",
        f"Host: {wire.host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    return "\r\n".join([*lines, "", ""]).encode()


def text_frame(text: str) -> bytes:
    return Frame(TEXT, text.encode()).encode()


Acks = list[tuple[int, list[str]]]


def conversation(sizes: tuple[int, ...]) -> tuple[bytes, Acks, list[bytes]]:
    """Frames of each form, and what is answered to them: acknowledgements, and pongs."""
    sent, pongs = [text_frame(JOIN)], []
    answers: Acks = []
    for number, size in enumerate(sizes):
        text = "ü" * (size // 2)
        data = f'42{NAMESPACE},{number}["message-with-ack","{text}"]'.encode()
        cut = len(data) - 3
        sent += [
            Frame(TEXT, data).encode(),
            Frame(TEXT, data[:cut], fin=False).encode(),
            Frame(PING, str(number).encode()).encode(),
            Frame(CONTINUATION, data[cut:]).encode(),
        ]
        answers += [(number, [text])] * 2
        pongs.append(str(number).encode())
    return b"".join(sent), answers, pongs


def assert_answered(wire: WebSocket, answers: Acks, pongs: list[bytes]) -> None:
    assert wire.read_frame().text.startswith("0{")
    frames = [wire.read_frame() for _ in range(1 + len(answers) + len(pongs))]
    texts = [each.text for each in frames if each.opcode == TEXT]
    assert texts.pop(0).startswith(f'40{NAMESPACE},{{"sid":')
    found = [text.removeprefix(f"43{NAMESPACE},") for text in texts]
    assert [(int(text[0]), json.loads(text[1:])) for text in found] == answers
    assert [each.payload for each in frames if each.opcode == PONG] == pongs


@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
def test_everything_in_small_pieces(roomy: Target, through: Through, piece: int) -> None:
    data, answers, pongs = conversation((2, 124, 300) if piece < 1000 else (2, 124, 300, 66_000, 2))
    with WebSocket(through(roomy)) as wire:
        wire.send(handshake(wire), piece=piece)
        assert wire.read_answer().status == 101
        wire.send(data, piece=piece)
        assert_answered(wire, answers, pongs)


def test_pieces_that_arrive_one_by_one(roomy: Target, through: Through) -> None:
    """With pauses, so that the server sees each of them."""
    data, answers, pongs = conversation((2, 124))
    luck = random.Random(7)
    with WebSocket(through(roomy)) as wire:
        wire.send(handshake(wire), piece=50, pause_seconds=0.005)
        assert wire.read_answer().status == 101
        while data:
            size = luck.choice((1, 1, 2, 3, 5, 40))
            wire.send(data[:size], piece=size, pause_seconds=0.001)
            data = data[size:]
        assert_answered(wire, answers, pongs)


# How far a client has come when it stops.


def in_the_request(wire: WebSocket) -> str | None:
    data = handshake(wire)
    wire.send(data[: len(data) // 2])
    return None


def after_the_request(wire: WebSocket) -> str | None:
    wire.send(handshake(wire))
    return None


def opened(wire: WebSocket) -> str | None:
    wire.open()
    return None


def joined(wire: WebSocket) -> str:
    return SocketIO(wire).connect(NAMESPACE)


def in_a_head(wire: WebSocket) -> str:
    sid = joined(wire)
    wire.send(text_frame("42" + "x" * 300)[:3])
    return sid


def in_a_frame(wire: WebSocket) -> str:
    sid = joined(wire)
    wire.send(text_frame("42" + "x" * 300)[:200])
    return sid


def in_a_message(wire: WebSocket) -> str:
    sid = joined(wire)
    wire.send_frame(TEXT, "42", fin=False)
    return sid


def in_a_binary_event(wire: WebSocket) -> str:
    sid = joined(wire)
    wire.send(text_frame(f'452-{NAMESPACE},["note",{{"_placeholder":true,"num":0}}]'))
    return sid


def answered_without_end(wire: WebSocket) -> str:
    sid = joined(wire)
    wire.send(text_frame(f'42{NAMESPACE},["stream","tick",1000,0.01]'))
    return sid


def close(wire: WebSocket) -> None:
    wire.close()


def reset(wire: WebSocket) -> None:
    wire.reset()


def half_close(wire: WebSocket) -> None:
    """The server ends its half then."""
    wire.half_close()
    wire.read_all()


def be_deaf(wire: WebSocket) -> None:
    """What still comes is thrown away by the kernel."""
    wire.sock.shutdown(socket.SHUT_RD)
    wire.close()


STAGES = (
    in_the_request,
    after_the_request,
    opened,
    joined,
    in_a_head,
    in_a_frame,
    in_a_message,
    in_a_binary_event,
    answered_without_end,
)


@pytest.mark.parametrize("end", [close, reset, half_close, be_deaf])
@pytest.mark.parametrize("stage", STAGES)
def test_who_stops_in_the_middle_is_forgotten(
    tight: Target,
    through: Through,
    stage: Callable[[WebSocket], str | None],
    end: Callable[[WebSocket], None],
) -> None:
    with WebSocket(through(tight)) as wire:
        sid = stage(wire)
        end(wire)
    tight.wait_until_empty()
    if sid is not None:
        assert [reason for ended, reason in tight.status()["ends"] if ended == sid] == ["transport close"]


@pytest.mark.parametrize("end", [close, reset, half_close])
@pytest.mark.parametrize("probed", [False, True])
def test_polling_goes_on_when_an_upgrade_breaks(
    tight: Target, through: Through, probed: bool, end: Callable[[WebSocket], None]
) -> None:
    with join_polling(through(tight), "room") as client:
        for _ in range(3):
            target = query(transport="websocket", sid=client.eio_sid)
            with WebSocket(through(tight)) as wire:
                wire.handshake(target)
                if probed:
                    wire.send_frame(TEXT, "2probe")
                    assert wire.read_frame().text == "3probe"
                end(wire)
            assert_served(tight, client)


def assert_served(server: Target, client: SocketIO) -> None:
    """Both ways."""
    engine = client.engine
    assert isinstance(engine, Polling)

    def told_to_wait() -> bool:
        # While the upgrade seems to go on, a poll is answered with nothing.
        answer = fetch(engine.url, "GET", engine.target(), body=None)
        assert answer.status == 200, answer
        engine.waiting.extend(packet for packet in answer.packets if packet != "6")
        return bool(engine.waiting)

    server.emit("hello", 1, room="room", namespace=NAMESPACE)
    wait_until(told_to_wait, "the event")
    assert client.receive_event(NAMESPACE) == ["hello", 1]
    assert client.call("message-with-ack", 2, namespace=NAMESPACE) == [2]


@pytest.mark.parametrize("end", [half_close, close])
def test_what_was_sent_before_the_end_is_handled(
    tight: Target, through: Through, end: Callable[[WebSocket], None]
) -> None:
    tight.handled()
    with join(through(tight)) as client:
        for number in range(10):
            client.emit("note", number, namespace=NAMESPACE)
        end(wire_of(client))
    tight.wait_until_empty()
    assert tight.handled() == list(range(10))


def test_who_hears_nothing_may_go_on_to_send(tight: Target, through: Through) -> None:
    """Somebody who has shut the receiving half down: TCP does not tell, and what comes is thrown away."""
    tight.handled()
    with join(through(tight), "room") as client:
        wire_of(client).sock.shutdown(socket.SHUT_RD)
        for number in range(50):
            tight.emit("big", "x" * 10_000, room="room", namespace=NAMESPACE)
            if number < 5:
                client.emit("note", number, namespace=NAMESPACE)
        noted: list[int] = []
        wait_until(lambda: noted.extend(tight.handled()) or len(noted) == 5, lambda: str(noted))
        assert noted == list(range(5))
