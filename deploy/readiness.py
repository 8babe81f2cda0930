"""Says what of a cluster is not ready, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from deploy.asking import get, ready, speaks
from deploy.control import Control
from deploy.nodes import Node

# A program that has ended too early so often does not only wait for a predecessor to let go of its port.
ENDED_EARLY_MAX = 4
# sysexits.h, as in config/gunicorn.conf.py: trying again would not help.
EXIT_CONFIG = 78
OK = 200
# What is said to a broker, and how its answer begins: RabbitMQ's is the first method of its protocol.
GREETINGS = {"redis": (b"PING\r\n", b"+PONG"), "rabbitmq": (b"AMQP\0\0\x09\x01", b"\1")}


class HopelessError(Exception):
    """A program does not start, and waiting will not help. `program` is its name."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} does not start")
        self.program = program


class Readiness:
    """Asks again and again; it remembers what happened meanwhile.

    :param nodes: the nodes that there should be, asked anew each time.
    :param brokers: the addresses, IP:PORT, of "redis" and "rabbitmq", as far as they are the cluster's own.
    :param nginx: its address.
    :param cookies: whether nginx finds a node by its cookie.
    """

    def __init__(
        self,
        control: Control,
        nodes: Callable[[], Sequence[Node]],
        brokers: dict[str, str],
        nginx: str,
        cookies: bool,
    ) -> None:
        self._control = control
        self._nodes = nodes
        self._brokers = brokers
        self._nginx = nginx
        self._cookies = cookies
        # When each program has ended too early.
        self._ends: dict[str, set[int]] = {}

    def pending(self) -> dict[str, str]:
        """What is not ready, and why, by program; nothing: everything is.

        :raises HopelessError: when a program ends again and again.
        :raises ControlError: when supervisord does not answer.
        """
        found = self._programs()
        for name, address in self._brokers.items():
            if name not in found and not speaks(address, *GREETINGS[name]):
                found[name] = "does not answer"
        if found:
            return found
        nodes = self._nodes()
        found = {node.id: reason for node in nodes if (reason := trouble(*ready(node.address)))}
        if not found and not self.served(nodes):
            return {"nginx": "does not pass requests on"}
        return found

    def served(self, nodes: Sequence[Node]) -> bool:
        """Whether nginx passes requests on; with cookies, to each of these nodes."""
        try:
            if not self._cookies:
                return get(self._nginx, "/healthz").status == OK
            return all(
                get(self._nginx, "/healthz", {"Cookie": f"NODE={node.id}"}).body.get("node") == node.id
                for node in nodes
            )
        except OSError:
            return False

    def _programs(self) -> dict[str, str]:
        found = {}
        for name, program in self._control.states().items():
            if program.state == "RUNNING":
                continue
            found[name] = f"is {program.state}{program.reason and f' ({program.reason})'}"
            ends = self._ends.setdefault(name, set())
            if program.state == "BACKOFF":
                ends.add(program.ended)
            refused = program.state in ("BACKOFF", "EXITED") and program.exit_status == EXIT_CONFIG
            if program.state == "FATAL" or refused or len(ends) >= ENDED_EARLY_MAX:
                raise HopelessError(name)
        return found


def trouble(is_ready: bool, said: dict[str, Any]) -> str:
    """Why a node is not ready, from its /readyz; nothing: it is, and so are all its brokers."""
    checks = said.get("checks", {})
    reasons = [str(check["reason"]) for check in checks.values() if not check.get("ok")]
    brokers = checks.get("queue", {}).get("brokers", {})
    reasons += [f"{name} is {state}" for name, state in brokers.items() if state != "up"]
    if reasons:
        return "; ".join(reasons)
    return "" if is_ready else "does not answer"
