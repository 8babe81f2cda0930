"""Tries whether the code in the checkout can start at all, before a node is stopped for it.

What is tried is what supervisor would run: the program's own command, in its directory, as its user, with the
environment of a node that runs, and `--check-config` behind it. gunicorn then reads its configuration, which
checks the settings, imports wsgi.py, which makes the application, and ends. It listens nowhere and joins
nothing. Importing wsgi alone would miss what is wrong with the command and with gunicorn's file; and one more
node, on trial, would join the cluster: it would take part in the queue, adopt what others have spooled, and
count as a node of that name.

What `--check-config` does not see is the database: code whose migration has not been run starts, and then no
node is ever ready with it. So the new code is asked what its /readyz would say of the database.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.control import Control, Program

ROOT = Path(__file__).resolve().parent.parent
PROC = Path("/proc")
# Importing takes a second, on a busy machine some more.
TRY_SECONDS = 60.0
OUTPUT_LINES = 15
# A node brings its schema up to date itself if it may; then it need not fit yet.
DATABASE_SCRIPT = """
import wsgi
if not wsgi.app.extensions["settings"].database_auto_upgrade:
    said = wsgi.app.test_client().get("/readyz").get_json()["checks"]["database"]
    if not said["ok"]:
        raise SystemExit(said["reason"])
"""


@dataclass(frozen=True)
class Launch:
    """How supervisor starts a program.

    :param user: its id; None: whoever asks.
    """

    command: Sequence[str]
    directory: Path
    environment: dict[str, str]
    user: int | None


def launch_of(control: Control, program: Program, running: Sequence[Program]) -> Launch:
    """Find out how a node is started.

    The directory is what supervisor's file says, not where the process is: behind a symbolic link that has
    been moved to a new release, that would be the old one.

    :param running: programs whose environment may stand in for that of `program`, should that not run: they
        differ in their names and addresses only, and neither is used.
    :raises ControlError: when supervisord does not answer.
    :raises OSError: when the environment cannot be read, for the node runs as another user.
    """
    settings = control.settings(program.name)
    # supervisord's own environment and what its file says, as the process got them.
    source = next((one for one in (program, *running) if one.pid), None)
    environment = dict(os.environ) if source is None else _environment(source.pid)
    user = None
    if source is not None and os.geteuid() == 0:
        # As root the trial could leave files behind that the node may not write.
        user = (PROC / str(source.pid)).stat().st_uid
    return Launch(shlex.split(settings.command), Path(settings.directory or ROOT), environment, user)


def try_code(launch: Launch) -> str:
    """Let gunicorn load everything and end.

    :returns: the end of what it says when it cannot; nothing: it can.
    """
    return _run([*launch.command, "--check-config"], launch)


def try_database(launch: Launch) -> str:
    """Ask the code whether the database suits it.

    :returns: why not; nothing: it does.
    """
    return _run([sys.executable, "-c", DATABASE_SCRIPT], launch)


def _run(command: Sequence[str], launch: Launch) -> str:
    identity = pwd.getpwuid(launch.user) if launch.user is not None else None
    try:
        done = subprocess.run(
            command,
            cwd=launch.directory,
            env=launch.environment,
            user=identity and identity.pw_uid,
            group=identity and identity.pw_gid,
            extra_groups=identity and os.getgrouplist(identity.pw_name, identity.pw_gid),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TRY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{shlex.join(command)} takes longer than {TRY_SECONDS:g} s"
    except OSError as error:
        return f"{shlex.join(command)} cannot be run in {launch.directory}: {error}"
    if done.returncode == 0:
        return ""
    lines = done.stdout.decode("utf-8", "replace").rstrip().splitlines()[-OUTPUT_LINES:]
    return "\n".join(lines) or f"it ends with status {done.returncode} and says nothing"


def _environment(pid: int) -> dict[str, str]:
    text = (PROC / str(pid) / "environ").read_bytes().decode("utf-8", "surrogateescape")
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)
