"""The conversation between processes, in a simulation without IO: whatever brokers do, nothing is lost."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from app.realtime.queue import envelope
from tests.support.simulation import Log, Process, World

# How a broker may fail, for a while.
FOR_EVERYBODY = ("refuse", "down", "lose", "repeat", "silent", "frozen", "half", "amnesia")
FOR_ONE_PROCESS = ("cut", "bar", "partition", "expire")
# After a pause in seconds: ("send", origin, count) or (fault, broker, origin, seconds).
Script = list[tuple[float, tuple[Any, ...]]]
STRATEGIES = ("failover", "dual-write")
PULSES_PER_SECOND = 1.1
# How long the question where to begin may be on its way.
LOCATED_SECONDS = 0.2

simulated = partial(
    settings, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


def break_for(world: World, log: Log, fault: str, origin: str, seconds: float) -> None:
    """Let a broker fail, for everybody or for one process."""
    if fault == "amnesia":
        log.forget()
        return
    if fault in FOR_ONE_PROCESS:
        counters = [log.cut] * (fault != "bar") + [log.barred] * (fault != "cut")
        for counter in counters:
            counter[origin] += 1
            world.later(seconds, partial(counter.subtract, [origin]))
        if fault == "expire":
            world.later(seconds, partial(log.forget, origin))
        return
    log.fault = fault  # type: ignore[assignment]
    world.later(seconds, partial(setattr, log, "fault", None))


@st.composite
def scripts(
    draw: st.DrawFn, *, origins: str = "abe", brokers: int = 2
) -> list[tuple[float, tuple[Any, ...]]]:
    """What happens: a pause in seconds, then messages or a fault."""
    names = ("one", "two", "three")[:brokers]
    sends = st.tuples(st.just("send"), st.sampled_from(origins), st.integers(1, 6))
    faults = st.tuples(
        st.sampled_from(FOR_EVERYBODY + FOR_ONE_PROCESS),
        st.sampled_from(names),
        st.sampled_from(origins),
        st.sampled_from([0.1, 0.4, 1.0, 3.0, 8.0]),
    )
    pauses = st.sampled_from([0.0, 0.0, 0.025, 0.1, 0.5, 2.0])
    return draw(st.lists(st.tuples(pauses, sends | faults), min_size=1, max_size=14))


def play(world: World, script: Script) -> None:
    """Let it happen."""
    for pause, (what, *arguments) in script:
        world.run(pause)
        if what == "send":
            origin, count = arguments
            world.processes[origin].send(count)
        else:
            name, origin, seconds = arguments
            break_for(world, world.logs[name], what, origin, seconds)


def check_everything_arrived(world: World) -> None:
    """Everything of all others, once, in order, and nothing of one's own."""
    for node in world.nodes:
        for other in world.processes.values():
            expected = other.sent if other is not node else []
            assert node.delivered.get(other.origin, []) == expected, f"{other.origin} at {node.origin}"
        assert not node.exchange.inbox.lost


def check_idle(world: World) -> None:
    """When nothing happens, there are pulses only, and the first broker is used again."""
    everybody = world.processes.values()
    assert world.run_until(lambda: all(each.exchange.router.active == "one" for each in everybody), 60)
    world.run(15)
    recent = [event for _, event in world.events if event.at > world.wall() - 5]
    assert not [event for event in recent if event.kind in ("state", "active", "lost")], "nothing changes"
    before, seconds = world.parcels, 5
    world.run(seconds)
    lanes = sum(len(process.exchange.router.links) for process in world.processes.values())
    assert world.parcels - before <= seconds * lanes * PULSES_PER_SECOND
    for process in world.processes.values():
        exchange = process.exchange
        assert exchange.unreturned == 0
        assert exchange.outbox.pending == exchange.outbox.pending_bytes == 0
        assert exchange.inbox.waiting == 0
        assert {link.state for link in exchange.router.links.values()} == {"up"}


@pytest.mark.parametrize("strategy", STRATEGIES)
@simulated(max_examples=45)
@given(script=scripts(), delays=st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_nothing_is_lost(strategy: Any, script: list[Any], delays: list[int]) -> None:
    world = World(2, strategy=strategy)
    world.delay(delays)
    for origin in "abc":
        world.process(origin)
    world.process("e", is_node=False)
    world.run(0.5)
    play(world, script)
    world.run(8)
    assert world.run_until(world.settled, 60), "nothing hangs"
    check_everything_arrived(world)
    check_idle(world)


@pytest.mark.parametrize("strategy", STRATEGIES)
@simulated(max_examples=40)
@given(before=scripts(), after=scripts(), delays=st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_a_late_joiner_hears_everything_from_then_on(
    strategy: Any, before: list[Any], after: list[Any], delays: list[int]
) -> None:
    world = World(2, strategy=strategy)
    world.delay(delays)
    for origin in "ab":
        world.process(origin)
    world.process("e", is_node=False)
    world.run(0.5)
    play(world, before)
    late = world.process("z")
    play(world, after)
    world.run(8)

    def missing(other: Process) -> list[int]:
        since = late.listening_since or 0.0
        sent = zip(other.sent, other.sent_at, strict=True)
        wanted = {number for number, at in sent if at >= since + LOCATED_SECONDS}
        return sorted(wanted.difference(late.delivered.get(other.origin, ())))

    others = [process for process in world.processes.values() if process is not late]
    arrived = world.run_until(
        lambda: (
            all(process.quiet for process in world.processes.values())
            and not any(missing(other) for other in others)
        ),
        60,
    )
    assert arrived, {other.origin: missing(other) for other in others}
    for other in others:
        heard = late.delivered.get(other.origin, [])
        assert heard == other.sent[len(other.sent) - len(heard) :], "once, in order, without gaps"
        if heard:
            assert other.sent_at[heard[0] - 1] > late.joined_at - 10, "nothing from long before"
    assert not late.exchange.inbox.lost


@pytest.mark.parametrize("strategy", STRATEGIES)
@simulated(max_examples=40)
@given(script=scripts(brokers=3), well=st.sampled_from(["one", "two", "three"]), dead=st.booleans())
def test_one_broker_that_is_well_is_enough(strategy: Any, script: list[Any], well: str, dead: bool) -> None:
    """All others stay broken for good: dead, or taking everything and bringing nothing."""
    world = World(3, strategy=strategy, secret="of all")
    for origin in "ab":
        world.process(origin)
    world.process("e", is_node=False)
    world.run(0.5)
    play(world, script)
    world.run(8)
    for log in world.logs.values():
        log.fault = None if log.name == well else "down" if dead else "lose"
    assert world.run_until(world.settled, 60), "nothing hangs"
    check_everything_arrived(world)
    for process in world.processes.values():
        process.send()
    assert world.run_until(world.settled, 2.5), "it is known which one is well"
    check_everything_arrived(world)


@pytest.mark.parametrize("strategy", STRATEGIES)
@simulated(max_examples=25)
@given(
    sends=st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 5), st.sampled_from([0.0, 0.05, 0.7]))),
    two_bridges=st.booleans(),
    configured=st.booleans(),
)
def test_a_node_between_two_brokers_joins_them(
    strategy: Any, sends: list[Any], two_bridges: bool, configured: bool
) -> None:
    """`a` and `e` reach broker one only, `b` two only, and `c` (and `d`) both."""
    world = World(2, strategy=strategy)
    for origin, name in (("a", "one"), ("b", "two"), ("e", "one")):
        log = world.logs["two" if name == "one" else "one"]
        if not configured:
            log.cut[origin] = log.barred[origin] = 1
        world.process(origin, is_node=origin != "e", reaches=[name] if configured else None)
    world.process("c")
    world.process("d", is_node=two_bridges)
    world.run(3)
    for origin, count, pause in sends:
        world.processes[origin].send(count)
        world.run(pause)
    assert world.run_until(world.settled, 5)
    check_everything_arrived(world)
    bridged = sum(process.exchange.bridged for process in world.processes.values())
    world.run(5)
    before = world.parcels
    world.run(5)
    again = sum(process.exchange.bridged for process in world.processes.values())
    assert world.parcels - before <= 5 * (10 + 6) * PULSES_PER_SECOND, (
        "pulses, and a copy of each that needs one"
    )
    assert again > bridged


@simulated(max_examples=40)
@given(
    script=st.lists(
        st.tuples(
            st.integers(0, 15), st.sampled_from(["refuse", "down", "lose", "frozen", "half", "silent", None])
        ),
        max_size=8,
    ),
    attempts=st.sampled_from([0, 0, 2]),
)
def test_sent_is_delivered_plus_lost(script: list[Any], attempts: int) -> None:
    """What is dropped (overflow, attempts) is counted by everybody who had to pass over it."""
    world = World(2, max_messages=8, max_attempts=attempts, retention_messages=6)
    sender, *nodes = world.process("a"), world.process("b"), world.process("c")
    world.run(1)
    for count, fault in script:
        for log in world.logs.values():
            log.fault = fault
        sender.send(count)
        world.run(0.4)
    for log in world.logs.values():
        log.fault = None
    assert world.run_until(lambda: all(process.quiet for process in world.processes.values()), 20)
    world.run(3)
    for node in nodes:
        heard = node.delivered.get("a", [])
        assert heard == sorted(set(heard))
        assert len(heard) + node.exchange.inbox.lost == len(sender.sent)
        assert not node.exchange.inbox.waiting


SEALER = envelope.Sealer(None, "test", 10**6, 300.0)
texts = st.sampled_from(["a", "b", "z", "", "a" * 30])
numbers = st.sampled_from([-(2**60), -1, 0, 1, 2, 3, 5, 300, 2**60])
seconds = st.sampled_from([-1.0, 0.0, 0.5, 1e18, math.inf, math.nan])
brokers = st.lists(st.sampled_from(["one", "two", "nine"]))
odd_notes = st.one_of(
    st.builds(envelope.Pulse, texts, numbers, seconds, st.booleans(), brokers, brokers),
    st.builds(envelope.Request, texts, st.lists(st.tuples(numbers, numbers), max_size=5), numbers),
    st.builds(envelope.Locate, texts, seconds),
    st.builds(envelope.Start, texts, texts, numbers),
    st.builds(envelope.Gone, texts, numbers, numbers),
    st.builds(envelope.Goodbye, texts),
    st.builds(envelope.Ask),
    st.builds(envelope.Report, st.binary()),
)
odd_parcels = st.builds(
    envelope.Parcel,
    texts,
    st.integers(1, 50),
    seconds,
    texts,
    st.sampled_from([-1, 0, 1, 2, 4, 2**60]),
    st.booleans(),
    st.lists((odd_notes | st.integers(-5, 5)).map(lambda body: Raw(envelope.encode_body(body))), max_size=3),
)


@simulated(max_examples=150)
@given(
    odd=st.lists(odd_parcels.map(envelope.Sealer(None, "test", 10**6, 300.0).pack) | st.binary(max_size=30))
)
def test_nonsense_from_a_broker_raises_nothing_and_stops_nothing(odd: list[bytes]) -> None:
    """Whoever may write to an unsigned channel can do harm, but not end anybody's loops."""
    world = World(2)
    a, b = world.process("a"), world.process("b")
    world.run(0.5)
    a.send(3)
    world.run(0.2)
    for number, parcel in enumerate(odd):
        world.logs["one" if number % 2 else "two"].parcels.append(parcel)
        if number % 3 == 0:
            world.run(0.05)
    world.run(3)
    assert world.parcels < 1_000, "no storm"
    assert b.delivered["a"][:3] == [1, 2, 3]
    world.process("y")
    world.processes["y"].send(5)
    world.run(3)
    assert a.delivered["y"] == b.delivered["y"] == [1, 2, 3, 4, 5]
