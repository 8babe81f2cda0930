"""Several nodes over a real Redis: what one of them does, clients of the others see as its own clients do.

What a client has not got before the fence of `Nodes.seen`, which comes from the same node, it does not get.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine import Failed, Nodes
from tests.support.redis import Redis

MAX_MESSAGE_BYTES = 20_000


@pytest.fixture(scope="module")
def running() -> Iterator[Nodes]:
    """Three nodes; the last one is not patched, and serves by threads."""
    options = f"realtime.QueueOptions(max_message_bytes={MAX_MESSAGE_BYTES}, ack_seconds=1)"
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


# Who gets it.

# What is done on the first node, and who hears it: a is there, b and B on the second node, c on the third.
ADDRESSES = {
    "socketio.emit('x')": "abBc",
    "socketio.send('x')": "abBc",
    "socketio.emit('x', to=a)": "a",
    "socketio.emit('x', to=b)": "b",
    "socketio.emit('x', room=c)": "c",
    "socketio.emit('x', to=[a, b, c])": "abc",
    "socketio.emit('x', to=[b, b])": "b",
    "socketio.emit('x', to=(b, c))": "bc",
    "socketio.emit('x', to={b, c})": "bc",
    "socketio.emit('x', to='red')": "ab",
    "socketio.emit('x', to=['red', 7])": "abc",
    "socketio.emit('x', to=['red', 'nobody', B])": "abB",
    "socketio.emit('x', to=7)": "bc",
    "socketio.emit('x', to='7')": "",
    "socketio.emit('x', to=2**63)": "c",
    "socketio.emit('x', to=1.5)": "c",
    "socketio.emit('x', to='ünï 🚀 room')": "c",
    "socketio.emit('x', to=Markup('red'))": "ab",
    "socketio.emit('x', to='nobody')": "",
    "socketio.emit('x', to=[])": "abBc",
    "socketio.emit('x', skip_sid=b)": "aBc",
    "socketio.emit('x', skip_sid=[a, b, c])": "B",
    "socketio.emit('x', skip_sid=[None, b])": "aBc",
    "socketio.emit('x', skip_sid=[])": "abBc",
    "socketio.emit('x', to=['red', 7], skip_sid=(b,))": "ac",
    "socketio.emit('x', namespace='/class')": "",
    "socketio.emit('x', namespace='/nowhere')": "",
    "socketio.emit('x', to=b, namespace='/class')": "",
    "socketio.emit('x', ignore_queue=True)": "a",
    "socketio.emit('x', to=b, ignore_queue=True)": "",
    "server.emit('x', room='red', skip_sid=a)": "b",
}


def test_an_emit_reaches_whom_it_is_for(nodes: Nodes) -> None:
    peers = {name: nodes.join(home) for name, home in {"a": 0, "b": 1, "B": 1, "c": 2}.items()}
    rooms = {"a": ["red"], "b": ["red", 7], "B": [], "c": [7, 2**63, 1.5, "ünï 🚀 room"]}
    for name, entered in rooms.items():
        for room in entered:
            peers[name].run("flask_socketio.join_room(room)", room=room)
    sids = {name: peer.sid for name, peer in peers.items()}
    heard = {}
    for expression in ADDRESSES:
        nodes[0].run(expression, **sids)
        got = nodes.seen(*peers.values())
        heard[expression] = "".join(name * len(events) for name, events in zip(peers, got, strict=True))
    assert heard == ADDRESSES


@pytest.mark.parametrize("room", ["object()", "b'red'", "(1, b'2')", "2**64", "'\\ud800'", "[[]]"])
def test_a_room_that_cannot_travel_is_told(nodes: Nodes, room: str) -> None:
    here, there = nodes.join(0), nodes.join(1)
    for call in (
        f"socketio.emit('x', to={room})",
        f"server.enter_room(sid, {room})",
        f"server.leave_room(sid, {room})",
        f"socketio.close_room({room})",
    ):
        with pytest.raises(Failed) as failed:
            nodes[0].run(call, sid=there.sid)
        assert "NotSerializable" in failed.value.kinds
    assert nodes.seen(here, there) == [[], []]


# What they get.

DATA: dict[str, tuple[Any, ...]] = {
    "None": (),
    "()": (),
    "(None,)": (None,),
    "[]": ([],),
    "{}": ({},),
    "''": ("",),
    "0": (0,),
    "False": (False,),
    "(1, 'two', [3])": (1, "two", [3]),
    "([1, 2],)": ([1, 2],),
    "[(1, 2), (3,)]": ([[1, 2], [3]],),
    "b''": (b"",),
    "b'\\0\\xff'": (b"\0\xff",),
    "bytearray(b'12')": (b"12",),
    "memoryview(b'12')": (b"12",),
    "(b'1', 'two', b'3')": (b"1", "two", b"3"),
    "{'a': b'1', 'b': [b'2', {'c': (b'3', 4)}]}": ({"a": b"1", "b": [b"2", {"c": [b"3", 4]}]},),
    "({'a': (b'1',)}, (b'2',))": ({"a": [b"1"]}, [b"2"]),
    "{'_placeholder': True, 'num': 0}": ({"_placeholder": True, "num": 0},),
    "'ü☃ 🚀 \\0 \\u2028 </script>'": ("ü☃ 🚀 \0 \u2028 </script>",),
    "'\\ud800 alone'": ("\ud800 alone",),
    "'NaN'": ("NaN",),
    "[2**53 + 1, 2**70, -(2**64)]": ([2**53 + 1, 2**70, -(2**64)],),
    "[0.1, 1e300, 5e-324, -0.0, 1.0]": ([0.1, 1e300, 5e-324, -0.0, 1.0],),
    "{1: 'one', None: 0, 1.5: 3}": ({"1": "one", "null": 0, "1.5": 3},),
    "collections.OrderedDict(b=1, a=2)": ({"b": 1, "a": 2},),
    "collections.namedtuple('N', 'a b')(1, [2])": (1, [2]),
    "'x' * 10_000": ("x" * 10_000,),
}


def test_data_arrives_as_on_the_own_node(nodes: Nodes) -> None:
    transports = (["websocket"], ["polling"])
    peers = [nodes.join(node, transports=transport) for node in (0, 1, 2) for transport in transports]
    got = {}
    for data, expected in DATA.items():
        nodes[0].run(f"socketio.emit('x', {data})")
        got[data] = nodes.seen(*peers)
        assert (data, got[data]) == (data, [[("x", expected)]] * 6)


# What else is done to them.


def test_rooms_and_emits_keep_their_order(nodes: Nodes) -> None:
    here, there, further = nodes.join(0), nodes.join(1), nodes.join(2)
    for number in range(30):
        nodes[0].run(
            """[
                (
                    server.enter_room(sid, room),
                    socketio.emit('x', 'in', to=room),
                    server.leave_room(sid, room),
                    socketio.emit('x', 'out', to=room),
                    server.enter_room(sid, room),
                    socketio.emit('x', 'in again', to=room),
                )
                for sid in (here, there, further)
            ] and (socketio.close_room(room), socketio.emit('x', 'closed', to=room)) and None""",
            here=here.sid,
            there=there.sid,
            further=further.sid,
            room=["red", 7, 2**63][number % 3],
        )
        own, others = ["in", "in again"], ["in", "out", "in again"]
        heard = [[("x", (text,)) for text in texts] for texts in (own + others * 2, own + others, own)]
        assert nodes.seen(here, there, further) == heard
    assert nodes[1].run("server.rooms(sid)", sid=there.sid) == [there.sid]


def test_rooms_of_another_node_s_client_from_a_handler(nodes: Nodes) -> None:
    here, there = nodes.join(0), nodes.join(1, namespace="/class")
    here.run("flask_socketio.join_room('red', sid=there, namespace='/class')", there=there.sid)
    nodes[1].wait_for("'red' in server.rooms(there, '/class')", there=there.sid)
    here.run("flask_socketio.emit('x', to='red', namespace='/class')")
    there.wait_for("x")
    here.run("flask_socketio.leave_room('red', sid=there, namespace='/class')", there=there.sid)
    nodes[1].wait_for("'red' not in server.rooms(there, '/class')", there=there.sid)


@pytest.mark.parametrize("home", [1, 2])
def test_a_client_of_another_node_is_disconnected(nodes: Nodes, home: int) -> None:
    there, neighbour = nodes.join(home), nodes.join(home)
    nodes[0].run("server.disconnect(sid)", sid=there.sid)
    there.wait_until(lambda: there.reasons, "the end")
    assert there.reasons == ["server disconnect"]
    assert nodes.seen(neighbour) == [[]]
    nodes[home].wait_for("notes")
    assert nodes[home].run("notes") == [("disconnect", "server disconnect")]
    assert nodes[0].run("notes") == []
    nodes[0].run("server.disconnect(sid), server.disconnect('nobody')", sid=there.sid)
    assert nodes.seen(neighbour) == [[]]


@pytest.mark.parametrize("home", [1, 2])
def test_nothing_reaches_a_client_after_its_disconnect(nodes: Nodes, home: int) -> None:
    nodes[home].run("kept.update(pause_seconds=1)")
    there = nodes.raw(home)
    there.send("40/class,")
    sid = json.loads(there.receive_until("40/class")[9:])["sid"]
    root = nodes[home].run(
        "next(s for s, e in manager.rooms['/'][None].items() if e == manager.rooms['/class'][None][sid])",
        sid=sid,
    )
    neighbour = nodes.join(home)
    begin = time.monotonic()
    nodes[0].run(
        """(
            server.enter_room(sid, 'red'),
            socketio.emit('x', 'before', to='red'),
            server.disconnect(sid),
            socketio.emit('x', 'after', to='red'),
            socketio.emit('x', 'after', to=sid),
            socketio.emit('x', 'after'),
            socketio.emit('question', to=sid, callback=note),
            socketio.emit('last', namespace='/class'),
        ) and None""",
        sid=root,
    )
    packets = list(iter(there.receive, '42/class,["last"]'))
    assert [packet for packet in packets if not packet.startswith("42/class")] == ['42["x","before"]', "41"]
    # Its handler waits for a second, which keeps nobody else from anything.
    assert nodes.seen(neighbour) == [[("x", ("after",))]]
    assert nodes[home].run("notes") == [("disconnect", "server disconnect")]
    assert time.monotonic() - begin < 0.9
    nodes[home].wait_for("('disconnected',) in notes")
    nodes[home].wait_for("not server.rooms(sid)", sid=root)


def test_an_emit_that_concerns_nobody_is_not_decoded(nodes: Nodes) -> None:
    here, there = nodes.join(0), nodes.join(1)
    nodes[1].run(
        """(
            kept.update(decoded=[], real=frames.decode),
            setattr(frames, 'decode', lambda body: kept['decoded'].append(1) or kept['real'](body)),
        ) and None"""
    )
    nodes[0].run(
        """[
            (
                socketio.emit('x', 'y' * 1000, to='nobody here'),
                socketio.emit('x', 'y' * 1000, to=['nobody here', sid]),
                socketio.emit('x', 'y' * 1000, namespace='/class'),
            )
            for _ in range(50)
        ] and None""",
        sid=here.sid,
    )
    assert len(nodes.seen(here, there)[0]) == 50
    assert (
        nodes[1].run("(setattr(frames, 'decode', kept['real']), len(kept['decoded']))[1]") == 1
    )  # the fence


# What goes wrong.

BAD = {
    "datetime.datetime.now()": "data is a datetime",
    "{'a': [1, {'when': datetime.date.today()}]}": "data['a'][1]['when'] is a date",
    "({'a': 1}, {1, 2})": "data[1] is a set",
    "[object()]": "data[0] is a object",
    "{'a': b'1', 'b': lambda: 1}": "data['b'] is a function",
    "{(1, 2): 3}": "key (1, 2)",
    "{b'k': 3}": "key b'k'",
    "[float('nan')]": "data[0] is nan",
    "{'a': (1, float('-inf'))}": "data['a'][1] is -inf",
    "(lambda circle: circle.append(circle) or circle)([])": "contains itself",
    "(lambda circle: circle.update(a=[circle]) or circle)({})": "contains itself",
    "__import__('functools').reduce(lambda inner, _: [inner], range(100_000), 1)": "nested too deeply",
    "10 ** 5000": "data is a int",
    "'x' * 20_000": "max_message_bytes=20000",
    "b'x' * 20_000": "max_message_bytes=20000",
    "(1, 2, 3, 4, ['x' * 5_000] * 5)": "max_message_bytes=20000",
}


def test_what_cannot_travel_is_told_and_harms_nobody(nodes: Nodes) -> None:
    peers = [nodes.join(node) for node in (0, 1, 2)]
    for data, reason in BAD.items():
        for call in (f"socketio.emit('x', {data})", f"socketio.emit('x', {data}, to=sid, callback=note)"):
            with pytest.raises(Failed) as failed:
                nodes[0].run(call, sid=peers[1].sid)
            assert reason in failed.value.text
            large = "max_message_bytes" in reason
            kinds = ("MessageTooLarge", "ValueError") if large else ("NotSerializable", "TypeError")
            assert {*kinds, "QueueError"} <= set(failed.value.kinds)
        nodes[0].run("socketio.emit('next')")
        assert nodes.seen(*peers) == [[("next", ())]] * 3
    assert nodes[0].run("len(manager.acks)") == 0


# What the nodes tell of the queue.


def test_the_queue_s_changes_and_state_are_told() -> None:
    with Redis() as redis, Nodes([redis.url], ("gevent", "gevent")) as nodes:
        nodes[0].wait_for("('state', 'redis', 'up') in kept['events']")
        status = nodes[0].run("socketio.queue_status()")
        assert json.loads(json.dumps(status)) == status
        assert status["brokers"]["redis"].keys() >= {
            "state",
            "since",
            "error",
            "rtt_ms",
            "published",
            "received",
        }
        assert status["outbox"].keys() >= {"depth", "bytes", "oldest_age_seconds", "dropped"}
        assert status["inbox"].keys() >= {"duplicates", "repaired", "lost", "waiting"}
        assert len(status["nodes"]) == 1
        redis.kill()
        # Nobody emits anything: the node finds out by itself.
        nodes[0].wait_for("('state', 'redis', 'down') in kept['events']")
        assert nodes[0].run("socketio.queue_status()['active']") is None
        there = nodes.join(1)
        nodes[0].run("socketio.emit('x', 'while it was away')")
        assert nodes[0].run("socketio.queue_status()['outbox']['depth']") == 1
        redis.start()
        there.wait_for("x")
        nodes[0].wait_for("socketio.queue_status()['active'] == 'redis'")
        nodes[0].wait_for("kept['events'].count(('state', 'redis', 'up')) >= 2")
        with pytest.raises(Failed, match="there is no broker 'rabbitmq': there are redis"):
            nodes[0].run("socketio.switch_queue('rabbitmq')")
        nodes.tidy()
