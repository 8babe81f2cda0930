"""HAProxy with the configuration that ships (`config/haproxy/`), before test servers."""

from __future__ import annotations

import csv
import grp
import os
import pwd
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.support.redis import quiet_port
from tests.support.servers import HOST, ROOT, Server

CONFIG = ROOT / "config" / "haproxy"
# It is not on everybody's PATH.
PROGRAM = shutil.which("haproxy") or "/usr/sbin/haproxy"
ANSWER_SECONDS = 10.0


class Backend(NamedTuple):
    """One server as HAProxy sees it: its line of `show stat`."""

    status: str  # "UP", "DOWN", "MAINT", or on the way: "UP 1/2", "DOWN 3/10"
    sessions: int
    good_checks: int  # in a row while it is down; up at `rise`
    last_check: str


class HAProxy(Server):
    """HAProxy before a primary and a backup, for `with`: clients connect to `redis_port`, `rabbitmq_port`.

    :param redis: the ports of the two Redis; None: no such address.
    :param rabbitmq: the same for RabbitMQ.
    :param settings: further environment variables, for example REDIS_PASSWORD="secret".
    """

    def __init__(
        self,
        *,
        redis: tuple[int, int] | None = None,
        rabbitmq: tuple[int, int] | None = None,
        **settings: str,
    ) -> None:
        super().__init__("haproxy")
        self.redis_port = quiet_port()
        self.rabbitmq_port = quiet_port()
        self._settings = settings
        self._files = [CONFIG / "haproxy.cfg"]
        for name, ports in (("REDIS", redis), ("RABBITMQ", rabbitmq)):
            if ports:
                self._files.append(CONFIG / f"{name.lower()}.cfg")
                self._settings[f"{name}_PRIMARY"] = f"{HOST}:{ports[0]}"
                self._settings[f"{name}_BACKUP"] = f"{HOST}:{ports[1]}"

    # What Server asks.

    def command(self) -> Sequence[str]:
        """A master, in the foreground, that starts a worker and at `reload` another."""
        files = [part for path in self._files for part in ("-f", str(path))]
        return (PROGRAM, "-W", "-db", *files)

    def environment(self) -> Mapping[str, str]:
        """Ports and addresses, and somebody to become; everything else is as it ships."""
        return {
            "HAPROXY_REDIS": f"{HOST}:{self.redis_port}",
            "HAPROXY_RABBITMQ": f"{HOST}:{self.rabbitmq_port}",
            "HAPROXY_STATS": f"{HOST}:{self.port}",
            "HAPROXY_SOCKET": str(self.folder / "admin.sock"),
            **unprivileged(),
            **self._settings,
        }

    def ready(self) -> bool:
        """Wait until all servers have been checked."""
        try:
            return all(backend.last_check not in ("", "INI") for backend in self.backends().values())
        except OSError:
            return False

    # What a test does.

    @property
    def url(self) -> str:
        """The page of figures, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    def ask(self, command: str) -> str:
        """Give a command to the admin socket, as an operator does, and return the answer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(ANSWER_SECONDS)
            control.connect(str(self.folder / "admin.sock"))
            control.sendall(command.encode() + b"\n")
            with control.makefile("r", encoding="utf-8") as stream:
                return stream.read()

    def backends(self) -> dict[str, Backend]:
        """All servers by name, for example "redis/primary"."""
        table = csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines())
        return {
            f"{row['pxname']}/{row['svname']}": Backend(
                row["status"], int(row["scur"]), int(row["check_health"] or 0), row["check_status"]
            )
            for row in table
            if row["svname"] not in ("FRONTEND", "BACKEND")
        }

    def set_state(self, name: str, state: str) -> None:
        """Switch by hand: "maint" takes a server out, "ready" takes it back."""
        answer = self.ask(f"set server {name} state {state}").strip()
        assert not answer, answer

    def reload(self) -> None:
        """Read the configuration again (SIGUSR2 to the master); returns at once."""
        self.signal(signal.SIGUSR2)


def unprivileged() -> dict[str, str]:
    """Whom HAProxy is to become: its own user when root starts it, else whoever does."""
    if os.geteuid() == 0:
        return {}
    return {
        "HAPROXY_USER": pwd.getpwuid(os.geteuid()).pw_name,
        "HAPROXY_GROUP": grp.getgrgid(os.getegid()).gr_name,
    }
