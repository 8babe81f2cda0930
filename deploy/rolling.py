"""How a rolling deploy goes: node by node, each is stopped, and started with what is in the checkout now.

    all others are up -> the code is tried -> stop: it drains -> start -> ready, and stays so -> nginx -> next

It stops at the first node that does not come back, and never stops one while another is down, so that at most
one is missing at any time. Nothing here has a clock, or touches anything but a `World`; roll.py has the real
one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

POLL_SECONDS = 0.25
# The others may be without a broker for a moment; who is not there again after so long is down.
OTHERS_SECONDS = 10.0
# nginx asks a node again as soon as it listens; this is for an nginx that was configured otherwise.
NGINX_SECONDS = 20.0
# supervisor kills what has not ended after stopwaitsecs. This is only for a supervisor that does not.
STOP_SECONDS = 900.0
# While a node takes its time, say so now and then.
REPORT_SECONDS = 5.0
# Ended so often before it was ready: more than a port that its predecessor has not let go of yet.
ENDS_MAX = 3
# States in which supervisor does nothing by itself.
GIVEN_UP = frozenset({"STOPPED", "FATAL", "UNKNOWN"})
# States without a process. EXITED lasts a moment: supervisor starts nodes again.
ENDED = GIVEN_UP | {"EXITED"}


class RollError(Exception):
    """The roll ends here. The message says why, and is meant for people."""


@dataclass(frozen=True)
class Condition:
    """What is known of a node at one moment.

    :param state: supervisor's word.
    :param pid: 0 when it has no process.
    :param ended: when its last process ended, as a number that changes then.
    :param clean: whether that process ended by itself, with exit status 0.
    :param ready: whether /readyz says so.
    :param why: in words, when it is not, or does not run.
    """

    state: str
    pid: int = 0
    ended: int = 0
    clean: bool = True
    ready: bool = False
    why: str = ""

    @property
    def up(self) -> bool:
        """Whether it serves."""
        return self.state == "RUNNING" and self.ready

    @property
    def trouble(self) -> str:
        """Why it does not, in words."""
        if self.state == "RUNNING":
            return self.why
        return f"{self.state}: {self.why}" if self.why else self.state


class World(Protocol):
    """What a roll touches; nodes go by their ids."""

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def look(self, ids: Sequence[str]) -> dict[str, Condition]:
        """How these nodes are now."""

    def try_code(self, node_id: str) -> str:
        """Why the code in the checkout could not start as this node; nothing: it could."""

    def try_database(self, node_id: str) -> str:
        """Why it could not work with the database; nothing: it could."""

    def served(self, node_id: str) -> str:
        """Why nginx does not send the node's clients to it; nothing: it does, or its address is unknown."""

    def stop(self, node_id: str) -> None:
        """Tell it to end, and wait for nothing."""

    def start(self, node_id: str) -> None:
        """Start it, and wait for nothing."""

    def tail(self, node_id: str) -> str:
        """The end of its log; nothing: it has none of its own."""


def order(ids: Sequence[str], only: Sequence[str], conditions: Mapping[str, Condition]) -> list[str]:
    """Decide which nodes are rolled, in which order: those that are down first, for then nobody else is.

    :param only: the ids of those that are meant; none: all.
    :raises RollError: when there is no such node, or when one is down that is not meant by name.
    """
    unknown = [node_id for node_id in only if node_id not in ids]
    if unknown:
        raise RollError(f"there is no node {unknown[0]!r} here: there are {', '.join(ids)}")
    for node_id in ids:
        condition = conditions[node_id]
        if node_id not in only and not condition.up:
            raise RollError(
                f"{node_id} is down ({condition.trouble}), and with one more stopped the cluster would be "
                f"smaller than planned. Bring it back first, or roll it by its name: --only {node_id}"
            )
    chosen = [node_id for node_id in ids if not only or node_id in only]
    return sorted(chosen, key=lambda node_id: conditions[node_id].up)


class Watch:
    """Follows a node from its start until it is back, or will not come back.

    :param before: its condition before the start.
    :param started_at: when it was started.
    :param ready_seconds: how long it may take to get ready, more than 0.
    :param steady_seconds: how long it must stay so, 0 or more.
    """

    def __init__(
        self, before: Condition, started_at: float, ready_seconds: float, steady_seconds: float
    ) -> None:
        self._started_at = started_at
        self._ready_seconds = ready_seconds
        self._steady_seconds = steady_seconds
        self._ended = before.ended
        self._ends = 0
        self._pid = 0
        self._was_ready = False
        self._ready_since: float | None = None

    def see(self, now: float, condition: Condition) -> bool:
        """Take in how it is now.

        :returns: whether it is back: ready, and has stayed so.
        :raises RollError: when it does not come back.
        """
        if condition.state in GIVEN_UP:
            raise RollError(f"{_GIVEN_UP[condition.state]} ({condition.trouble})")
        self._count_ends(condition)
        if not condition.up:
            self._ready_since = None
            if now - self._started_at >= self._ready_seconds:
                raise RollError(f"it is not ready after {self._ready_seconds:g} s ({condition.trouble})")
            return False
        self._was_ready = True
        if self._ready_since is None:
            self._ready_since = now
        return now - self._ready_since >= self._steady_seconds

    def _count_ends(self, condition: Condition) -> None:
        ended = condition.ended != self._ended or bool(self._pid and condition.pid not in (0, self._pid))
        self._ended, self._pid = condition.ended, condition.pid or self._pid
        if not ended:
            return
        self._ends += 1
        if self._was_ready:
            raise RollError(f"it was ready, and has died again ({condition.trouble or 'it runs anew'})")
        if self._ends >= ENDS_MAX:
            raise RollError(f"it has ended {self._ends} times instead of getting ready ({condition.trouble})")


_GIVEN_UP = {
    "STOPPED": "somebody has stopped it",
    "FATAL": "supervisor has tried often enough, and given up",
    "UNKNOWN": "supervisor does not know what has become of it",
}


class Roll:
    """One rolling deploy.

    :param ids: of all nodes of this machine, in the order in which they are rolled.
    :param only: the ids of those to roll; none: all.
    :param say: takes each line of what is told about it.
    """

    def __init__(
        self,
        world: World,
        ids: Sequence[str],
        only: Sequence[str] = (),
        *,
        ready_seconds: float = 60.0,
        steady_seconds: float = 3.0,
        say: Callable[[str], object] = print,
    ) -> None:
        self._world = world
        self._ids = list(ids)
        self._only = list(only)
        self._ready_seconds = ready_seconds
        self._steady_seconds = steady_seconds
        self._say = say
        self._new: list[str] = []
        self._mend: set[str] = set()
        self._at: str | None = None
        self._touched = False
        self._pids: dict[str, int] = {}

    def run(self, *, dry: bool = False) -> int:
        """Do it.

        :param dry: only look whether it could be done.
        :returns: the exit status: 0, or 1 when it has ended early, and why has been said.
        """
        try:
            chosen = self._plan()
            if dry:
                self._rehearse(chosen)
                return 0
            for number, node_id in enumerate(chosen):
                self._at = node_id
                self._roll(node_id, first=number == 0)
                self._new.append(node_id)
                self._say(f"{node_id}: back in the cluster, {number + 1} of {len(chosen)}")
        except RollError as error:
            self._report("stopped", f": {error}")
            return 1
        except KeyboardInterrupt:
            self._report("interrupted")
            return 1
        self._say(f"done, with what is in the checkout now: {', '.join(chosen)}")
        return 0

    def _plan(self) -> list[str]:
        """Decide on the order, after giving those that are not ready for a moment that moment."""
        others = [node_id for node_id in self._ids if node_id not in self._only]
        self._wait_for(others)
        conditions = self._world.look(self._ids)
        chosen = order(self._ids, self._only, conditions)
        self._mend = {node_id for node_id in chosen if not conditions[node_id].up}
        self._pids = {node_id: condition.pid for node_id, condition in conditions.items()}
        for node_id in others:
            if why := self._world.served(node_id):
                raise RollError(
                    f"nginx does not send the clients of {node_id} to it ({why}). Is that its address, and "
                    "does it balance by cookie? Without an address nginx is not asked"
                )
        self._say(f"rolling {', '.join(chosen)}" + (": one after the other" if len(chosen) > 1 else ""))
        if len(self._ids) == 1:
            self._say("it is the only node: its clients have nowhere to go until it is back")
        return chosen

    def _rehearse(self, chosen: Sequence[str]) -> None:
        for number, node_id in enumerate(chosen):
            self._at = node_id
            self._try(node_id, first=number == 0)
            self._say(f"{node_id}: would be stopped, started, and put back; nothing was touched")

    def _roll(self, node_id: str, *, first: bool) -> None:
        # Those that were down at first, and come later: they are first of all.
        expected = [one for one in self._ids if one != node_id and one not in self._mend - {*self._new}]
        for other, condition in self._wait_for(expected).items():
            if not condition.up:
                raise RollError(f"left as it is, for {other} is down ({condition.trouble})")
        self._try(node_id, first=first)
        before = self._world.look([node_id])[node_id]
        self._touched = True
        try:
            before = self._stop(node_id, before)
            started_at = self._world.now()
            self._world.start(node_id)
        except RollError:
            raise
        except BaseException:
            self._put_back(node_id)
            raise
        self._say(f"{node_id}: started")
        self._come_back(node_id, Watch(before, started_at, self._ready_seconds, self._steady_seconds))

    def _wait_for(self, ids: Sequence[str]) -> dict[str, Condition]:
        """Wait a little until all these are up, if they may get so by themselves."""
        deadline = self._world.now() + OTHERS_SECONDS
        while True:
            conditions = self._world.look(ids)
            down = [condition for condition in conditions.values() if not condition.up]
            if not down or any(one.state in ENDED for one in down) or self._world.now() >= deadline:
                return conditions
            self._world.sleep(POLL_SECONDS)

    def _try(self, node_id: str, *, first: bool) -> None:
        begun = self._world.now()
        if trouble := self._world.try_code(node_id):
            raise RollError(f"left as it is, for the code does not start:\n{_indent(trouble)}")
        if first and (trouble := self._world.try_database(node_id)):
            raise RollError(f"left as it is, for the database does not suit the code:\n{_indent(trouble)}")
        self._say(f"{node_id}: the code starts, tried in {self._world.now() - begun:.1f} s")

    def _stop(self, node_id: str, condition: Condition) -> Condition:
        """Let it drain and end; nothing to do when it has no process."""
        if condition.state in ENDED:
            return condition
        self._say(f"{node_id}: stopping; its clients go to the others")
        begun = said = self._world.now()
        while condition.state not in ENDED:
            if condition.state != "STOPPING":
                # Again, if it has ended by itself at that very moment and supervisor has started it anew.
                self._world.stop(node_id)
            now = self._world.now()
            if now - begun >= STOP_SECONDS:
                raise RollError(f"it has not ended after {STOP_SECONDS:g} s ({condition.trouble})")
            if now - said >= REPORT_SECONDS:
                said = now
                self._say(f"{node_id}: stopping for {now - begun:.0f} s ({condition.why or condition.state})")
            self._world.sleep(POLL_SECONDS)
            condition = self._world.look([node_id])[node_id]
        self._say(f"{node_id}: has ended after {self._world.now() - begun:.1f} s")
        if not condition.clean:
            self._say(
                f"{node_id}: it did not end cleanly, so something may have been lost: see its log. "
                "(stopwaitsecs in supervisor's file must be longer than GRACEFUL_TIMEOUT_SECONDS)"
            )
        return condition

    def _come_back(self, node_id: str, watch: Watch) -> None:
        begun = said = self._world.now()
        announced = False
        steady_since: float | None = None
        while True:
            condition = self._world.look([node_id])[node_id]
            now = self._world.now()
            steady = watch.see(now, condition)
            if condition.up and not announced:
                announced = True
                self._say(f"{node_id}: ready after {now - begun:.1f} s (pid {condition.pid})")
            why = condition.trouble
            if not steady:
                steady_since = None
            else:
                why = self._world.served(node_id)
                if not why:
                    return
                steady_since = now if steady_since is None else steady_since
                if now - steady_since >= NGINX_SECONDS:
                    raise RollError(
                        f"nginx does not send its clients to it after {NGINX_SECONDS:g} s ({why})"
                    )
            if why and now - said >= REPORT_SECONDS:
                said = now
                self._say(f"{node_id}: waiting for {now - begun:.0f} s ({why})")
            self._world.sleep(POLL_SECONDS)

    def _put_back(self, node_id: str) -> None:
        """Whatever has come between, Ctrl-C or a terminal that is gone: do not leave a node stopped."""
        with contextlib.suppress(Exception):
            self._say(f"{node_id}: interrupted; it is started again when it has ended")
        deadline = self._world.now() + STOP_SECONDS
        while (state := self._world.look([node_id])[node_id].state) == "STOPPING":
            if self._world.now() >= deadline:
                return
            self._world.sleep(POLL_SECONDS)
        if state in ENDED:
            self._world.start(node_id)

    def _report(self, how: str, why: str = "") -> None:
        """Say why it has ended, and who is new, old and down."""
        if not self._touched:
            at = f": {self._at}" if self._at else ""
            self._say(f"not begun{at}{why or f': {how}'}")
            self._say("No node was touched.")
            return
        self._say(f"{how} at {self._at}{why}")
        try:
            conditions = self._world.look(self._ids)
        except RollError as error:
            self._say(str(error))
            return
        down = [node_id for node_id in self._ids if not conditions[node_id].up]
        up = [node_id for node_id in self._ids if node_id not in down]
        # Whoever has been started again runs the new code, whether all was well with it or not.
        new = [node_id for node_id in up if conditions[node_id].pid != self._pids[node_id]]
        self._say(f"  new:  {', '.join(new) or '-'}")
        self._say(f"  old:  {', '.join(one for one in up if one not in new) or '-'}")
        self._say(f"  down: {', '.join(f'{one} ({conditions[one].trouble})' for one in down) or '-'}")
        for node_id in down:
            self._say(f"The end of {node_id}'s log:")
            self._say(
                _indent(self._world.tail(node_id) or "(it has none of its own: see supervisord's output)")
            )
        meant = self._only or self._ids
        left = [node_id for node_id in meant if node_id not in self._new]
        options = " ".join(f"--only {node_id}" for node_id in dict.fromkeys([*down, *left]))
        self._say(f"The rest, when all is well: roll again with {options}")


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
