"""Single rules of the conversation between processes, each by an example in the simulation without IO."""

from __future__ import annotations

from typing import Any

import pytest

from app.realtime.queue import envelope
from app.realtime.queue.exchange import Exchange
from app.realtime.queue.options import QueueOptions
from app.realtime.queue.outbox import Outbox
from tests.support.simulation import World


def test_overflow_adds_up_at_each_receiver() -> None:
    world = World(1, max_messages=10)
    sender, *nodes = world.process("a"), world.process("b"), world.process("c")
    world.run(1)
    sender.send(5)
    world.run(1)
    log = world.logs["one"]
    log.fault = "refuse"
    for _ in range(6):
        sender.send(7)
        world.run(0.3)
    log.fault = None
    assert world.run_until(lambda: all(process.quiet for process in world.processes.values()), 10)
    dropped = sender.exchange.outbox.dropped["overflow"]
    assert dropped >= 32
    for node in nodes:
        heard = node.delivered["a"]
        assert heard == sorted(set(heard))
        assert heard[:5] == [1, 2, 3, 4, 5]
        assert heard[-10:] == sender.sent[-10:]
        assert len(heard) + node.exchange.inbox.lost == len(sender.sent)
        assert node.exchange.inbox.lost == dropped
        world.run(0.1)
        told = [event for origin, event in world.events if origin == node.origin and event.kind == "lost"]
        assert sum(event.count for event in told) == dropped


@pytest.mark.parametrize("known_by", ["a later message", "a pulse"])
def test_the_gap_of_a_dead_origin_is_passed_over(known_by: str) -> None:
    world = World(1, repair_seconds=5)
    node, sender = world.process("b"), world.process("a")
    world.run(1)
    sender.send(3)
    world.run(1)
    log = world.logs["one"]
    log.fault = "lose"
    sender.send(4)
    world.run(0.1)
    log.fault = None
    expected = [1, 2, 3]
    if known_by == "a later message":
        sender.send(2)
        expected += [8, 9]
    assert world.run_until(lambda: node.exchange.inbox.incomplete, 2)
    world.kill("a")
    began = world.now
    assert world.run_until(lambda: not node.exchange.inbox.incomplete, 10)
    assert 4.9 < world.now - began < 5.5
    assert node.delivered["a"] == expected
    assert node.exchange.inbox.lost == 4
    before = world.parcels
    world.run(5)
    assert world.parcels - before <= 6, "nobody asks for it any more"


def test_a_flood_that_a_broker_forgot_is_repaired() -> None:
    world = World(2)
    a, b = world.process("a"), world.process("b")
    late = world.process("c")
    world.run(1)
    for _ in range(6):
        a.send(1_000)
        b.send(500)
        world.run(0.025)
        world.logs["one"].forget()
        world.run(0.1)
    assert world.run_until(world.settled, 20)
    assert world.complete()
    assert late.exchange.inbox.repaired > 0


@pytest.mark.parametrize("of_node", [False, True])
def test_what_an_earlier_process_left_is_published_by_another(of_node: bool) -> None:
    """Also to the clients of the one that adopts it, unless the earlier process had done that itself."""
    world = World(2)
    dead, node = world.process("a"), world.process("c")
    world.run(1)
    dead.send(3)
    world.run(1)
    for log in world.logs.values():
        log.fault = "down"
    dead.send(5)
    world.run(0.2)
    world.kill("a")
    heir = world.process("b")
    left = Outbox("a", heir.exchange.limits, of_node=of_node)
    left.restore((seq, world.now, envelope.encode_body(seq)) for seq in (3, 4, 5, 7, 8))
    heir.exchange.adopt(left, world.now)
    world.run(1)
    late = world.process("d")
    world.run(1)
    for log in world.logs.values():
        log.fault = None
    assert world.run_until(lambda: len(node.delivered["a"]) == 7, 10)
    world.run(5)
    assert node.delivered["a"] == [1, 2, 3, 4, 5, 7, 8]
    assert late.delivered["a"] == [3, 4, 5, 7, 8], "news to it"
    assert heir.delivered.get("a", []) == ([] if of_node else [3, 4, 5, 7, 8])
    assert left.unreturned == 0
    assert [each.exchange.inbox.lost for each in (node, late)] == [1, 1]


def test_a_secret_keeps_others_out() -> None:
    world = World(1, secret="of ours")
    a, b = world.process("a"), world.process("b")
    world.secret = "of theirs"
    intruder = world.process("i")
    world.secret = None
    careless = world.process("n")
    world.run(1)
    for process in (a, intruder, careless):
        process.send(2)
    world.run(3)
    assert b.delivered == {"a": [1, 2]}
    assert not intruder.delivered
    assert not careless.delivered
    assert set(b.exchange.rejected) == {"forged", "unsigned"}
    assert b.exchange.peers.nodes == ["a"]


def test_a_replay_is_recognised() -> None:
    world = World(1, secret="of ours")
    a, b = world.process("a"), world.process("b")
    world.run(1)
    a.send(3)
    world.run(0.5)
    log = world.logs["one"]
    for _ in range(3):
        log.parcels += log.parcels[:20]
        world.run(0.5)
    assert b.delivered == {"a": [1, 2, 3]}
    assert b.exchange.inbox.duplicates > 0
    assert b.exchange.rejected["replayed"] > 0
    log.parcels += log.parcels[:20]
    world.now += 400
    world.run(1)
    assert b.exchange.rejected["stale"] > 0


def test_who_only_emits_is_quiet_when_idle() -> None:
    world = World(1)
    emitter = world.process("e", is_node=False)
    world.process("a")
    emitter.send()
    world.run(12)
    before = len(world.logs["one"].parcels)
    world.kill("a")
    world.run(20)
    assert len(world.logs["one"].parcels) - before <= 5
    assert not emitter.delivered


def test_an_ask_is_heard_by_nodes_and_a_report_by_who_asked() -> None:
    world = World(2)
    a, b = world.process("a"), world.process("b")
    emitter = world.process("e", is_node=False)
    world.run(1)
    emitter.exchange.ask(world.now)
    world.run(0.5)
    assert a.exchange.asked
    assert b.exchange.asked
    assert not emitter.exchange.asked
    b.exchange.note(envelope.Report(b"b"), ["one"])
    world.run(0.5)
    assert list(emitter.exchange.reports) == [b"b"]
    for process in (a, b):
        assert not process.exchange.reports, "kept by who has not asked"


def test_a_goodbye_and_a_silence() -> None:
    world = World(1)
    a, b, _ = (world.process(origin) for origin in "abc")
    world.run(1.5)
    assert a.exchange.peers.nodes == ["b", "c"]
    b.exchange.note(envelope.Goodbye("b"))
    world.run(0.1)
    world.kill("b")
    world.kill("c")
    world.run(0.5)
    assert a.exchange.peers.nodes == ["c"]
    world.run(5)
    assert a.exchange.peers.nodes == []


def test_out_of_attempts() -> None:
    world = World(1, max_attempts=3)
    a, b = world.process("a"), world.process("b")
    world.run(1)
    world.logs["one"].fault = "refuse"
    a.send(4)
    world.run(5)
    assert a.exchange.outbox.dropped["attempts"] == 4
    assert a.exchange.unreturned == 0
    world.logs["one"].fault = None
    a.send(2)
    world.run(5)
    assert b.delivered == {"a": [5, 6]}
    assert b.exchange.inbox.lost == 4


def test_too_old() -> None:
    world = World(1, max_age_seconds=5)
    a, b = world.process("a"), world.process("b")
    world.run(1)
    world.logs["one"].fault = "down"
    a.send(4)
    world.run(4)
    a.send(2)
    world.run(3)
    world.logs["one"].fault = None
    world.run(5)
    assert a.exchange.outbox.dropped["age"] == 4
    assert b.delivered == {"a": [5, 6]}
    assert b.exchange.inbox.lost in (0, 4), "4, unless b forgot a in the meantime, too"


def test_who_alone_missed_the_newest_message_notices_it() -> None:
    world = World(1)
    a, _, c = (world.process(origin) for origin in "abc")
    world.run(1.2)
    a.send(2)
    world.run(0.025)
    world.logs["one"].forget("c")
    assert world.run_until(world.settled, 2.0)
    assert c.exchange.inbox.repaired == 2
    assert a.exchange.outbox.unreturned == 0


def test_a_request_that_comes_where_its_sender_hears_nothing_is_answered_elsewhere() -> None:
    world = World(2)
    a, b = world.process("a"), world.process("b")
    one, two = world.logs.values()
    one.cut["b"] = two.barred["b"] = 1
    world.run(6)
    a.send(2)
    world.run(0.025)
    two.forget("b")
    assert world.run_until(world.settled, 4.0)
    assert b.exchange.inbox.repaired == 2


def test_what_a_broker_took_and_lost_is_sent_again_though_nobody_asks() -> None:
    world = World(1)
    emitter = world.process("e", is_node=False)
    world.run(1.2)
    world.logs["one"].fault = "lose"
    emitter.send(3)
    world.run(0.1)
    world.logs["one"].fault = None
    assert emitter.exchange.unreturned == 3
    assert world.run_until(lambda: not emitter.exchange.unreturned, world.options.timeout_seconds + 0.5)


def test_a_replayed_message_is_counted_and_delivered_once() -> None:
    names, options = ["one"], QueueOptions()
    common: dict[str, Any] = {"strategy": "failover", "channel": "c", "secret": "s" * 32, "options": options}
    a, b = (Exchange(names, is_node=True, now=0.0, wall=lambda: 1e9, origin=each, **common) for each in "ab")
    a.send(envelope.encode_body(envelope.Switch(None)), 0.0)
    work = a.collect("one", 0.0)
    assert work is not None
    for _ in range(2):
        for parcel in work.parcels:
            b.take_in("one", parcel, 0.1)
    assert len(b.ready) == 1
    assert b.rejected == {"replayed": len(work.parcels)}
    assert b.inbox.duplicates == 1
