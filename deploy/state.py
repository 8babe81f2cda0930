"""What a one-machine cluster remembers of itself in its folder, and whether it still runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy import processes
from deploy.layout import CHECKOUT, HOST, Ports
from deploy.render import Balance

FILE = "cluster.json"


class ClusterError(Exception):
    """The cluster cannot do that; the message says why, and what helps."""


@dataclass(frozen=True)
class State:
    """A cluster, from the moment its folder is made.

    :param settings: what all its nodes have in common, secrets too: the folder is its user's alone.
    :param boot: of the machine; process ids mean nothing after the next.
    :param pid: of whoever starts it, then of its supervisord.
    :param started: when that process was started, for its id may be used again.
    :param supervised: whether `pid` is supervisord's.
    """

    ports: Ports
    brokers: tuple[str, ...]
    balance: Balance
    unix_sockets: bool
    settings: dict[str, str] = field(repr=False)
    boot: str
    pid: int
    started: int | None
    supervised: bool = False

    def broker_urls(self) -> dict[str, str]:
        """The addresses of its own brokers, in order of preference."""
        urls = {
            "redis": f"redis://{HOST}:{self.ports.redis}/0",
            "rabbitmq": f"amqp://guest:guest@{HOST}:{self.ports.rabbitmq}//",
        }
        return {name: urls[name] for name in self.brokers}

    def save(self, folder: Path) -> None:
        """Write it down, as a whole."""
        fresh = folder / f".{FILE}.new"
        fresh.write_text(json.dumps(asdict(self), indent=1), "utf-8")
        fresh.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> State | None:
        """Read it; None: there is none, or it is not readable."""
        try:
            values = json.loads((folder / FILE).read_text("utf-8"))
            ports = Ports(**values.pop("ports"))
            return cls(ports=ports, brokers=tuple(values.pop("brokers")), **values)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def alive(self, folder: Path) -> bool:
        """Whether anything of it runs, or somebody else is starting it."""
        if self.boot != processes.boot_id():
            return False
        starting = not self.supervised and self.pid != os.getpid()
        if starting and self.started is not None and processes.started(self.pid) == self.started:
            return True
        return bool(running(folder, self))


def running(folder: Path, state: State | None) -> list[int]:
    """The process ids of everything that runs for the cluster in a folder."""
    same_boot = state is not None and state.supervised and state.boot == processes.boot_id()
    session = state.pid if state is not None and same_boot else 0
    return processes.of_cluster(folder, session, (CHECKOUT, folder, *folder.glob("data/*")))


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Do something to a path while nobody else does: the lock is on its folder, so that no file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
