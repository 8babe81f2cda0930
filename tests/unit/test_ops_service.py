"""Several nodes that tell each other of themselves, without sockets and without a clock."""

from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from app.errors import CODES, EventError
from app.ops.pulses import MISSED_SECONDS
from app.ops.schemas import Node
from app.ops.service import DRAIN_SHOWS_SECONDS, TIMELINE_TOLD, OpsService
from app.realtime import OutboxFull, QueueClosed, QueueEvent
from tests.unit.test_ops_board import QUEUE, figures


class FakeNode:
    """A node's surroundings; `wire` is what it has told and the others have not heard yet."""

    def __init__(self, cluster: "Cluster", name: str, start: int = 1) -> None:
        self.origin = f"start {start} of {name}"
        self.name: str | None = name
        self.state = "serving"
        self.active: str | None = "redis"
        self.full = False
        self.shown: list[tuple[str, BaseModel]] = []
        self.ways: list[float] = []
        self.asked: list[Any] = []
        self.wire: list[tuple[str, Any]] = []
        self.cluster = cluster
        self.service = OpsService(self)

    def measure(self) -> Any:
        queue = QUEUE.model_copy(update={"active": self.active})
        return figures(self.name, state=self.state, queue=queue)

    def alive(self) -> list[str] | None:
        if self.active is None:
            return None
        return [node.origin for node in self.cluster.nodes if node is not self]

    def watched(self) -> bool:
        return self.cluster.watched

    def delivered(self, seconds: float) -> None:
        self.ways.append(seconds)

    def tell(self, topic: str, data: object) -> None:
        # As msgpack carries it.
        self.wire.append((topic, msgspec.msgpack.decode(msgspec.msgpack.encode(data))))

    def show(self, event: str, payload: BaseModel) -> None:
        self.shown.append((event, payload))

    def switch(self, broker: str | None) -> None:
        if self.full:
            raise OutboxFull("no room for Prefer: see QUEUE_MAX_MESSAGES")
        if broker not in (None, "redis", "rabbitmq"):
            raise ValueError(f"there is no broker {broker!r}: there are Redis and RabbitMQ")
        self.asked.append(broker)

    def drain(self, node: Node, drain: bool) -> None:
        if self.full:
            raise QueueClosed("the queue was closed")
        self.asked.append((node.figures.node, drain))


class Cluster:
    """Nodes that hear each other, each with a clock of its own that is wrong."""

    def __init__(self, *names: str) -> None:
        self.watched = True
        self.now = 100.0
        self.nodes: list[FakeNode] = []
        for name in names:
            self.add(name)

    def add(self, name: str, start: int = 1) -> FakeNode:
        node = FakeNode(self, name, start)
        self.nodes.append(node)
        node.service.start(self.wall)
        self.carry()
        return node

    @property
    def wall(self) -> int:
        return int(self.now * 1000)

    def carry(self, seconds: float = 0.0) -> None:
        """Let what was told arrive."""
        for node in self.nodes:
            node.service.flush()
        told = [(node, *message) for node in self.nodes for message in node.wire]
        for node in self.nodes:
            node.wire.clear()
        self.now += seconds
        for sender, topic, data in told:
            for node in self.nodes:
                if node is not sender:
                    self.hand(node, sender.origin, topic, data)

    def hand(self, node: FakeNode, origin: str, topic: str, data: Any) -> None:
        match topic:
            case "ops.figures":
                node.service.take_figures(origin, data, self.clock(node), self.wall)
            case "ops.happened":
                node.service.take_happenings(origin, data)
            case "ops.hello":
                node.service.take_hello(origin)
            case "ops.name":
                node.service.take_name(origin, data)
            case "ops.bye":
                node.service.take_bye(origin)
            case _:
                raise AssertionError(topic)

    def clock(self, node: FakeNode) -> float:
        return self.now + 1000.0 * self.nodes.index(node)

    def second(self, *nodes: FakeNode, way_seconds: float = 0.01) -> None:
        """A second passes for all nodes, or some."""
        self.now += 1.0 - way_seconds
        for node in nodes or self.nodes:
            node.service.tick(self.clock(node), self.wall)
        self.carry(way_seconds)


def names(node: FakeNode) -> dict[str | None, str]:
    overview = node.service.overview(node.cluster.clock(node), node.cluster.wall)
    return {each.figures.node: each.seen for each in overview.nodes}


def words(node: FakeNode) -> list[str]:
    return [f"{entry.node}: {entry.words}" for entry in node.service.board.timeline]


def test_every_node_knows_all_nodes_while_somebody_watches() -> None:
    cluster = Cluster("n1", "n2", "n3")
    cluster.second()
    cluster.second()
    assert names(cluster.nodes[0]) == {"n1": "here", "n2": "heard", "n3": "heard"}
    assert names(cluster.nodes[2]) == {"n1": "heard", "n2": "heard", "n3": "here"}


def test_nothing_is_measured_while_nobody_watches() -> None:
    cluster = Cluster("n1", "n2")
    cluster.watched = False
    cluster.second()
    assert not any(event == "figures" for node in cluster.nodes for event, _ in node.shown)
    assert cluster.nodes[0].service.board.nodes(cluster.now) == []


def test_the_first_who_watches_sees_this_node_at_once() -> None:
    cluster = Cluster("n1", "n2")
    assert names(cluster.nodes[0]) == {"n1": "here"}


def test_the_way_from_node_to_node_is_measured_by_one_clock() -> None:
    cluster = Cluster("n1", "n2")
    for _ in range(4):
        cluster.second(way_seconds=0.25)
    assert cluster.nodes[0].ways
    assert cluster.nodes[0].ways == pytest.approx([0.25] * len(cluster.nodes[0].ways))


def test_without_a_broker_a_node_tells_nothing_and_blames_nobody() -> None:
    cluster = Cluster("n1", "n2")
    first, second = cluster.nodes
    cluster.second()
    cluster.second()
    first.active = None
    for _ in range(10):
        cluster.now += 1.0
        first.service.tick(cluster.clock(first), cluster.wall)
    assert [topic for topic, _ in first.wire] == []
    assert names(first) == {"n1": "here", "n2": "silent"}
    assert "n2: Not heard for 3 s." not in words(first)
    first.active = "rabbitmq"
    cluster.second()
    cluster.second()
    assert names(first) == {"n1": "here", "n2": "heard"}
    assert "n2: Not heard for 3 s." not in words(first)
    cluster.carry()
    assert words(first)[:2] == ["n1: Heard again.", "n1: Not heard for 3 s."], "as the other one saw it"
    assert second.service.board.timeline == first.service.board.timeline


def test_a_node_that_dies_is_told_once_by_all_and_comes_back() -> None:
    cluster = Cluster("n1", "n2", "n3")
    first, second, third = cluster.nodes
    for _ in range(2):
        cluster.second()
    for _ in range(5):
        cluster.second(first, second)
    assert names(first)["n3"] == "silent"
    lines = [line for line in words(first) if line.startswith("n3: Not heard")]
    assert len(lines) == 1
    cluster.nodes.remove(third)
    cluster.now += 1.0
    again = cluster.add("n3", start=2)
    cluster.second()
    assert names(first)["n3"] == "heard"
    assert words(first)[0] == "n3: Started."
    # Who has just started knows what happened before.
    assert lines[0] in words(again)


def test_what_happens_to_the_queue_is_on_all_nodes() -> None:
    cluster = Cluster("n1", "n2")
    event = QueueEvent("state", "redis", "down", "connection refused", at=200.0)
    cluster.nodes[1].service.queue_event(event)
    cluster.nodes[1].service.queue_event(QueueEvent("active", "rabbitmq", "up", "redis is down", at=200.1))
    cluster.nodes[1].service.queue_event(QueueEvent("state", "redis", "up", "up", at=200.2))
    cluster.nodes[1].service.queue_event(QueueEvent("lost", None, None, "3 of x", at=200.3, count=3))
    cluster.carry()
    assert words(cluster.nodes[0])[:4] == [
        "n2: lost: 3 of x",
        "n2: redis is up",
        "n2: rabbitmq is used: redis is down",
        "n2: redis is down: connection refused",
    ]
    assert words(cluster.nodes[0]) == words(cluster.nodes[1])


def test_a_broker_that_was_not_heard_yet_is_late_and_not_silent() -> None:
    node = Cluster("n1").nodes[0]
    told = []
    for at, state in enumerate(("silent", "up", "silent", "down", "connecting", "silent", "up"), 200):
        node.service.queue_event(QueueEvent("state", "redis", state, "nothing came back", at=at))
        entry = node.service.board.timeline[0]
        told.append((entry.state, entry.words))
    late, silent = (
        ("connecting", "redis is not connected yet"),
        ("silent", "redis is silent: nothing came back"),
    )
    assert [entry for entry in told if entry in (late, silent)] == [late, silent, late]


def unwatched(*names: str) -> Cluster:
    cluster = Cluster(*names)
    cluster.watched = False
    cluster.second()
    cluster.second()
    return cluster


def about(node: FakeNode, name: str) -> list[str]:
    """What its pulses have said of a node, oldest first."""
    return [line for line in reversed(words(node)) if line.startswith(f"{name}: ") and "eard" in line]


def test_a_death_that_nobody_watches_is_noticed_and_told_once() -> None:
    cluster = unwatched("n1", "n2", "n3")
    first, second, third = cluster.nodes
    cluster.nodes.remove(third)
    while first.cluster.now < 103 + MISSED_SECONDS - 1:
        cluster.second()
    assert about(first, "n3") == []
    # One of them notices it first.
    for turn in range(10):
        cluster.second(cluster.nodes[turn % 2])
    assert about(first, "n3") == ["n3: Not heard any more."]
    assert first.service.board.timeline == second.service.board.timeline
    # It was only cut off, for a second time, too.
    for _ in range(2):
        cluster.nodes.append(third)
        cluster.second()
        assert about(first, "n3")[-1] == "n3: Heard again."
        cluster.nodes.remove(third)
        for _ in range(8):
            cluster.second()
    assert about(first, "n3") == ["n3: Not heard any more.", "n3: Heard again."] * 2 + [
        "n3: Not heard any more."
    ]
    assert first.service.board.timeline == second.service.board.timeline


def test_who_says_goodbye_is_not_missed() -> None:
    cluster = unwatched("n1", "n2")
    first, second = cluster.nodes
    second.service.stop(cluster.wall)
    # It finishes, and has a pulse meanwhile.
    cluster.second(first)
    cluster.second(first)
    cluster.nodes.remove(second)
    for _ in range(9):
        cluster.second()
    assert words(first)[0] == "n2: Stopped."
    assert about(first, "n2") == []


def test_without_a_broker_nobody_is_missed_and_after_it_all_have_time_to_come_back() -> None:
    cluster = unwatched("n1", "n2")
    first, second = cluster.nodes
    for node in cluster.nodes:
        node.active = None
    for _ in range(20):
        cluster.second()
    first.active = "redis"
    cluster.nodes.remove(second)
    for _ in range(3):
        cluster.second()
    second.active = "redis"
    cluster.nodes.append(second)
    for _ in range(9):
        cluster.second()
    assert about(first, "n2") == []


def test_a_death_that_somebody_watches_is_told_once() -> None:
    cluster = Cluster("n1", "n2", "n3")
    first, _, third = cluster.nodes
    cluster.second()
    cluster.second()
    cluster.nodes.remove(third)
    for _ in range(12):
        cluster.second()
    assert about(first, "n3") == ["n3: Not heard for 3 s."]
    cluster.nodes.append(third)
    cluster.second()
    assert about(first, "n3") == ["n3: Not heard for 3 s.", "n3: Heard again."]


def test_who_is_missed_before_somebody_watches_is_heard_again_once() -> None:
    cluster = Cluster("n1", "n2", "n3")
    first, _, third = cluster.nodes
    cluster.second()
    cluster.watched = False
    cluster.nodes.remove(third)
    for _ in range(8):
        cluster.second()
    cluster.watched = True
    cluster.nodes.append(third)
    for _ in range(3):
        cluster.second()
    assert about(first, "n3") == ["n3: Not heard any more.", "n3: Heard again."]


def test_draining_and_stopping_are_told() -> None:
    cluster = Cluster("n1", "n2")
    cluster.second()
    cluster.nodes[1].state = "draining"
    cluster.second()
    assert words(cluster.nodes[0])[0] == "n2: Is draining."
    cluster.nodes[1].service.stop(cluster.wall + 1)
    cluster.carry()
    assert words(cluster.nodes[0])[0] == "n2: Stopped."
    assert names(cluster.nodes[0])["n2"] == "gone"


def test_a_long_history_is_told_in_part() -> None:
    cluster = Cluster("n1")
    for number in range(2 * TIMELINE_TOLD):
        cluster.nodes[0].service.happened(cluster.wall + number, "node", str(number))
    cluster.carry()
    newcomer = cluster.add("n2")
    cluster.carry()
    told = [line for line in words(newcomer) if line.startswith("n1")]
    assert told == [f"n1: {number}" for number in range(99, 99 - TIMELINE_TOLD, -1)]


@pytest.mark.parametrize("data", [None, 7, {"number": "x"}, {"figures": {}}, [{"key": 1}]])
def test_what_another_version_tells_is_counted_and_harmless(data: Any) -> None:
    node = Cluster("n1").nodes[0]
    before = list(node.service.board.timeline)
    node.service.take_figures("elsewhere", data, 1.0, 1)
    node.service.take_happenings("elsewhere", data)
    node.service.take_name("elsewhere", data)
    assert node.service.malformed == 3
    assert node.service.board.timeline == before


# What operators ask for.


def refused(code: str, ask: Any, *arguments: Any) -> None:
    assert code in CODES
    with pytest.raises(EventError) as error:
        ask(*arguments)
    assert error.value.code == code


def test_a_switch_is_told_and_an_unknown_broker_refused() -> None:
    cluster = Cluster("n1", "n2")
    node = cluster.nodes[0]
    node.service.switch("rabbitmq", cluster.wall)
    node.service.switch(None, cluster.wall)
    assert node.asked == ["rabbitmq", None]
    cluster.carry()
    assert "n1: An operator asked all nodes to prefer rabbitmq." in words(cluster.nodes[1])
    refused("broker_not_found", node.service.switch, "kafka", cluster.wall)
    assert node.asked == ["rabbitmq", None]


def test_the_last_node_that_serves_is_not_drained() -> None:
    cluster = Cluster("n1", "n2")
    first, second = cluster.nodes
    cluster.second()
    cluster.second()
    first.service.drain(second.origin, True, cluster.clock(first), cluster.wall)
    assert first.asked == [("n2", True)]
    second.state = "draining"
    cluster.second()
    refused("last_node", first.service.drain, first.origin, True, cluster.clock(first), cluster.wall)
    first.service.drain(second.origin, False, cluster.clock(first), cluster.wall)
    assert first.asked[-1] == ("n2", False)
    refused("node_not_found", first.service.drain, "nobody", True, cluster.clock(first), cluster.wall)


def test_a_silent_node_is_neither_drained_nor_counted_on() -> None:
    cluster = Cluster("n1", "n2")
    first, second = cluster.nodes
    cluster.second()
    for _ in range(5):
        cluster.second(first)
    refused("node_not_found", first.service.drain, second.origin, True, cluster.clock(first), cluster.wall)
    refused("last_node", first.service.drain, first.origin, True, cluster.clock(first), cluster.wall)


def test_two_drains_within_a_second_are_not_two_too_many() -> None:
    cluster = Cluster("n1", "n2")
    first, second = cluster.nodes
    cluster.second()
    cluster.second()

    def drain(node: FakeNode, on: bool = True) -> None:
        first.service.drain(node.origin, on, cluster.clock(first), cluster.wall)

    drain(second)
    refused("last_node", drain, first)
    # It was changed back before it could be seen.
    drain(second, False)
    drain(first)
    refused("last_node", drain, second)
    assert first.asked == [("n2", True), ("n2", False), ("n1", True)]
    # It never did it: a request may get lost, and does not count for ever.
    for _ in range(int(DRAIN_SHOWS_SECONDS)):
        cluster.second()
    drain(second)


def test_what_the_queue_does_not_take_is_no_defect() -> None:
    cluster = Cluster("n1", "n2")
    first, second = cluster.nodes
    cluster.second()
    cluster.second()
    first.full = True
    before = words(first)
    with pytest.raises(EventError, match=r"No room for Prefer: see QUEUE_MAX_MESSAGES\.") as error:
        first.service.switch("redis", cluster.wall)
    assert error.value.code == "unavailable"
    refused("unavailable", first.service.drain, second.origin, True, cluster.clock(first), cluster.wall)
    assert words(first) == before
    # What was not asked does not count.
    first.full = False
    first.service.drain(first.origin, True, cluster.clock(first), cluster.wall)


def test_a_refusal_keeps_the_names_as_they_are() -> None:
    cluster = Cluster("n1")
    with pytest.raises(EventError, match=r"There is no broker 'Kafka': there are Redis and RabbitMQ\."):
        cluster.nodes[0].service.switch("Kafka", cluster.wall)
