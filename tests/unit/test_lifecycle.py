"""Start and stop: in order, once, and all of it."""

import logging

import gevent
import pytest

from app.lifecycle import Lifecycle, UnderWay


class Worker:
    alive = True


def test_parts_start_in_order_and_stop_in_reverse_once() -> None:
    said: list[str] = []
    lifecycle = Lifecycle()
    for name in ("a", "b"):
        lifecycle.add(lambda n=name: said.append(f"start {n}"), lambda n=name: said.append(f"stop {n}"))
    lifecycle.stop()
    assert said == [], "nothing to stop yet"
    lifecycle.start()
    lifecycle.start()
    lifecycle.stop()
    lifecycle.stop()
    assert said == ["start a", "start b", "stop b", "stop a"]


def test_a_part_that_fails_to_stop_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []

    def fail() -> None:
        raise RuntimeError("stuck")

    lifecycle = Lifecycle()
    lifecycle.add(stop=lambda: said.append("last"))
    lifecycle.add(stop=fail)
    lifecycle.start()
    with caplog.at_level(logging.INFO):
        lifecycle.stop()
    assert said == ["last"]
    assert "did not stop cleanly" in caplog.text


def test_a_worker_that_is_told_to_stop_stops_the_parts() -> None:
    stopped = gevent.event.Event()
    lifecycle = Lifecycle()
    lifecycle.add(stop=stopped.set)
    worker = Worker()
    lifecycle.follow(worker)
    assert lifecycle.started
    worker.alive = False
    assert stopped.wait(timeout=10)


def test_whoever_comes_second_waits_until_all_is_stopped() -> None:
    slow = gevent.event.Event()
    lifecycle = Lifecycle()
    lifecycle.add(stop=slow.wait)
    lifecycle.start()
    first, second = gevent.spawn(lifecycle.stop), gevent.spawn(lifecycle.stop)
    gevent.sleep(0.01)
    assert not first.ready()
    assert not second.ready()
    slow.set()
    gevent.joinall([first, second], timeout=10, raise_error=True)
    assert second.ready()


def test_a_stop_begins_when_nobody_can_come_in_any_more() -> None:
    class Listening:
        number = 7

        def fileno(self) -> int:
            return self.number

    stopped = gevent.event.Event()
    lifecycle = Lifecycle()
    lifecycle.add(stop=stopped.set)
    worker = Worker()
    worker.sockets = [Listening()]  # type: ignore[attr-defined]
    lifecycle.follow(worker)
    worker.alive = False
    assert not stopped.wait(timeout=0.3)
    worker.sockets[0].number = -1  # type: ignore[attr-defined]
    assert stopped.wait(timeout=10)


def test_what_is_in_hand_is_waited_for_and_what_hangs_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[str] = []

    def serve(environ: dict[str, float], _start: object) -> list[bytes]:
        gevent.sleep(environ["takes"])
        answers.append("done")
        return []

    under_way = UnderWay(serve)  # type: ignore[arg-type]
    quick = gevent.spawn(under_way, {"takes": 0.1}, None)
    gevent.sleep(0)
    assert under_way.wait(10) == 0
    assert answers == ["done"]
    assert quick.ready()
    said: list[str] = []
    assert under_way({"takes": 0}, lambda status, _: said.append(status)) == [b"This node takes nobody now."]  # type: ignore[arg-type]
    assert said == ["503 Service Unavailable"]
    under_way = UnderWay(serve)  # type: ignore[arg-type]
    slow = gevent.spawn(under_way, {"takes": 60}, None)
    gevent.sleep(0)
    assert under_way.wait(0.1) == 1
    slow.join(10)
    assert slow.ready()
    assert answers == ["done"]
    assert "1 requests took too long" in caplog.text
