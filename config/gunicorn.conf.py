"""gunicorn's configuration: one gevent worker, for a Socket.IO session lives in one process."""

# First of all, as in wsgi.py: this file imports the application.
from gevent import monkey

monkey.patch_all()

# Some 1,200 modules are about to be loaded, and none of them is garbage.
import gc  # noqa: E402

gc.disable()

import contextlib  # noqa: E402
import errno  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402
from urllib.request import ProxyHandler, build_opener  # noqa: E402

import gevent  # noqa: E402

# sysexits.h: something in the configuration is wrong.
EXIT_CONFIG = 78
# For pages, health checks, and answers to those who are refused.
SPARE_CONNECTIONS = 500
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app import create_app  # noqa: E402
from app.logs import logging_config  # noqa: E402
from app.schema import upgrade  # noqa: E402
from config import SettingsError, load_settings  # noqa: E402
from config.worker import Worker  # noqa: E402

try:
    settings = load_settings()
except SettingsError as error:
    raise SystemExit(str(error)) from None

# What is loaded by now stays: the collector need not look at it again, and the worker shares its memory.
gc.freeze()
gc.enable()

host = f"[{settings.host}]" if ":" in settings.host else settings.host
bind = f"unix:{settings.unix_socket}" if settings.unix_socket else f"{host}:{settings.port}"
worker_class = Worker
workers = settings.web_concurrency
# Whoever is above the limit gets an answer (realtime/drain.py): a worker that accepts no more looks frozen.
worker_connections = settings.worker_connections + SPARE_CONNECTIONS
graceful_timeout = settings.graceful_timeout_seconds
# A worker whose hub is stuck for this many seconds is killed and replaced.
timeout = 30
# Seconds that an idle connection is kept for the next request; it holds a stop up for as long.
keepalive = 2
# A worker that is replaced after so many requests would cut its WebSockets: never.
max_requests = 0
# Loading the application in the master would start its hub before the fork.
preload_app = False
# By default every gunicorn of a user opens the same control socket, and two nodes would fight over it.
control_socket_disable = True
# The application logs each request itself, with its id and user.
accesslog = None
logconfig_dict = logging_config(settings)


def on_starting(server: Any) -> None:
    """Check what gunicorn was told, and prepare the database, before anything listens."""
    if server.cfg.workers != 1:
        raise SystemExit(
            f"gunicorn was told to run {server.cfg.workers} workers, and only 1 works: a Socket.IO session "
            "lives in one process. Use more cores by more nodes behind a load balancer with sticky sessions."
        )
    # Sockets that were handed over by a predecessor or by systemd are bound already.
    if not os.environ.keys() & {"GUNICORN_FD", "LISTEN_FDS"}:
        for address in server.cfg.address:
            _refuse_taken(address)
    _try_application()


def when_ready(server: Any) -> None:
    """Keep a unix socket while the node drains: the master would remove it at the first moment of a stop."""
    if settings.unix_socket:
        # What it believes of sockets from systemd, which are not its own to remove. The next start does.
        server.systemd = True


def on_reload(server: Any) -> None:
    """Let the old worker go quickly on HUP: until it is gone, two share the port, and not their sessions."""
    server.kill_workers(signal.SIGINT)


def nworkers_changed(server: Any, new_value: int, old_value: int | None) -> None:
    """Undo a TTIN signal, which asks for one more worker."""
    if old_value is not None and new_value > 1:
        server.log.error("a second worker would not know the sessions of the first: staying with one")
        server._num_workers = 1


def post_fork(server: Any, worker: Any) -> None:
    """Let each worker import the application itself: a HUP, or --reload, must bring new code in."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("app", "config", "wsgi")]:
        del sys.modules[name]


def post_worker_init(worker: Any) -> None:
    """Start what the application runs in the background, and stop it when the worker is told to stop."""
    if not hasattr(worker.wsgi, "extensions"):
        # Under --reload: a page that shows the mistake stands in for the application.
        return
    worker.wsgi.extensions["lifecycle"].follow(worker)
    # Ctrl-C reaches the worker twice, from the terminal and from the master, and gunicorn's quick exit would
    # cut the exit hooks short. Stopping as on SIGTERM, but with all clients let go at once, is hardly slower.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, worker.hurry)
    gevent.spawn(_announce, worker)


def worker_exit(server: Any, worker: Any) -> None:
    """Stop what a quick exit has left running."""
    # A worker that did not boot has no application.
    if hasattr(getattr(worker, "wsgi", None), "extensions"):
        worker.wsgi.extensions["lifecycle"].stop()
        worker.log.info("worker has exited cleanly")


def _refuse_taken(address: object) -> None:
    """Say in one sentence what gunicorn would say in ten lines after five tries."""
    if not isinstance(address, tuple):
        _refuse_taken_path(Path(str(address)))
        return
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            host, port = address[:2]
            hint = f"PORT={port + 1} make run" if error.errno == errno.EADDRINUSE else "see HOST and PORT"
            raise SystemExit(f"Cannot listen on {host}:{port}: {error.strerror}. Try: {hint}") from None


def _refuse_taken_path(path: Path) -> None:
    """gunicorn would take a unix socket away from whoever listens there."""
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise SystemExit(f"Cannot listen on {path}: {path.parent} is no folder to write to; see UNIX_SOCKET")
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise SystemExit(f"Cannot listen on {path}: somebody does already; see UNIX_SOCKET")


def _try_application() -> None:
    """Make the application once, and run the migrations if wanted: what is wrong stops the start.

    In a child, so that the master itself opens nothing that a worker would inherit.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            app = create_app(settings)
            app.extensions["socketio"].check_queue()
            if settings.database_auto_upgrade:
                upgrade(app)
            status = 0
        except (SettingsError, ValueError) as error:
            sys.stderr.write(f"{error}\n")
            status = EXIT_CONFIG
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == EXIT_CONFIG:
        raise SystemExit(EXIT_CONFIG)
    if status != 0:
        raise SystemExit("The application could not be made ready; the reason is above.")


def _announce(worker: Any) -> None:
    """Print the address once the application answers there."""
    if not worker.alive:
        return
    address = worker.sockets[0].getsockname()
    if not isinstance(address, tuple):
        worker.log.info("ready: %s", address)
        return
    host, port = address[:2]
    reach = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    try:
        # Not by way of a proxy that the environment names.
        build_opener(ProxyHandler({})).open(f"http://{reach}:{port}/healthz", timeout=10).close()
    except OSError as error:
        worker.log.error("the application does not answer: %s", error)
    else:
        worker.log.info("ready: http://%s:%s", reach, port)
