"""What one node knows of a tour: the tour itself, its own ledger, and the reports of all others. Pure.

Every node has all reports, so any of them can show the whole: the page goes to another one when its own dies.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from app.tour.ledger import NUMBER_MAX, SENDERS_MAX, Counts, Heard, Ledger, Name, Number
from app.tour.tour import STEPS_MAX, TOUR_SECONDS, Step, Tour

# Reports come every second: who has missed three is gone, or cut off.
SILENT_SECONDS = 3.5


class Report(Struct, frozen=True):
    """What a node tells all others each second, and all that is left of it when it is killed.

    :param tour: which one it is about.
    :param since: when the node began to count and to listen.
    :param sent: how many numbers it has sent.
    :param step: what it thinks is under way, by its id.
    :param heard: its account of each sender.
    :param steps: the same for each step, of all senders together.
    """

    tour: Name
    node: Name
    since: float
    sent: Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
    step: Name
    heard: Annotated[list[Heard], Meta(max_length=SENDERS_MAX)]
    steps: Annotated[dict[Name, Counts], Meta(max_length=2 * STEPS_MAX)]


class Board:
    """The view of one node.

    :param node: its name.
    :param origin: its process.
    """

    def __init__(self, node: str, origin: str) -> None:
        self.node = node
        self.origin = origin
        self.tour: Tour | None = None
        self.sent = 0
        self.ledger = Ledger(0.0)
        # Of all processes of the tour by origin, also of those that are gone, and when each was heard.
        self.reports: dict[str, Report] = {}
        self._heard_at: dict[str, float] = {}

    def running(self, now: float) -> bool:
        """Whether there is a tour, and it has not ended."""
        return self.tour is not None and self.tour.running(now)

    # What happens here.

    def begin(self, tour_id: str, now: float) -> Tour:
        """Begin a tour, unless one runs."""
        if self.tour is None or not self.tour.running(now):
            start = Step(tour_id, "start", "", self.node, at=now, back=now)
            self._take(Tour(tour_id, now, now + TOUR_SECONDS, steps=(start,)), now)
        assert self.tour is not None
        return self.tour

    def end(self, now: float) -> None:
        """End the tour."""
        if self.tour is not None and self.tour.running(now):
            self._take(Tour(self.tour.id, self.tour.began, self.tour.until, ended=now), now)

    def change(self, step: Step, now: float) -> None:
        """Take in a step of the tour, new or changed."""
        assert self.tour is not None
        self._take(self.tour.with_step(step), now)

    def next_number(self, now: float) -> Number:
        """The number to send next; count it with `sent` when it is sent."""
        assert self.tour is not None
        return Number(self.tour.id, self.node, self.sent + 1, self._step(), self.ledger.since, now)

    def report(self, now: float) -> Report:
        """What to tell all others; kept here as theirs are."""
        assert self.tour is not None
        # A copy: the ledger goes on, and what is told here and elsewhere is the same.
        report = Report(
            self.tour.id,
            self.node,
            self.ledger.since,
            self.sent,
            self._step(),
            self.ledger.heard(),
            deepcopy(self.ledger.steps),
        )
        self._keep(self.origin, report, now)
        return report

    # What others say.

    def hear_tour(self, tour: Tour, now: float) -> None:
        """Another node tells what it knows of a tour."""
        self._take(tour if self.tour is None else self.tour.merged(tour), now)

    def hear_number(self, origin: str, number: Number, now: float) -> None:
        """A number came; of another tour, it does not count."""
        if self.tour is not None and number.tour == self.tour.id:
            self.ledger.receive(origin, number, now)

    def hear_report(self, origin: str, report: Report, now: float) -> None:
        """Another node reports."""
        if self.tour is not None and report.tour == self.tour.id:
            self._keep(origin, report, now)
            self.ledger.promise(origin, report.node, report.sent, report.step, report.since)

    def hear_gone(self, reports: dict[str, Report]) -> None:
        """Another node passes on what those have told who are gone; for who has started since."""
        for origin, report in reports.items():
            if self.tour is not None and report.tour == self.tour.id and len(self.reports) < SENDERS_MAX:
                self.reports.setdefault(origin, report)

    def gone(self, now: float) -> dict[str, Report]:
        """The last reports of those who are not there any more, by origin."""
        present = self.present(now)
        return {origin: report for origin, report in self.reports.items() if origin not in present}

    def observe(self, programs: dict[str, int], now: float) -> list[Step]:
        """See what is back of what was killed.

        :param programs: the process ids of those that are at work.
        :returns: the steps that are over with it.
        """
        back = []
        for step in self.tour.steps if self.tour else ():
            if step.back is not None or step.error or step.until or now < step.at:
                continue
            new_process = programs.get(step.program, step.pid) != step.pid
            # A node is back when it counts again.
            if new_process and (step.what != "kill-node" or self._counts(step.program, step.at)):
                back.append(msgspec.structs.replace(step, back=now))
        for step in back:
            self.change(step, now)
        return back

    # What there is to show.

    def present(self, now: float) -> dict[str, Report]:
        """The last reports of the nodes that are there, by origin, in the order of their names.

        Of a node that was started again, the newer process: what the older one had in its spool comes late.
        """
        newest: dict[str, str] = {}
        for origin, at in self._heard_at.items():
            report = self.reports[origin]
            rival = newest.get(report.node)
            if now - at < SILENT_SECONDS and (rival is None or report.since > self.reports[rival].since):
                newest[report.node] = origin
        return {newest[node]: self.reports[newest[node]] for node in sorted(newest)}

    def sent_by_all(self) -> int:
        """How many numbers were sent, as far as it was told."""
        return sum(report.sent for report in self.reports.values())

    def counts(self, steps: Iterable[str] | None = None) -> Counts:
        """What all nodes together have counted.

        :param steps: in these, by their ids; None: in the whole tour.
        """
        total = Counts()
        for report in self.reports.values():
            for step in report.steps if steps is None else steps:
                if step in report.steps:
                    total.add(report.steps[step])
        return total

    # Below.

    def _take(self, tour: Tour, now: float) -> None:
        if self.tour is None or tour.id != self.tour.id:
            self.sent = 0
            self.ledger = Ledger(now)
            self.reports.clear()
            self._heard_at.clear()
            self.tour = tour
        else:
            self.tour = self.tour.merged(tour)

    def _keep(self, origin: str, report: Report, now: float) -> None:
        if origin in self.reports or len(self.reports) < SENDERS_MAX:
            self.reports[origin] = report
            self._heard_at[origin] = now

    def _step(self) -> str:
        assert self.tour is not None
        return self.tour.steps[-1].id if self.tour.steps else self.tour.id

    def _counts(self, node: str, after: float) -> bool:
        return any(report.node == node and report.since > after for report in self.reports.values())
