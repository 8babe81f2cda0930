"""`python -m deploy roll` on a real cluster, with a checkout of its own that the tests may break."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from deploy.asking import get
from deploy.machine import Machine
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
SETTINGS = '{"APP_ENV": "testing", "DRAIN_SECONDS": "0", %s}' % ", ".join(
    f'"{name}": "{value}"' for name, value in ROOMY_RATES.items()
)
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


class Cluster:
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
        self._run("-c", START, str(self.folder), SETTINGS).check_returncode()
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
            self.command(*options),
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
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("roll"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def whole(cluster: Cluster) -> None:
    """Each test begins with a cluster in which nobody is missing."""
    cluster.machine.wait_ready()


@contextlib.contextmanager
def watched(cluster: Cluster) -> Iterator[Callable[[], list[str]]]:
    """See which nodes supervisor did not say to be RUNNING, again and again; in the order in which it was so."""
    ended = threading.Event()
    seen: list[tuple[str, ...]] = []

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            states = cluster.machine.control.states()
            down = tuple(node.id for node in cluster.machine.nodes if states[node.id].state != "RUNNING")
            if down and (not seen or seen[-1] != down):
                seen.append(down)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: [" and ".join(names) for names in seen]
    finally:
        ended.set()
        thread.join()


def test_three_new_nodes_one_after_the_other(cluster: Cluster) -> None:
    before = cluster.pids()
    new = "\n\n@health.get('/new')\ndef new() -> ResponseReturnValue:\n    return {'is': 'here'}\n"
    with cluster.with_code("app/web/health.py", new):
        with watched(cluster) as down:
            done = cluster.roll()
        assert done.returncode == 0, done.stdout
        assert [get(node.address, "/new").status for node in cluster.machine.nodes] == [200, 200, 200]
    assert down() == ["n1", "n2", "n3"]
    after = cluster.pids()
    assert all(after[name] not in (0, before[name]) for name in before)
    for line in ("rolling n1, n2, n3: one after the other", "n2: ready after", "back in the cluster, 3 of 3"):
        assert line in done.stdout


def test_only_one_and_a_dry_run(cluster: Cluster) -> None:
    before = cluster.pids()
    done = cluster.roll("--dry-run")
    assert done.returncode == 0, done.stdout
    assert "n3: would be stopped" in done.stdout
    assert cluster.pids() == before

    done = cluster.roll("--only", "n2")
    assert done.returncode == 0, done.stdout
    after = cluster.pids()
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
def test_a_broken_checkout_stops_it_before_the_first(
    cluster: Cluster, path: str, text: str, said: str
) -> None:
    newest = max(file.name[:4] for file in (cluster.checkout / "migrations/versions").glob("*.py"))
    before = cluster.pids()
    if path == ".env":
        pytest.skip("the testing profile reads no .env")
    with cluster.with_code(path, text.replace("{before}", newest)):
        done = cluster.roll()
    assert done.returncode == 1
    assert "not begun: n1: left as it is" in done.stdout
    assert said in done.stdout
    assert "No node was touched." in done.stdout
    assert cluster.pids() == before


def test_it_stops_at_a_node_that_does_not_come_back(cluster: Cluster) -> None:
    before = cluster.pids()
    with cluster.with_code("config/gunicorn.conf.py", FAILS_LATE):
        with watched(cluster) as down:
            done = cluster.roll()
        assert done.returncode == 1
        assert "stopped at n2: it has ended 3 times instead of getting ready" in done.stdout
        lines = done.stdout.splitlines()
        assert any(line.endswith("  new:  n1") for line in lines)
        assert any(line.endswith("  old:  n3") for line in lines)
        assert any("  down: n2 (" in line for line in lines)
        # The end of its log.
        assert "the moon is in the wrong phase" in done.stdout
        assert set(down()) == {"n1", "n2"}
        after = cluster.pids()
        assert after["n1"] not in (0, before["n1"])
        assert after["n3"] == before["n3"]

        # With one down there is no other roll, except of that one.
        done = cluster.roll()
        assert done.returncode == 1
        assert "not begun: n2 is down" in done.stdout
        assert cluster.pids()["n1"] == after["n1"]
    done = cluster.roll("--only", "n2", "--only", "n3")
    assert done.returncode == 0, done.stdout
    assert cluster.pids()["n1"] == after["n1"]
    assert cluster.pids()["n3"] != after["n3"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_no_node_stopped(cluster: Cluster, number: int) -> None:
    before = cluster.pids()
    with cluster.rolling() as process:
        wait_until(lambda: cluster.machine.control.program("n1").state == "STOPPING", "n1 is not stopped")
        process.send_signal(number)
        output, _ = process.communicate(timeout=ROLL_SECONDS)
    assert process.returncode == 1
    assert "interrupted at n1" in output
    cluster.machine.wait_ready()
    after = cluster.pids()
    assert [name for name in before if after[name] != before[name]] == ["n1"]


def test_two_at_once_would_stop_two_nodes(cluster: Cluster) -> None:
    before = cluster.pids()
    handle = os.open(cluster.machine.control.path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = cluster.roll()
    finally:
        os.close(handle)
    assert done.returncode == 1
    assert "another roll is under way" in done.stdout
    assert cluster.pids() == before
