"""What is not back yet survives kill -9: real files, real processes, real damage."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.realtime.queue.outbox import Limits, Outbox, Run
from app.realtime.queue.spool import SUFFIX, Spool, Spools

LIMITS = Limits(1_000, 10**6, 300.0, 1_000, 10**6)
ROOT = Path(__file__).parents[2]

# Emits until it is killed: each line says what is on disk.
HOLDER = """
import sys, time
from pathlib import Path
from app.realtime.queue.spool import Spool
spool = Spool(Path(sys.argv[1]), sys.argv[2])
for seq in range(1, int(sys.argv[3]) + 1):
    spool.add(seq, 1000.0 + seq, b"body %d" % seq)
    print(seq, flush=True)
time.sleep(60)
"""


class Holder:
    """A process that holds a spool."""

    def __init__(self, folder: Path, origin: str, count: int) -> None:
        command = [sys.executable, "-c", HOLDER, str(folder), origin, str(count)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.count = count

    def wait(self, upto: int) -> None:
        """Wait until so many messages are kept."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if int(line) >= upto:
                return
        raise AssertionError("it ended")

    def kill(self) -> None:
        """End it without any chance to clean up."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    """A process that has kept 50 messages as "old"."""
    holder = Holder(tmp_path, "old", 50)
    holder.wait(50)
    yield holder
    if holder.process.poll() is None:
        holder.kill()


def files(folder: Path) -> set[str]:
    """The origins that left something."""
    return {path.name.removesuffix(SUFFIX) for path in folder.iterdir() if path.name.endswith(SUFFIX)}


def leave(folder: Path, origin: str, *seqs: int) -> None:
    """Leave a file as a process does that ended badly."""
    spool = Spool(folder, origin)
    for seq in seqs:
        spool.add(seq, 1000.0 + seq, b"body %d" % seq)
    spool.close()


def test_what_is_kept_is_there_and_what_came_back_is_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "new" / "folder", "a")
    for seq in range(1, 7):
        spool.add(seq, 10.5 + seq, bytes([0, 255, seq]))
    spool.remove(2, [4])
    assert spool.messages() == [(seq, 10.5 + seq, bytes([0, 255, seq])) for seq in (3, 5, 6)]
    spool.close()
    again = Spool(tmp_path / "new" / "folder", "a")
    assert [seq for seq, _, _ in again.messages()] == [3, 5, 6]
    again.remove(6)
    again.close()
    assert list((tmp_path / "new" / "folder").iterdir()) == [], "nothing is left, not even a file"


def test_kill_9_loses_nothing(tmp_path: Path, holder: Holder) -> None:
    holder.kill()
    spools = Spools(tmp_path, "new")
    (outbox,) = spools.adopt(LIMITS, 5.0)
    outbox.join("redis")
    assert outbox.origin == "old"
    assert outbox.take("redis", 100, 10**6) == Run(1, 50, [b"body %d" % seq for seq in range(1, 51)])
    assert outbox.oldest_age_seconds(1_010.0) == 4.0, "1001 by the time of day is 1006 by the clock"
    outbox.confirm("redis", 50)
    outbox.came_back(1, 30)
    spools.clean({"old": outbox})
    assert files(tmp_path) == {"old", "new"}
    spools.close()
    third = Spools(tmp_path, "third")
    (outbox,) = third.adopt(LIMITS, 0.0)
    assert (outbox.first, outbox.last) == (31, 50), "what came back is not published once more"
    outbox.came_back(31, 50)
    third.clean({"old": outbox})
    assert files(tmp_path) == {"third"}
    third.close()
    assert files(tmp_path) == set()


def test_kill_9_in_the_midst_of_it(tmp_path: Path) -> None:
    for number in range(3):
        holder = Holder(tmp_path, f"old{number}", 1_000_000)
        holder.wait(100 + 77 * number)
        holder.kill()
    spools = Spools(tmp_path, "new")
    outboxes = spools.adopt(LIMITS, 0.0)
    assert [outbox.origin for outbox in outboxes] == ["old0", "old1", "old2"]
    for number, outbox in enumerate(outboxes):
        assert outbox.first == 1
        assert outbox.last >= 100 + 77 * number
        assert outbox.last == outbox.pending, "no holes"
    spools.close()


def test_a_living_process_keeps_its_own(
    tmp_path: Path, holder: Holder, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        Spool(tmp_path, "old")
    spools = Spools(tmp_path, "new")
    assert spools.adopt(LIMITS, 0.0) == []
    spools.close()
    assert not caplog.records, "nothing is wrong"
    holder.kill()
    assert [outbox.last for outbox in adopted(tmp_path)] == [50], "nothing was taken from it"


def adopted(folder: Path) -> list[Outbox]:
    """What the next process would publish; it lets go at once."""
    spools = Spools(folder, "next")
    outboxes = spools.adopt(LIMITS, 0.0)
    spools.close()
    return outboxes


def test_only_one_of_several_adopts(tmp_path: Path) -> None:
    leave(tmp_path, "old", 1, 2, 3)
    first, second = Spools(tmp_path, "first"), Spools(tmp_path, "second")
    assert [outbox.origin for outbox in first.adopt(LIMITS, 0.0)] == ["old"]
    assert second.adopt(LIMITS, 0.0) == []
    first.close()
    second.close()


def test_what_nobody_left_is_removed(tmp_path: Path) -> None:
    Spool(tmp_path, "old").leave()
    spools = Spools(tmp_path, "new")
    assert spools.adopt(LIMITS, 0.0) == []
    assert files(tmp_path) == {"new"}
    spools.close()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("damage", ["text", "empty", "half", "header", "middle", "folder", "other tables"])
def test_a_damaged_file_is_told_of_and_harms_nobody(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    leave(tmp_path, "bad", *range(1, 1_000))
    leave(tmp_path, "good", 1, 2)
    path = tmp_path / f"bad{SUFFIX}"
    whole = path.read_bytes()
    assert len(whole) > 20_000
    match damage:
        case "text":
            path.write_text("this is not a database, it is a sentence that somebody wrote " * 50)
        case "empty":
            path.write_bytes(b"")
        case "half":
            path.write_bytes(whole[: len(whole) // 2])
        case "header":
            path.write_bytes(bytes(100) + whole[100:])
        case "middle":
            path.write_bytes(whole[:8_192] + bytes(8_192) + whole[16_384:])
        case "folder":
            path.unlink()
            path.mkdir()
        case "other tables":
            path.unlink()
            db = sqlite3.connect(path)
            db.execute("CREATE TABLE messages (something TEXT)")
            db.close()
    with caplog.at_level(logging.WARNING):
        outboxes = adopted(tmp_path)
    assert "good" in [outbox.origin for outbox in outboxes]
    told = [record for record in caplog.records if "bad" in record.getMessage()]
    assert bool(told) == (damage != "empty"), "an empty file says nothing and has nothing"
    assert "bad" not in [outbox.origin for outbox in outboxes]
    assert ("bad" in files(tmp_path)) == (damage != "empty"), "somebody may want to look at it"


def test_a_spool_that_stops_working_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spools = Spools(tmp_path, "a")
    spools.keep(1, b"one")
    spools._own._db.execute("PRAGMA query_only = ON")
    for seq in range(2, 6):
        spools.keep(seq, b"x")
    assert spools.failed == 4
    assert len(caplog.records) == 1
    outbox = Outbox("a", LIMITS)
    spools.clean({"a": outbox})
    spools._own._db.execute("PRAGMA query_only = OFF")
    spools.clean({"a": outbox})
    spools.keep(6, b"six")
    assert [seq for seq, _, _ in spools._own.messages()] == [1, 6]
    spools.close()


def test_a_folder_that_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Spools(tmp_path / "file", "a")


@pytest.mark.parametrize("is_node", [True, False])
def test_it_is_known_whose_messages_they_were(tmp_path: Path, is_node: bool) -> None:
    spools = Spools(tmp_path, "old", is_node=is_node)
    spools.keep(1, b"one")
    spools.close()
    again = Spools(tmp_path, "new", is_node=not is_node)
    (outbox,) = again.adopt(LIMITS, 0.0)
    again.close()
    assert outbox.of_node == is_node
