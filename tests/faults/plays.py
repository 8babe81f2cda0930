"""What happens to brokers while everybody emits: functions that make the `play` of a scenario.

Each begins and ends with a time in which all is well. Times are those of the fault itself.
"""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tests.faults.scenario import Play
from tests.faults.stage import LEAD_SECONDS, TRAIL_SECONDS, Stage
from tests.support.servers import HOST
from tests.support.waiting import wait_until

Action = Callable[[Stage], object]


def around(fault: Action) -> Play:
    """Some time in which all is well, a fault, and some time after it."""

    def play(stage: Stage) -> None:
        stage.wait(LEAD_SECONDS)
        fault(stage)
        stage.pause(TRAIL_SECONDS)

    return play


def killed(name: str, seconds: float) -> Play:
    """Kill -9, and start again after some time."""

    def fault(stage: Stage) -> None:
        with down(stage.server(name)):
            stage.pause(seconds)

    return around(fault)


def frozen(name: str, seconds: float) -> Play:
    """SIGSTOP: connections stay open, and nothing answers."""

    def fault(stage: Stage) -> None:
        server = stage.server(name)
        server.freeze()
        try:
            stage.pause(seconds)
        finally:
            server.thaw()

    return around(fault)


def memory_alarm(seconds: float) -> Play:
    """RabbitMQ believes that its memory is full, and blocks whoever publishes."""

    def fault(stage: Stage) -> None:
        server = stage.server("rabbitmq")
        server.set_memory_alarm(True)
        try:
            stage.pause(seconds)
        finally:
            server.set_memory_alarm(False)

    return around(fault)


def cut_every_second(name: str, seconds: float) -> Play:
    """End all connections of clients, from the server's side, once a second."""

    def fault(stage: Stage) -> None:
        server = stage.server(name)
        cut = server.close_connections if name == "rabbitmq" else server.cut
        for _ in range(round(seconds)):
            cut()
            stage.wait(1.0)

    return around(fault)


def all_down(seconds: float) -> Play:
    """All brokers are down for some time; then one comes back, then the other. Chance says which is first."""

    def fault(stage: Stage) -> None:
        names = ["redis", "rabbitmq"]
        stage.choices.shuffle(names)
        stage.notes.append(f"first back: {names[0]}")
        for name in names:
            stage.server(name).kill()
        stage.pause(seconds)
        stage.server(names[0]).start()
        stage.pause(2.0)
        stage.server(names[1]).start()
        stage.pause(1.0)

    return around(fault)


def switching(seconds: float, *, everybody: bool) -> Play:
    """Switch by hand, there and back, every second: on all nodes, or on whichever chance picks."""

    def fault(stage: Stage) -> None:
        for turn in range(round(seconds)):
            target = ("rabbitmq", "redis")[turn % 2]
            nodes = ["a", "b"] if everybody else [stage.choices.choice(["a", "b"])]
            for name in nodes:
                stage.processes[name].ask("switch", name=target)
            stage.wait(1.0)

    return around(fault)


def flapping(name: str, seconds: float) -> Play:
    """Up for 1 s, down for 1 s."""

    def fault(stage: Stage) -> None:
        for _ in range(round(seconds / 2)):
            with down(stage.server(name)):
                stage.pause(1.0)
            stage.pause(1.0)

    return around(fault)


def nothing(seconds: float) -> Play:
    """What is wrong is wrong from the beginning, and for so long."""

    def fault(stage: Stage) -> None:
        stage.pause(seconds)

    return around(fault)


def failover(name: str) -> Play:
    """The master is killed; a replica is elected; the old master comes back as a replica."""

    def fault(stage: Stage) -> None:
        group = stage.server(name)
        key = f"socketio:{stage.channel}"
        dead = group.kill_master(key)
        group.wait_for_failover(dead, key)
        stage.pause(2.0)
        group.restart_dead()

    return around(fault)


def redis_command(*command: str) -> Action:
    """One command in mid-run; {channel} stands for the channel."""

    def fault(stage: Stage) -> None:
        with stage.server("redis").client() as client:
            client.execute_command(*(word.format(channel=stage.channel) for word in command))
        stage.pause(1.0)

    return fault


def delete_queues(stage: Stage) -> None:
    """Delete the queues of all nodes of the channel, in mid-run."""
    server = stage.server("rabbitmq")
    names = [name for name in server.queues() if stage.channel in name or name.startswith("python-socketio.")]
    assert names, f"no queue of {stage.channel}: {list(server.queues())}"
    for name in names:
        server.delete_queue(name)
    stage.pause(2.0)


def delete_exchange(stage: Stage) -> None:
    """Delete the channel's exchange, in mid-run."""
    name = f"socketio.{stage.channel}" if stage.engine == "engine" else stage.channel
    stage.server("rabbitmq").delete_exchange(name)
    stage.pause(2.0)


def out_of_memory(seconds: float) -> Play:
    """Redis is at its maxmemory, and refuses to write."""
    return _configured({"maxmemory": "1"}, {"maxmemory": "0"}, seconds)


def wrong_password(seconds: float) -> Play:
    """Somebody has changed the password, and all must connect anew."""
    return _configured({"requirepass": "changed"}, {"requirepass": ""}, seconds, cut_too=True)


def read_only_replica(seconds: float) -> Play:
    """Redis has become the replica of a master that is not there, and refuses to write."""

    def fault(stage: Stage) -> None:
        with stage.server("redis").client() as client:
            client.execute_command("REPLICAOF", HOST, "1")
            try:
                stage.pause(seconds)
            finally:
                client.execute_command("REPLICAOF", "NO", "ONE")

    return around(fault)


def wrong_protocol(seconds: float) -> Play:
    """Somebody else listens on Redis's port, and speaks something else."""

    def fault(stage: Stage) -> None:
        server = stage.server("redis")
        with down(server), _Stranger(server.port):
            stage.pause(seconds)

    return around(fault)


@contextlib.contextmanager
def down(server: Any) -> Iterator[None]:
    """Kill -9 a broker, and start it when the `with` ends."""
    server.kill()
    try:
        yield
    finally:
        server.start()


def _configured(
    fault: dict[str, str], normal: dict[str, str], seconds: float, *, cut_too: bool = False
) -> Play:
    def action(stage: Stage) -> None:
        server = stage.server("redis")
        with server.client() as client:
            client.ping()
            client.config_set(*next(iter(fault.items())))
            try:
                if cut_too:
                    # By this very connection: no other one gets in now.
                    for kind in ("normal", "pubsub"):
                        client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
                stage.pause(seconds)
            finally:
                client.config_set(*next(iter(normal.items())))

    return around(action)


class _Stranger(socketserver.ThreadingTCPServer):
    """Answers whatever comes with what no broker says."""

    allow_reuse_address = True
    daemon_threads = True

    class _Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while self.request.recv(4096):
                    self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    def __init__(self, port: int) -> None:
        wait_until(lambda: self._bound(port), f"port {port} is free")
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def _bound(self, port: int) -> bool:
        try:
            super().__init__((HOST, port), self._Handler)
        except OSError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
