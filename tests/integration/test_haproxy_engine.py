"""The engine behind one address before two independent Redis: it knows one broker, and loses nothing."""

import random

import pytest

from tests.faults.scenario import complaints_about_delivery
from tests.faults.stage import LEAD_SECONDS, TRAIL_SECONDS, Stage
from tests.support.haproxy import HAProxy
from tests.support.redis import Redis
from tests.support.servers import HOST
from tests.support.waiting import wait_until

# Two nodes and an external emitter have two connections each, one of which may be in the making.
CONNECTIONS = 5


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_nothing_is_lost_when_the_primary_goes_and_comes_back(fault: str) -> None:
    """Neither Redis has what the other one was given: the nodes send it again, once, in order."""
    with (
        Redis() as primary,
        Redis() as backup,
        HAProxy(redis=(primary.port, backup.port)) as proxy,
        Stage("engine", {}, random.Random()) as stage,
    ):
        urls = [f"redis://{HOST}:{proxy.redis_port}/0"]
        for name in ("a", "b"):
            stage.add(name, urls)
        stage.add("x", urls, external=True)
        stage.warm_up()
        stage.emit_from("a", "b", "x")
        stage.wait(LEAD_SECONDS)

        def wait_until_all_are_at(name: str) -> None:
            def there() -> bool:
                backends = proxy.backends()
                others = sum(backend.sessions for other, backend in backends.items() if other != name)
                return backends[name].sessions >= CONNECTIONS and not others

            wait_until(there, lambda: f"all are at {name}: {proxy.backends()}", 20.0)
            stage.pause(TRAIL_SECONDS)

        (primary.kill if fault == "killed" else primary.freeze)()
        wait_until_all_are_at("redis/backup")
        (primary.start if fault == "killed" else primary.thaw)()
        wait_until_all_are_at("redis/primary")
        outcome = stage.finish()
        assert not complaints_about_delivery(outcome), stage.report()
        assert len(outcome.pairs) == 4, "each node heard the two others"
