"""The brokers that the conformance suite runs against: how to start each, and what can be done to it.

To add a broker: write a subclass of `Stand`, say in `abilities` which of its methods work, and put it into
`STANDS` under the name that its tests shall have. `tests/integration/test_brokers.py` does the rest.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal, Self

from app.realtime.brokers import Broker, BrokerOptions, broker_class
from tests.support.certificates import make_certificate
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis, RedisCluster, RedisGroup, RedisSentinelGroup
from tests.support.servers import HOST

Ability = Literal[
    "outside",  # the broker is outside of this process: another process reaches it by its address
    "restart",  # crash() and restart()
    "freeze",  # freeze() and thaw()
    "cut",  # cut(): the server ends all connections of clients
    "password",  # wrong_password_url(): an address that the server refuses
    "address",  # address_url(port): an address of the same kind with another port on 127.0.0.1
    "delete",  # delete(channel): whatever the server keeps for the channel is gone
    "kept",  # kept(channel): how much the server keeps
    "full",  # full(True): it refuses because its memory is full
    "read_only",  # read_only(True): it refuses to write
]

# With what must be quoted in an address, so that whoever forgets that sees red.
PASSWORD = "p@ss/w:rd?"
WRONG_PASSWORD = "wrong-password"


class Stand:
    """One broker's server (or several, or none), as the suite sees it. Started by `with`.

    What a subclass cannot do, it leaves out of `abilities`; the suite skips those tests.
    """

    abilities: ClassVar[frozenset[Ability]] = frozenset()

    @property
    def url(self) -> str:
        """The address for `Broker`."""
        raise NotImplementedError

    def broker(self, channel: str, options: BrokerOptions, url: str | None = None) -> Broker:
        """Make a broker for a new origin; `url` instead of the stand's own."""
        url = url or self.url
        return broker_class(url)(url, channel, uuid.uuid4().hex, options)

    def start(self) -> None:
        """Start the server, and wait until it works."""

    def stop(self) -> None:
        """End it, and remove what it left."""

    def crash(self, channel: str) -> None:
        """Kill -9 whatever serves the channel now."""
        raise NotImplementedError

    def restart(self, channel: str) -> None:
        """Start what `crash` ended, at the same address, and wait until it answers."""
        raise NotImplementedError

    def freeze(self, channel: str) -> None:
        """Stop whatever serves the channel, with its connections open (SIGSTOP)."""
        raise NotImplementedError

    def thaw(self, channel: str) -> None:
        """Let it go on (SIGCONT)."""
        raise NotImplementedError

    def cut(self) -> None:
        """End all connections of clients, from the server's side."""
        raise NotImplementedError

    def wrong_password_url(self) -> str:
        """An address with WRONG_PASSWORD in it."""
        raise NotImplementedError

    def address_url(self, port: int) -> str:
        """An address of the same kind, with PASSWORD, at another port of 127.0.0.1."""
        raise NotImplementedError

    def delete(self, channel: str) -> None:
        """Delete what the server keeps for the channel, while it is in use."""
        raise NotImplementedError

    def kept(self, channel: str) -> int:
        """How many parcels the server keeps for one listener of the channel that was cut off."""
        raise NotImplementedError

    def full(self, on: bool) -> None:
        """Let the server refuse, as it does when its memory is full; or end that."""
        raise NotImplementedError

    def read_only(self, on: bool) -> None:
        """Let the server refuse writes; or end that."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class MemoryStand(Stand):
    """No server at all."""

    @property
    def url(self) -> str:
        """The address of a bus in this process."""
        return "memory://suite"


class RedisStand(Stand):
    """One Redis."""

    abilities = frozenset[Ability](
        (
            *("outside", "restart", "freeze", "cut", "password", "address"),
            *("delete", "kept", "full", "read_only"),
        )
    )

    def __init__(self) -> None:
        self.server = Redis(requirepass=PASSWORD)

    @property
    def url(self) -> str:
        """Its address."""
        return self.server.url

    def start(self) -> None:
        """Start it."""
        self.server.start()

    def stop(self) -> None:
        """End it."""
        self.server.close()

    def crash(self, channel: str) -> None:
        """Kill it."""
        self.server.kill()

    def restart(self, channel: str) -> None:
        """Start it again."""
        self.server.start()

    def freeze(self, channel: str) -> None:
        """Stop it."""
        self.server.freeze()

    def thaw(self, channel: str) -> None:
        """Let it go on."""
        self.server.thaw()

    def cut(self) -> None:
        """CLIENT KILL."""
        self.server.cut()

    def wrong_password_url(self) -> str:
        """Its address with another password."""
        return self.server.address(WRONG_PASSWORD)

    def address_url(self, port: int) -> str:
        """Its address with another port."""
        return self.server.address(port=port)

    def delete(self, channel: str) -> None:
        """DEL."""
        with self.server.client() as client:
            client.delete(f"socketio:{channel}")

    def kept(self, channel: str) -> int:
        """XLEN."""
        with self.server.client() as client:
            return int(client.xlen(f"socketio:{channel}"))

    def full(self, on: bool) -> None:
        """Have a byte of memory."""
        with self.server.client() as client:
            client.config_set("maxmemory", int(on))

    def read_only(self, on: bool) -> None:
        """Be a replica of nobody."""
        with self.server.client() as client:
            client.execute_command("REPLICAOF", *((HOST, "1") if on else ("NO", "ONE")))


class RedisUnixStand(RedisStand):
    """One Redis, by its socket."""

    abilities = RedisStand.abilities - {"password", "address"}

    @property
    def url(self) -> str:
        """Its address."""
        return self.server.unix_url


class RedisTlsStand(RedisStand):
    """One Redis, by TLS."""

    abilities = RedisStand.abilities - {"password"}

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="certificate-"))
        self.server = Redis(certificate=make_certificate(self.folder), requirepass=PASSWORD)

    @property
    def url(self) -> str:
        """Its address, which names the authority."""
        return self.server.tls_url

    def address_url(self, port: int) -> str:
        """Its address with another port."""
        return self.url.replace(f":{self.server.tls_port}/", f":{port}/")

    def stop(self) -> None:
        """End it, and remove the certificate."""
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class _RedisGroupStand(Stand):
    """Several Redis, whose master changes when it is dead or frozen."""

    abilities = frozenset[Ability](
        ("outside", "restart", "freeze", "cut", "password", "address", "delete", "kept")
    )
    group: RedisGroup

    @property
    def url(self) -> str:
        return self.group.url

    def start(self) -> None:
        self.group.start()

    def stop(self) -> None:
        self.group.close()

    def crash(self, channel: str) -> None:
        self.dead = self.group.kill_master(f"socketio:{channel}")

    def restart(self, channel: str) -> None:
        self.group.wait_for_failover(self.dead, f"socketio:{channel}")
        self.group.restart_dead()

    def freeze(self, channel: str) -> None:
        self.frozen = self.group.freeze_master(f"socketio:{channel}")

    def thaw(self, channel: str) -> None:
        # Only then: what it takes in while the others are electing is lost.
        self.group.wait_for_failover(self.frozen, f"socketio:{channel}")
        self.group.thaw(self.frozen)

    def cut(self) -> None:
        for server in self.group.servers:
            server.cut()

    def wrong_password_url(self) -> str:
        return self.group.address(WRONG_PASSWORD)

    def address_url(self, port: int) -> str:
        return self.group.address(port=port)

    def delete(self, channel: str) -> None:
        key = f"socketio:{channel}"
        with self.group.master(key).client() as client:
            client.delete(key)

    def kept(self, channel: str) -> int:
        key = f"socketio:{channel}"
        with self.group.master(key).client() as client:
            return int(client.xlen(key))


class RedisSentinelStand(_RedisGroupStand):
    """A master that sentinels watch."""

    def __init__(self) -> None:
        self.group = RedisSentinelGroup(requirepass=PASSWORD)


class RedisClusterStand(_RedisGroupStand):
    """A cluster."""

    def __init__(self) -> None:
        self.group = RedisCluster(requirepass=PASSWORD)


class RabbitMQStand(Stand):
    """One RabbitMQ. What is deleted on it, and with it what nobody heard yet: see test_rabbitmq.py."""

    abilities = frozenset[Ability](
        ("outside", "restart", "freeze", "cut", "password", "address", "kept", "full"),
    )

    def __init__(self) -> None:
        self.server = RabbitMQ(password=PASSWORD)

    @property
    def url(self) -> str:
        """Its address."""
        return self.server.url()

    def start(self) -> None:
        """Start it."""
        self.server.start()

    def stop(self) -> None:
        """End it."""
        self.server.close()

    def crash(self, channel: str) -> None:
        """Kill it."""
        self.server.kill()

    def restart(self, channel: str) -> None:
        """Start it again."""
        self.server.start()

    def freeze(self, channel: str) -> None:
        """Stop it."""
        self.server.freeze()

    def thaw(self, channel: str) -> None:
        """Let it go on."""
        self.server.thaw()

    def cut(self) -> None:
        """Close all connections, as its administrator would."""
        self.server.close_connections()

    def wrong_password_url(self) -> str:
        """Its address with another password."""
        return self.server.url(password=WRONG_PASSWORD)

    def address_url(self, port: int) -> str:
        """Its address with another port."""
        return self.server.url(port=port)

    def kept(self, channel: str) -> int:
        """The longest of the channel's queues."""
        prefix = f"socketio.{channel}."
        queues = self.server.queues().items()
        return max((queue.messages for name, queue in queues if name.startswith(prefix)), default=0)

    def full(self, on: bool) -> None:
        """Raise the memory alarm."""
        self.server.set_memory_alarm(on)


class RabbitMQTlsStand(RabbitMQStand):
    """One RabbitMQ, by TLS."""

    abilities = frozenset[Ability](("outside", "freeze", "cut", "password", "address"))

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="certificate-"))
        self.server = RabbitMQ(password=PASSWORD, certificate=make_certificate(self.folder))

    @property
    def url(self) -> str:
        """Its address, which names the authority."""
        return self.server.url(tls=True)

    def wrong_password_url(self) -> str:
        """Its address with another password."""
        return self.server.url(password=WRONG_PASSWORD, tls=True)

    def address_url(self, port: int) -> str:
        """Its address with another port."""
        return self.server.url(port=port, tls=True)

    def stop(self) -> None:
        """End it, and remove the certificate."""
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class KombuMemoryStand(Stand):
    """A transport of kombu's that needs no server."""

    @property
    def url(self) -> str:
        """The address of all memory."""
        return "kombu+memory://"


#: Every broker under its name in the tests; made once per test module, when its first test runs.
STANDS: dict[str, Callable[[], Stand]] = {
    "memory": MemoryStand,
    "redis": RedisStand,
    "redis-unix": RedisUnixStand,
    "redis-tls": RedisTlsStand,
    "redis-sentinel": RedisSentinelStand,
    "redis-cluster": RedisClusterStand,
    "rabbitmq": RabbitMQStand,
    "rabbitmq-tls": RabbitMQTlsStand,
    "kombu-memory": KombuMemoryStand,
}
