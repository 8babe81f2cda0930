"""The fault table: every line, in every variant. This is the page to read first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.faults import own_rules, plays
from tests.faults.scenario import Scenario

REDIS, RABBITMQ = ("redis",), ("rabbitmq",)
REDIS_FIRST, RABBITMQ_FIRST = ("redis", "rabbitmq"), ("rabbitmq", "redis")
# The same with a broker beside it that is always well: events may take half a second, no more.
BESIDE: dict[str, Any] = {"queue": REDIS_FIRST, "healthy_second": True}
BESIDE_REDIS: dict[str, Any] = {"queue": RABBITMQ_FIRST, "healthy_second": True}
DUAL: dict[str, Any] = {**BESIDE, "strategy": "dual-write"}


def scenarios() -> Iterator[Scenario]:
    """All of them, in the order of the table."""
    title = "Redis is killed (-9, no persistence)"
    for seconds in (2, 10, 30):
        yield Scenario(
            1, title, f"for {seconds} s", plays.killed("redis", seconds), short=seconds == 2, stock=True
        )
    title = "Redis is killed, RabbitMQ is well"
    for seconds in (2, 10, 30):
        play = plays.killed("redis", seconds)
        yield Scenario(2, title, f"for {seconds} s", play, short=seconds == 2, **BESIDE)
    yield Scenario(2, title, "dual-write, for 2 s", plays.killed("redis", 2), **DUAL)

    title = "RabbitMQ is killed (-9) and started at once"
    play = plays.killed("rabbitmq", 0)
    yield Scenario(3, title, "alone", play, queue=RABBITMQ, short=True, stock=True)
    yield Scenario(3, title, "Redis is well", play, **BESIDE_REDIS)
    yield Scenario(3, title, "Redis is well, dual-write", play, **DUAL)

    title = "Redis is frozen (SIGSTOP)"
    yield Scenario(4, title, "for 10 s", plays.frozen("redis", 10), stock=True)
    yield Scenario(4, title, "for 3 s, RabbitMQ is well", plays.frozen("redis", 3), short=True, **BESIDE)
    yield Scenario(4, title, "for 10 s, RabbitMQ is well", plays.frozen("redis", 10), **BESIDE)

    title = "RabbitMQ blocks publishers (memory alarm)"
    yield Scenario(5, title, "for 5 s", plays.memory_alarm(5), queue=RABBITMQ, stock=True)
    play = plays.memory_alarm(2)
    yield Scenario(5, title, "for 2 s, Redis is well", play, short=True, **BESIDE_REDIS)
    title = "RabbitMQ is frozen (SIGSTOP)"
    yield Scenario(5, title, "for 10 s", plays.frozen("rabbitmq", 10), queue=RABBITMQ, stock=True)
    yield Scenario(5, title, "for 10 s, Redis is well", plays.frozen("rabbitmq", 10), **BESIDE_REDIS)

    title = "The server ends all connections every second"
    for name, queue in (("redis", REDIS), ("rabbitmq", RABBITMQ)):
        play = plays.cut_every_second(name, 20)
        yield Scenario(6, title, f"{name}, for 20 s", play, queue=queue, stock=True)
        play = plays.cut_every_second(name, 3)
        yield Scenario(6, title, f"{name}, for 3 s", play, queue=queue, short=True)

    title = "All brokers are down, then one is back, then both"
    for seconds in (2, 20):
        play = plays.all_down(seconds)
        yield Scenario(7, title, f"down for {seconds} s", play, queue=REDIS_FIRST, short=seconds == 2)

    title = "Switched by hand every second, there and back"
    yield Scenario(8, title, "everybody, 10 s", plays.switching(10, everybody=True), **BESIDE)
    yield Scenario(
        8, title, "one node at a time, 4 s", plays.switching(4, everybody=False), short=True, **BESIDE
    )
    yield Scenario(8, title, "one node at a time, 10 s", plays.switching(10, everybody=False), **BESIDE)

    title = "Redis is up for 1 s, down for 1 s"
    yield Scenario(9, title, "for 30 s", plays.flapping("redis", 30), stock=True)
    yield Scenario(9, title, "for 6 s, RabbitMQ is well", plays.flapping("redis", 6), short=True, **BESIDE)
    yield Scenario(9, title, "for 30 s, RabbitMQ is well", plays.flapping("redis", 30), **BESIDE)

    title = "Deleted in mid-run"
    play = plays.around(plays.redis_command("DEL", "socketio:{channel}"))
    yield Scenario(10, title, "stream", play, short=True, stock=True)
    yield Scenario(10, title, "FLUSHALL", plays.around(plays.redis_command("FLUSHALL")), stock=True)
    yield Scenario(
        10, title, "FLUSHALL, RabbitMQ is well", plays.around(plays.redis_command("FLUSHALL")), **BESIDE
    )
    for variant, action in (("queue", plays.delete_queues), ("exchange", plays.delete_exchange)):
        play = plays.around(action)
        short = variant == "exchange"
        yield Scenario(10, title, variant, play, queue=RABBITMQ, short=short, stock=True)
        yield Scenario(10, title, f"{variant}, Redis is well", play, **BESIDE_REDIS)

    title = "Redis answers, and refuses"
    refusals = {
        "out of memory": plays.out_of_memory(3),
        "read-only replica": plays.read_only_replica(3),
        "wrong password": plays.wrong_password(3),
        "another protocol": plays.wrong_protocol(3),
    }
    for variant, play in refusals.items():
        yield Scenario(11, title, variant, play, short=variant == "wrong password", stock=True)
        short = variant == "out of memory"
        yield Scenario(11, title, f"{variant}, RabbitMQ is well", play, short=short, **BESIDE)

    title = "The master is killed, and a replica takes over"
    yield Scenario(12, title, "Sentinel", plays.failover("sentinel"), queue=("sentinel",), short=True)
    yield Scenario(12, title, "Cluster", plays.failover("cluster"), queue=("cluster",), short=True)
    both = ("sentinel", "rabbitmq")
    yield Scenario(
        12, title, "Sentinel, RabbitMQ is well", plays.failover("sentinel"), queue=both, healthy_second=True
    )

    title = "Redis answers 200 ms late"
    play, setup = plays.nothing(5), own_rules.slow("redis", 0.2)
    yield Scenario(13, title, "alone", play, setup=setup, stock=True)
    yield Scenario(13, title, "RabbitMQ is well", play, setup=setup, short=True, **BESIDE)

    title = "One-sided partition"
    for kind in ("refuse", "blackhole"):
        how = "refused" if kind == "refuse" else "silent"
        play = own_rules.partition(4, ("rabbitmq", "a"), kind=kind)
        setup = own_rules.each_through_proxies("a", "b")
        yield Scenario(
            14,
            title,
            f"a reaches only Redis, {how}",
            play,
            setup=setup,
            short=kind == "refuse",
            **BESIDE_REDIS,
        )
        play = own_rules.partition(4, ("rabbitmq", "a"), ("redis", "b"), kind=kind)
        setup = own_rules.each_through_proxies("a", "b", "c")
        variant = f"a reaches only Redis, b only RabbitMQ, {how}"
        yield Scenario(14, title, f"{variant}, dual-write", play, setup=setup, short=kind == "refuse", **DUAL)
        yield Scenario(14, title, variant, play, setup=setup, queue=REDIS_FIRST)

    title = "A node joins, is killed (-9), and comes back"
    play = own_rules.joins_and_comes_back
    yield Scenario(15, title, "Redis", play, stock=True)
    yield Scenario(15, title, "RabbitMQ", play, queue=RABBITMQ, stock=True)
    yield Scenario(15, title, "both", play, short=True, **BESIDE)
    yield Scenario(15, title, "both, dual-write", play, **DUAL)

    title = "The outbox overflows"
    for policy in ("drop_oldest", "reject", "block"):
        # Refused, not killed: of what was under way at a kill nobody knows whether it counts as received.
        yield Scenario(
            16,
            title,
            policy,
            plays.read_only_replica(2),
            options={"overflow": policy, "max_messages": 100, "block_seconds": 0.1},
            quiet_seconds=3.0,  # the broker is well by then, and what was dropped never comes
            judge=own_rules.sums_are_exact(policy),
            short=True,
        )

    title = "Garbage, forged and oversized messages on the channel"
    for name, queue in (("redis", REDIS), ("rabbitmq", RABBITMQ)):
        for signed in (True, False):
            play = own_rules.garbage(name, signed=signed)
            variant = f"{name}, {'signed' if signed else 'unsigned'}"
            secret = "a-secret-of-the-fault-tests" if signed else None
            yield Scenario(17, title, variant, play, queue=queue, secret=secret, short=signed)

    title = "All connections are cut, again and again"
    # Slowly, for what is retained of the events would hide what leaks.
    setup = own_rules.each_through_proxies("a", "b", rate=20)
    judge = own_rules.nothing_leaks
    for count in (30, 100):
        play = own_rules.flaps(count)
        short = count == 30
        yield Scenario(
            18, title, f"{count} times", play, queue=REDIS_FIRST, setup=setup, judge=judge, short=short
        )

    title = "An emitting node with a spool is killed (-9)"
    setup = own_rules.spooled
    for back_first in (True, False):
        play = own_rules.killed_with_a_full_outbox(2, back_first=back_first)
        variant = f"brokers down, {'they' if back_first else 'it'} first back"
        yield Scenario(19, title, variant, play, queue=REDIS_FIRST, setup=setup, short=back_first)
    yield Scenario(19, title, "brokers well", own_rules.killed_in_mid_run, queue=REDIS_FIRST, setup=setup)


SCENARIOS = tuple(scenarios())
