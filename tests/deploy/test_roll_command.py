"""`python -m deploy roll` on a real cluster, with a checkout of its own that the tests may break."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.asking import get
from deploy.machine import Machine
from deploy.nodes import Node
from deploy.roll import Cluster
from tests.support.certificates import Certificate
from tests.support.nginx import Nginx
from tests.support.servers import ROOMY_RATES, ROOT, child_environment
from tests.support.waiting import POLL_SECONDS, wait_until

pytestmark = pytest.mark.timeout(240)

ROLL_SECONDS = 200.0
# What a cluster needs of a checkout.
CHECKOUT = ("app", "config", "deploy", "migrations", "nginx", "supervisor", "pyproject.toml", "wsgi.py")
START = """
import json, sys
from pathlib import Path
from deploy.machine import Machine
Machine(Path(sys.argv[1]), brokers=("redis",), settings=json.loads(sys.argv[2])).start()
"""
# The development profile reads the checkout's .env.
SETTINGS = {"APP_ENV": "development", "MARKET_SOURCE": "off", "DRAIN_SECONDS": "0", **ROOMY_RATES}
# In a node's start, and not in the trial before it.
FAILS_LATE = """
_on_starting = on_starting


def on_starting(server):
    if settings.node_id == "n2":
        raise SystemExit("the moon is in the wrong phase")
    _on_starting(server)
"""
MIGRATION = '''"""Something new."""

revision = "9999"
down_revision = "{before}"


def upgrade() -> None:
    pass
'''


class Site:
    """A cluster that runs from a checkout of its own; the commands run there, too."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        for name in CHECKOUT:
            source, target = ROOT / name, self.checkout / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        self.folder = folder / "c"

    def start(self) -> None:
        done = self._run("-c", START, str(self.folder), json.dumps(SETTINGS))
        assert done.returncode == 0, done.stdout
        self.machine = Machine.find(self.folder)

    def stop(self) -> None:
        self._run("-m", "deploy", "down", "--folder", str(self.folder))

    def command(self, *options: str) -> Sequence[str]:
        return (
            sys.executable,
            "-m",
            "deploy",
            "roll",
            "--steady",
            "1",
            "--folder",
            str(self.folder),
            *options,
        )

    def roll(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self._run(*self.command(*options)[1:])

    @contextlib.contextmanager
    def rolling(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Have a roll under way."""
        with subprocess.Popen(
            # Who runs the tests by nohup does not mean the roll.
            ("env", "--default-signal=HUP", *self.command(*options)),
            cwd=self.checkout,
            env=child_environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def with_code(self, path: str, text: str) -> Iterator[None]:
        """Add something to a file of the checkout for a while; the file may be new."""
        file = self.checkout / path
        before = file.read_text() if file.exists() else None
        file.write_text((before or "") + text)
        try:
            yield
        finally:
            if before is None:
                file.unlink()
            else:
                file.write_text(before)

    def pids(self) -> Mapping[str, int]:
        return {node.id: self.machine.control.program(node.id).pid for node in self.machine.nodes}

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, *arguments),
            cwd=self.checkout,
            env=child_environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ROLL_SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def running_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("roll"))
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture
def site(running_site: Site) -> Site:
    """Each test begins with a cluster in which nobody is missing."""
    running_site.machine.wait_ready()
    return running_site


@contextlib.contextmanager
def watched(site: Site) -> Iterator[Callable[[], list[str]]]:
    """Note which nodes are not RUNNING for supervisor, in the order in which it is so."""
    ended = threading.Event()
    seen: list[tuple[str, ...]] = []

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            states = site.machine.control.states()
            down = tuple(node.id for node in site.machine.nodes if states[node.id].state != "RUNNING")
            if down and (not seen or seen[-1] != down):
                seen.append(down)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: [" and ".join(names) for names in seen]
    finally:
        ended.set()
        thread.join()


def test_three_new_nodes_one_after_the_other(site: Site) -> None:
    before = site.pids()
    new = "\n\n@health.get('/new')\ndef new() -> ResponseReturnValue:\n    return {'is': 'here'}\n"
    with site.with_code("app/web/health.py", new):
        with watched(site) as down:
            done = site.roll()
        assert done.returncode == 0, done.stdout
        assert [get(node.address, "/new").status for node in site.machine.nodes] == [200, 200, 200]
    assert down() == ["n1", "n2", "n3"]
    after = site.pids()
    assert all(after[name] not in (0, before[name]) for name in before)
    for line in ("rolling n1, n2, n3: one after the other", "n2: ready after", "back in the cluster, 3 of 3"):
        assert line in done.stdout


def test_only_one_and_a_dry_run(site: Site) -> None:
    before = site.pids()
    done = site.roll("--dry-run")
    assert done.returncode == 0, done.stdout
    assert "n3: would be stopped" in done.stdout
    assert site.pids() == before

    done = site.roll("--only", "n2")
    assert done.returncode == 0, done.stdout
    after = site.pids()
    assert [name for name in before if after[name] != before[name]] == ["n2"]


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("app/factory.py", "\n<<<<<<< half a merge\n", "SyntaxError"),
        ("config/gunicorn.conf.py", "\nimport nothing_like_that\n", "No module named 'nothing_like_that'"),
        (".env", "PORTT=5000\n", "PORTT in .env is not a setting"),
        ("migrations/versions/9999_new.py", MIGRATION, "alembic upgrade head"),
    ],
)
def test_a_broken_checkout_stops_it_before_the_first(site: Site, path: str, text: str, said: str) -> None:
    newest = max(file.name[:4] for file in (site.checkout / "migrations/versions").glob("*.py"))
    before = site.pids()
    with site.with_code(path, text.replace("{before}", newest)):
        done = site.roll()
    assert done.returncode == 1
    assert "not begun: n1: left as it is" in done.stdout
    assert said in done.stdout
    assert "No node was touched." in done.stdout
    assert site.pids() == before


def test_it_stops_at_a_node_that_does_not_come_back(site: Site) -> None:
    before = site.pids()
    with site.with_code("config/gunicorn.conf.py", FAILS_LATE):
        with watched(site) as down:
            done = site.roll()
        assert done.returncode == 1
        assert "stopped at n2: it has ended 3 times instead of getting ready" in done.stdout
        lines = done.stdout.splitlines()
        assert any(line.endswith("  new:  n1") for line in lines)
        assert any(line.endswith("  old:  n3") for line in lines)
        assert any("  down: n2 (" in line for line in lines)
        # The end of its log.
        assert "the moon is in the wrong phase" in done.stdout
        assert set(down()) == {"n1", "n2"}
        after = site.pids()
        assert after["n1"] not in (0, before["n1"])
        assert after["n3"] == before["n3"]

        # With one down there is no other roll, except of that one.
        done = site.roll()
        assert done.returncode == 1
        assert "not begun: n2 is down" in done.stdout
        assert site.pids()["n1"] == after["n1"]
    done = site.roll("--only", "n2")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_interrupted_it_leaves_no_node_stopped(site: Site, number: int) -> None:
    before = site.pids()
    with site.rolling() as process:
        wait_until(
            lambda: site.machine.control.program("n1").state == "STOPPING",
            "n1 is not stopped",
            ROLL_SECONDS,
        )
        process.send_signal(number)
        output, _ = process.communicate(timeout=ROLL_SECONDS)
    assert process.returncode == 1
    assert "interrupted at n1" in output
    site.machine.wait_ready()
    after = site.pids()
    assert [name for name in before if after[name] != before[name]] == ["n1"]


def test_two_at_once_would_stop_two_nodes(site: Site) -> None:
    before = site.pids()
    handle = os.open(site.machine.control.path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = site.roll()
    finally:
        os.close(handle)
    assert done.returncode == 1
    assert "another roll is under way" in done.stdout
    assert site.pids() == before


# Who gets nginx' clients.


class Says(BaseHTTPRequestHandler):
    """A node that only says who it is."""

    name = ""

    def do_GET(self) -> None:
        body = json.dumps({"status": "ok", "node": self.name}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class NoSupervisor:
    """Knows two nodes."""

    def states(self) -> Mapping[str, None]:
        return {"n1": None, "n2": None}


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    servers = []
    for name in ("n1", "n2"):
        handler = type(name, (Says,), {"name": name})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
    yield [Node(f"n{number}", f"127.0.0.1:{server.server_port}") for number, server in enumerate(servers, 1)]
    for server in servers:
        server.shutdown()
        server.server_close()


def served(nodes: Sequence[Node], nginx: str) -> list[str]:
    cluster = Cluster(NoSupervisor(), nodes, nginx)  # type: ignore[arg-type]
    return [cluster.served(node.id) for node in nodes]


def test_nginx_says_who_serves_also_by_https(nodes: list[Node], certificate: Certificate) -> None:
    with Nginx([node.address for node in nodes], tls=certificate) as nginx:
        # The certificate is not for this name, and the plain one leads to it.
        assert served(nodes, nginx.url) == ["", ""]
        assert served(nodes, f"http://127.0.0.1:{nginx.http_port}/") == ["", ""]


def test_nginx_that_does_not_balance_by_cookie_is_told_from_one_that_does(nodes: list[Node]) -> None:
    with Nginx([node.address for node in nodes], balance="ip_hash") as nginx:
        one, other = served(nodes, nginx.url)
        assert sorted((one, other)) in (
            ["", "n1 answers to the cookie NODE=n2"],
            ["", "n2 answers to the cookie NODE=n1"],
        )
