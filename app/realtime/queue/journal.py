"""What an operator wants to know of the queue: its state now, and what happened."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from app.realtime.queue.exchange import Exchange
from app.realtime.queue.routing import EventKind, QueueEvent

logger = logging.getLogger(__name__)

REPORT_SECONDS = 10.0  # between two entries about what is only counted
EVENTS_KEPT = 200
BAD_KINDS = ("dropped", "lost", "rejected", "failed")

Subscriber = Callable[[QueueEvent], Any]


class Journal:
    """Logs what happens, keeps the last of it, and tells subscribers."""

    def __init__(self) -> None:
        self.events: deque[QueueEvent] = deque(maxlen=EVENTS_KEPT)
        self._subscribers: list[Subscriber] = []
        self._counted: dict[tuple[EventKind, str], int] = {}
        self._report_at = 0.0

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call a function with each event from now on; it runs in the keeper's greenlet or thread."""
        self._subscribers.append(subscriber)

    def take(self, exchange: Exchange, now: float) -> list[QueueEvent]:
        """What has happened since the last call."""
        for lost in exchange.inbox.passed_over:
            text = f"{lost.origin}: {lost.messages} from {lost.first} to {lost.last}, {lost.why}"
            exchange.tell("lost", text, lost.messages)
        exchange.inbox.passed_over.clear()
        events, exchange.router.events = exchange.router.events, []
        return events + self._count(exchange, now)

    def _count(self, exchange: Exchange, now: float) -> list[QueueEvent]:
        """Events for what is only counted, once per interval."""
        if now < self._report_at:
            return []
        self._report_at = now + REPORT_SECONDS
        counts: dict[tuple[EventKind, str], int] = {}
        for reason, count in exchange.rejected.items():
            counts["rejected", f"parcels, {reason}"] = count
        for failure, count in exchange.failures.items():
            counts["failed", f"messages, {failure}"] = count
        for cause, count in exchange.dropped().items():
            counts["dropped", f"messages, by {cause}"] = count
        events: list[QueueEvent] = []
        for (kind, what), count in counts.items():
            new = count - self._counted.get((kind, what), 0)
            if new:
                events.append(QueueEvent(kind, None, None, f"{new} {what}", time.time(), new))
        self._counted = counts
        return events

    def tell(self, events: list[QueueEvent]) -> None:
        """Log, keep and hand on."""
        for event in events:
            bad = event.kind in BAD_KINDS or (event.kind == "state" and event.state in ("silent", "down"))
            about = f" {event.broker} {event.state}" if event.broker else ""
            logger.log(
                logging.WARNING if bad else logging.INFO, "queue %s%s: %s", event.kind, about, event.detail
            )
            self.events.append(event)
            for subscriber in list(self._subscribers):
                try:
                    subscriber(event)
                except Exception:
                    logger.exception("a subscriber of the queue's events failed")


def status_of(exchange: Exchange, now: float) -> dict[str, Any]:
    """The state of everything, as a plain dict."""
    outbox, inbox = exchange.outbox, exchange.inbox
    active = exchange.router.active
    usable = active is not None and exchange.router.links[active].state == "up"
    return {
        "origin": exchange.origin,
        "strategy": exchange.router.strategy,
        "active": active if usable else None,
        "preferred": exchange.router.preference[0],
        "brokers": {
            link.name: {
                "state": link.state,
                "since": link.since,
                "error": link.error,
                "rtt_ms": None if link.rtt_seconds is None else round(link.rtt_seconds * 1000, 3),
                "listening": link.hears,
                "published": link.published,
                "received": link.received,
            }
            for link in exchange.router.links.values()
        },
        "outbox": {
            "depth": outbox.pending,
            "bytes": outbox.pending_bytes,
            "oldest_age_seconds": round(outbox.oldest_age_seconds(now), 3),
            "unreturned": exchange.unreturned,
            "retained": outbox.retained,
            "retained_bytes": outbox.retained_bytes,
            "dropped": sum(exchange.dropped().values()),
            "dropped_by": dict(exchange.dropped()),
            "unspooled": exchange.failures["unspooled"],
            "volatile_dropped": exchange.failures["volatile"],
        },
        "inbox": {
            "origins": inbox.origins,
            "waiting": inbox.waiting,
            "duplicates": inbox.duplicates,
            "repaired": inbox.repaired,
            "lost": inbox.lost,
            "deferred": inbox.deferred,
            "undeliverable": exchange.failures["undeliverable"],
        },
        "rejected": dict(exchange.rejected),
        "bridged": exchange.bridged,
        "nodes": exchange.peers.nodes,
    }
