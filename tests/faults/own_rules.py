"""The lines of the fault table with a cast or with requirements of their own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

import amqp
import redis

from tests.faults.plays import around
from tests.faults.scenario import (
    Judge,
    Play,
    Scenario,
    Setup,
    complaints_about_calls,
    general,
)
from tests.faults.stage import EVENTS_PER_SECOND, LEAD_SECONDS, TRAIL_SECONDS, Outcome, Stage
from tests.support.waiting import wait_until


def slow(name: str, seconds: float) -> Setup:
    """Everybody reaches one broker through a proxy that lets each answer take longer."""

    def setup(stage: Stage, scenario: Scenario) -> None:
        stage.proxy(name, "slow")
        urls = stage.urls(scenario.queue, through="slow")
        for node in ("a", "b"):
            stage.add(node, urls, **scenario.node_options())
        stage.add("x", urls, external=True, **scenario.node_options())
        stage.warm_up()
        stage.emit_from("a", "b", "x")
        stage.proxies[name, "slow"].delay(answers_seconds=seconds)

    return setup


def each_through_proxies(*nodes: str, rate: float = EVENTS_PER_SECOND) -> Setup:
    """Every node reaches every broker through a proxy of its own; the external emitter needs none."""

    def setup(stage: Stage, scenario: Scenario) -> None:
        for node in nodes:
            for name in scenario.queue:
                stage.proxy(name, node)
            stage.add(node, stage.urls(scenario.queue, through=node), **scenario.node_options())
        stage.add("x", stage.urls(scenario.queue), external=True, **scenario.node_options())
        stage.warm_up()
        stage.emit_from(*nodes, "x", rate=rate)

    return setup


def partition(seconds: float, *cuts: tuple[str, str], kind: Literal["refuse", "blackhole"]) -> Play:
    """Some nodes do not reach some brokers; `cuts` are (broker, node)."""

    def fault(stage: Stage) -> None:
        for cut in cuts:
            proxy = stage.proxies[cut]
            if kind == "refuse":
                proxy.refuse()
                proxy.cut()
            else:
                proxy.blackhole()
        stage.pause(seconds)
        for cut in cuts:
            stage.proxies[cut].cut()
            stage.proxies[cut].resume()
        stage.pause(1.0)

    return around(fault)


def joins_and_comes_back(stage: Stage) -> None:
    """Node c joins, is killed, comes back, and emits too."""
    stage.wait(LEAD_SECONDS)
    stage.add("c", stage.processes["a"].options.urls, **_same_options(stage))
    stage.join("c")
    stage.pause(1.5)
    stage.kill("c")
    stage.pause(1.0)
    stage.join("c")
    stage.emit_from("c")
    stage.pause(TRAIL_SECONDS)


def sums_are_exact(policy: str) -> Judge:
    """Emitted = received + dropped, as counted by the sender + refused, as told to the caller."""

    def judge(stage: Stage, scenario: Scenario, outcome: Outcome) -> list[str]:
        found = []
        for pair, calls in (
            (pair, calls)
            for calls in outcome.calls
            for pair in outcome.pairs
            if pair.emitter == calls.emitter
        ):
            dropped = dropped_by(outcome.statuses[calls.emitter])
            stage.notes.append(f"{pair.emitter}: {dropped} dropped, {calls.refused} refused")
            if calls.count != pair.received + dropped + calls.refused:
                found.append(
                    f"emitted {calls.count} != received {pair.received} + dropped {dropped} "
                    f"+ refused {calls.refused}: {pair}"
                )
            if pair.doubled or pair.disordered:
                found.append(str(pair))
            if bool(calls.refused) is (policy == "drop_oldest") or bool(dropped) is not (
                policy == "drop_oldest"
            ):
                found.append(
                    f"policy {policy}: {dropped} dropped, {calls.refused} refused by {calls.emitter}"
                )
        if policy != "block":
            found += [line for line in complaints_about_calls(outcome) if not line.startswith("refused")]
        return found

    return judge


def dropped_by(status: Any) -> int:
    """How many messages a process says to have dropped, for whatever cause."""
    dropped = status["outbox"]["dropped"]
    return sum(dropped.values()) if isinstance(dropped, dict) else int(dropped)


def garbage(name: str, *, signed: bool) -> Play:
    """Somebody writes to the channel what no node wrote, and once more what a node did write."""

    def fault(stage: Stage) -> None:
        real = _REAL_PARCELS[name](stage)
        pieces = _random_pieces(stage.choices) + (_forged(stage.choices, real) if signed else [])
        before = {node: _rejected_by(stage.status(node)) for node in ("a", "b")}
        _INJECT[name](stage, [*pieces, *real])
        stage.pause(1.0)
        for node in ("a", "b"):

            def counted(node: str = node) -> bool:
                return _rejected_by(stage.status(node)) >= before[node] + len(pieces)

            def explanation(node: str = node) -> str:
                return (
                    f"{node} counts {len(pieces)} more than {before[node]}: {stage.status(node)['rejected']}"
                )

            wait_until(counted, explanation)

    return around(fault)


def _rejected_by(status: Any) -> int:
    return sum(status["rejected"].values())


def _inject_into_redis(stage: Stage, pieces: Sequence[bytes]) -> None:
    with stage.server("redis").client() as client:
        for piece in pieces:
            client.xadd(f"socketio:{stage.channel}", {"p": piece})
        client.xadd(f"socketio:{stage.channel}", {"q": "another field"})


def _inject_into_rabbitmq(stage: Stage, pieces: Sequence[bytes]) -> None:
    with stage.server("rabbitmq").client() as channel:
        for piece in pieces:
            channel.basic_publish(amqp.Message(piece), exchange=f"socketio.{stage.channel}")


def _parcels_in_redis(stage: Stage) -> list[bytes]:
    with redis.Redis.from_url(stage.server("redis").url) as client:
        return [fields[b"p"] for _, fields in client.xrevrange(f"socketio:{stage.channel}", count=_PARCELS)]


def _parcels_in_rabbitmq(stage: Stage) -> list[bytes]:
    with stage.server("rabbitmq").client() as channel:
        name = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(name, f"socketio.{stage.channel}")
        wait_until(lambda: channel.queue_declare(name, passive=True).message_count >= _PARCELS, "parcels")
        return [bytes(channel.basic_get(name, no_ack=True).body) for _ in range(_PARCELS)]


_PARCELS = 20
_INJECT = {"redis": _inject_into_redis, "rabbitmq": _inject_into_rabbitmq}
_REAL_PARCELS = {"redis": _parcels_in_redis, "rabbitmq": _parcels_in_rabbitmq}


def _random_pieces(choices: random.Random) -> list[bytes]:
    """Random bytes, what could be the beginning of a parcel, and what is much too long."""
    made = [choices.randbytes(choices.randrange(1, 300)) for _ in range(20)]
    made += [b"", b"\x01", b"\x02", b"\x01" + b"\x91" * 1000, b"\x02" + bytes(40), b'{"method": "emit"}']
    made += [b"\x01" + choices.randbytes(100) for _ in range(10)]
    return [*made, choices.randbytes(2 * 1024 * 1024)]


def _forged(choices: random.Random, real: Sequence[bytes]) -> list[bytes]:
    """Signed parcels, changed in one bit, cut short, longer, with another signature, and without any."""
    made = []
    for parcel in real:
        place = choices.randrange(len(parcel))
        made += [
            parcel[:place] + bytes([parcel[place] ^ (1 << choices.randrange(8))]) + parcel[place + 1 :],
            parcel[:place],
            parcel + b"x",
            parcel[:1] + choices.randbytes(32) + parcel[33:],
            b"\x01" + parcel[33:],
        ]
    return made


def flaps(count: int) -> Play:
    """The connections to all brokers are cut again and again; afterwards a node holds what it held before."""

    def fault(stage: Stage) -> None:
        stage.memory["before"] = {node: stage.processes[node].ask("usage") for node in ("a", "b")}
        for _ in range(count):
            for proxy in stage.proxies.values():
                proxy.cut()
            stage.wait(0.15)

    return around(fault)


# After 100 flaps a leak of one per flap would show as 100. Some connections may be just being made.
_FEW = 5
# Python's allocator keeps what it had in a burst, and what was emitted is retained for repairs; a leak of 100
# connections with their buffers is more.
_SOME_BYTES = 8 * 1024 * 1024


def nothing_leaks(stage: Stage, scenario: Scenario, outcome: Outcome) -> list[str]:
    """Delivery as everywhere, and no more descriptors, greenlets, threads or memory than before."""
    found = general(stage, scenario, outcome)
    for node, before in stage.memory["before"].items():

        def grown(node: str = node, before: dict[str, int] = before) -> list[str]:
            after = stage.processes[node].ask("usage")
            limits = {"bytes": _SOME_BYTES}
            return [
                f"{node}: {what} {before[what]} -> {count}"
                for what, count in after.items()
                if count > before[what] + limits.get(what, _FEW)
            ]

        try:
            wait_until(lambda grown=grown: not grown(), "", 10)
        except AssertionError:
            found += grown()
        stage.notes.append(f"{node}: before {before}, after {stage.processes[node].ask('usage')}")
    return found


def spooled(stage: Stage, scenario: Scenario) -> None:
    """Node a has a spool; b has none; nobody else."""
    urls = stage.urls(scenario.queue)
    options = scenario.node_options()
    queue_options = {**options.pop("queue_options"), "spool": str(stage.folder / "spool")}
    stage.add("a", urls, queue_options=queue_options, **options)
    stage.add("b", urls, **scenario.node_options())
    stage.warm_up()
    stage.emit_from("a", "b")


def killed_with_a_full_outbox(seconds: float, *, back_first: bool) -> Play:
    """All brokers go down, a emits on and is killed -9.

    :param back_first: whether the brokers are back before a is.
    """

    def play(stage: Stage) -> None:
        stage.wait(LEAD_SECONDS)
        for name in ("redis", "rabbitmq"):
            stage.server(name).kill()
        stage.pause(seconds)
        stage.kill("a")
        if back_first:
            stage.server("redis").start()
        stage.restart("a")
        stage.emit_from("a")
        for name in ("redis", "rabbitmq"):
            if not stage.server(name).running:
                stage.server(name).start()
        stage.pause(TRAIL_SECONDS)

    return play


def killed_in_mid_run(stage: Stage) -> None:
    """All is well but that a is killed -9 while it emits, and starts again."""
    stage.wait(LEAD_SECONDS)
    for _ in range(3):
        stage.kill("a")
        stage.restart("a")
        stage.emit_from("a")
        stage.pause(1.0)


def _same_options(stage: Stage) -> dict[str, Any]:
    options = stage.processes["a"].options
    return {"strategy": options.strategy, "secret": options.secret, "queue_options": options.queue_options}
