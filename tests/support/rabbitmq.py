"""A private RabbitMQ node for tests, with what can go wrong with it at hand.

It shares nothing with a RabbitMQ that the system runs: its own port mapper (epmd), cookie, data and logs. It
starts in about 5 s, and needs about 120 MB of memory and one core.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import amqp

from tests.support.certificates import Certificate
from tests.support.redis import quiet_port
from tests.support.servers import HOST, Server, child_environment
from tests.support.waiting import wait_until

USER = "tester"
# With what must be quoted in a URL, so that whoever forgets that sees red.
PASSWORD = "p@ss/w:rd?"
# For what this module asks the node itself.
ASK_SECONDS = 10.0
# The share of the machine's memory at which the alarm is raised, as RabbitMQ has it by default.
WATERMARK = 0.4


class Queue(NamedTuple):
    """One queue as the node describes it."""

    messages: int
    consumers: int
    durable: bool
    arguments: dict[str, str | int]


class RabbitMQ(Server):
    """A RabbitMQ node on free ports, for `with`; `start` after `kill` or `terminate` finds the same data.

    `freeze` and `thaw` stop it and let it go on (SIGSTOP, SIGCONT); clients' connections stay open then.

    :param password: of the user "tester".
    :param certificate: answer on `tls_port` too, by TLS.
    """

    def __init__(self, *, password: str = PASSWORD, certificate: Certificate | None = None) -> None:
        super().__init__("rabbitmq")
        self.password = password
        self.port = quiet_port()
        self.certificate = certificate
        self.tls_port = quiet_port() if certificate else 0
        self.distribution_port = quiet_port()
        self.mapper_port = quiet_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        self._programs = max(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"), default=None)
        if self._programs is None:
            raise RuntimeError("RabbitMQ is not installed: run `make packages`")

    # What Server asks.

    def command(self) -> Sequence[str]:
        """The node itself; the distribution's wrapper would insist on a user and on places of its own."""
        return (f"{self._programs}/rabbitmq-server", "-noinput")

    def environment(self) -> Mapping[str, str]:
        """Places, ports, and an Erlang that is modest: one scheduler, and no waiting by spinning."""
        return {
            "HOME": str(self.folder),  # the cookie is there
            "ERL_EPMD_PORT": str(self.mapper_port),
            "ERL_EPMD_ADDRESS": HOST,
            # The script becomes the node then, so that `pid` is the node's.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": f"{self.folder}/data",
            "RABBITMQ_LOG_BASE": f"{self.folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": f"{self.folder}/none",
            "RABBITMQ_CONFIG_FILE": f"{self.folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.folder}/enabled_plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +SDio 2 +A 2 +sbwt none +sbwtdcpu none"
            f" +sbwtdio none -kernel inet_dist_use_interface {{{HOST.replace('.', ',')}}}",
        }

    def launch(self) -> None:
        """Write the settings, and start the port mapper and the node."""
        settings = [
            f"default_user = {USER}",
            f"default_pass = {self.password}",
            f"vm_memory_high_watermark.relative = {WATERMARK}",
            "disk_free_limit.absolute = 1MB",
        ]
        if self.certificate:
            settings += [
                f"listeners.ssl.1 = {HOST}:{self.tls_port}",
                f"ssl_options.certfile = {self.certificate.certificate}",
                f"ssl_options.keyfile = {self.certificate.key}",
                f"ssl_options.cacertfile = {self.certificate.authority}",
                "ssl_options.verify = verify_none",
            ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(settings) + "\n")
        (self.folder / "enabled_plugins").write_text("[].\n")
        if self._mapper is None:
            # Started here, so that its process id is known; the node would leave one behind.
            self._mapper = subprocess.Popen(
                ("epmd", "-port", str(self.mapper_port), "-address", HOST),
                env=child_environment({}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            wait_until(self._mapper_answers, "the port mapper answers")
        super().launch()

    def ready(self) -> bool:
        """Log in."""
        try:
            with self.client():
                return True
        except (OSError, amqp.AMQPError):
            return False

    def kill(self) -> None:
        """End the node at once, as a power cut would (SIGKILL); `start` brings it back with its data."""
        with contextlib.suppress(ProcessLookupError, AssertionError):
            self.thaw()
        super().kill()
        self._end_mapper()

    def close(self) -> None:
        """End the node and the port mapper, and remove the folder. Nobody needs a proper shutdown here."""
        self.kill()
        super().close()

    # What a test does.

    @property
    def node_name(self) -> str:
        """Its name in Erlang."""
        return f"rabbit-{self.port}@localhost"

    def url(
        self,
        user: str = USER,
        password: str | None = None,
        *,
        vhost: str = "/",
        port: int | None = None,
        tls: bool = False,
        query: str = "",
    ) -> str:
        """Make an address of this node, as the broker takes it.

        :param port: another port than the node's.
        :param tls: the TLS address; it names the authority to trust, and "localhost", which the certificate
            is for.
        :param query: further parameters, for example "ssl_cert_reqs=none".
        """
        login = f"{quote(user, safe='')}:{quote(self.password if password is None else password, safe='')}"
        path = quote(vhost, safe="")
        if not tls:
            return f"amqp://{login}@{HOST}:{port or self.port}/{path}" + (f"?{query}" if query else "")
        assert self.certificate, "start it with certificate="
        query = query or f"ssl_ca_certs={quote(str(self.certificate.authority))}"
        return f"amqps://{login}@localhost:{port or self.tls_port}/{path}?{query}"

    @contextlib.contextmanager
    def client(self, timeout_seconds: float = ASK_SECONDS) -> Iterator[Any]:
        """Open a plain AMQP channel, for whatever a test wants to do to the node."""
        connection = amqp.Connection(
            f"{HOST}:{self.port}", USER, self.password, login_method="PLAIN", connect_timeout=timeout_seconds
        )
        try:
            connection.connect()
            connection.sock.settimeout(timeout_seconds)
            yield connection.channel()
        finally:
            with contextlib.suppress(OSError, amqp.AMQPError):
                connection.close()

    def freeze(self) -> None:
        """Stop the node with its connections open: it accepts, and does not answer (SIGSTOP)."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def close_connections(self) -> None:
        """End all connections of clients, politely, as `rabbitmqctl close_all_connections` does."""
        self.evaluate(
            '[rabbit_networking:close_connection(P, "closed by a test")'
            " || P <- rabbit_networking:connections_local()], ok"
        )

    def set_memory_alarm(self, on: bool) -> None:
        """Let the node believe that its memory is full: it stops reading from whoever publishes.

        It is raised when this returns; whoever publishes hears of it by `connection.blocked`.
        """
        share = "0.0000001" if on else str(WATERMARK)
        self.evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({share})")
        wait_until(
            lambda: ("memory" in self.evaluate("rabbit_alarm:get_alarms()")) is on,
            f"the memory alarm is {'on' if on else 'off'}",
        )

    def queues(self) -> dict[str, Queue]:
        """Describe all queues, by name."""
        answer = self.folder / "queues"  # erl_call shortens what it prints
        self.evaluate(
            # A queue may go away while it is asked.
            f'ok = file:write_file("{answer}", lists:map(fun(Queue) -> try [{{_, {{_, _, _, Name}}}} | Rest]'
            " = rabbit_amqqueue:info(Queue, [name, messages, consumers, durable, arguments]),"
            ' io_lib:format("~s\\t~w\\t~w\\t~w\\t~0p\\n", [Name | [Value || {_, Value} <- Rest]])'
            " catch exit:_ -> [] end end, rabbit_amqqueue:list()))"
        )
        queues = {}
        for line in answer.read_text().splitlines():
            name, messages, consumers, durable, arguments = line.split("\t")
            pairs = re.findall(r'{<<"([^"]+)">>,\w+,(?:<<"([^"]*)">>|(\d+))}', arguments)
            queues[name] = Queue(
                messages=int(messages),
                consumers=int(consumers),
                durable=durable == "true",
                arguments={key: words or int(number) for key, words, number in pairs},
            )
        return queues

    def delete_queue(self, name: str) -> None:
        """Delete a queue, with what is in it, while it is used."""
        with self.client() as channel:
            channel.queue_delete(name)

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange, and with it its bindings, while it is used."""
        with self.client() as channel:
            channel.exchange_delete(name)

    def evaluate(self, expression: str) -> str:
        """Let the node evaluate an Erlang expression, and return the value as Erlang writes it.

        This is what `rabbitmqctl eval` does, without its 2 s.

        :raises AssertionError: when it cannot be evaluated.
        """
        cookie = (self.folder / ".erlang.cookie").read_text("ascii").strip()
        done = subprocess.run(
            ("erl_call", "-sname", self.node_name, "-c", cookie, "-timeout", f"{ASK_SECONDS:.0f}", "-e"),
            input=f"{expression}.\n",
            env=child_environment({"ERL_EPMD_PORT": str(self.mapper_port), "HOME": str(self.folder)}),
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS + 5,
            check=False,
        )
        answer = done.stdout.strip()
        assert answer.startswith("{ok,"), f"{expression}: {answer} {done.stderr}"
        return answer.removeprefix("{ok,").removesuffix("}").strip()

    def _mapper_answers(self) -> bool:
        try:
            socket.create_connection((HOST, self.mapper_port), timeout=1).close()
        except OSError:
            return False
        return True

    def _end_mapper(self) -> None:
        if self._mapper is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._mapper.pid, signal.SIGKILL)
            self._mapper.wait()
            self._mapper = None
