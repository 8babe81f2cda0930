"""The steps of starting a one-machine cluster: claim its folder, prepare the database, start supervisord."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy import processes
from deploy.layout import (
    BROKERS,
    CHECKOUT,
    HOST,
    LayoutError,
    Ports,
    check_nginx_version,
    check_paths,
    check_programs,
    free_ports,
    listens,
    make_folders,
    nginx_program,
)
from deploy.render import Balance
from deploy.state import ClusterError, State, alone, running

# A migration of a large database on a busy machine.
COMMAND_SECONDS = 300.0
LOG_LINES = 25
NODES_MAX = 32
# What differs from node to node, and so comes from supervisor's files only.
OF_A_NODE = frozenset({"HOST", "PORT", "NODE_ID", "UNIX_SOCKET", "QUEUE_SPOOL", "TRUSTED_PROXIES"})
# For development: quick stops.
DEFAULTS = {
    "APP_ENV": "development",
    "DRAIN_SECONDS": "5",
    "GRACEFUL_TIMEOUT_SECONDS": "20",
    # The schema is brought up to date once, before the nodes start.
    "DATABASE_AUTO_UPGRADE": "false",
    # One node has the prices, and the others pass them on.
    "MARKET_NODE": "n1",
}


@dataclass(frozen=True)
class Plan:
    """What is to be started; see `deploy.machine.Machine`.

    :param settings: of the caller; they win over ours.
    """

    nodes: int
    brokers: tuple[str, ...]
    balance: Balance
    unix_sockets: bool
    settings: Mapping[str, str] = field(repr=False)
    port: int

    def check(self, folder: Path) -> None:
        """See whether it can be started in a folder.

        :raises ClusterError: when it cannot.
        """
        if not 1 <= self.nodes <= NODES_MAX:
            raise ClusterError(f"{self.nodes} nodes cannot be started: 1 to {NODES_MAX} can")
        for broker in self.brokers:
            if broker not in BROKERS:
                raise ClusterError(f"{broker!r} is no broker that this starts: {' and '.join(BROKERS)} are")
        if self.nodes > 1 and not self.brokers and not self.settings.get("MESSAGE_QUEUE"):
            raise ClusterError("nodes without a broker do not hear each other: give them redis or rabbitmq")
        if wrong := self.settings.keys() & OF_A_NODE:
            raise ClusterError(f"{', '.join(sorted(wrong))}: each node has its own, there is none for all")
        if self.port and listens(self.port):
            raise ClusterError(f"port {self.port} is taken: choose another one, or 0 for any that is free")
        try:
            check_paths(folder)
            check_programs(self.brokers)
            check_nginx_version(self.balance)
        except LayoutError as error:
            raise ClusterError(str(error)) from None

    def first_state(self, folder: Path) -> State:
        """What the cluster has to remember: ports, secrets and settings, made up now."""
        nginx, *others = [self.port or free_ports(1)[0], *free_ports(4, [self.port])]
        state = State(
            ports=Ports(nginx, *others),
            brokers=self.brokers,
            balance=self.balance,
            unix_sockets=self.unix_sockets,
            settings={
                **DEFAULTS,
                "SECRET_KEY": secrets.token_urlsafe(48),
                "CHANNEL_SECRET": secrets.token_urlsafe(48),
                "DATABASE_URL": f"sqlite:///{folder}/data/chat.db",
                **self.settings,
            },
            boot=processes.boot_id(),
            pid=os.getpid(),
            started=processes.started(os.getpid()),
        )
        if state.settings["APP_ENV"] != "production":
            # The tour of /ops, which breaks things.
            state.settings.setdefault("CLUSTER_CONTROL", f"{folder}/run/supervisor.sock")
        if self.brokers:
            state.settings["MESSAGE_QUEUE"] = ",".join(state.broker_urls().values())
        return state


def claim(folder: Path, plan: Plan) -> State:
    """Make the folder, unless a cluster runs in it, or something else is there.

    :raises ClusterError: when it is taken.
    """
    with alone(folder):
        found = State.load(folder)
        if found is not None and found.alive(folder):
            raise ClusterError(
                f"a cluster runs in {folder} already, http://{HOST}:{found.ports.nginx}: stop it with "
                "`make cluster-stop`, or name another folder with --folder"
            )
        if found is None and running(folder, None):
            raise ClusterError(
                f"a cluster runs that was started in {folder}, which somebody has removed: stop it with "
                "`make cluster-stop`"
            )
        if found is None and folder.exists() and any(folder.iterdir()):
            raise ClusterError(f"{folder} is not empty, and no cluster's: name another folder with --folder")
        # What a cluster has left that ended with the machine, or by a kill -9 of everything.
        shutil.rmtree(folder, ignore_errors=True)
        make_folders(folder)
        state = plan.first_state(folder)
        state.save(folder)
    return state


def environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of everything that runs for a cluster.

    :param settings: the only ones of the application in it: any that the caller happens to have would reach
        the nodes behind everybody's back.
    """
    from config.settings import Settings

    names = {name.upper() for name in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    return {**inherited, **settings, processes.MARK: str(folder)}


def migrate(environment: Mapping[str, str]) -> None:
    """Bring the database's schema up to date, once for all nodes.

    :raises ClusterError: when that fails.
    """
    # No broker runs yet, and none is needed.
    _run((sys.executable, "-m", "alembic", "upgrade", "head"), {**environment, "MESSAGE_QUEUE": ""})


def check_nginx(folder: Path, environment: Mapping[str, str]) -> None:
    """Let nginx check its files.

    :raises ClusterError: with what is wrong with them.
    """
    _run((nginx_program(), "-t", "-q", "-c", f"{folder}/nginx/nginx.conf"), environment)


def start_supervisord(folder: Path, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start supervisord, and wait for nothing."""
    with log.open("ab") as output:
        return subprocess.Popen(
            (f"{sys.prefix}/bin/supervisord", "-c", f"{folder}/supervisor/supervisord.conf"),
            cwd=CHECKOUT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # It stays when the terminal is closed, and Ctrl-C is not for it.
            start_new_session=True,
        )


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            # It bears the cluster's mark, and the session of whoever does is the cluster's (processes.py).
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"`{' '.join(command)}` has not ended within {COMMAND_SECONDS:g} s") from None
    if done.returncode:
        lines = done.stdout.strip().splitlines()[-LOG_LINES:]
        raise ClusterError(f"`{' '.join(command)}` failed:\n" + "\n".join(lines or ["(it wrote nothing)"]))
