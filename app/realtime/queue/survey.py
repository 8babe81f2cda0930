"""What all nodes say about the queue, asked from outside; and how to say it to people."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from app.realtime.queue.channel import Channel

Status = Mapping[str, Any]

# A node answers within a tick of its own and a round trip, mostly.
SLICE_SECONDS = 0.1
# The question is repeated, for it may be lost with a broker.
ASK_SECONDS = 0.25
# When nobody new has answered for so long, all have: whoever lives answers, or is known by his pulses.
QUIET_SECONDS = 0.5
# A node that has not answered for so long is gone; less, and a slow broker would make it come and go.
GONE_SECONDS = 4.0
SHORT_CHARS = 8


class Survey:
    """Asks the nodes on a channel, and remembers what they said last.

    :param channel: of a process that is no node itself.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._answers: dict[str, tuple[Status, float]] = {}
        self._news_at = self._ask_at = 0.0

    def ask(self, seconds: float) -> None:
        """Ask everybody, and listen for so long."""
        now = time.monotonic()
        if now >= self._ask_at:
            self.channel.ask()
            self._ask_at = now + ASK_SECONDS
        time.sleep(seconds)
        for status in self.channel.take_reports():
            if status["origin"] not in self._answers:
                self._news_at = time.monotonic()
            self._answers[status["origin"]] = (status, time.monotonic())

    def ask_until(self, enough: Callable[[], bool], timeout_seconds: float) -> bool:
        """Ask until it is enough; returns whether it was, within the time."""
        deadline = time.monotonic() + timeout_seconds
        while not enough():
            if time.monotonic() >= deadline:
                return False
            self.ask(SLICE_SECONDS)
        return True

    def ask_all(self, timeout_seconds: float) -> None:
        """Ask until everybody has answered, as far as one can know."""
        self.ask_until(self._complete, timeout_seconds)

    def _complete(self) -> bool:
        quiet = time.monotonic() - self._news_at >= QUIET_SECONDS
        return bool(self._answers) and quiet and not self.silent

    @property
    def answers(self) -> dict[str, Status]:
        """The last word of each node, by origin."""
        oldest = time.monotonic() - GONE_SECONDS
        return {origin: said for origin, (said, at) in sorted(self._answers.items()) if at >= oldest}

    @property
    def silent(self) -> list[str]:
        """The nodes that live, by their pulses, and do not answer."""
        return [origin for origin in self.own["nodes"] if origin not in self.answers]

    @property
    def own(self) -> Status:
        """How the queue looks from here."""
        return self.channel.status()


# In words.


def short(origin: str) -> str:
    """An origin, for people."""
    return origin[:SHORT_CHARS]


def clock(at: float) -> str:
    """A time of day; `at` is seconds since the epoch."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def trouble(status: Status, names: Iterable[str] | None = None) -> str:
    """Why the brokers that are not up are not."""
    brokers = status["brokers"]
    chosen = {name: brokers[name] for name in names or brokers if brokers[name]["state"] != "up"}
    return "; ".join(
        f"{name} is {link['state']}" + (f" ({link['error']})" if link["error"] else "")
        for name, link in chosen.items()
    )


def figures(status: Status) -> str:
    """The counts that matter, in one line."""
    outbox, inbox = status["outbox"], status["inbox"]
    rejected = sum(status["rejected"].values())
    return (
        f"outbox {outbox['depth']} ({outbox['bytes']} bytes), dropped {outbox['dropped']}, "
        f"duplicates {inbox['duplicates']}, repaired {inbox['repaired']}, lost {inbox['lost']}, "
        f"rejected {rejected}"
    )


def rtt(link: Status) -> str:
    """A round trip, for people."""
    return "-" if link["rtt_ms"] is None else f"{link['rtt_ms']:.1f} ms"


def line(status: Status) -> str:
    """A node in one line."""
    links = [
        f"{name} {link['state']} {rtt(link)}{' in use' if name == status['active'] else ''}"
        for name, link in status["brokers"].items()
    ]
    outbox, lost = status["outbox"], status["inbox"]["lost"]
    counts = f"outbox {outbox['depth']}, dropped {outbox['dropped']}, lost {lost}"
    return ", ".join([*links, counts])


def changes(before: Mapping[str, Status], after: Mapping[str, Status]) -> Iterator[str]:
    """What happened between two surveys, a line each."""
    for origin in sorted(before.keys() | after.keys()):
        old, new = before.get(origin), after.get(origin)
        if old is None or new is None:
            yield f"{short(origin)} {'is gone' if new is None else 'is here'}"
            continue
        for name, link in new["brokers"].items():
            was = old["brokers"][name]["state"]
            if link["state"] != was:
                reason = f": {link['error']}" if link["error"] and link["state"] != "up" else ""
                yield f"{short(origin)} {name} was {was}, is {link['state']}{reason}"
        for key, says in (("active", "uses"), ("preferred", "prefers")):
            if new[key] != old[key]:
                yield f"{short(origin)} {says} {new[key] or 'none'} instead of {old[key] or 'none'}"
        for what, count in (
            ("dropped", new["outbox"]["dropped"] - old["outbox"]["dropped"]),
            ("lost", new["inbox"]["lost"] - old["inbox"]["lost"]),
        ):
            if count > 0:
                yield f"{short(origin)} {what} {count} more"
