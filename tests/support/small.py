"""A small server whose transport can be chosen, for the transport's tests and benchmarks."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import requests

from tests.support.servers import HOST, Server
from tests.support.waiting import WAIT_SECONDS, wait_until

# "stock" is our SocketIO on the library's transport, "library" is Flask-SocketIO itself.
Transport = Literal["native", "stock", "library"]
# gunicorn with our worker or with its own for gevent; or gevent's web server.
Worker = Literal["transport", "gevent", "pywsgi"]

MOST_CONNECTIONS = 60_000


class SmallServer(Server):
    """`small_app.py` under gunicorn with one worker, or without gunicorn.

    :param transport: which SocketIO, and which transport.
    :param worker: what serves it; by default our worker for our transport, and gunicorn's for the others.
    :param options: of TransportOptions; for "native" only.
    :param arguments: further arguments of gunicorn.
    :param socketio: arguments of SocketIO, as JSON can carry them.
    """

    def __init__(
        self,
        transport: Transport = "native",
        *,
        worker: Worker | None = None,
        options: Mapping[str, Any] | None = None,
        arguments: Sequence[str] = (),
        **socketio: Any,
    ) -> None:
        super().__init__(f"small-{transport}")
        self.transport = transport
        self.worker: Worker = worker or ("transport" if transport == "native" else "gevent")
        self.options = dict(options or {})
        self.arguments = tuple(arguments)
        self.socketio = socketio

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    def launch(self) -> None:
        """Start the process; it may open as many files as the system lets it."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        super().launch()

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        if self.worker == "pywsgi":
            return (sys.executable, "-m", "tests.support.small_pywsgi", str(self.port))
        chosen = {
            "transport": {"--config": "python:tests.support.small_conf"},
            "gevent": {"--worker-class": "gevent"},
        }
        options: dict[str, str] = {
            **chosen[self.worker],
            "--workers": "1",
            "--worker-connections": str(MOST_CONNECTIONS),
            "--bind": f"{HOST}:{self.port}",
            "--backlog": "4096",
            "--graceful-timeout": "1",
            "--log-level": "warning",
        }
        flags = [part for option in options.items() for part in option]
        gunicorn = (sys.executable, "-m", "gunicorn", "--no-control-socket", *flags)
        return (*gunicorn, *self.arguments, "tests.support.small_app:app")

    def environment(self) -> Mapping[str, str]:
        """What `small_app.py` reads."""
        return {
            "APP_ENV": "testing",
            "SMALL_TRANSPORT": self.transport,
            "SMALL_OPTIONS": json.dumps(self.options),
            "SMALL_SOCKETIO": json.dumps(self.socketio),
        }

    def ready(self) -> bool:
        """Ask for a page."""
        try:
            return requests.get(f"{self.url}/ready", timeout=5).ok
        except requests.RequestException:
            return False

    def status(self, **parameters: str) -> dict[str, Any]:
        """What /status says; see `small_app.py`."""
        answer = requests.get(f"{self.url}/status", params=parameters, timeout=WAIT_SECONDS)
        answer.raise_for_status()
        status: dict[str, Any] = answer.json()
        return status

    def emit(self, event: str, *data: Any, **options: Any) -> None:
        """Let the server emit to clients, from a request; options as in `small_app.py`'s /emit."""
        body = {"event": event, "data": data, **options}
        requests.post(f"{self.url}/emit", json=body, timeout=WAIT_SECONDS).raise_for_status()

    def emit_in_one_turn(self, *orders: Mapping[str, Any]) -> None:
        """Let the server emit several events before it does anything else; each as /emit has it."""
        body = {"orders": orders}
        requests.post(f"{self.url}/emit", json=body, timeout=WAIT_SECONDS).raise_for_status()

    def disconnect(self, sid: str, namespace: str | None = "/") -> None:
        """Let the server disconnect a sid from a namespace; None: end a connection, by its Engine.IO sid."""
        body = {"sid": sid, "namespace": namespace}
        requests.post(f"{self.url}/disconnect", json=body, timeout=WAIT_SECONDS).raise_for_status()

    def wait_until_empty(self) -> None:
        """Wait until no client is left, and nothing that was kept for one.

        :raises AssertionError: with what is left.
        """
        wait_until(lambda: not any(self.status()["left"].values()), lambda: f"left: {self.status()['left']}")
