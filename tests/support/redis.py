"""Redis for tests: one server, a master that sentinels watch, a cluster; each starts in well under a second.

What happens to them can be told from a client's side only: who is the master is asked anew each time.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from tests.support.certificates import Certificate
from tests.support.servers import HOST, Server
from tests.support.waiting import wait_until

SERVICE = "mymaster"
SENTINELS = 3
MASTERS = 3
# How long a server of a group may say nothing until it counts as dead. Shorter, and a busy machine kills it.
DOWN_MS = 700
# An election after that takes 1 to 2 s; this is for a busy machine.
ELECTION_SECONDS = 20.0
SLOTS = 16384
ADMIN_SECONDS = 5.0


def quiet_port() -> int:
    """Pick a free port from below those that the system gives to clients.

    A client that tries to reach a dead server again and again would get the server's port as its own one day:
    it then talks to itself, or keeps the server from starting.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


class Redis(Server):
    """A Redis on a free port and on a socket, without persistence; `start` after `kill` takes the same port.

    :param certificate: answer on `tls_port` too, by TLS.
    :param settings: of redis.conf, with _ for -: maxmemory="2mb", requirepass="secret", appendonly="yes".
    """

    def __init__(self, *, certificate: Certificate | None = None, **settings: str) -> None:
        super().__init__("redis")
        self.port = quiet_port()
        self.certificate = certificate
        self.tls_port = quiet_port() if certificate else 0
        self.settings = {name.replace("_", "-"): value for name, value in settings.items()}
        self.password = settings.get("requirepass", "")
        self.frozen = False

    def command(self) -> Sequence[str]:
        """The program and its arguments; later ones win."""
        options = {
            "bind": HOST,
            "port": str(self.port),
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "save": "",
            # A replica gets the data at once, not after 5 s, and through no file.
            "repl-diskless-sync": "yes",
            "repl-diskless-sync-delay": "0",
            "repl-ping-replica-period": "1",
        }
        if self.password:
            options["masterauth"] = self.password
        if self.certificate:
            options |= {
                "tls-port": str(self.tls_port),
                "tls-cert-file": str(self.certificate.certificate),
                "tls-key-file": str(self.certificate.key),
                "tls-ca-cert-file": str(self.certificate.authority),
                "tls-auth-clients": "no",
            }
        options |= self.settings
        return ("redis-server", *(part for name, value in options.items() for part in (f"--{name}", value)))

    def ready(self) -> bool:
        """Ping it."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    @property
    def socket(self) -> Path:
        """Its socket in the file system."""
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """Its address, with the password."""
        return self.address()

    @property
    def unix_url(self) -> str:
        """Its address by the socket."""
        return f"unix://{self._login(self.password)}{self.socket}"

    @property
    def tls_url(self) -> str:
        """Its address by TLS, with the authority to trust."""
        assert self.certificate, "start it with certificate="
        authority = quote(str(self.certificate.authority), safe="")
        return f"rediss://{self._login(self.password)}{HOST}:{self.tls_port}/0?ssl_ca_certs={authority}"

    def address(self, password: str | None = None, port: int | None = None) -> str:
        """Make an address like this server's, with another password or port."""
        login = self._login(self.password if password is None else password)
        return f"redis://{login}{HOST}:{port or self.port}/0"

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """Open a plain redis-py client, for whatever a test wants to do to the server."""
        with redis.Redis(
            host=HOST,
            port=self.port,
            password=self.password or None,
            socket_timeout=ADMIN_SECONDS,
            socket_connect_timeout=ADMIN_SECONDS,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            yield client

    def freeze(self) -> None:
        """Stop the process with its connections open: it accepts, and does not answer (SIGSTOP)."""
        self.signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.signal(signal.SIGCONT)
        self.frozen = False

    def cut(self) -> None:
        """End the connections of all clients."""
        with self.client() as client:
            for kind in ("normal", "pubsub"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        super().kill()
        self.frozen = False

    def close(self) -> None:
        """End it at once, and remove its folder."""
        self.kill()
        super().close()

    @staticmethod
    def _login(password: str) -> str:
        return f":{quote(password, safe='')}@" if password else ""


class _Sentinel(Redis):
    """One sentinel, which knows the others, so that they need not find each other first."""

    def __init__(self) -> None:
        super().__init__()
        self.id = secrets.token_hex(20)

    def command(self) -> Sequence[str]:
        return ("redis-server", str(self.folder / "sentinel.conf"), "--sentinel")

    def knows_enough(self) -> bool:
        """Ask it whether it could have another master elected."""
        try:
            with self.client() as client:
                return bool(client.execute_command("SENTINEL", "CKQUORUM", SERVICE))
        except redis.RedisError:
            return False

    def write(self, master: Redis, replicas: Sequence[Redis], others: Sequence[_Sentinel]) -> None:
        """Write what it has to know."""
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f"dir {self.folder}",
            f"sentinel myid {self.id}",
            f"sentinel monitor {SERVICE} {HOST} {master.port} {SENTINELS // 2 + 1}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}",
            # The next failover may begin after twice this.
            f"sentinel failover-timeout {SERVICE} 1000",
        ]
        if master.password:
            lines.append(f"sentinel auth-pass {SERVICE} {master.password}")
        lines += [f"sentinel known-replica {SERVICE} {HOST} {replica.port}" for replica in replicas]
        lines += [f"sentinel known-sentinel {SERVICE} {HOST} {other.port} {other.id}" for other in others]
        (self.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")


class RedisGroup:
    """Several Redis that choose a new master by themselves; for `with`. Subclasses say how.

    `servers` are those with data, dead ones too.
    """

    servers: list[Redis]

    @property
    def url(self) -> str:
        """The address of the group, for the broker."""
        return self.address()

    def address(self, password: str | None = None, port: int | None = None) -> str:
        """Make an address like this group's, with another password, or only one server at another port."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start all, and wait until the group works."""
        raise NotImplementedError

    def master(self, key: str = "") -> Redis:
        """Say who is the master now, according to the group: perhaps one that has just died.

        :param key: the key it has; only a cluster cares.
        """
        raise NotImplementedError

    def kill_master(self, key: str = "") -> Redis:
        """Kill -9 the master, and return it; another is elected within a few seconds."""
        server = self.master(key)
        server.kill()
        return server

    def freeze_master(self, key: str = "") -> Redis:
        """Freeze the master (SIGSTOP), and return it; another is elected, and `thaw` brings it back."""
        server = self.master(key)
        server.freeze()
        return server

    def thaw(self, server: Redis) -> None:
        """Let a former master go on (SIGCONT), as a replica of the new one."""
        server.thaw()
        self._rejoin(server)
        self.wait_for_replicas()

    def wait_for_failover(self, dead: Redis, key: str = "") -> Redis:
        """Wait until somebody else than `dead` is the master and says so himself, and return him."""

        def elected() -> Redis | None:
            master = self.master(key)
            if master is dead:
                return None
            with master.client() as client:
                return master if client.execute_command("ROLE")[0] == "master" else None

        master = wait_until(elected, f"a master instead of port {dead.port}", ELECTION_SECONDS)
        assert master is not None
        return master

    def wait_for_replicas(self) -> None:
        """Wait until every master has a replica that has all its data: nothing is lost by a failover then."""
        wanted: dict[int, int] = {}
        wait_until(
            lambda: self._copied(wanted) and self._agree(),
            "replicas are up to date, and all agree who is the master",
            ELECTION_SECONDS,
        )

    def restart_dead(self) -> None:
        """Start whoever is dead; a former master becomes a replica."""
        for server in self.servers:
            if not server.running:
                server.start()
                self._rejoin(server)
        self.wait_for_replicas()

    def close(self) -> None:
        """End all."""
        for server in self.servers:
            server.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rejoin(self, server: Redis) -> None:
        """Tell a server that has come back what it is now, if nobody else does."""

    def _agree(self) -> bool:
        """Say whether all name the same masters."""
        return True

    def _copied(self, wanted: dict[int, int]) -> bool:
        """Say whether all are connected, and each master has a replica that has what it had at first.

        :param wanted: how far each master was, by port.
        """
        masters, reached = set(), {}
        try:
            for server in self.servers:
                with server.client() as client:
                    match client.execute_command("ROLE"):
                        case ["master", offset, _]:
                            masters.add(server.port)
                            wanted.setdefault(server.port, offset)
                        case ["slave", _, port, "connected", offset]:
                            reached[port] = offset
                        case _:
                            return False
        except redis.RedisError:
            return False
        return all(reached.get(port, -1) >= wanted[port] for port in masters)


class RedisSentinelGroup(RedisGroup):
    """A master with one replica, and three sentinels, which name another master about 2 s after a death.

    :param settings: of redis.conf, for master and replica.
    """

    def __init__(self, **settings: str) -> None:
        first = Redis(certificate=None, **settings)
        second = Redis(certificate=None, **settings, replicaof=f"{HOST} {first.port}")
        self.servers = [first, second]
        self.sentinels = [_Sentinel() for _ in range(SENTINELS)]

    def address(self, password: str | None = None, port: int | None = None) -> str:
        """Make an address of the sentinels."""
        login = Redis._login(self.servers[0].password if password is None else password)
        ports = [port] if port else [sentinel.port for sentinel in self.sentinels]
        return f"redis+sentinel://{login}{','.join(f'{HOST}:{each}' for each in ports)}/0/{SERVICE}"

    def start(self) -> Self:
        """Start all, and wait until the sentinels would agree on a failover."""
        first, second = self.servers
        for server in self.servers:
            server.start()
        self.wait_for_replicas()
        for sentinel in self.sentinels:
            sentinel.write(first, [second], [other for other in self.sentinels if other is not sentinel])
            sentinel.start()
        for sentinel in self.sentinels:
            wait_until(sentinel.knows_enough, "the sentinels know each other")
        return self

    def master(self, key: str = "") -> Redis:
        """Ask the first sentinel."""
        with self.sentinels[0].client() as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def _rejoin(self, server: Redis) -> None:
        # The sentinels would wait 8 s before they do it.
        master = self.master()
        if master is not server:
            with server.client() as client:
                client.execute_command("REPLICAOF", HOST, master.port)

    def close(self) -> None:
        """End all."""
        for sentinel in self.sentinels:
            sentinel.close()
        super().close()


class _ClusterNode(Redis):
    """One server of a cluster."""

    def __init__(self, **settings: str) -> None:
        self.bus_port = quiet_port()
        self.id = secrets.token_hex(20)
        super().__init__(
            certificate=None,
            **settings,
            cluster_enabled="yes",
            cluster_port=str(self.bus_port),
            cluster_node_timeout=str(DOWN_MS),
            # However long a replica has heard nothing, it may become the master.
            cluster_replica_validity_factor="0",
        )

    def works(self) -> bool:
        """Ask it whether all slots are served."""
        try:
            with self.client() as client:
                return "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO"))
        except redis.RedisError:
            return False


class RedisCluster(RedisGroup):
    """A Redis Cluster of three masters with one replica each, which takes over about 2 s after a death.

    :param settings: of redis.conf, for all.
    """

    def __init__(self, **settings: str) -> None:
        self.nodes = [_ClusterNode(**settings) for _ in range(2 * MASTERS)]
        self.servers = list(self.nodes)

    def address(self, password: str | None = None, port: int | None = None) -> str:
        """Make an address of two of the servers, so that the others are to be found."""
        login = Redis._login(self.servers[0].password if password is None else password)
        ports = [port] if port else [server.port for server in self.servers[:2]]
        return f"redis+cluster://{login}{','.join(f'{HOST}:{each}' for each in ports)}"

    def start(self) -> Self:
        """Start all as if they had been a cluster before, and wait until every slot is served."""
        for server in self.nodes:
            (server.folder / "nodes.conf").write_text(self._nodes(server))
            server.launch()
        for server in self.nodes:
            wait_until(server.works, "the cluster works", ELECTION_SECONDS)
        self.wait_for_replicas()
        return self

    def master(self, key: str = "") -> Redis:
        """Ask the first server that answers who has the slot of `key`."""
        slot = key_slot(key.encode())
        for server in self.servers:
            if server.frozen:
                continue
            with contextlib.suppress(redis.RedisError), server.client() as client:
                # As two words redis-py leaves the answer as it is.
                for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(each for each in self.servers if each.port == port)
        raise AssertionError(f"nobody has the slot of {key!r}")

    def _agree(self) -> bool:
        views = []
        for server in self.servers:
            with server.client() as client:
                views.append(
                    {(slots[0], slots[2][1]) for slots in client.execute_command("CLUSTER", "SLOTS")}
                )
        return all(view == views[0] for view in views)

    def _nodes(self, myself: Redis) -> str:
        """Write the cluster as one server sees it: the first three are masters, the others their replicas."""
        lines = []
        for number, server in enumerate(self.nodes):
            master = self.nodes[number % MASTERS]
            flags = ("myself," if server is myself else "") + ("master" if server is master else "slave")
            line = f"{server.id} {HOST}:{server.port}@{server.bus_port} {flags} "
            line += "-" if server is master else master.id
            line += f" 0 0 {number % MASTERS + 1} connected"
            if server is master:
                first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
                line += f" {first}-{last}"
            lines.append(line)
        return "\n".join([*lines, f"vars currentEpoch {MASTERS} lastVoteEpoch 0"]) + "\n"
