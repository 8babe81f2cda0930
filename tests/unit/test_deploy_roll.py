"""A rolling deploy in a world of its own, where any node fails at any moment, and time costs nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.rolling import (
    ENDS_MAX,
    NGINX_SECONDS,
    OTHERS_SECONDS,
    Condition,
    Roll,
    RollError,
    Watch,
    order,
)
from tests.support.rolling import FakeNode, FakeWorld, Plan

READY_SECONDS = 60.0
STEADY_SECONDS = 3.0
UP = Condition("RUNNING", pid=1, ready=True)
DOWN = Condition("STOPPED", why="")


class Told(list[str]):
    @property
    def text(self) -> str:
        return "\n".join(self)


def world_of(**plans: Plan) -> FakeWorld:
    return FakeWorld({node_id: FakeNode(plan) for node_id, plan in plans.items()})


def run(world: FakeWorld, *only: str, dry: bool = False) -> tuple[int, Told]:
    told = Told()
    roll = Roll(
        world,
        list(world.nodes),
        only,
        ready_seconds=READY_SECONDS,
        steady_seconds=STEADY_SECONDS,
        say=told.append,
    )
    return roll.run(dry=dry), told


@pytest.fixture
def world() -> FakeWorld:
    return world_of(n1=Plan(), n2=Plan(), n3=Plan())


def test_all_are_new_one_after_the_other(world: FakeWorld) -> None:
    status, told = run(world)
    assert status == 0
    assert world.did("stop", "start") == ["stop n1", "start n1", "stop n2", "start n2", "stop n3", "start n3"]
    assert world.most_missing == 1
    assert {node.pid for node in world.nodes.values()} == {2}
    assert told[-1] == "done, with what is in the checkout now: n1, n2, n3"


def test_each_must_stay_ready_before_the_next_is_stopped(world: FakeWorld) -> None:
    run(world)
    stopped = [at for at, what, _ in world.log if what == "stop"]
    # Drain, boot, steady.
    assert stopped[1] - stopped[0] >= 10.0 + 4.0 + STEADY_SECONDS


def test_the_code_is_tried_before_each_node_and_the_database_once(world: FakeWorld) -> None:
    run(world)
    assert world.did("try", "database", "stop") == [
        "try n1",
        "database n1",
        "stop n1",
        "try n2",
        "stop n2",
        "try n3",
        "stop n3",
    ]


def test_only_one(world: FakeWorld) -> None:
    status, _ = run(world, "n2")
    assert status == 0
    assert world.did("stop", "start") == ["stop n2", "start n2"]


def test_a_node_that_is_not_there(world: FakeWorld) -> None:
    status, told = run(world, "n9")
    assert status == 1
    assert told == ["not begun: there is no node 'n9' here: there are n1, n2, n3", "No node was touched."]


def test_a_dry_run_touches_nothing(world: FakeWorld) -> None:
    status, told = run(world, dry=True)
    assert status == 0
    assert world.did("stop", "start") == []
    assert world.did("try") == ["try n1", "try n2", "try n3"]
    assert "n3: would be stopped" in told.text


def test_a_dry_run_finds_what_is_wrong(world: FakeWorld) -> None:
    world.nodes["n3"].plan.code = "SyntaxError"
    status, told = run(world, dry=True)
    assert status == 1
    assert "not begun: n3: left as it is, for the code does not start:\n    SyntaxError" in told.text


@pytest.mark.parametrize(
    ("code", "database", "said"),
    [
        ("ImportError: no", "", "the code does not start:\n    ImportError: no"),
        ("", "alembic upgrade head", "the database does not suit the code:\n    alembic upgrade head"),
    ],
)
def test_a_broken_checkout_takes_no_node_down(world: FakeWorld, code: str, database: str, said: str) -> None:
    world.nodes["n1"].plan.code = code
    world.database = database
    status, told = run(world)
    assert status == 1
    assert world.did("stop") == []
    assert said in told.text
    assert told[-1] == "No node was touched."


def test_a_checkout_that_breaks_in_mid_roll_takes_no_further_node_down(world: FakeWorld) -> None:
    world.nodes["n2"].plan.code = "NameError"
    status, told = run(world)
    assert status == 1
    assert world.did("stop") == ["stop n1"]
    assert "stopped at n2: left as it is" in told.text
    assert told[-4:] == [
        "  new:  n1",
        "  old:  n2, n3",
        "  down: -",
        "The rest, when all is well: roll again with --only n2 --only n3",
    ]


def test_it_does_not_begin_while_a_node_is_down(world: FakeWorld) -> None:
    world.nodes["n3"].phase = "down"
    status, told = run(world)
    assert status == 1
    assert "n3 is down (STOPPED)" in told.text
    assert "--only n3" in told.text
    assert told[-1] == "No node was touched."
    # It does not wait for one that nobody starts.
    assert world.clock == 0.0
    assert run(world, "n2")[0] == 1
    assert world.did("stop", "start") == []


def test_one_that_is_down_is_mended_when_it_is_meant(world: FakeWorld) -> None:
    world.nodes["n3"].phase = "down"
    status, _ = run(world, "n3")
    assert status == 0
    assert world.did("stop", "start") == ["start n3"]


def test_those_that_are_down_come_first(world: FakeWorld) -> None:
    world.nodes["n2"].phase = "down"
    world.nodes["n3"].phase = "down"
    status, _ = run(world, "n1", "n2", "n3")
    assert status == 0
    assert world.did("stop", "start") == ["start n2", "start n3", "stop n1", "start n1"]


def test_one_that_is_not_ready_for_a_moment_is_waited_for(world: FakeWorld) -> None:
    world.nodes["n3"].phase = "unready"

    def mend() -> None:
        if world.clock > OTHERS_SECONDS / 2:
            world.nodes["n3"].phase = "up"
            world.on_sleep = lambda: None

    world.on_sleep = mend
    assert run(world)[0] == 0


def test_one_that_stays_unready_is_down(world: FakeWorld) -> None:
    world.nodes["n3"].phase = "unready"
    status, told = run(world)
    assert status == 1
    assert "n3 is down (not ready: queue)" in told.text


def test_nobody_is_stopped_after_another_has_died_meanwhile(world: FakeWorld) -> None:
    def die() -> None:
        if world.nodes["n1"].phase == "started":
            world.nodes["n3"].phase = "down"

    world.on_sleep = die
    status, told = run(world)
    assert status == 1
    assert world.did("stop") == ["stop n1"]
    assert "stopped at n2: left as it is, for n3 is down (STOPPED)" in told.text
    assert "  new:  n1" in told
    assert "  old:  n2" in told
    assert "  down: n3 (STOPPED)" in told
    assert "    the last words of n3" in told
    assert told[-1].endswith("roll again with --only n3 --only n2")


def test_one_that_dies_at_the_beginning_is_not_taken_for_one_to_be_mended(world: FakeWorld) -> None:
    def served(node_id: str) -> str:
        world.nodes["n2"].phase = "down"
        return ""

    world.served = served  # type: ignore[method-assign]
    status, told = run(world, "n1", "n2")
    assert status == 1
    assert "not begun: n1: left as it is, for n2 is down (STOPPED)" in told
    assert world.did("stop", "start") == []


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        ("unready", "it is not ready after 60 s (not ready: database)"),
        ("loop", f"it has ended {ENDS_MAX} times instead of getting ready"),
        ("fatal", "supervisor has tried often enough, and given up (FATAL: no such program)"),
        ("dies", "it was ready, and has died again"),
    ],
)
def test_it_stops_at_the_first_that_does_not_come_back(world: FakeWorld, fate: str, said: str) -> None:
    world.nodes["n2"].plan.fate = fate
    status, told = run(world)
    assert status == 1
    assert f"stopped at n2: {said}" in told.text
    assert world.did("stop") == ["stop n1", "stop n2"]
    assert "  new:  n1" in told
    assert "  old:  n3" in told
    assert any(line.startswith("  down: n2 (") for line in told)
    assert "    the last words of n2" in told
    assert told[-1].endswith("roll again with --only n2 --only n3")


def test_one_early_end_is_forgiven() -> None:
    """The worker of a predecessor that was killed may hold the port for two seconds."""
    watch = Watch(replace(DOWN, ended=5), 0.0, READY_SECONDS, 0.0)
    assert not watch.see(1.0, Condition("STARTING", 10, 5))
    assert not watch.see(2.0, Condition("BACKOFF", 0, 6))
    assert not watch.see(3.0, Condition("STARTING", 11, 6))
    assert watch.see(5.0, Condition("RUNNING", 11, 6, ready=True))


def test_a_blip_begins_the_steady_time_anew() -> None:
    watch = Watch(DOWN, 0.0, READY_SECONDS, 3.0)
    assert not watch.see(1.0, UP)
    assert not watch.see(2.0, replace(UP, ready=False))
    assert not watch.see(3.5, UP)
    assert not watch.see(6.0, UP)
    assert watch.see(6.5, UP)


def test_a_new_process_in_between_is_seen_by_its_id() -> None:
    watch = Watch(DOWN, 0.0, READY_SECONDS, 3.0)
    assert not watch.see(1.0, UP)
    with pytest.raises(RollError, match="died again"):
        watch.see(2.0, replace(UP, pid=2))


def test_it_waits_for_nginx(world: FakeWorld) -> None:
    world.nodes["n1"].plan.served_after_seconds = 9.0
    status, told = run(world)
    assert status == 0
    stopped = [at for at, what, _ in world.log if what == "stop"]
    assert stopped[1] - stopped[0] >= 10.0 + 4.0 + 9.0
    assert "(n9 answers)" in told.text


def test_it_stops_when_nginx_does_not_come_round(world: FakeWorld) -> None:
    world.nodes["n1"].plan.served_after_seconds = 1000.0
    status, told = run(world)
    assert status == 1
    assert f"nginx does not send its clients to it after {NGINX_SECONDS:g} s (n9 answers)" in told.text
    assert "  new:  n1" in told
    assert "  down: -" in told


def test_wrong_nginx_stops_it_before_the_first(world: FakeWorld) -> None:
    world.served = lambda node_id: "refused"  # type: ignore[method-assign]
    status, told = run(world)
    assert status == 1
    assert "nginx does not send the clients of n1 to it (refused)" in told.text
    assert world.did("stop") == []


def test_a_stop_that_needed_force_is_told(world: FakeWorld) -> None:
    world.nodes["n1"].plan.clean = False
    status, told = run(world)
    assert status == 0
    assert "n1: it did not end cleanly" in told.text
    assert "n2: it did not end cleanly" not in told.text


@pytest.mark.parametrize("phase", ["stopping", "started"])
def test_interrupted_it_leaves_no_node_stopped(world: FakeWorld, phase: str) -> None:
    def interrupt() -> None:
        if world.nodes["n2"].phase == phase:
            world.on_sleep = lambda: None
            raise KeyboardInterrupt

    world.on_sleep = interrupt
    status, told = run(world)
    assert status == 1
    assert world.did("stop", "start") == ["stop n1", "start n1", "stop n2", "start n2"]
    assert "interrupted at n2" in told
    assert told[-1].endswith("roll again with --only n2 --only n3")


def test_interrupted_in_time_it_has_touched_nothing(world: FakeWorld) -> None:
    def interrupt(node_id: str) -> str:
        raise KeyboardInterrupt

    world.try_code = interrupt  # type: ignore[method-assign]
    status, told = run(world)
    assert status == 1
    assert told[-2:] == ["not begun: n1: interrupted", "No node was touched."]


def test_a_broken_terminal_leaves_no_node_stopped(world: FakeWorld) -> None:
    def say(line: str) -> None:
        if world.nodes["n1"].phase == "stopping":
            raise BrokenPipeError

    roll = Roll(world, list(world.nodes), say=say)
    with pytest.raises(BrokenPipeError):
        roll.run()
    assert world.did("stop", "start") == ["stop n1", "start n1"]


def test_one_that_ends_by_itself_at_the_moment_of_the_stop(world: FakeWorld) -> None:
    """supervisor starts it anew before it hears of the stop, so it is told again."""
    stop = world.stop
    calls = []

    def stop_late(node_id: str) -> None:
        calls.append(node_id)
        if len(calls) > 1:
            stop(node_id)

    world.stop = stop_late  # type: ignore[method-assign]
    assert run(world, "n1")[0] == 0
    assert world.nodes["n1"].pid == 2


def test_the_only_node_is_rolled_and_its_clients_have_to_wait() -> None:
    world = world_of(n1=Plan())
    status, told = run(world)
    assert status == 0
    assert "nowhere to go" in told.text


# Whatever happens.

plans = st.builds(
    Plan,
    drain_seconds=st.sampled_from((0.0, 3.0, 40.0)),
    boot_seconds=st.sampled_from((0.0, 4.0, 59.0)),
    fate=st.sampled_from(("well", "well", "well", "unready", "loop", "fatal", "dies")),
    served_after_seconds=st.sampled_from((0.0, 0.0, 10.0, 1000.0)),
    code=st.sampled_from(("", "", "", "", "broken")),
    clean=st.booleans(),
)


@given(
    planned=st.lists(
        st.tuples(plans, st.sampled_from(("up", "up", "up", "down", "unready"))), min_size=1, max_size=5
    ),
    only=st.lists(st.integers(1, 5), unique=True),
    interrupted_at=st.none() | st.integers(1, 400),
)
def test_the_cluster_is_never_smaller_than_it_must_be(
    planned: list[tuple[Plan, str]], only: list[int], interrupted_at: int | None
) -> None:
    world = FakeWorld({f"n{n}": FakeNode(plan, phase=phase) for n, (plan, phase) in enumerate(planned, 1)})
    chosen = [f"n{number}" for number in only if number <= len(planned)]
    missing_before = sum(node.phase != "up" for node in world.nodes.values())
    sleeps = 0

    def interrupt() -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps == interrupted_at:
            raise KeyboardInterrupt

    world.on_sleep = interrupt
    status, told = run(world, *chosen)

    # Never more than one more than there were, and one that was up only when all are there.
    assert world.most_missing <= max(1, missing_before)
    seen_down = {node_id for node_id, (_, phase) in zip(world.nodes, planned, strict=True) if phase != "up"}
    for _, what, node_id in world.log:
        if what == "start":
            seen_down.discard(node_id)
        if what == "stop" and node_id not in seen_down:
            assert not seen_down, world.log
    # In order, each at the most once, and each that was stopped has been started.
    starts = world.did("start")
    assert len(starts) == len(set(starts))
    assert {line.removeprefix("stop ") for line in world.did("stop")} <= {
        line.removeprefix("start ") for line in starts
    }
    meant = chosen or list(world.nodes)
    assert {line.removeprefix("start ") for line in starts} <= set(meant)
    if status == 0:
        assert {line.removeprefix("start ") for line in starts} == set(meant)
        assert all(condition.up for condition in world.look(meant).values())
        assert world.did("try") == [line.replace("start", "try") for line in starts]
    else:
        assert status == 1
        assert re.search("^(not begun|stopped at|interrupted)", told.text, re.MULTILINE)
        # Nothing after the first that did not come back.
        for node_id in (line.removeprefix("start ") for line in starts[:-1]):
            assert world.look([node_id])[node_id].up


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.data())
def test_the_order(ups: list[bool], data: st.DataObject) -> None:
    conditions = {f"n{number}": UP if up else DOWN for number, up in enumerate(ups)}
    ids = list(conditions)
    only = data.draw(st.lists(st.sampled_from(ids), unique=True))
    try:
        chosen = order(ids, only, conditions)
    except RollError:
        assert any(not conditions[node_id].up for node_id in ids if node_id not in only)
        return
    assert set(chosen) == set(only or ids)
    assert all(conditions[node_id].up for node_id in ids if node_id not in only)
    states = [conditions[node_id].up for node_id in chosen]
    assert states == sorted(states)
    # Otherwise as in the list.
    for up in (True, False):
        same = [node_id for node_id in chosen if conditions[node_id].up == up]
        assert same == sorted(same, key=ids.index)
