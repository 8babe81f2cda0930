"""Hundreds of real Socket.IO clients in a process of their own, told what to do, and what became of them.

The clients are in `crowd_guest`, the process in `crowd_program`. Times in the records are seconds of
`time.monotonic()`, which on Linux is one clock for all processes.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.support.servers import Server
from tests.support.waiting import wait_until

# Of each ten guests: behind modern networks, behind slow ones, and behind a proxy that knows no WebSocket.
MIXED = ("websocket", "upgrade", "websocket", "polling", "websocket") * 2
ROOMS = 10
AT_ONCE = 20
# A busy machine needs some 30 ms for each guest who signs in and connects.
CONNECT_SECONDS = 90.0
SETTLE_SECONDS = 90.0


class Failure(NamedTuple):
    """A request that failed.

    :param at: when.
    :param kind: "handshake" (a new session), "session" (within one) or "page".
    :param outcome: the status, or the name of the exception.
    :param where: the Engine.IO sid of the session, else the path.
    """

    at: float
    kind: str
    method: str
    outcome: str
    where: str


@dataclass
class Record:
    """What became of one guest.

    `connects` are (when, node, Engine.IO sid), `disconnects` (when, reason). `outcomes` counts requests by
    kind and status. `live` are (number of the connect, seq) as they came; `shown` is what a page would show,
    id by seq; `caught_up` (why, seq) what had to be asked for; `accepted` (id, seq) what was acknowledged;
    `repeated` what was sent again for want of an acknowledgement.
    """

    name: str
    transport: str
    room: str
    room_id: int = 0
    first_seq: int = 0  # of the room when the guest came
    connects: list[tuple[float, str, str]] = field(default_factory=list)
    disconnects: list[tuple[float, str]] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    errors: list[Failure] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    live: list[tuple[int, int]] = field(default_factory=list)
    shown: dict[int, str] = field(default_factory=dict)
    caught_up: list[tuple[str, int]] = field(default_factory=list)
    accepted: list[tuple[str, int]] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    @property
    def node(self) -> str:
        """The node that the guest is on, or was last."""
        return self.connects[-1][1]

    def node_at(self, at: float) -> str:
        """The node that the guest was on at a time."""
        return [node for when, node, _ in self.connects if when <= at][-1]

    def gone_since(self, since: float) -> list[float]:
        """When the guest was cut off, from a time on."""
        return [when for when, _ in self.disconnects if when >= since]

    def back_after(self, at: float) -> float:
        """How long after a time the guest's next connection stood, in seconds; infinite: it never did."""
        return min((when - at for when, _, _ in self.connects if when > at), default=float("inf"))


class Report:
    """The records of a crowd, and what can be said of them.

    :param guests: their records.
    """

    def __init__(self, guests: Sequence[Record]) -> None:
        self.guests = guests

    def nodes(self) -> Counter[str]:
        """How many guests are on each node."""
        return Counter(guest.node for guest in self.guests)

    def on(self, node: str, at: float) -> set[str]:
        """Who was on a node at a time."""
        return {guest.name for guest in self.guests if guest.node_at(at) == node}

    def moved(self, since: float) -> set[str]:
        """Who lost a connection from a time on."""
        return {guest.name for guest in self.guests if guest.gone_since(since)}

    def back(self, since: float) -> list[float]:
        """How long after a time who lost a connection since then was back, in seconds, ascending."""
        return sorted(guest.back_after(since) for guest in self.guests if guest.gone_since(since))

    def away(self, since: float) -> list[float]:
        """How long each absence since a time was, in seconds, ascending."""
        return sorted(guest.back_after(at) for guest in self.guests for at in guest.gone_since(since))

    def accepted(self) -> dict[str, dict[int, str]]:
        """The messages that were acknowledged: id by seq, by room."""
        rooms: dict[str, dict[int, str]] = {guest.room: {} for guest in self.guests}
        for guest in self.guests:
            for message_id, seq in guest.accepted:
                rooms[guest.room][seq] = message_id
        return rooms

    def lost(self) -> dict[str, list[int]]:
        """Which accepted messages each guest does not show, or shows as another; none: not in it."""
        accepted = self.accepted()
        found = {
            guest.name: [
                seq
                for seq, message_id in accepted[guest.room].items()
                if seq > guest.first_seq and guest.shown.get(seq) != message_id
            ]
            for guest in self.guests
        }
        return {name: missing for name, missing in found.items() if missing}

    def unheard(self, names: set[str]) -> dict[str, list[int]]:
        """Which accepted messages did not come to these guests by themselves, without asking for them."""
        accepted = self.accepted()
        found: dict[str, list[int]] = {}
        for guest in self.guests:
            heard = {seq for _, seq in guest.live}
            if guest.name in names:
                found[guest.name] = sorted(
                    seq for seq in accepted[guest.room] if seq > guest.first_seq and seq not in heard
                )
        return {name: missing for name, missing in found.items() if missing}

    def doubled(self) -> dict[str, list[str]]:
        """Which messages each guest shows twice, and which came twice over one connection for no reason.

        The reason would be that its writer had to repeat it: the node that stored it may have died before it
        told anybody, so the next one tells everybody.
        """
        repeated = {message_id for guest in self.guests for message_id in guest.repeated}
        found = {}
        for guest in self.guests:
            shown = Counter(guest.shown.values())
            heard = Counter(
                f"{guest.shown[seq]} over connection {number}"
                for number, seq in guest.live
                if guest.shown[seq] not in repeated
            )
            found[guest.name] = [what for what, count in (shown + heard).items() if count > 1]
        return {name: twice for name, twice in found.items() if twice}

    def disordered(self) -> dict[str, list[str]]:
        """Whose messages each guest shows in another order than they were written in, by room."""
        found: dict[str, list[str]] = {}
        for guest in self.guests:
            newest: dict[str, int] = {}
            for _, message_id in sorted(guest.shown.items()):
                author, _, number = message_id.rpartition("-")
                if int(number) < newest.get(author, 0):
                    found.setdefault(guest.name, []).append(message_id)
                newest[author] = int(number)
        return found

    def errors(self, *kinds: str) -> list[tuple[str, Failure]]:
        """Who met which failed requests, of some kinds."""
        return [(guest.name, error) for guest in self.guests for error in guest.errors if error.kind in kinds]

    def errors_out_of_place(self, seconds: float) -> list[Failure]:
        """Failed requests within a session that did not end at that time.

        :param seconds: how far from the end an error may be.
        """
        found = []
        for guest in self.guests:
            # The n-th connect is ended by the n-th disconnect.
            ends = {sid: at for (_, _, sid), (at, _) in zip(guest.connects, guest.disconnects, strict=False)}
            for error in guest.errors:
                if error.kind == "session" and abs(ends.get(error.where, 0.0) - error.at) > seconds:
                    found.append(error)
        return found

    def outcomes(self) -> Counter[str]:
        """How many HTTP requests ended how, by kind and status or exception."""
        return sum((Counter(guest.outcomes) for guest in self.guests), Counter[str]())

    def refusals(self) -> Counter[str]:
        """How many events were refused or not answered, by code."""
        return sum((Counter(guest.refusals) for guest in self.guests), Counter[str]())

    def __str__(self) -> str:
        accepted = sum(len(guest.accepted) for guest in self.guests)
        heard = sum(len(guest.live) for guest in self.guests)
        asked = Counter(why for guest in self.guests for why, _ in guest.caught_up)
        return (
            f"{len(self.guests)} guests on {dict(sorted(self.nodes().items()))}, "
            f"{accepted} messages accepted, {heard} heard, {dict(asked)} asked for, "
            f"HTTP {dict(sorted(self.outcomes().items()))}, "
            f"refused {dict(self.refusals())}"
        )


class CrowdError(Exception):
    """The crowd could not do what it was told to."""


class Crowd(Server):
    """The process.

    :param url: where the guests go, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        super().__init__("crowd")
        self.url = url
        # Part of the names of guests and rooms: several crowds may meet in one cluster.
        self.tag = f"c{secrets.token_hex(3)}"
        self.count = 0

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        return (sys.executable, "-m", "tests.support.crowd_program", self._socket_path, self.url, self.tag)

    def ready(self) -> bool:
        """Ask for anything."""
        try:
            self.state()
        except OSError:
            return False
        return True

    def connect(self, count: int, *, rooms: int = ROOMS, transports: Sequence[str] = MIXED) -> None:
        """Let more guests come, and wait until they are connected.

        :param count: how many, 1 or more.
        :param rooms: over how many rooms they are spread; the same each time.
        :param transports: who uses which, in turn: "websocket", "polling", "upgrade".
        :raises CrowdError: when one could not.
        """
        self._ask(
            "connect",
            timeout_seconds=CONNECT_SECONDS,
            count=count,
            rooms=rooms,
            transports=list(transports),
            at_once=AT_ONCE,
        )
        self.count += count

    def talk(self, per_second: float) -> None:
        """Let the guests write so many messages a second from now on, all in turn; 0: no more."""
        self._ask("talk", per_second=per_second)

    def visit(self, per_second: float) -> None:
        """Let the guests' browsers get so many pages a second from now on; 0: no more."""
        self._ask("visit", per_second=per_second)

    def state(self) -> Mapping[str, int]:
        """How many guests are `away`, messages `to_write`, `accepted` and `missing` on somebody's page."""
        state: Mapping[str, int] = self._ask("state")
        return state

    def settle(self, timeout_seconds: float = SETTLE_SECONDS) -> Report:
        """Let nobody write any more, wait until everybody is back and shows everything, and report.

        :raises AssertionError: when that does not come in time, with what is missing.
        """
        self.talk(0)
        self.visit(0)

        def settled() -> bool:
            state = self.state()
            return not (state["away"] or state["to_write"] or state["missing"] or state["visiting"])

        wait_until(settled, lambda: f"a calm crowd: {self.state()}; {self.report()}", timeout_seconds)
        return self.report()

    def report(self) -> Report:
        """What became of everybody until now."""
        guests = [Record(**_typed(record)) for record in self._ask("report")]
        return Report(guests)

    @property
    def _socket_path(self) -> str:
        return str(self.folder / "control")

    def _ask(self, command: str, *, timeout_seconds: float = SETTLE_SECONDS, **arguments: object) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(self._socket_path)
            connection.sendall(json.dumps({"do": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        if not line:
            raise CrowdError(f"the crowd ended instead of an answer to {command!r}:\n{self.log()}")
        answer = json.loads(line)
        if "error" in answer:
            raise CrowdError(f"{command}: {answer['error']}")
        return answer["value"]


def _typed(record: dict[str, Any]) -> dict[str, Any]:
    """Undo what JSON does to tuples, and to keys that are numbers."""
    typed = dict(record)
    for name in ("connects", "disconnects", "live", "caught_up", "accepted"):
        typed[name] = [tuple(item) for item in record[name]]
    typed["errors"] = [Failure(*error) for error in record["errors"]]
    typed["shown"] = {int(seq): message_id for seq, message_id in record["shown"].items()}
    return typed
