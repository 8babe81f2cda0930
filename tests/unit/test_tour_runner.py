"""The tour in several nodes at once, with faults that no real supervisord has on demand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import msgspec
import pytest
from flask import Flask
from pydantic import BaseModel

from app.errors import EventError
from app.realtime import OutboxFull
from app.tour import namespace as tour_namespace
from app.tour import runner as tour_runner
from app.tour import tour
from app.tour.board import Report
from app.tour.breaking import Breaker, ControlError
from app.tour.runner import TourRunner
from config import SettingsError, load_settings
from deploy.control import Program

DEADLINE_SECONDS = 10.0


class FakeControl:
    """A supervisord with two brokers, two nodes and nginx."""

    def __init__(self) -> None:
        self.pids = {"nginx": 1, "redis": 2, "rabbitmq": 3, "n1": 4, "n2": 5}
        self.frozen: set[str] = set()
        self.fault: str | None = None
        self.deaf: str | None = None

    def states(self) -> dict[str, Program]:
        if self.deaf:
            raise ControlError(self.deaf)
        return {
            name: Program(name, "RUNNING" if pid else "BACKOFF", pid, 7, 0, 0, "")
            for name, pid in self.pids.items()
        }

    def kill(self, name: str) -> None:
        self._fail()
        self.pids[name] += 100

    def freeze(self, name: str) -> None:
        self._fail()
        self.frozen.add(name)

    def thaw(self, name: str) -> None:
        self._fail()
        self.frozen.discard(name)

    def _fail(self) -> None:
        if self.fault:
            raise ControlError(self.fault)


class Operators:
    """Who looks at one node, and what was shown last."""

    def __init__(self, there: bool = True) -> None:
        self.there = there
        self.shown: dict[str, Any] = {}
        self.steps: list[tuple[str, str]] = []

    def here(self) -> bool:
        return self.there

    def show(self, name: str, payload: BaseModel) -> None:
        self.shown[name] = payload
        if name == "step":
            self.steps.append((payload.what, payload.state))  # type: ignore[attr-defined]


class Cluster:
    """Nodes that tell each other everything at once."""

    def __init__(self) -> None:
        self.handlers: dict[str, dict[str, Callable[[str, Any], None]]] = {}
        self.nodes: list[tuple[TourRunner, Operators]] = []
        self.full = False

    def node(self, name: str, control: FakeControl, operators: Operators) -> TourRunner:
        self.handlers[name] = {}
        socketio = SimpleNamespace(
            manager=SimpleNamespace(origin=f"origin of {name}"),
            on_nodes=self.handlers[name].__setitem__,
            tell_nodes=lambda topic, data: self.tell(name, topic, data),
            start_background_task=gevent.spawn,
            queue_status=lambda: {"active": "redis"},
        )
        runner = TourRunner(socketio, Breaker(control), name, operators)  # type: ignore[arg-type]
        self.nodes.append((runner, operators))
        return runner

    def end(self) -> None:
        for runner, operators in self.nodes:
            operators.there = False
            runner.stop()
        for runner, _ in self.nodes:
            until(lambda runner=runner: not runner._at_work, "the loops end with the tour")

    def tell(self, sender: str, topic: str, data: Any) -> None:
        if self.full:
            raise OutboxFull("no room")
        for name, handlers in self.handlers.items():
            if name != sender:
                handlers[topic](f"origin of {sender}", msgspec.msgpack.decode(msgspec.msgpack.encode(data)))


def until(condition: Callable[[], object], what: str) -> None:
    with gevent.Timeout(DEADLINE_SECONDS, AssertionError(f"never: {what}")):
        while not condition():
            gevent.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tour_runner, "LEAD_SECONDS", 0.03)
    monkeypatch.setattr(tour_runner, "FREEZE_SECONDS", 0.2)
    monkeypatch.setattr(tour_runner, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(tour_runner, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(tour, "THAW_GRACE_SECONDS", 0.05)


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.end()


@pytest.fixture
def operators() -> Operators:
    return Operators()


@pytest.fixture
def runner(cluster: Cluster, control: FakeControl, operators: Operators) -> TourRunner:
    return cluster.node("n1", control, operators)


def last(operators: Operators) -> Any:
    return operators.shown["tour"]


def test_all_nodes_count_and_see_a_broker_come_back(
    cluster: Cluster, control: FakeControl, runner: TourRunner, operators: Operators
) -> None:
    elsewhere = Operators()
    cluster.node("n2", control, elsewhere)
    runner.start()
    until(lambda: "tour" in elsewhere.shown and last(elsewhere).figures.received > 2, "the other one counts")
    runner.break_("kill-redis", None)
    with pytest.raises(EventError, match="One thing at a time"):
        runner.break_("kill-rabbitmq", None)
    for shown in (operators, elsewhere):
        until(lambda shown=shown: ("kill-redis", "back") in shown.steps, "all see that it is back")
        assert shown.steps[0] == ("kill-redis", "announced")
    assert control.pids["redis"] == 102
    assert (last(elsewhere).figures.lost, last(elsewhere).figures.doubled) == (0, 0)


def test_what_a_node_has_frozen_another_one_thaws_when_it_is_gone(
    cluster: Cluster, control: FakeControl, runner: TourRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.start()
    runner.break_("freeze-redis", None)
    until(lambda: control.frozen, "it is frozen")
    # It dies: nobody hears it any more, and it does nothing.
    with monkeypatch.context() as dead:
        dead.setattr(runner, "_thaw", lambda: None)
        cluster.node("n2", control, Operators(False))
        runner._share()
        del cluster.handlers["n1"]
        until(lambda: not control.frozen, "the other one thaws it")


def test_the_end_of_the_tour_thaws_at_once(
    control: FakeControl, runner: TourRunner, operators: Operators, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tour_runner, "FREEZE_SECONDS", 3_600.0)
    runner.start()
    runner.break_("freeze-redis", None)
    until(lambda: control.frozen, "it is frozen")
    until(lambda: last(operators).parts[-1].state == "FROZEN", "it is shown")
    control.fault = "redis has just ended"
    runner.stop()
    gevent.sleep(0)
    assert control.frozen, "it could not be thawed"
    control.fault = None
    until(lambda: not control.frozen, "the next turn thaws it")


def test_a_step_that_is_stopped_before_it_happens_does_not_happen(
    control: FakeControl, runner: TourRunner, operators: Operators
) -> None:
    runner.start()
    runner.break_("freeze-redis", None)
    runner.stop()
    until(lambda: ("freeze-redis", "failed") in operators.steps, "it is told")
    assert not control.frozen


def test_a_step_of_a_tour_that_another_one_has_replaced_does_not_happen(
    control: FakeControl, runner: TourRunner, operators: Operators
) -> None:
    runner.start()
    runner.break_("freeze-redis", None)
    runner.stop()
    runner.start()
    gevent.sleep(2 * tour_runner.LEAD_SECONDS)
    assert not control.frozen
    assert [figures.step.what for figures in last(operators).steps] == ["start"]


def test_what_cannot_be_broken_is_told(
    control: FakeControl, runner: TourRunner, operators: Operators
) -> None:
    with pytest.raises(EventError, match="Start the numbers first"):
        runner.break_("kill-redis", None)
    runner.start()
    with pytest.raises(EventError, match="has no n7, but n1, n2, rabbitmq, redis"):
        runner.break_("kill-node", "n7")
    with pytest.raises(EventError, match="has no nginx"):
        runner.break_("kill-node", "nginx")
    with pytest.raises(EventError, match="has no redis"):
        runner.break_("kill-node", "redis")
    control.pids["rabbitmq"] = 0
    with pytest.raises(EventError, match="rabbitmq does not run: it is BACKOFF"):
        runner.break_("kill-rabbitmq", None)
    control.fault = "redis runs as another user"
    runner.break_("kill-redis", None)
    until(lambda: ("kill-redis", "failed") in operators.steps, "the failure is told")
    assert operators.shown["step"].error == "redis runs as another user"
    control.fault = None
    control.deaf = "no supervisord answers"
    until(lambda: last(operators).trouble == "no supervisord answers", "that is told, too")
    with pytest.raises(EventError, match="no supervisord answers"):
        runner.break_("kill-redis", None)
    control.deaf = None


def test_numbers_that_cannot_be_sent_were_not_sent(
    cluster: Cluster, runner: TourRunner, operators: Operators, capfd: pytest.CaptureFixture[str]
) -> None:
    runner.start()
    until(lambda: runner._board.sent > 0, "some are sent")
    cluster.full = True
    until(lambda: not runner._is_told, "the queue is full")
    sent = runner._board.sent
    gevent.sleep(0.3)
    assert runner._board.sent == sent
    cluster.full = False
    until(lambda: runner._board.sent > sent, "it goes on")


def test_what_another_version_tells_is_logged_once_and_harmless(
    cluster: Cluster, runner: TourRunner, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    runner.start()
    known = runner._board.tour
    assert known is not None
    counts = {"received": 1, "delays": [1, 2]}
    report: dict[str, Any] = {
        "tour": known.id,
        "node": "n9",
        "since": 1.0,
        "sent": 1,
        "step": "s",
        "heard": [],
    }
    for topic in ("tour.state", "tour.number", "tour.report", "tour.gone"):
        for data in (None, 7, [1], {"tour": 1}, {"x": 1}, report | {"steps": {"s": counts}}):
            cluster.handlers["n1"][topic]("elsewhere", data)
    assert runner._board.tour == known
    assert "elsewhere" not in runner._board.reports
    assert (caplog.text + capsys.readouterr().out).count("another version?") == 1


def test_to_hear_a_report_does_not_wait_for_room_in_the_outbox(
    cluster: Cluster, control: FakeControl, runner: TourRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    handling = False

    def tell(topic: str, _: Any) -> None:
        assert not handling, "a handler may not wait"
        told.append(topic)

    runner.start()
    other = cluster.node("n2", control, Operators(False))
    other._board.hear_tour(runner._board.tour, 0.0)  # type: ignore[arg-type]
    report = msgspec.to_builtins(other._board.report(0.0))
    # One that is gone, to be told of.
    runner._board._keep("gone", msgspec.convert(report, Report), 0.0)
    monkeypatch.setattr(runner._socketio, "tell_nodes", tell)
    handling = True
    cluster.handlers["n1"]["tour.report"]("elsewhere", report)
    handling = False
    until(lambda: "tour.gone" in told, "the others are told")


def test_without_its_socket_the_tour_is_off_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    app = Flask("app")
    caplog.set_level(logging.WARNING)
    for path in (tmp_path / "nothing", tmp_path):
        settings = load_settings(app_env="testing", cluster_control=path)
        tour_namespace.init_app(app, None, settings)  # type: ignore[arg-type]
        assert "the tour is off" in caplog.text + capsys.readouterr().out
        caplog.clear()
    assert "tour_enabled" not in app.jinja_env.globals


def test_production_refuses_the_tour() -> None:
    with pytest.raises(SettingsError, match="CLUSTER_CONTROL"):
        load_settings(app_env="production", secret_key="x" * 48, cluster_control="/run/s.sock")
