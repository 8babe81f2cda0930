"""New code comes in by a HUP and by --reload, and a new schema by alembic, as their users expect."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests

from tests.support.servers import ROOT, Node
from tests.support.waiting import wait_until

PARTS = ("app", "config", "migrations", "wsgi.py", "pyproject.toml")


class NodeElsewhere(Node):
    """A node on a copy of the code.

    :param code: the folder of the copy.
    """

    def __init__(self, code: Path, *arguments: str) -> None:
        super().__init__(arguments=("--chdir", str(code), *arguments))
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, code / part)
        self.code = code

    def command(self) -> Sequence[str]:
        relative = "config/gunicorn.conf.py"
        return [str(self.code / part) if part == relative else part for part in super().command()]


def test_a_hup_brings_new_code_in(tmp_path: Path) -> None:
    pages = tmp_path / "app/web/pages.py"
    with NodeElsewhere(tmp_path) as node:

        def says() -> str:
            return requests.get(f"{node.url}/sign-in?reason=signed_out", timeout=10).text

        assert "You have signed out." in says()
        pages.write_text(pages.read_text().replace("You have signed out.", "So long."))
        node.signal(signal.SIGHUP)
        wait_until(lambda: "So long." in says(), "the new text")


@pytest.mark.parametrize("mistake", ["def (", "no_such_name"])
def test_a_mistake_while_reloading_is_shown_and_can_be_mended(tmp_path: Path, mistake: str) -> None:
    pages = tmp_path / "app/web/pages.py"
    with NodeElsewhere(tmp_path, "--reload") as node:

        def status() -> int:
            try:
                return requests.get(f"{node.url}/sign-in", timeout=10).status_code
            except requests.ConnectionError:
                return 0

        good = pages.read_text()
        pages.write_text(f"{good}\n{mistake}\n")
        wait_until(lambda: status() == 500, node.log)
        pages.write_text(good)
        wait_until(lambda: status() == 200, node.log)


def test_alembic_works_from_the_command_line(tmp_path: Path) -> None:
    """The program, not the module: Python puts the folder of a module into its path, and hides a mistake."""
    alembic = Path(sys.executable).with_name("alembic")
    environment = {
        "APP_ENV": "production",
        "SECRET_KEY": "s" * 48,
        "DATABASE_URL": f"sqlite:///{tmp_path}/chat.db",
    }
    for arguments in (["upgrade", "head"], ["check"]):
        done = subprocess.run(
            [str(alembic), *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
