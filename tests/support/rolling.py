"""A world for a rolling deploy in which any node fails in any way, and time costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deploy.rolling import Condition


@dataclass
class Plan:
    """What will become of a node."""

    drain_seconds: float = 10.0
    boot_seconds: float = 4.0
    # What becomes of it after its start: it boots, it never gets ready, it ends at once again and again, it
    # is given up, or it dies a moment after it was ready.
    fate: str = "well"
    served_after_seconds: float = 0.0
    code: str = ""
    clean: bool = True


@dataclass
class FakeNode:
    plan: Plan
    pid: int = 1
    # "up", "down", "stopping" or "started", and since when.
    phase: str = "up"
    since: float = 0.0
    ended: int = 0


@dataclass
class FakeWorld:
    """Nodes that do what is planned, and a clock that moves when somebody waits."""

    nodes: dict[str, FakeNode]
    database: str = ""
    clock: float = 0.0
    log: list[tuple[float, str, str]] = field(default_factory=list)
    missing: int = 0
    most_missing: int = 0
    on_sleep: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        self.on_sleep()
        conditions = self.look(list(self.nodes))
        self.most_missing = max(self.most_missing, sum(not one.up for one in conditions.values()))

    def look(self, ids: Sequence[str]) -> dict[str, Condition]:
        return {node_id: self._look(self.nodes[node_id]) for node_id in ids}

    def _look(self, node: FakeNode) -> Condition:
        age = self.clock - node.since
        plan = node.plan
        if node.phase == "up":
            return Condition("RUNNING", node.pid, node.ended, ready=True)
        if node.phase == "down":
            return Condition("STOPPED", 0, node.ended)
        if node.phase == "unready":
            return Condition("RUNNING", node.pid, node.ended, why="not ready: queue")
        if node.phase == "stopping":
            if age < plan.drain_seconds:
                return Condition("STOPPING", node.pid, node.ended, why="draining")
            return Condition("STOPPED", 0, 1000 + node.pid, clean=plan.clean)
        assert node.phase == "started"
        ended = 1000 + node.pid - 1
        booted = age >= plan.boot_seconds
        if plan.fate == "well":
            return Condition(
                "RUNNING", node.pid, ended, ready=booted, why="" if booted else "does not answer"
            )
        if plan.fate == "unready":
            return Condition("RUNNING", node.pid, ended, why="not ready: database")
        if plan.fate == "loop":
            # Two seconds of life, one of pause.
            turn, phase = divmod(age, 3.0)
            ends = int(turn) + (phase >= 2.0)
            state = "BACKOFF" if phase >= 2.0 else "STARTING"
            return Condition(
                state, 0 if phase >= 2.0 else node.pid + ends, ended + ends * 7, why="too quickly"
            )
        if plan.fate == "fatal":
            return Condition("FATAL" if booted else "STARTING", 0, ended, why="no such program")
        assert plan.fate == "dies"
        if age < plan.boot_seconds + 1.0:
            return Condition("RUNNING", node.pid, ended, ready=booted)
        return Condition("STARTING", node.pid + 1, ended + 7)

    def try_code(self, node_id: str) -> str:
        self._note("try", node_id)
        return self.nodes[node_id].plan.code

    def try_database(self, node_id: str) -> str:
        self._note("database", node_id)
        return self.database

    def served(self, node_id: str) -> str:
        node = self.nodes[node_id]
        ready_at = node.since + node.plan.boot_seconds
        if node.phase == "started" and self.clock < ready_at + node.plan.served_after_seconds:
            return "n9 answers"
        return ""

    def stop(self, node_id: str) -> None:
        self._note("stop", node_id)
        node = self.nodes[node_id]
        node.phase, node.since = "stopping", self.clock

    def start(self, node_id: str) -> None:
        self._note("start", node_id)
        node = self.nodes[node_id]
        assert self._look(node).state in ("STOPPED", "EXITED", "FATAL")
        node.phase, node.since, node.pid = "started", self.clock, node.pid + 1

    def tail(self, node_id: str) -> str:
        return f"the last words of {node_id}"

    def _note(self, what: str, node_id: str) -> None:
        self.log.append((self.clock, what, node_id))

    def did(self, *whats: str) -> list[str]:
        return [f"{what} {node_id}" for _, what, node_id in self.log if what in whats]
