"""What no broker has brought back yet, on disk: a kill -9 of the process loses nothing of it.

SQLite in WAL mode, rather than a log format of our own: a half-written transaction is undone when the file
is opened again, and its exclusive lock, which ends with the process, tells an orphan from one in use.
`synchronous` is off: each emit costs a write to the system's cache and never waits for the disk. So it
survives the death of the process, not a power cut.

Each process has a file named by its origin. A starting process adopts the files that nobody holds, and
publishes what they have under the old origin and numbers, so that whoever had it already recognises it.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from app.realtime.queue.exchange import Exchange
from app.realtime.queue.outbox import Limits, Outbox

logger = logging.getLogger(__name__)

SUFFIX = ".spool"


class Spool:
    """The file of one origin.

    :param folder: made if it does not exist; one for all processes of a machine is fine.
    :param of_node: the origin is a node, which had its own clients served; None: look into the file.
    :raises sqlite3.Error: when it cannot be opened, or another process holds it.
    """

    def __init__(self, folder: Path, origin: str, of_node: bool | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.origin = origin
        self._path = folder / f"{origin}{SUFFIX}"
        self._db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=0, cached_statements=16
        )
        try:
            # In this order: an exclusive WAL needs no shared memory, and is locked by the first transaction.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS messages"
                " (seq INTEGER PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL)"
            )
            if of_node is not None:
                self._db.execute(f"PRAGMA user_version = {int(of_node)}")
            self._db.execute("COMMIT")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            self.of_node = bool(version)
        except sqlite3.Error:
            self._db.close()
            raise

    def add(self, seq: int, at: float, body: bytes) -> None:
        """Keep a message.

        :param at: when it was emitted, in seconds since the epoch.
        """
        self._db.execute("INSERT INTO messages VALUES (?, ?, ?)", (seq, at, body))

    def remove(self, upto: int, seqs: Iterable[int] = ()) -> None:
        """Forget what has come back, up to a seq, and single messages that were dropped."""
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM messages WHERE seq <= ?", (upto,))
        self._db.executemany("DELETE FROM messages WHERE seq = ?", ((seq,) for seq in seqs))
        self._db.execute("COMMIT")

    def messages(self) -> list[tuple[int, float, bytes]]:
        """What is kept: (seq, emitted at, body), by seq."""
        return self._db.execute("SELECT seq, at, body FROM messages ORDER BY seq").fetchall()

    def leave(self) -> None:
        """Let go of the file as it is."""
        self._db.close()

    def close(self) -> None:
        """Let go of the file, and remove it if nothing is left in it."""
        try:
            (left,) = self._db.execute("SELECT count(*) FROM messages").fetchone()
            if not left:
                # Before the lock ends, or somebody might adopt it.
                self._path.unlink(missing_ok=True)
        finally:
            self.leave()
        if not left:
            # SQLite removes it only together with its file.
            self._path.with_name(f"{self._path.name}-wal").unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Make a folder for spools, if it is not there.

    :raises ValueError: when nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"spool={str(folder)!r}: {error.strerror}: name a folder to write to") from None


# Files of a parent process: to close them, or to let them be collected, would harm the parent.
_inherited: list[Spools] = []


def inherit(spools: Spools | None) -> None:
    """Keep a parent's files as they are, in a fork."""
    if spools is not None:
        _inherited.append(spools)


def open_spools(folder: Path, exchange: Exchange) -> Spools:
    """Open the spool of a process, and let it publish what dead processes left.

    :raises ValueError: when nothing can be written to the folder.
    """
    check_folder(folder)
    spools = Spools(folder, exchange.origin, is_node=exchange.is_node)
    for outbox in spools.adopt(exchange.limits, time.monotonic() - time.time()):
        exchange.adopt(outbox, time.monotonic())
        text = f"{outbox.pending} messages of {outbox.origin}, which did not end by itself"
        exchange.tell("adopted", text, outbox.pending)
    return spools


class Spools:
    """The files of one process: its own, and those it adopted. Calls that cannot be done are logged, once.

    :param folder: where the files are.
    :param origin: our own.
    :param is_node: whether we have clients.
    :raises sqlite3.Error: when our own file cannot be made.
    """

    def __init__(self, folder: Path, origin: str, *, is_node: bool = True) -> None:
        self._complained = False
        self.failed = 0
        # One process at a time: between making a file and locking it, it would look like an orphan.
        with (folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._own = Spool(folder, origin, is_node)
            self._spools = {origin: self._own}
            self._find_orphans(folder, origin)

    def _find_orphans(self, folder: Path, origin: str) -> None:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if path.stem == origin:
                continue
            try:
                self._spools[path.stem] = Spool(folder, path.stem)
            except sqlite3.Error as error:
                if "locked" not in str(error):
                    logger.warning("cannot read what an earlier process left in %s: %s", path, error)

    def adopt(self, limits: Limits, offset_seconds: float) -> list[Outbox]:
        """What dead processes left, as outboxes.

        :param offset_seconds: from the time of day to the engine's clock.
        """
        outboxes: list[Outbox] = []
        for origin, spool in list(self._spools.items()):
            if spool is self._own:
                continue
            try:
                messages = spool.messages()
                if messages:
                    outbox = Outbox(origin, limits, spool.of_node)
                    outbox.restore((seq, at + offset_seconds, body) for seq, at, body in messages)
                    outboxes.append(outbox)
                else:
                    self._spools.pop(origin).close()
            except sqlite3.Error as error:
                logger.warning("cannot read what %s left in its spool: %s", origin, error)
                self._spools.pop(origin).leave()
        return outboxes

    def keep(self, seq: int, body: bytes) -> None:
        """Keep a message of ours."""
        self._try(lambda: self._own.add(seq, time.time(), body))

    def clean(self, outboxes: Mapping[str, Outbox]) -> None:
        """Forget what has come back or was dropped."""
        for origin, spool in list(self._spools.items()):
            outbox = outboxes.get(origin)
            if outbox is not None:
                self._try(partial(spool.remove, outbox.returned, list(outbox.dropped_seqs)))
            if spool is not self._own and (outbox is None or outbox.returned == outbox.last):
                self._try(self._spools.pop(origin).close)

    def close(self) -> None:
        """Let go of all files; what has not come back is there for the next start."""
        for spool in self._spools.values():
            self._try(spool.close)
        self._spools.clear()

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except sqlite3.Error as error:
            self.failed += 1
            if not self._complained:
                # What is not on disk is still in memory.
                logger.error("the spool does not work, a kill -9 would lose messages: %s", error)
            self._complained = True
        else:
            self._complained = False
