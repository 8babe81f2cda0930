"""Draws a board as operators are shown it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.tour.board import Board, Report
from app.tour.breaking import Part
from app.tour.ledger import Counts
from app.tour.schemas import Figures, Pair, StepFigures, Strip, TourPart, TourState, TourStep
from app.tour.tour import Step


def state(
    board: Board, parts: Iterable[Part], queue: str | None, trouble: str | None, now: float
) -> TourState:
    """The view of one node.

    :param queue: the broker that it publishes on.
    :param trouble: why nothing can be broken.
    :param now: in seconds since the epoch.
    """
    tour = board.tour
    running = board.running(now)
    steps = tour.steps if tour else ()
    busy = tour.step(now) if tour else None
    frozen = {step.program for step in steps if step.frozen(now) and now >= step.at}
    present = board.present(now)
    return TourState(
        node=board.node,
        now_ms=milliseconds(now),
        running=running,
        began_ms=milliseconds(tour.began) if tour else None,
        ends_ms=milliseconds(tour.until) if tour and running else None,
        queue=queue,
        busy=busy.id if busy else None,
        trouble=trouble,
        sent=board.sent_by_all(),
        figures=figures(board.counts()),
        steps=[
            StepFigures(step=tell_step(step, now), figures=figures(board.counts([step.id]))) for step in steps
        ],
        parts=[
            TourPart(
                name=part.name,
                is_broker=part.is_broker,
                state="FROZEN" if part.name in frozen else part.state,
                pid=part.pid,
                uptime_seconds=part.uptime_seconds,
            )
            for part in parts
        ],
        strips=_strips(board.node, present),
        pairs=[pair for report in present.values() for pair in _pairs(report)],
    )


def tell_step(step: Step, now: float) -> TourStep:
    """A step as it is told."""
    if step.error:
        said = "failed"
    elif step.back is not None:
        said = "back"
    elif now < step.at:
        said = "announced"
    else:
        said = "under_way" if step.under_way(now) else "missing"
    return TourStep(
        id=step.id,
        what=step.what,
        program=step.program,
        by=step.by,
        at_ms=milliseconds(step.at),
        state=said,  # type: ignore[arg-type]
        back_ms=None if step.back is None else milliseconds(step.back),
        error=step.error,
    )


def figures(counts: Counts) -> Figures:
    """Counts as they are shown."""
    return Figures(
        received=counts.received,
        lost=counts.missing,
        doubled=counts.doubled,
        late=counts.late,
        worst_ms=counts.worst_ms,
        half_within_ms=counts.within_ms(0.5),
        most_within_ms=counts.within_ms(0.99),
    )


def milliseconds(seconds: float) -> int:
    """A time as clients get it."""
    return round(seconds * 1000)


def _pairs(report: Report) -> list[Pair]:
    senders: dict[str, Counts] = {}
    for heard in report.heard:
        senders.setdefault(heard.node, Counts()).add(heard.counts)
    return [
        Pair(
            receiver=report.node,
            sender=sender,
            received=counts.received,
            lost=counts.missing,
            doubled=counts.doubled,
            late=counts.late,
            worst_ms=counts.worst_ms,
        )
        for sender, counts in sorted(senders.items())
    ]


def _strips(here: str, present: Mapping[str, Report]) -> list[Strip]:
    """Each sender's numbers as this node heard them; its own, as another one did."""
    receivers = sorted(present.values(), key=lambda report: (report.node != here, report.node))
    strips = []
    for origin, sender in present.items():
        for receiver in receivers:
            heard = next((heard for heard in receiver.heard if heard.origin == origin), None)
            if heard is not None:
                strips.append(
                    Strip(
                        sender=sender.node,
                        receiver=receiver.node,
                        sent=sender.sent,
                        delays_ms=heard.recent,
                    )
                )
                break
    return strips
