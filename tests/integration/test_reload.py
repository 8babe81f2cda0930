"""New code comes in by a HUP, as gunicorn's users expect."""

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import requests

from tests.support.servers import ROOT, Node
from tests.support.waiting import wait_until


class NodeElsewhere(Node):
    """A node on a copy of the code.

    :param code: the folder of the copy.
    """

    def __init__(self, code: Path) -> None:
        super().__init__()
        self.code = code

    def command(self) -> Sequence[str]:
        return (
            *super().command()[:-3],
            "--chdir",
            str(self.code),
            "--config",
            str(self.code / "config/gunicorn.conf.py"),
            "wsgi:app",
        )


def test_a_hup_brings_new_code_in(tmp_path: Path) -> None:
    for name in ("app", "config", "migrations"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("wsgi.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    pages = tmp_path / "app/web/pages.py"

    with NodeElsewhere(tmp_path) as node:

        def says() -> str:
            return requests.get(f"{node.url}/sign-in?reason=signed_out", timeout=10).text

        assert "You have signed out." in says()
        pages.write_text(pages.read_text().replace("You have signed out.", "So long."))
        node.signal(signal.SIGHUP)
        wait_until(lambda: "So long." in says(), "the new text")
