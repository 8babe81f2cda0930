"""Decides which node is frozen, and may be killed. It touches nothing and has no clock: `health.py` has.

- A node counts when supervisor says RUNNING, and its process has been there for the grace period: it takes
  seconds to boot. Any HTTP answer will do: a node that drains, or is not ready, lives.
- Silent (a connection, and no answer) several times in a row: it is killed.
- Closed (nobody listens there): gunicorn keeps its socket for as long as it lives, except while it boots or
  stops, which ends by itself. So it is killed after another grace period, and only if it has answered since
  it was started; else the list has a wrong address, and a healthy node would be killed again and again.
- One at a time: the next one only when the last one killed answers again, or after the grace period.
- When nobody at all answers, the likelier cause is the machine, or something that all nodes wait for, and a
  restart would mend nothing: it takes twice as many failures then.
- When the listener itself was late, the machine stood still, and what it saw counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

# How often supervisor's clock ticks for the listener (TICK_5).
TICK_SECONDS = 5.0
# Two ticks further apart, or an answer awaited so much longer than the timeout: the listener was late.
GAP_MAX_SECONDS = 2 * TICK_SECONDS
OVERTIME_MAX_SECONDS = 1.0
# What had gathered while it was late comes all at once.
GAP_MIN_SECONDS = TICK_SECONDS / 2
# When nobody answers, so many times the failures.
PATIENCE = 2


class Reply(Enum):
    """What a node says."""

    ANSWERED = "answered"
    SILENT = "silent"
    CLOSED = "closed"


@dataclass(frozen=True)
class Seen:
    """What a tick has found out about a node that supervisor says is RUNNING.

    :param uptime_seconds: since its process was started.
    :param why: in words, when it has not answered.
    """

    pid: int
    address: str
    uptime_seconds: float
    reply: Reply
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """What follows from a tick.

    :param kill: the node to end now.
    :param warnings: for the log.
    :param notes: for the log too: what is good news, or none.
    """

    kill: str | None
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass
class _Record:
    """One process of a node, at one address, over several ticks."""

    pid: int
    address: str
    answered: bool = False
    failures: int = 0
    failing_since: float = 0.0
    said: str = ""

    def once(self, remarks: list[str], text: str) -> None:
        """Say something that stays so for many ticks only once."""
        if self.said != text:
            self.said = text
            remarks.append(text)


@dataclass
class _Trial:
    """A node that was killed, until it is seen what became of it."""

    name: str
    since: float


@dataclass
class _Remarks:
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Judge:
    """Decides which node to end. Times are seconds on any clock that only goes forward.

    :param failures: how many in a row are too many, 1 or more.
    :param grace_seconds: how long a node may take to boot, or to stop, 0 or more.
    :param timeout_seconds: how long a node is given to answer, more than 0.
    """

    def __init__(self, failures: int, grace_seconds: float, timeout_seconds: float) -> None:
        self._failures = failures
        self._grace_seconds = grace_seconds
        self._timeout_seconds = timeout_seconds
        self._records: dict[str, _Record] = {}
        self._trial: _Trial | None = None
        self._asked_at: float | None = None

    def due(self, now: float) -> bool:
        """Whether the nodes are to be asked at this tick: not when the last one was a moment ago."""
        return self._asked_at is None or now - self._asked_at >= GAP_MIN_SECONDS

    def judge(self, asked_at: float, answered_at: float, seen: Mapping[str, Seen]) -> Verdict:
        """Take in what a tick has found out, and decide.

        :param asked_at: when the nodes were asked.
        :param answered_at: when the last answer was there, or given up.
        :param seen: by the ids of nodes; those that supervisor says are RUNNING, and no others.
        """
        remarks = _Remarks()
        late = self._late(asked_at, answered_at)
        self._asked_at = asked_at
        self._forget(seen, remarks)
        self._end_trial(asked_at, seen)
        if late:
            # Also what was seen before: a machine does not stand still from one moment to the next.
            for record in self._records.values():
                record.failures = 0
            remarks.warnings.append(f"late: {late}. The machine stood still, so no failure counts")
        for name, what in seen.items():
            self._take_in(name, what, asked_at, bool(late), remarks)
        kill = self._choose(asked_at, seen, remarks)
        return Verdict(kill, tuple(remarks.warnings), tuple(remarks.notes))

    def _late(self, asked_at: float, answered_at: float) -> str:
        if self._asked_at is not None and (gap := asked_at - self._asked_at) > GAP_MAX_SECONDS:
            return f"{gap:.1f} s between two ticks, which come every {TICK_SECONDS:g} s"
        if (took := answered_at - asked_at) > self._timeout_seconds + OVERTIME_MAX_SECONDS:
            return f"a timeout of {self._timeout_seconds:g} s took {took:.1f} s"
        return ""

    def _forget(self, seen: Mapping[str, Seen], remarks: _Remarks) -> None:
        """Drop what is known of processes that are not there any more."""
        for name, record in list(self._records.items()):
            now = seen.get(name)
            if now is None or (now.pid, now.address) != (record.pid, record.address):
                del self._records[name]
                if record.failures:
                    remarks.notes.append(
                        f"{name}: does not run as pid {record.pid} any more, so all is forgotten"
                    )

    def _end_trial(self, now: float, seen: Mapping[str, Seen]) -> None:
        trial = self._trial
        if trial is None:
            return
        what = seen.get(trial.name)
        back = what is not None and what.reply is Reply.ANSWERED
        if back or now - trial.since >= self._grace_seconds:
            self._trial = None

    def _take_in(self, name: str, what: Seen, now: float, late: bool, remarks: _Remarks) -> None:
        record = self._records.setdefault(name, _Record(what.pid, what.address))
        if what.reply is Reply.ANSWERED:
            if record.failures:
                remarks.notes.append(f"{name}: answers again, after {record.failures} failures")
            elif not record.answered:
                remarks.notes.append(f"{name}: answers (pid {what.pid})")
            record.answered, record.failures, record.said = True, 0, ""
        elif what.uptime_seconds < self._grace_seconds:
            record.failures = 0
            record.once(remarks.notes, f"{name}: does not answer, and may still be booting ({what.why})")
        elif not late:
            if not record.failures:
                record.failing_since = now
            record.failures += 1
            if record.failures <= self._failures:
                count = f"{record.failures} of {self._failures}"
                remarks.warnings.append(f"{name}: does not answer, {count} ({what.why})")

    def _choose(self, now: float, seen: Mapping[str, Seen], remarks: _Remarks) -> str | None:
        """Pick the node that has been failing for longest, if one may be killed now."""
        nobody = len(seen) > 1 and not any(what.reply is Reply.ANSWERED for what in seen.values())
        needed = self._failures * (PATIENCE if nobody else 1)
        kill: str | None = None
        for name in sorted(seen, key=lambda name: (-self._records[name].failures, name)):
            record = self._records[name]
            if record.failures < self._failures:
                continue
            reason = self._spare(record, seen[name], needed, now) or (kill and f"{kill} comes first")
            if reason:
                record.once(remarks.warnings, f"{name}: does not answer, and is left alone: {reason}")
                continue
            kill = name
            remarks.warnings.append(
                f"{name}: has not answered {record.failures} times in a row: killing its process group "
                f"{record.pid} (SIGKILL); supervisor starts it again"
            )
        if kill is not None:
            self._trial = _Trial(kill, now)
            # Should it survive that, it has to fail as often again before the next try.
            del self._records[kill]
        return kill

    def _spare(self, record: _Record, what: Seen, needed: int, now: float) -> str:
        """Why a node that fails is not killed now; nothing: it is."""
        if what.reply is Reply.CLOSED:
            if not record.answered:
                return (
                    f"nobody has listened at {what.address} since it was started. Does the list of nodes say "
                    "where it listens? See `python -m deploy nodes --check`"
                )
            if now - record.failing_since < self._grace_seconds:
                return f"nobody listens at {what.address} any more, so it may be stopping"
        if record.failures < needed:
            return f"no node answers, so it takes {needed} failures: the machine is the likelier cause"
        if self._trial is not None:
            return f"{self._trial.name} has just been killed, and one at a time is enough"
        return ""
