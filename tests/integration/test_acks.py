"""Acknowledgements of clients on other nodes, over a real Redis: per client, once, and not for ever."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import websocket

from tests.support.clients import RawClient
from tests.support.engine import Failed, Nodes
from tests.support.redis import Redis
from tests.support.waiting import wait_until

ACK_SECONDS = 1.0
OWED = "len(manager.acks._owed)"
EXPECTED = "len(manager.acks._expected)"


@pytest.fixture(scope="module")
def running() -> Iterator[Nodes]:
    """Three nodes; the last one is not patched, and serves by threads."""
    options = f"realtime.QueueOptions(ack_seconds={ACK_SECONDS}, max_message_bytes=20_000)"
    with (
        Redis() as redis,
        Nodes([redis.url], ("gevent", "gevent", "threading"), queue_options=options) as nodes,
    ):
        yield nodes


@pytest.fixture
def nodes(running: Nodes) -> Iterator[Nodes]:
    """They are the same for all tests; each must leave them empty."""
    yield running
    running.tidy()


def notes(nodes: Nodes, count: int, node: int = 0) -> list[tuple[Any, ...]]:
    """What the callbacks of a node were called with, once there are so many; no more come later."""
    nodes[node].wait_for(f"len(notes) >= {count}")
    nodes[node].run("socketio.sleep(0.05)")
    noted: list[tuple[Any, ...]] = nodes[node].run("(list(notes), notes.clear())[0]")
    assert len(noted) == count
    return noted


def sid_of(nodes: Nodes, node: int) -> str:
    """The id of the only client of a node."""
    return str(nodes[node].run("next(iter(manager.rooms['/'][None]))"))


def asked(client: RawClient, event: str = "question") -> int:
    """Wait for an event that is to be acknowledged, and return its id."""
    while True:
        found = re.match(rf'42(\d+)\["{event}"', client.receive_until("42"))
        if found:
            return int(found[1])


ANSWERS: list[tuple[Any, tuple[Any, ...]]] = [
    (None, ()),
    (1, (1,)),
    ((1, "two"), (1, "two")),
    ([1, 2], ([1, 2],)),
    (b"\0\xff", (b"\0\xff",)),
    ({"a": [b"1", {"b": b"2"}]}, ({"a": [b"1", {"b": b"2"}]},)),
    ((b"1", [b"2"], "three"), (b"1", [b"2"], "three")),
    ("ü☃ 🚀", ("ü☃ 🚀",)),
    ([2**70, 0.1, True, None], ([2**70, 0.1, True, None],)),
    (float("inf"), (float("inf"),)),
]


@pytest.mark.parametrize(("home", "asking"), [(0, 0), (1, 0), (2, 0), (1, 2)])
def test_what_a_client_answers_arrives_as_on_the_own_node(nodes: Nodes, home: int, asking: int) -> None:
    answers = iter([answer for answer, _ in ANSWERS for _ in range(2)])
    client = nodes.join(home, answers={"question": lambda *given: next(answers)})
    for _, expected in ANSWERS:
        nodes[asking].run("socketio.emit('question', to=sid, callback=collect)", sid=client.sid)
        nodes[asking].wait_for("'collected' in kept")
        collected = nodes[asking].run("repr(kept.pop('collected'))")
        assert collected == repr([expected])
        called = nodes[asking].run("repr(socketio.call('question', to=sid))", sid=client.sid)
        assert called == repr(expected if len(expected) > 1 else expected[0] if expected else None)


def test_each_client_in_a_room_answers_once(nodes: Nodes) -> None:
    names = ["a0", "b0", "a1", "b1", "a2", "b2"]
    clients = [nodes.join(int(name[1]), answers={"question": (name, b"!")}) for name in names]
    for client in clients:
        client.run("flask_socketio.join_room('red')")
    sids = [client.sid for client in clients]
    for to, skip, answering in (
        ("red", None, names),
        (["red", sids[0], "nobody"], None, names),
        (sids[2:4], None, names[2:4]),
        ("red", sids[3], [*names[:3], *names[4:]]),
    ):
        nodes[0].run("socketio.emit('question', 1, to=to, skip_sid=skip, callback=note)", to=to, skip=skip)
        assert sorted(notes(nodes, len(answering))) == [(name, b"!") for name in sorted(answering)]
    clients[0].run("flask_socketio.emit('question', to='red', callback=note)")
    assert len(notes(nodes, 6)) == 6
    with pytest.raises(Failed, match="without a room"):
        nodes[0].run("socketio.emit('question', callback=note)")


def test_a_call_that_is_not_answered_times_out(nodes: Nodes) -> None:
    client, other = nodes.raw(1), nodes.join(1, answers={"question": "here"})
    sid = nodes[1].run("next(s for s in manager.rooms['/'][None] if s != other)", other=other.sid)
    begin = time.monotonic()
    with pytest.raises(Failed) as failed:
        nodes[0].run("socketio.call('question', to=sid, timeout=0.3)", sid=sid)
    assert failed.value.kinds[0] == "TimeoutError"
    assert 0.3 <= time.monotonic() - begin < 1
    client.send(f"43{asked(client)}[1]")
    assert nodes[0].run("socketio.call('question', to=sid, timeout=5)", sid=other.sid) == "here"


def test_what_is_never_answered_is_forgotten(nodes: Nodes) -> None:
    client = nodes.raw(1)
    sid = sid_of(nodes, 1)
    for to in (sid, [sid], "nobody"):
        nodes[0].run("socketio.emit('question', to=to, callback=note)", to=to)
    first = asked(client)
    nodes[1].wait_for(f"{OWED} == 2")
    assert nodes[0].run(f"({EXPECTED}, {OWED})") == (3, 0)
    nodes[0].wait_for(f"{EXPECTED} == 0")
    nodes[1].wait_for(f"{OWED} == 0")
    assert [nodes[node].run("manager.acks.expired >= 2") for node in (0, 1)] == [True, True]
    # Too late; and what comes in time, right after it, still counts.
    client.send(f"43{first}[1]")
    nodes[0].run("socketio.emit('again', to=sid, callback=note)", sid=sid)
    client.send(f"43{asked(client, 'again')}[2]")
    assert notes(nodes, 1) == [(2,)]


def test_a_client_that_leaves_owes_nothing(nodes: Nodes) -> None:
    client = nodes.raw(1)
    expired = nodes[1].run("manager.acks.expired")
    ask = "[socketio.emit('question', to=sid, callback=note) for _ in range(100)] and None"
    nodes[0].run(ask, sid=sid_of(nodes, 1))
    nodes[1].wait_for(f"{OWED} == 100")
    client.__exit__()
    nodes[1].wait_for(f"{OWED} == 0 and not manager.acks._owed_by")
    # At once, and not because the time was over.
    assert nodes[1].run("manager.acks.expired") == expired


def test_only_who_was_asked_answers_and_only_once(nodes: Nodes) -> None:
    client = nodes.raw(1)
    sid = sid_of(nodes, 1)
    stranger, here = nodes.raw(1), nodes.raw(0)
    nodes[0].run("socketio.emit('question', to=[sid], callback=note)", sid=sid)
    ack = asked(client)
    for liar in (stranger, here):
        liar.send(f'43{ack}["a lie"]')
        for number in (0, 1, 2, 2**24 + 1, 2**53, 10**40):
            liar.send(f"43{number}[]")
        liar.send(f'43/class,{ack}["a lie"]')
        liar.send('42["several"]')
    client.send(f"43{ack + 1}[]")
    for _ in range(3):
        client.send(f'43{ack}["the truth"]')
    nodes[0].run("socketio.emit('again', to=sid, callback=note)", sid=sid)
    client.send(f"43{asked(client, 'again')}[]")
    assert notes(nodes, 2) == [("the truth",), ()]


@pytest.mark.parametrize("home", [0, 1])
def test_answers_by_hand(nodes: Nodes, home: int) -> None:
    client = nodes.raw(home)
    sid = sid_of(nodes, home)
    for answer in ('461-{}[{{"_placeholder":true,"num":0}}]', "43{}[1e999]"):
        nodes[0].run("socketio.emit('question', to=sid, callback=lambda *given: note(repr(given)))", sid=sid)
        client.send(answer.format(asked(client)))
        if answer.startswith("46"):
            client.send_binary(b"\0\xff")
    assert notes(nodes, 2) == [("(b'\\x00\\xff',)",), ("(inf,)",)]


@pytest.mark.parametrize("answer", ["43{}", '43{}{{"no":"list"}}', '43{}"no list"'])
def test_an_answer_without_arguments_ends_the_connection(nodes: Nodes, answer: str) -> None:
    client = nodes.raw(0)
    sid = sid_of(nodes, 0)
    nodes[0].run("socketio.emit('question', to=sid, callback=note)", sid=sid)
    client.send(answer.format(asked(client)))
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        client.receive_until("nothing comes")


def test_an_answer_that_is_too_large_is_given_up(nodes: Nodes) -> None:
    client = nodes.raw(1)
    nodes[0].run("socketio.emit('question', to=sid, callback=note)", sid=sid_of(nodes, 1))
    client.send(f'43{asked(client)}["{"x" * 20_000}"]')
    wait_until(lambda: "was not handed on" in nodes[1].log(), "a line in the log")
    assert nodes[1].run(OWED) == 0


@pytest.mark.parametrize("asking", [0, 2])
def test_a_callback_that_takes_its_time_delays_nobody(nodes: Nodes, asking: int) -> None:
    slow = nodes.join(1, answers={"question": 1, "second": 2})
    watcher = nodes.join(asking)
    nodes[asking].run(
        """socketio.emit('question', to=sid, callback=lambda answer: (
            note(answer), note(socketio.call('second', to=sid)), socketio.sleep(0.7), note('end')
        ))""",
        sid=slow.sid,
    )
    begin = time.monotonic()
    nodes[asking].wait_for("len(notes) == 2")
    assert nodes.seen(watcher, sender=1) == [[]]
    assert time.monotonic() - begin < 0.6
    assert notes(nodes, 3, asking) == [(1,), (2,), ("end",)]


def test_a_callback_on_this_node_only_has_no_deadline(nodes: Nodes) -> None:
    client = nodes.raw(0)
    sid = sid_of(nodes, 0)
    nodes[0].run("socketio.emit('question', to=sid, callback=note, ignore_queue=True)", sid=sid)
    ack = asked(client)
    assert nodes[0].run("len(manager.acks)") == 0
    client.send(f"43{ack}[1]")
    client.send(f"43{ack}[2]")
    assert notes(nodes, 1) == [(1,)]
    nodes[0].run("socketio.emit('question', to=sid, callback=note, ignore_queue=True)", sid=sid)
