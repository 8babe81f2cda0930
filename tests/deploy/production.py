"""The machine that docs/deployment.md describes, made as it says, and versions to be deployed there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from tests.deploy import guide
from tests.deploy.debian import Debian
from tests.support.servers import ROOT
from tests.support.waiting import wait_until

NODES = ("n1", "n2", "n3")
READY_SECONDS = 90.0
NOT_COMMITTED = (
    ".git",
    ".venv",
    ".env",
    "instance",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "test-results",
)
CTL = "/srv/realtime/.venv/bin/supervisorctl -c /srv/realtime/supervisor/supervisord.conf"
# What the guide's commands say that can be had here by other means, block by block.
INSTEAD = {
    "code": {
        "https://git.example.org/realtime.git": "/mnt/given/realtime",
        "python3 -m venv": "sh /usr/local/sbin/make-venv",
    }
}
NEXT_MIGRATION = '''"""More.

Revision ID: {revision}
Revises: {before}
"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rooms", sa.Column("more_{revision}", sa.String(64)))


def downgrade() -> None:
    op.drop_column("rooms", "more_{revision}")
'''


class Machine:
    """The machine that the guide describes.

    :param debian: booted.
    """

    def __init__(self, debian: Debian) -> None:
        self.debian = debian
        self.run = debian.run

    def do(self, name: str, timeout_seconds: float = 90.0) -> str:
        """Run a block of the guide, and return what it printed."""
        block = guide.blocks()[name]
        assert block.mark == "run"
        return self.run(guide.replaced(block.text, INSTEAD.get(name, {})), timeout_seconds)

    def status(self) -> dict[str, str]:
        """The line of each program in `deploy status`."""
        lines = self.run("cd /srv/realtime && .venv/bin/python -m deploy status --production").splitlines()
        return {line.split()[0]: line for line in lines[1:]}

    def wait_ready(self, nodes: tuple[str, ...] = NODES) -> None:
        """Wait until these nodes, and no others, are ready, over Redis, and everything else runs."""

        def ready() -> bool:
            done = self.debian.attempt("cd /srv/realtime && .venv/bin/python -m deploy status --production")
            seen.append(done.stdout)
            lines = {line.split()[0]: line for line in done.stdout.splitlines()[1:] if line.strip()}
            others = lines.keys() - set(nodes)
            return (
                done.returncode == 0
                and others == {"epmd", "health", "nginx", "rabbitmq", "redis"}
                and all(" RUNNING " in line for line in lines.values())
                and all("ready; over redis" in lines.get(node, "") for node in nodes)
            )

        seen: list[str] = []
        wait_until(ready, lambda: f"{nodes} ready:\n{seen[-1]}\n{self.log()}", READY_SECONDS)

    def pids(self) -> dict[str, str]:
        """The process ids of everything that supervisor runs."""
        return {name: line.split()[2] for name, line in self.status().items()}

    def log(self) -> str:
        """The end of the journal."""
        return self.debian.attempt("journalctl --unit realtime --output cat --no-pager --lines 60").stdout

    def served_by(self, node: str) -> str:
        """Who answers to a cookie."""
        said = self.run(f"curl --silent --insecure --cookie NODE={node} https://localhost/healthz")
        return str(json.loads(said)["node"])


def make_origin(folder: Path) -> Path:
    """Make a repository with the checkout as it is now, also what is not committed yet."""
    origin = folder / "realtime"
    shutil.copytree(ROOT, origin, ignore=shutil.ignore_patterns(*NOT_COMMITTED))
    git(origin, "init", "--quiet", "--initial-branch", "main")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "A version")
    return origin


def git(folder: Path, *arguments: str) -> None:
    name = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def commit_a_version(origin: Path) -> tuple[str, str]:
    """Make a version with another name and a migration, and return the name and the schema's number."""
    versions = origin / "migrations/versions"
    before = max(path.name[:4] for path in versions.glob("0*.py"))
    revision = f"{int(before) + 1:04}"
    (versions / f"{revision}_more.py").write_text(
        NEXT_MIGRATION.replace("{revision}", revision).replace("{before}", before)
    )
    name = f"Version {revision}"
    settings = origin / "config/settings.py"
    settings.write_text(re.sub(r'(app_name: str = setting\()"[^"]+"', rf'\1"{name}"', settings.read_text()))
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", name)
    return name, revision
