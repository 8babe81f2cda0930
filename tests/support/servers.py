"""Real servers for tests: started on free ports, waited for, and ended by their process ids."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil
import psycopg
import requests

from tests.support.waiting import POLL_SECONDS

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "127.0.0.1"
# A cold start on a busy machine; a warm one takes about 2 seconds.
START_SECONDS = 60.0
# More than GRACEFUL_TIMEOUT_SECONDS is by default, so that a test sees what a slow stop does.
STOP_SECONDS = 20.0
# What a child may inherit. Everything else could change a setting behind a test's back.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
# Tests are faster than people. A test of the limits sets its own.
ROOMY_RATES = {
    "RATE_DEFAULT": "10000/second",
    "RATE_SEND": "10000/second",
    "RATE_TYPING": "10000/second",
    "RATE_CREATE": "10000/second",
    "RATE_SIGN_IN": "10000/second",
    "RATE_API": "10000/second",
    "RATE_EMIT": "10000/second",
}


class StartError(Exception):
    """A server did not start. `returncode` is None when it ran but did not get ready; `log` is its output."""

    def __init__(self, name: str, reason: str, returncode: int | None, log: str) -> None:
        super().__init__(f"{name} {reason}. Its output:\n{log or '(none)'}")
        self.returncode = returncode
        self.log = log


def free_port() -> int:
    """Pick a port that nobody listens on, from below those that the system gives to clients.

    A client that tries to reach a dead server again and again would get the server's port as its own one day:
    it then talks to itself, or keeps the server from starting.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Make an environment of nothing but what every program needs, and `settings`."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | dict(settings)


def run_python(script: str, *arguments: str) -> str:
    """Run a script in a fresh interpreter, in the testing profile, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=child_environment({"APP_ENV": "testing"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


class Server:
    """One server process in a temporary folder of its own; subclasses say how to start it.

    :param name: what to call it in errors.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    # What a subclass says.

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Environment variables beyond the few that every child gets."""
        return {}

    def user(self) -> str | None:
        """The system user to run as; None: whoever runs the tests."""
        return None

    def ready(self) -> bool:
        """Ask once, quickly, whether the server does its work."""
        raise NotImplementedError

    # What a test does.

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Everything that the server has written so far, over all its starts."""
        path = self.folder / "output.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def launch(self) -> None:
        """Start the process, and wait for nothing."""
        assert not self.running, f"{self.name} is running already"
        user = self.user()
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                list(self.command()),
                cwd=ROOT,
                env=child_environment(self.environment()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=user,
                group=user and pwd.getpwnam(user).pw_gid,
                extra_groups=[] if user else None,
                # A Ctrl-C at the terminal is for the tests, which then end their servers themselves.
                start_new_session=True,
            )

    def start(self, timeout_seconds: float = START_SECONDS) -> Self:
        """Start the process and wait until it is ready.

        :raises StartError: when it ended instead, or is not ready in time; it does not run then.
        """
        self.launch()
        deadline = time.monotonic() + timeout_seconds
        while not self.ready():
            assert self._process is not None
            returncode = self._process.poll()
            if returncode is not None:
                raise StartError(self.name, f"ended with {returncode}", returncode, self.log())
            if time.monotonic() > deadline:
                self.kill()
                raise StartError(self.name, f"was not ready in {timeout_seconds:g} s", None, self.log())
            time.sleep(POLL_SECONDS)
        return self

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def wait(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """Wait for the end and return the exit status, negative for a signal.

        :raises AssertionError: with the output, when it does not end in time; it is killed then.
        """
        assert self._process is not None
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"{self.name} did not end within {timeout_seconds:g} s. Its output:\n{self.log()}"
            ) from None

    def terminate(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """Ask the server to end (SIGTERM), and return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_seconds)

    def kill(self) -> None:
        """End the server, and what it started, at once, as a power cut would."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # It leads a session of its own, so the group is this server and its children.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """End the server if it still runs, and remove its folder."""
        if self.running:
            try:
                self.terminate()
            finally:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


class Node(Server):
    """The application under gunicorn, as `make run` starts it, in the testing profile.

    :param database_url: by default an SQLite file in the node's folder, which `close` removes.
    :param arguments: further arguments of gunicorn.
    :param settings: environment variables by name, for example MARKET_SOURCE="random-walk".
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        arguments: Sequence[str] = (),
        **settings: str,
    ) -> None:
        super().__init__("node")
        self.database_url = database_url or f"sqlite:///{self.folder / 'chat.db'}"
        self.arguments = tuple(arguments)
        self.settings = settings

    @property
    def url(self) -> str:
        """Where the application answers, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        # A connection that a client keeps for its next request holds up each stop for so many seconds.
        gunicorn = (sys.executable, "-m", "gunicorn", "--keep-alive", "1")
        return (*gunicorn, "--config", "config/gunicorn.conf.py", *self.arguments, "wsgi:app")

    def environment(self) -> Mapping[str, str]:
        """The settings."""
        return {
            "APP_ENV": "testing",
            "DATABASE_URL": self.database_url,
            "HOST": HOST,
            "PORT": str(self.port),
            **ROOMY_RATES,
            **self.settings,
        }

    def ready(self) -> bool:
        """Ask /readyz."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False


class Postgres(Server):
    """A PostgreSQL server with nothing in it and no password."""

    def __init__(self) -> None:
        super().__init__("postgres")
        self._databases = 0
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
        if self._programs is None:
            raise RuntimeError("PostgreSQL is not installed: run `make packages`")

    def command(self) -> Sequence[str]:
        """The program and its arguments; what is lost in a power cut does not matter here."""
        options = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "60",
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return (f"{self._programs}/postgres", "-D", f"{self.folder}/data", *flags)

    def user(self) -> str | None:
        """PostgreSQL refuses to run as root."""
        return "postgres" if os.geteuid() == 0 else None

    def launch(self) -> None:
        """Start the server, after making its files at the first time."""
        if not (self.folder / "data").exists():
            self._make_files()
        super().launch()

    def ready(self) -> bool:
        """Connect."""
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End the server and cut its connections; `start` brings it back with the same data."""
        # SIGINT is PostgreSQL's "fast" shutdown: SIGTERM would wait for clients to leave.
        self.signal(signal.SIGINT)
        self.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server and whatever serves a connection (SIGSTOP), with the connections open."""
        server = psutil.Process(self.pid)
        stopped = [server]
        server.suspend()
        try:
            for child in server.children(recursive=True):
                child.suspend()
                stopped.append(child)
            yield
        finally:
            for process in reversed(stopped):
                process.resume()

    def close(self) -> None:
        """End the server if it still runs, and remove its folder."""
        if self.running:
            self.stop()
        super().close()

    def url(self, database: str) -> str:
        """The address of a database, as DATABASE_URL takes it."""
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def create_database(self) -> str:
        """Make an empty database and return its address."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def _make_files(self) -> None:
        user = self.user()
        if user:
            shutil.chown(self.folder, user, pwd.getpwnam(user).pw_gid)
        options = ["-D", f"{self.folder}/data", "-U", "postgres", "--auth=trust", "--no-sync"]
        options += ["--encoding=UTF8", "--locale=C.UTF-8"]
        made = subprocess.run(
            (f"{self._programs}/initdb", *options),
            cwd=self.folder,
            env=child_environment({}),
            user=user,
            group=user and pwd.getpwnam(user).pw_gid,
            extra_groups=[] if user else None,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if made.returncode:
            raise StartError("initdb", "failed", made.returncode, made.stdout + made.stderr)
