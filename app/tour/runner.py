"""Runs the tour in a node: sends the numbers, tells the other nodes, breaks things, shows it to operators.

_count   a greenlet while a tour runs: a number ten times a second, a report every second
_watch   a greenlet while a tour runs or an operator looks: what runs, what is to be thawed, what is shown
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import gevent
import msgspec
import structlog
from gevent.event import Event
from pydantic import BaseModel

from app.errors import EventError
from app.realtime import QueueError, SocketIO
from app.tour import view
from app.tour.board import Board, Report
from app.tour.breaking import Breaker, ControlError, Part
from app.tour.ledger import Number
from app.tour.tour import FREEZE_SECONDS, LEAD_SECONDS, NUMBERS_PER_SECOND, STEPS_MAX, Step, Tour, What

log = structlog.get_logger(__name__)

T = TypeVar("T")

WATCH_SECONDS = 1.0
# How many nodes that are not understood get a line each.
COMPLAINTS_MAX = 50
# After the end, what is on its way is counted before the last report.
SETTLE_SECONDS = 1.0
RUNNING = "RUNNING"


class Audience(Protocol):
    """The operators whom this node serves."""

    def here(self) -> bool:
        """Whether there is anybody."""

    def show(self, name: str, payload: BaseModel) -> None:
        """Show them something."""


class TourRunner:
    """The tour's part in one node.

    :param node: its name.
    :param audience: whom it is shown to.
    """

    def __init__(self, socketio: SocketIO, breaker: Breaker, node: str, audience: Audience) -> None:
        assert socketio.manager is not None
        self._socketio = socketio
        self._breaker = breaker
        self._audience = audience
        self._board = Board(node, socketio.manager.origin)
        self._at_work: set[str] = set()
        self._is_told = True
        self._not_understood: set[str] = set()
        self._wake = Event()
        # The state of each step of this tour, as the operators were told it.
        self._states: dict[str, str] = {}
        socketio.on_nodes("tour.state", self._hear_tour)
        socketio.on_nodes("tour.number", self._hear_number)
        socketio.on_nodes("tour.report", self._hear_report)
        socketio.on_nodes("tour.gone", self._hear_gone)

    # What operators do.

    def start(self) -> None:
        """Begin a tour on all nodes, unless one runs."""
        now = time.time()
        self._board.begin(self._new_id("tour"), now)
        self._tell_tour()
        self.watch()

    def stop(self) -> None:
        """End the tour on all nodes; what is frozen is thawed."""
        self._board.end(time.time())
        self._tell_tour()
        self.watch()

    def break_(self, what: What, node: str | None) -> Step:
        """Announce a step, and do it when all nodes know of it.

        :param node: whom "kill-node" is about; None: this one.
        :raises EventError: `not_now` when no tour runs, a step is under way, or there were too many;
            `unavailable` when it cannot be done.
        """
        try:
            part = self._breaker.part(what, node or self._board.node)
        except ControlError as error:
            raise EventError("unavailable", str(error)) from None
        now = time.time()
        tour = self._board.tour
        if tour is None or not tour.running(now):
            raise EventError("not_now", "Start the numbers first, to see what happens to them.")
        if (busy := tour.step(now)) is not None:
            raise EventError("not_now", f"{busy.program} is not back yet. One thing at a time.")
        if len(tour.steps) >= STEPS_MAX:
            raise EventError("not_now", f"{STEPS_MAX} steps are enough for a tour: stop it, and start anew.")
        at = now + LEAD_SECONDS
        until = at + FREEZE_SECONDS if what.startswith("freeze-") else None
        step = Step(self._new_id(what), what, part.name, self._board.node, at, part.pid, until)
        self._change(step)
        self._socketio.start_background_task(self._act, step)
        return step

    def watch(self) -> None:
        """Look after everything, and show it at once."""
        self._wake.set()
        self._run("watch", self._watch)

    # What other nodes say; none of it waits.

    def _hear_tour(self, origin: str, data: Any) -> None:
        before = self._board.tour
        if (tour := self._understand(origin, data, Tour)) is None:
            return
        self._board.hear_tour(tour, time.time())
        if self._board.tour != before:
            self.watch()
        elif self._board.running(time.time()):
            self._run("watch", self._watch)

    def _hear_number(self, origin: str, data: Any) -> None:
        if (number := self._understand(origin, data, Number)) is not None:
            self._board.hear_number(origin, number, time.time())

    def _hear_report(self, origin: str, data: Any) -> None:
        if (report := self._understand(origin, data, Report)) is None:
            return
        is_new = origin not in self._board.reports
        self._board.hear_report(origin, report, time.time())
        if is_new:
            # To tell may wait, with a full outbox.
            self._socketio.start_background_task(self._tell_gone)

    def _hear_gone(self, origin: str, data: Any) -> None:
        if (reports := self._understand(origin, data, dict[str, Report])) is not None:
            self._board.hear_gone(reports)

    def _understand(self, origin: str, data: Any, kind: type[T]) -> T | None:
        """What another node tells; None, and a line for the first of many, when it is something else."""
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            if origin not in self._not_understood and len(self._not_understood) < COMPLAINTS_MAX:
                self._not_understood.add(origin)
                log.warning(
                    "the tour of a node is not understood, another version?", origin=origin, error=str(error)
                )
            return None

    # Below.

    def _tell_gone(self) -> None:
        """Tell what those have told who are gone: for who has just started."""
        for origin, report in self._board.gone(time.time()).items():
            self._tell("tour.gone", {origin: report})

    def _new_id(self, what: str) -> str:
        return f"{what}-{secrets.token_hex(6)}"

    def _run(self, name: str, loop: Callable[[], None]) -> None:
        """Start a loop, unless it runs."""
        if name in self._at_work:
            return
        self._at_work.add(name)

        def run() -> None:
            try:
                loop()
            except Exception:
                log.exception("a defect of the tour", loop=name)
            finally:
                self._at_work.discard(name)

        self._socketio.start_background_task(run)

    def _tell(self, topic: str, data: Any) -> bool:
        """Tell the other nodes; a line for the first failure of many."""
        try:
            self._socketio.tell_nodes(topic, data)
        except QueueError as error:
            if self._is_told:
                log.warning("the other nodes are not told", topic=topic, error=str(error))
            self._is_told = False
        else:
            self._is_told = True
        return self._is_told

    def _tell_tour(self) -> None:
        if self._board.tour is not None:
            self._tell("tour.state", self._board.tour)

    def _change(self, step: Step) -> None:
        """Take in what has happened, and tell everybody."""
        self._board.change(step, time.time())
        log.info("tour step", what=step.what, program=step.program, back=step.back, error=step.error)
        self._tell_tour()
        self.watch()

    def _act(self, step: Step) -> None:
        gevent.sleep(max(0.0, step.at - time.time()))
        tour = self._board.tour
        if tour is None or step.id not in {known.id for known in tour.steps}:
            # Of a tour that another one has replaced: nobody would let go on what this freezes.
            log.info("tour step of an earlier tour", what=step.what, program=step.program)
            return
        if not self._board.running(time.time()):
            self._change(msgspec.structs.replace(step, error="The tour was stopped before."))
            return
        try:
            self._breaker.act(step.what, step.program)
        except ControlError as error:
            self._change(msgspec.structs.replace(step, error=str(error)))
        else:
            self._wake.set()

    def _count(self) -> None:
        due = time.monotonic()
        for turn in itertools.count():
            if not self._board.running(time.time()):
                break
            if self._tell("tour.number", self._board.next_number(time.time())):
                self._board.sent += 1
            if turn % NUMBERS_PER_SECOND == 0:
                self._share()
            # A node that was held up does not make up for it.
            due = max(due + 1 / NUMBERS_PER_SECOND, time.monotonic())
            gevent.sleep(due - time.monotonic())
        gevent.sleep(SETTLE_SECONDS)
        self._share()

    def _share(self) -> None:
        """Tell everybody what this node knows: for who has just started, and for when this one dies."""
        self._tell_tour()
        self._tell("tour.report", self._board.report(time.time()))

    def _watch(self) -> None:
        while True:
            self._wake.clear()
            parts, trouble = self._look()
            self._thaw()
            now = time.time()
            self._show(parts, trouble, now)
            running = self._board.running(now)
            if running:
                self._run("count", self._count)
            tour = self._board.tour
            frozen = tour is not None and any(step.frozen(now) for step in tour.steps)
            if not (running or frozen or self._audience.here()):
                return
            self._wake.wait(WATCH_SECONDS)

    def _look(self) -> tuple[Sequence[Part], str | None]:
        """What runs, and what is back; or why that cannot be seen."""
        try:
            parts = self._breaker.parts()
        except ControlError as error:
            return (), str(error)
        at_work = {part.name: part.pid for part in parts.values() if part.state == RUNNING}
        for step in self._board.observe(at_work, time.time()):
            self._change(step)
        return tuple(parts.values()), None

    def _thaw(self) -> None:
        tour, now = self._board.tour, time.time()
        for step in tour.due_to_thaw(self._board.node, now) if tour else ():
            try:
                self._breaker.thaw(step.program)
            except ControlError as error:
                # It may be starting; the next turn tries again.
                log.warning("cannot be thawed", program=step.program, error=str(error))
            else:
                self._change(msgspec.structs.replace(step, back=time.time()))

    def _show(self, parts: Sequence[Part], trouble: str | None, now: float) -> None:
        tour = self._board.tour
        steps = [view.tell_step(step, now) for step in tour.steps] if tour else []
        before, self._states = self._states, {step.id: step.state for step in steps}
        if not self._audience.here():
            return
        for step in steps:
            # What was over when this node came to know it is no news.
            if before.get(step.id, "back") != step.state:
                self._audience.show("step", step)
        queue = self._socketio.queue_status()["active"]
        self._audience.show("tour", view.state(self._board, parts, queue, trouble, now))
