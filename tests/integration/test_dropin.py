"""Programs written for Flask-SocketIO behave on the engine as they do on the library, seen from outside.

The same program runs in two child processes, once with each library's SocketIO, and the same clients do the
same things with it. What was returned, raised, received and acknowledged is compared, step by step.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from tests.support.clients import RefusedConnect
from tests.support.engine import Failed, Mode, Peer, Program
from tests.support.redis import Redis
from tests.support.waiting import wait_until

Transcript = list[tuple[str, Any, dict[str, Any]]]


class Stage:
    """A program, its clients, and a record of everything that they see. Session ids become names there."""

    def __init__(self, program: Program, queue: bool) -> None:
        self.program = program
        self.queue = queue
        self.transcript: Transcript = []
        self.peers: dict[str, Peer] = {}
        self._names: dict[str, str] = {}
        self._fences = itertools.count()
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def join(self, name: str, **options: Any) -> Peer:
        """Let a client connect."""
        peer = self._exits.enter_context(Peer(self.program.url, **options))
        self.peers[name] = peer
        self._names[peer.sid] = f"<{name}>"
        self._record(f"{name} joins", None)
        return peer

    def step(self, who: str | None, expression: str, *, ends: str | None = None) -> None:
        """Run an expression for a client, in a handler; or, for None, outside of all handlers."""
        run = self.peers[who].run if who else self.program.run
        self.do(f"{who}: {expression}", lambda: run(expression, **self.sids), ends=ends)

    def last_step(self, who: str, expression: str) -> None:
        """Run an expression in a handler of a client that gets no answer any more."""
        peer = self.peers[who]
        self.do(f"{who}: {expression}", lambda: peer.emit("run", expression, repr(self.sids)), ends=who)

    def send(self, who: str, event: str, *data: Any) -> None:
        """Let a client emit an event, and record its acknowledgement."""
        self.do(f"{who} emits {event}{data}", lambda: self.peers[who].call(event, *data))

    def do(self, label: str, action: Callable[[], Any], *, ends: str | None = None) -> None:
        """Do something, and record what came of it.

        :param ends: the client whose end it is.
        """
        try:
            outcome = action()
        except Failed as error:
            outcome = ("raised", error.kinds[0], error.text)
        if ends:
            peer = self.peers.pop(ends)
            wait_until(lambda: not peer.connected and peer.reasons, f"the end of {ends}")
            outcome = (outcome, peer.reasons, peer.received)
        self._record(label, outcome)

    def notes(self, count: int) -> None:
        """Record what the program has noted since the last time."""
        self.program.wait_for(f"len(notes) >= {count}")
        self.do(f"{count} notes", lambda: self.program.run("(list(notes), notes.clear())[0]"))

    @property
    def sids(self) -> dict[str, str]:
        """The clients' ids by name, for expressions."""
        return {name: peer.sid for name, peer in self.peers.items()}

    def _record(self, label: str, outcome: Any) -> None:
        fence = next(self._fences)
        for namespace in {peer.namespace for peer in self.peers.values()}:
            self.program.run("socketio.emit('fence', fence, namespace=ns)", fence=fence, ns=namespace)
        seen = {}
        for name, peer in self.peers.items():
            peer.wait_until(functools.partial(peer.received.__contains__, ("fence", (fence,))), label)
            events = [event for event in peer.received if event[0] != "fence"]
            if events:
                seen[name] = self._named(events)
            peer.received.clear()
        self.transcript.append((label, self._named(outcome), seen))

    def _named(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._names.get(value, value)
        if isinstance(value, list | tuple | set):
            return type(value)(self._named(item) for item in value)
        if isinstance(value, dict):
            return {key: self._named(item) for key, item in value.items()}
        return value


def play(program: Program, queue: bool) -> Transcript:
    """Go through everything that Flask-SocketIO offers."""
    with Stage(program, queue) as stage:
        slow = {"question": lambda *given: ("answer", *given), "one": 1, "binary": b"\0\xff"}
        stage.join("alice", auth={"who": "alice"}, answers=slow)
        stage.join("bob", transports=["polling"], answers=slow)
        stage.join("carol", transports=["polling", "websocket"], answers=slow)
        for who in ("nobody", "eve"):
            with pytest.raises(RefusedConnect) as refused:
                stage.join("nobody", auth={"who": who})
            stage.do(f"refusal of {who}", lambda refused=refused: str(refused.value))
        handlers(stage)
        emits(stage)
        rooms(stage)
        acknowledgements(stage)
        namespaces(stage)
        ends(stage)
        return stage.transcript


def handlers(stage: Stage) -> None:
    """Handlers of every kind, and what goes wrong in them."""
    for event in ("several", "nothing", "decorated", "added", "unheard of", "fail"):
        data = ["x"] if event in ("decorated", "added") else []
        stage.send("alice", event, *data)
    stage.send("alice", "several", 1, None, b"\1", {"a": [b"\2", {"b": b""}]}, "ü☃𝄞", 1.5, 2**70, [])
    stage.send("bob", "message", "to all but me")
    stage.send("bob", "json", {"to": "me"})
    for who in ("carol", "carol", "alice"):
        stage.send(who, "count")
    alice = stage.peers["alice"]
    stage.do("work in the background", lambda: (alice.call("work", 21), alice.wait_for("worked")))
    stage.step("alice", "flask.request.event['message'], len(flask.request.event['args'])")
    stage.step("alice", "flask.request.namespace, flask.request.sid, session['seen']")
    stage.step(None, "socketio.start_background_task(note, 1).join(), socketio.sleep(0)")
    stage.notes(1)


def emits(stage: Stage) -> None:
    """Every way to address, and every kind of data."""
    for call in (
        "emit('x')",
        "emit('x', None)",
        "emit('x', 1)",
        "emit('x', (1, 2))",
        "emit('x', [1, 2])",
        "emit('x', ())",
        "emit('x', [])",
        "emit('x', ([],))",
        "emit('x', {'a': (1, 2)}, broadcast=True)",
        # Bytes for a client that polls and one that does not in one emit are beyond the library.
        "emit('x', b'', to=[alice, carol])",
        "emit('x', {'a': b'1', 'b': [b'2', {'c': b'3'}]}, to=[alice, carol])",
        "emit('x', (b'1', [b'2'], 'three'), to=[alice, carol])",
        "emit('x', {'a': b'1', 'b': [b'2', {'c': b'3'}]}, to=bob)",
        "send(b'bytes', to=bob)",
        "emit('x', 'ü\\u2603\\ud834\\udd1e', broadcast=True)",
        "emit('x', [1.5, 2**70, -2**63, 1e300, True, None], broadcast=True)",
        "emit('x', {1: 'one', None: 2, True: 3}, broadcast=True)",
        "emit('x', 1, broadcast=True, include_self=False)",
        "emit('x', 1, broadcast=True, skip_sid=bob)",
        "emit('x', 1, broadcast=True, skip_sid=[bob, carol])",
        "emit('x', 1, broadcast=True, skip_sid=[])",
        "emit('x', 1, broadcast=True, skip_sid=[None])",
        "emit('x', 1, to=bob)",
        "emit('x', 1, room=bob)",
        "emit('x', 1, to=[bob, carol])",
        "emit('x', 1, to=[bob, bob])",
        "emit('x', 1, to=[])",
        "emit('x', 1, to='nobody')",
        "emit('x', 1, to=bob, ignore_queue=True)",
        "emit('x', 1, namespace='/', broadcast=True)",
        "emit('x', 1, namespace='/nowhere', broadcast=True)",
        "send('text')",
        "send('text', broadcast=True, include_self=False)",
        "send({'a': 1}, json=True, to=bob)",
        "send(('two', 'arguments'), to=bob)",
    ):
        stage.step("alice", f"flask_socketio.{call}")
    for call in (
        "emit('x')",
        "emit('x', {'a': b'1'}, to=bob)",
        "emit('x', (1, 2), to=bob)",
        "emit('x', 1, skip_sid=bob)",
        "emit('x', 1, skip_sid=[bob, alice])",
        "emit('x', 1, room=[alice, bob], skip_sid=[bob])",
        "emit('x', 1, include_self=False)",
        "send('text')",
        "send({'a': 1}, json=True, to=bob)",
        "server.emit('x', 1, to=bob)",
        "server.emit('x', 1, room=[alice, bob], skip_sid=bob)",
        "server.send('x', to=bob)",
    ):
        stage.step(None, f"socketio.{call}")


def rooms(stage: Stage) -> None:
    """Rooms: of names and numbers, entered and left from within and from without."""
    for who, call in (
        ("alice", "flask_socketio.join_room('red')"),
        ("alice", "flask_socketio.join_room('red')"),
        ("bob", "flask_socketio.join_room('red')"),
        ("bob", "flask_socketio.join_room(7)"),
        ("carol", "flask_socketio.join_room(7)"),
        ("alice", "flask_socketio.join_room('blue', sid=carol)"),
        ("alice", "flask_socketio.join_room('class', sid=alice, namespace='/class')"),
        ("alice", "set(flask_socketio.rooms())"),
        ("bob", "set(flask_socketio.rooms())"),
        ("bob", "set(flask_socketio.rooms(sid=carol, namespace='/'))"),
        ("carol", "flask_socketio.emit('x', 'red', to='red')"),
        ("alice", "flask_socketio.emit('x', 'red', to='red', include_self=False)"),
        ("alice", "flask_socketio.emit('x', 'both', to=['red', 7])"),
        (None, "socketio.emit('x', 'seven', to=7)"),
        (None, "socketio.emit('x', '7', to='7')"),
        (None, "socketio.emit('x', 'three', to=['red', 'blue', alice], skip_sid=bob)"),
        ("bob", "flask_socketio.leave_room('red')"),
        ("bob", "flask_socketio.leave_room('red')"),
        ("bob", "flask_socketio.leave_room('never entered')"),
        (None, "server.leave_room(carol, 'blue')"),
        (None, "server.enter_room(carol, 'red')"),
        (None, "socketio.emit('x', 'red', to='red')"),
        (None, "socketio.emit('x', 'blue', to='blue')"),
        (None, "socketio.close_room('red')"),
        (None, "socketio.emit('x', 'red', to='red')"),
        ("alice", "flask_socketio.close_room(7)"),
        (None, "socketio.emit('x', 7, to=7)"),
        ("alice", "flask_socketio.join_room(bob)"),
        ("alice", "flask_socketio.close_room(bob)"),
        (None, "set(server.rooms(alice))"),
        (None, "server.rooms('nobody')"),
        (None, "set(manager.rooms['/']) == {None, alice, bob, carol}"),
    ):
        stage.step(who, call)


def acknowledgements(stage: Stage) -> None:
    """Callbacks and call(), from within and from without."""
    for who, call in (
        (None, "socketio.emit('question', 1, to=bob, callback=note)"),
        (None, "socketio.emit('question', (1, 2), to=bob, callback=note)"),
        (None, "socketio.emit('question', b'1', to=bob, callback=note)"),
        (None, "socketio.emit('binary', to=bob, callback=note)"),
        (None, "socketio.emit('no answer', to=bob, callback=note)"),
        (None, "socketio.send('x', to=bob, callback=note)"),
        ("alice", "flask_socketio.emit('one', callback=note)"),
        ("alice", "flask_socketio.send('x', callback=note)"),
        ("alice", "flask_socketio.emit('one', to=bob, callback=lambda *a: note(flask.request.sid, *a))"),
    ):
        stage.step(who, call)
        stage.notes(1)
    if not stage.queue:
        # With a queue the library calls back for the first answer only.
        stage.step("alice", "flask_socketio.join_room('asked'), flask_socketio.join_room('asked', sid=bob)")
        stage.step(None, "socketio.emit('one', to='asked', callback=note)")
        stage.notes(2)
    for who, call in (
        (None, "socketio.call('question', 1, to=bob)"),
        (None, "socketio.call('one', to=bob)"),
        (None, "socketio.call('no answer', to=bob)"),
        (None, "server.call('binary', sid=bob)"),
        ("alice", "flask_socketio.call('question', {'a': 1})"),
        ("alice", "flask_socketio.call('one', to=bob)"),
        (None, "socketio.call('question', to='nobody', timeout=0.1)"),
        (None, "socketio.call('question')"),
    ):
        stage.step(who, call)


def namespaces(stage: Stage) -> None:
    """A class, and handlers for any namespace."""
    stage.join("dora", namespace="/class")
    stage.join("emil", namespace="/class", transports=["polling"])
    for event, *data in (
        ("shout", "hello"),
        ("say", "hi"),
        ("elsewhere", 1),
        ("fail",),
        ("somewhere", 2),
        ("unheard of",),
    ):
        if event != "unheard of":
            stage.send("dora", event, *data)
    stage.step("dora", "flask_socketio.emit('x', flask.request.namespace, broadcast=True)")
    stage.step("dora", "flask_socketio.emit('x', 1, namespace='/', broadcast=True)")
    stage.step("dora", "flask_socketio.join_room('room'), flask_socketio.join_room('room', sid=emil)")
    stage.send("dora", "whisper", "room", "psst")
    stage.send("dora", "close", "room")
    stage.send("dora", "whisper", "room", "psst")
    stage.step(None, "socketio.emit('x', 1, namespace='/class', to=emil)")
    stage.step(None, "socketio.emit('x', 1, to=emil)")
    stage.step(None, "socketio.call('x', namespace='/class', to=emil)")
    stage.last_step("dora", "flask_socketio.disconnect()")
    stage.notes(1)
    with pytest.raises(RefusedConnect) as refused:
        stage.join("nobody", namespace="/nowhere")
    # How it is told, the protocol's specification says, and the library does otherwise.
    stage.do("no such namespace", lambda: bool(str(refused.value)))


def ends(stage: Stage) -> None:
    """Every way to leave, with its reason on both sides."""
    stage.step("alice", "flask_socketio.disconnect(sid=bob)", ends="bob")
    stage.notes(1)
    stage.step(None, "server.disconnect(carol)", ends="carol")
    stage.notes(1)
    stage.step(None, "server.disconnect('nobody')")
    for name, end in (("frank", Peer.leave), ("george", Peer.cut)):
        peer = stage.join(name)
        stage.do(f"{name} ends", functools.partial(end, peer), ends=name)
        stage.notes(1)
    stage.last_step("alice", "flask_socketio.disconnect()")
    stage.notes(1)


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def reference(redis: Redis) -> Callable[[Mode, bool], Transcript]:
    """What the library does."""
    played: dict[tuple[Mode, bool], Transcript] = {}

    def look(mode: Mode, queue: bool) -> Transcript:
        if (mode, queue) not in played:
            options = {"message_queue": repr(redis.url), "channel": "'stock'"} if queue else {}
            with Program("stock", mode, **options) as program:
                played[mode, queue] = play(program, queue)
        return played[mode, queue]

    return look


@pytest.mark.parametrize(
    ("mode", "queue"),
    [("gevent", ""), ("gevent", "memory"), ("gevent", "redis"), ("threading", ""), ("threading", "redis")],
)
def test_a_program_behaves_as_on_the_library(
    mode: Mode, queue: str, redis: Redis, reference: Callable[[Mode, bool], Transcript]
) -> None:
    urls = {"": None, "memory": "memory://dropin", "redis": redis.url}
    with Program("ours", mode, message_queue=repr(urls[queue]), channel=repr(f"dropin-{mode}")) as program:
        mine = play(program, bool(queue))
        assert "Traceback" not in program.log()
    theirs = reference(mode, bool(queue))
    for ours, stock in zip(mine, theirs, strict=True):
        assert ours == stock
