"""The private folder of a one-machine cluster: the shipped files with its own ports, paths and user."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import random
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.fill import DATA, ROOT, RUN, fill_all, nginx_replacements
from deploy.nodes import Node
from deploy.render import Balance, render_all

CHECKOUT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
# Below the ports that the system gives to clients: one that tries to reach a dead server again and again
# would get the server's port as its own one day.
PORTS = range(10_000, 32_000)
# What nginx, supervisor and a shell take as it is.
PLAIN = re.compile(r"[A-Za-z0-9._@+/-]+")
# unix(7), without the closing zero. Our longest is run/supervisor.sock, which supervisord makes with its
# process id behind the name, and then renames.
SOCKET_PATH_MAX_BYTES = 107
LONGEST_SOCKET = "run/supervisor.sock.1234567"
INCLUDED = "files = nodes.conf nginx.conf health.conf"
MINFDS = 65_536
# Programs that the files name by their path on Debian, and the packages that have them.
PROGRAMS = {
    "nginx": ("/usr/sbin/nginx", "nginx-light"),
    "redis": ("/usr/bin/redis-server", "redis-server"),
    "rabbitmq": ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
    "epmd": ("/usr/bin/epmd", "erlang-base"),
}
BROKERS = ("redis", "rabbitmq")
# When open-source nginx got the directive `sticky`.
STICKY_SINCE = (1, 29, 6)


class LayoutError(Exception):
    """The cluster cannot be laid out here; the message says what helps."""


@dataclass(frozen=True)
class Ports:
    """TCP ports on loopback, of everything but the nodes, whose addresses are in their list."""

    nginx: int
    redis: int
    rabbitmq: int
    distribution: int
    mapper: int


def free_ports(count: int, taken: Iterable[int] = ()) -> list[int]:
    """Pick ports that nobody listens on.

    :param count: how many, 0 or more.
    :param taken: not these.
    """
    ports: list[int] = []
    known = set(taken)
    while len(ports) < count:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            if port not in known:
                probe.bind((HOST, port))
                known.add(port)
                ports.append(port)
    return ports


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def check_paths(folder: Path) -> None:
    """See whether a cluster can be laid out in a folder.

    :raises LayoutError: when it cannot.
    """
    for path in (folder, CHECKOUT, Path(sys.prefix)):
        if not PLAIN.fullmatch(str(path)):
            raise LayoutError(
                f"{str(path)!r} has characters that nginx or supervisor would misunderstand: it needs a path "
                "of letters, digits and . _ @ + -"
            )
    length = len(str(folder / LONGEST_SOCKET))
    if length > SOCKET_PATH_MAX_BYTES:
        raise LayoutError(
            f"{folder} is {length - SOCKET_PATH_MAX_BYTES} characters too long for the unix sockets in it: "
            "name another one, for example --folder /tmp/cluster"
        )


def check_programs(brokers: Sequence[str]) -> None:
    """See whether the programs are there.

    :raises LayoutError: naming those that are not, and Debian's packages.
    """
    wanted = ["nginx", *brokers, *(["epmd"] if "rabbitmq" in brokers else [])]
    missing = {name: PROGRAMS[name] for name in wanted if not Path(PROGRAMS[name][0]).exists()}
    if missing:
        paths = ", ".join(path for path, _ in missing.values())
        packages = " ".join(dict.fromkeys(package for _, package in missing.values()))
        raise LayoutError(
            f"the cluster needs {paths}: `make cluster-packages` installs what is missing, or "
            f"`apt-get install {packages}`"
        )
    if not (Path(sys.prefix) / "bin/supervisord").exists():
        raise LayoutError(
            f"there is no supervisord in {sys.prefix}/bin: run this with the Python of the project's virtual "
            "environment, which `make cluster` does"
        )


def nginx_program() -> str:
    """The nginx that runs: the first on the PATH, or Debian's."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or PROGRAMS["nginx"][0]


def check_nginx_version(balance: Balance) -> None:
    """See whether nginx knows a way of balancing.

    :raises LayoutError: when it is too old.
    """
    if balance != "sticky":
        return
    said = subprocess.run(
        (nginx_program(), "-v"), capture_output=True, text=True, timeout=30, check=False
    ).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said)
    if found and tuple(map(int, found.groups())) < STICKY_SINCE:
        raise LayoutError(
            f"sticky needs nginx {'.'.join(map(str, STICKY_SINCE))} or newer, and {nginx_program()} is "
            f"{'.'.join(found.groups())}: cookie does the same with any"
        )


def make_folders(folder: Path) -> None:
    """Make the folder and those in it, for the user alone: there are secrets in it."""
    folder.mkdir(mode=0o700, parents=True)
    for name in (
        *("config", "log", "nginx", "run", "run/nodes", "supervisor"),
        *("data", "data/nginx", "data/redis", "data/rabbitmq", "data/spool"),
    ):
        (folder / name).mkdir(mode=0o700)


def write_files(
    folder: Path, nodes: Sequence[Node], ports: Ports, brokers: Sequence[str], balance: Balance
) -> None:
    """Write all configuration files for these nodes; nothing reads them again by itself.

    Each takes its file's place at once: whoever reads at that moment finds the old one or the new one.
    """
    shipped = {
        str(path.relative_to(CHECKOUT)): path.read_text("utf-8")
        for pattern in ("nginx/*.conf", "supervisor/*.conf")
        for path in CHECKOUT.glob(pattern)
    }
    shipped |= {
        str(path.relative_to(CHECKOUT)): text
        for path, text in render_all(CHECKOUT, list(nodes), balance=balance).items()
        if "variants" not in path.parts
    }
    configs = [f"config/{broker}.conf" for broker in brokers]
    shipped |= {name: (CHECKOUT / name).read_text("utf-8") for name in configs}
    for broker in BROKERS:
        if broker not in brokers:
            shipped.pop(f"supervisor/{broker}.conf")

    user = pwd.getpwuid(os.geteuid()).pw_name
    filled = fill_all(
        {name: text for name, text in shipped.items() if name.startswith("nginx/")},
        nginx_replacements(
            root=CHECKOUT, run=folder / "run", data=folder / "data", user=user, host=HOST, port=ports.nginx
        ),
    )
    filled |= fill_all(
        {name: text for name, text in shipped.items() if not name.startswith("nginx/")},
        _replacements(folder, ports, brokers, user),
    )
    for name, text in filled.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(text, "utf-8")
        new.replace(path)


def _replacements(folder: Path, ports: Ports, brokers: Sequence[str], user: str) -> Mapping[str, str]:
    """What to fill into supervisor's and the brokers' files."""
    group = grp.getgrgid(os.getegid()).gr_name
    replacements = {
        f"{ROOT}/.venv/bin": f"{sys.prefix}/bin",
        f"{ROOT}/nginx/": f"{folder}/nginx/",
        f"{ROOT}/supervisor/": f"{folder}/supervisor/",
        f"{ROOT}/config/nodes.txt": f"{folder}/config/nodes.txt",
        ROOT: str(CHECKOUT),
        RUN: f"{folder}/run",
        DATA: f"{folder}/data",
        "/dev/fd/1": f"{folder}/log/%(program_name)s.log",
        "user=root": f"user={user}",
        "user=realtime": f"user={user}",
        "chown=realtime:realtime": f"chown={user}:{group}",
        INCLUDED: " ".join((INCLUDED, *(f"{broker}.conf" for broker in brokers))),
        PROGRAMS["nginx"][0]: nginx_program(),
    }
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY and limit < MINFDS:
        # Root might raise it, but not in every container. Fewer clients, but a cluster.
        replacements[f"minfds={MINFDS}"] = f"minfds={limit}"
    if "redis" in brokers:
        replacements |= {
            f"{ROOT}/config/redis.conf": f"{folder}/config/redis.conf",
            "port 6379": f"port {ports.redis}",
        }
    if "rabbitmq" in brokers:
        replacements |= {
            f"{ROOT}/config/rabbitmq.conf": f"{folder}/config/rabbitmq.conf",
            "127.0.0.1:5672": f"127.0.0.1:{ports.rabbitmq}",
            "4369": str(ports.mapper),
            "25672": str(ports.distribution),
        }
    return replacements
