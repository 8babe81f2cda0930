"""A throw-away Debian with systemd, over this machine's root: what is done to it is gone with it.

Its files are this machine's, read through an overlay whose other half is in memory; its processes, network
and name are its own, so ports 80 and 5432 are free, and nothing outside hears of it. systemd boots as process
1, with Debian's services as the packages have them. It takes some 3 s, and needs root.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Self

SYSTEMD = Path("/lib/systemd/systemd")
BOOT_SECONDS = 60.0
POLL_SECONDS = 0.1
# The kernel's settings are everybody's. This one the guide changes: here it is a file.
OVERCOMMIT = "/proc/sys/vm/overcommit_memory"
# Services of Debian that a test wants to find running, as they are after their packages were installed.
SERVICES = frozenset({"postgresql.service", "nginx.service", "epmd.service", "redis-server.service"})
SPACES = ("--mount", "--net", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--propagation", "private")
ENVIRONMENT = (
    "env",
    "-i",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
)

# A process enters a group of its own in each hierarchy, which become the roots that systemd in there sees.
ENTER = 'for group in $GROUPS_OF_ITS_OWN; do echo $$ > "$group/cgroup.procs"; done; exec unshare "$@"'
# Run as the first process of the new namespaces; $1 is an empty folder.
BOOT = """
set -eu
box=$1 root=$1/root
mount -t tmpfs -o mode=755 none "$box"
mkdir "$box/changes" "$box/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$box/changes,workdir=$box/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 none "$root/sys/fs/cgroup"
mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
if grep -q name=systemd /proc/self/cgroup; then
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
else
    umount "$root/sys/fs/cgroup"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
mount -t tmpfs -o mode=755 none "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 none "$root/dev/shm"
mount -t tmpfs -o mode=755 none "$root/run"
echo 0 > "$root/run/overcommit_memory"
mount --bind "$root/run/overcommit_memory" "$root$OVERCOMMIT"
# What container images have to keep services from starting.
rm -f "$root/usr/sbin/policy-rc.d"
touch "$root/etc/machine-id"
ln -sf /dev/null "$root/etc/systemd/system/systemd-udevd.service"
for service in "$root"/etc/systemd/system/multi-user.target.wants/*.service; do
    case " $SERVICES " in *" $(basename "$service") "*) ;; *) rm -f "$service" ;; esac
done
mkdir -p "$root/mnt/given" "$root/mnt/packages"
mount --bind "$GIVEN" "$root/mnt/given"
mount --bind "$PACKAGES" "$root/mnt/packages"
ip link set lo up
cd "$root"
mkdir .before
pivot_root . .before
umount -l /.before
exec env -i container=lxc PATH="$PATH" "$SYSTEMD" --system --log-target=console --show-status=0
"""

# The very one of the tests: packages are chosen for it.
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = Path(sys.base_prefix) / "bin" / f"python{VERSION}"
# Makes a virtual environment at $1 with the tests' packages, without the network.
VENV = f"""
set -eu
folder={PYTHON.parent}
# Somebody's own Python may be where others may not look, and where systemd hides things from services.
while [ "$folder" != / ]; do
    chmod o+x "$folder"
    folder=$(dirname "$folder")
done
case {PYTHON} in /root/* | /home/*)
    mkdir -p /etc/systemd/system/service.d
    printf '[Service]\\nProtectHome=no\\n' > /etc/systemd/system/service.d/python.conf ;;
esac
{PYTHON} -m venv --without-pip "$1"
mount --bind /mnt/packages "$1/lib/python{VERSION}/site-packages"
for name in alembic flask gunicorn supervisord supervisorctl; do
    cat > "$1/bin/$name" <<END
#!$(realpath "$1")/bin/python
import sys
from importlib.metadata import entry_points
[entry] = entry_points(group='console_scripts', name='$name')
sys.exit(entry.load()())
END
    chmod 755 "$1/bin/$name"
done
"""


class BootError(Exception):
    """systemd did not boot; the message has its output."""


class Debian:
    """One such Debian, for `with`.

    :param given: a folder that it finds as /mnt/given.
    """

    def __init__(self, given: Path) -> None:
        self._given = given
        self._folder = Path(tempfile.mkdtemp(prefix="debian-"))
        self._process: subprocess.Popen[bytes] | None = None
        # systemd makes groups of processes, and they would outlive it.
        self._groups = [hierarchy / self._folder.name for hierarchy in _hierarchies()]

    @staticmethod
    def missing() -> str:
        """Say why there can be none here; nothing: it can be tried."""
        if os.geteuid() != 0:
            return "it needs root, for mounts and a network of its own"
        if not SYSTEMD.exists() or not Path("/etc/debian_version").exists():
            return "this is no Debian with systemd"
        if "overlay" not in Path("/proc/filesystems").read_text("ascii"):
            return "this kernel has no overlay"
        if not all(os.access(hierarchy, os.W_OK) for hierarchy in _hierarchies()):
            return "control groups cannot be made here"
        trial = ("unshare", *SPACES, "mount", "-t", "tmpfs", "none", "/mnt")
        tried = subprocess.run(trial, capture_output=True, text=True, check=False, timeout=30)
        return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else ""

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, script: str, timeout_seconds: float = 90.0) -> str:
        """Run a script as root, and return what it printed.

        :raises AssertionError: with the output, when a command fails.
        """
        done = self.attempt(script, timeout_seconds)
        assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def attempt(self, script: str, timeout_seconds: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run a script as root; its errors are in its output."""
        spaces = ("-t", str(self._init()), "-m", "-p", "-n", "-u", "-i", "-C")
        return subprocess.run(
            ("nsenter", *spaces, *ENVIRONMENT, "HOME=/root", "bash", "-euo", "pipefail", "-c", script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def close(self) -> None:
        """End it, with everything that runs in it."""
        if self._process is not None:
            # The kernel ends the others with their first one, and the mounts with the last.
            with contextlib.suppress(ProcessLookupError, StopIteration):
                os.kill(self._init(), signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        for group in self._groups:
            _remove_group(group)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _boot(self) -> None:
        (self._folder / "root").mkdir()
        for group in self._groups:
            group.mkdir()
        settings = {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "GIVEN": str(self._given),
            "PACKAGES": sysconfig.get_path("purelib"),
            "OVERCOMMIT": OVERCOMMIT,
            "SERVICES": " ".join(SERVICES),
            "SYSTEMD": str(SYSTEMD),
            "GROUPS_OF_ITS_OWN": " ".join(map(str, self._groups)),
        }
        log = self._folder / "boot.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ("sh", "-c", ENTER, "enter", *SPACES, "bash", "-c", BOOT, "boot", str(self._folder / "root")),
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._booted():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise BootError(f"systemd did not boot:\n{log.read_text('utf-8', 'replace')}")
            time.sleep(POLL_SECONDS)
        self.run(f"printf %s {shlex.quote(VENV)} > /usr/local/sbin/make-venv")

    def _booted(self) -> bool:
        with contextlib.suppress(StopIteration, OSError):
            if Path(f"/proc/{self._init()}/comm").read_text("ascii").strip() == "systemd":
                return self.attempt("systemctl is-system-running").stdout.strip() in ("running", "degraded")
        return False

    def _init(self) -> int:
        """The process id, from outside, of its first process."""
        assert self._process is not None, "it has not been started"
        pid = self._process.pid
        return int(next(iter(Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split())))


def _hierarchies() -> list[Path]:
    """Where control groups are made: version 2's one hierarchy, and of version 1's the one of systemd."""
    found = []
    for line in Path("/proc/mounts").read_text("utf-8").splitlines():
        _, path, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(path))
    return found


def _remove_group(group: Path) -> None:
    """Remove a control group and those in it; their last processes may still be ending."""
    deadline = time.monotonic() + BOOT_SECONDS
    while group.exists() and time.monotonic() < deadline:
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        time.sleep(POLL_SECONDS)
