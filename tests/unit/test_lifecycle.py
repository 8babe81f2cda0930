"""Start and stop: in order, once, and all of it."""

import logging

import gevent
import pytest

from app.lifecycle import Lifecycle


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
