"""Where a Redis is: read its address, and connect to whoever is the master there right now.

    redis://[user:password@]host[:port][/db]          rediss:// is the same over TLS
    unix://[user:password@]/path/of/the/socket[?db=0]
    redis+sentinel://[user:password@]host:port,host:port/db/service
    redis+cluster://[user:password@]host:port,host:port

`rediss+sentinel://` and `rediss+cluster://` use TLS towards everybody. After a `?` may follow what SETTINGS
names, as redis-py's `from_url` takes it. Sentinels have passwords of their own: `sentinel_username` and
`sentinel_password`. Characters like / @ : ? # in a password are percent-encoded.

redis-py's own Sentinel and RedisCluster clients retry and ask in ways that cannot be bounded from outside,
and one stream needs only one master: so this asks by itself, and takes a plain connection of redis-py's.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

from app.realtime.brokers.base import BrokerError, BrokerOptions

Address = tuple[str, int]

FORMS = (
    "redis://host:6379/0, rediss://host:6379/0, unix:///path/redis.sock, "
    "redis+sentinel://host:26379,host:26379/0/service or redis+cluster://host:6379,host:6379"
)
#: What may follow a "?". Time limits are not among them: those are the broker's options.
SETTINGS = (
    *("db", "username", "password", "sentinel_username", "sentinel_password", "client_name"),
    *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version"),
    *("ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_ciphers"),
    *("ssl_include_verify_flags", "ssl_exclude_verify_flags", "socket_keepalive", "socket_read_size"),
)
PORT = 6379
SENTINEL_PORT = 26379
MAX_PORT = 65535
# Of the time for connecting, half is for asking who is the master, in two attempts or more; the other half is
# for going there.
DISCOVERY_SHARE = 0.5
ATTEMPT_SHARE = 0.25


def shown(url: str) -> str:
    """Make an address fit for errors and logs: without user, password and what follows a "?"."""
    return re.sub(r"(?s)(://).*@", r"\1***@", re.sub(r"(?s)\?(?!.*@).*", "", url))


class Place:
    """One Redis, by host and port or by its socket.

    :param settings: arguments of redis-py's connection: `connection_class`, `password` and so on.
    """

    def __init__(self, name: str, options: BrokerOptions, settings: dict[str, Any]) -> None:
        self.name = name
        self.options = options
        self._settings = {name: value for name, value in settings.items() if not name.startswith("sentinel_")}
        self._class: type[Any] = self._settings.pop("connection_class")

    def connect(self, key: bytes, read_seconds: float) -> Any:
        """Open a connection to the master that has `key`.

        :param read_seconds: the limit of each answer on it.
        :returns: a redis-py connection.
        :raises RedisError, OSError, BrokerError: within about the options' connect_timeout_seconds and
            one answer.
        """
        return self._open(self._settings, read_seconds, self.options.connect_timeout_seconds)

    def check(self) -> None:
        """Make a connection without opening it.

        :raises TypeError, ValueError, RedisError: when a setting makes no sense.
        """
        self._make(self._settings, 1, 1)

    def _make(self, settings: dict[str, Any], read_seconds: float, connect_seconds: float) -> Any:
        return self._class(
            **settings,
            socket_timeout=read_seconds,
            socket_connect_timeout=connect_seconds,
            # The engine decides when to try again.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            # It costs two answers more per connection.
            driver_info=None,
        )

    def _open(self, settings: dict[str, Any], read_seconds: float, connect_seconds: float) -> Any:
        connection = self._make(settings, read_seconds, connect_seconds)
        connection.connect()
        return connection


class Group(Place):
    """Several servers that know the master. Each time another one is asked first, so a wrong one is left."""

    def __init__(
        self, name: str, options: BrokerOptions, settings: dict[str, Any], nodes: list[Address]
    ) -> None:
        super().__init__(name, options, settings)
        self._nodes = nodes
        self._asking = dict(self._settings)

    def connect(self, key: bytes, read_seconds: float) -> Any:
        """Ask one after the other until somebody names a master that is one."""
        limit = self.options.connect_timeout_seconds
        deadline = time.monotonic() + limit * DISCOVERY_SHARE
        problems = []
        for node in list(self._nodes):
            self._nodes = [other for other in self._nodes if other != node] + [node]
            try:
                master = self._master(node, key)
                settings = self._settings | {"host": master[0], "port": master[1]}
                connection = self._open(settings, read_seconds, limit * (1 - DISCOVERY_SHARE))
                self._verify(connection)
            except (AuthenticationError, NoPermissionError):
                raise
            except (RedisError, OSError, BrokerError) as error:
                problems.append(f"{node[0]}:{node[1]}: {error}")
                if time.monotonic() > deadline:
                    break
                continue
            return connection
        raise BrokerError(f"no master found at {self.name} ({'; '.join(problems)})")

    def _ask(self, node: Address, *command: object) -> Any:
        seconds = self.options.connect_timeout_seconds * ATTEMPT_SHARE
        connection = self._open(self._asking | {"host": node[0], "port": node[1]}, seconds, seconds)
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()

    def _master(self, node: Address, key: bytes) -> Address:
        raise NotImplementedError

    def _verify(self, connection: Any) -> None:
        """Raise BrokerError, and close the connection, when it leads to no master."""


class Sentinels(Group):
    """A master and replicas, watched by sentinels."""

    def __init__(
        self,
        name: str,
        options: BrokerOptions,
        settings: dict[str, Any],
        nodes: list[Address],
        service: str,
    ) -> None:
        super().__init__(name, options, settings, nodes)
        self._service = service
        for setting in ("db", "username", "password"):
            self._asking.pop(setting, None)
        for setting in ("username", "password"):
            if f"sentinel_{setting}" in settings:
                self._asking[setting] = settings[f"sentinel_{setting}"]

    def _master(self, node: Address, key: bytes) -> Address:
        answer = self._ask(node, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        if not answer:
            raise BrokerError(f"this sentinel knows no service {self._service!r}")
        host, port = answer
        return host.decode(), int(port)

    def _verify(self, connection: Any) -> None:
        # A sentinel that was cut off may still name a master that is none any more.
        connection.send_command("ROLE")
        try:
            role = connection.read_response()[0]
        except RedisError as error:
            if getattr(error, "status_code", None) == "NOPERM":
                return
            connection.disconnect()
            raise
        if role != b"master":
            connection.disconnect()
            raise BrokerError("the master it names is none")


class Cluster(Group):
    """A Redis Cluster: each key has its master."""

    def __init__(
        self, name: str, options: BrokerOptions, settings: dict[str, Any], nodes: list[Address]
    ) -> None:
        super().__init__(name, options, settings, nodes)
        self._seeds = list(nodes)

    def _master(self, node: Address, key: bytes) -> Address:
        slot = key_slot(key)
        master: Address | None = None
        known = dict.fromkeys(self._seeds)
        for first, last, *servers in self._ask(node, "CLUSTER", "SLOTS"):
            for number, (host, port, *_) in enumerate(servers):
                # A node that does not know its own address leaves it out.
                address = (host.decode() if host else node[0], int(port))
                known[address] = None
                if number == 0 and first <= slot <= last:
                    master = address
        if master is None:
            raise BrokerError(f"this node of the cluster knows nobody for slot {slot}")
        # The addresses that were given may all be gone one day; the cluster tells of the others.
        self._nodes = [other for other in known if other != node] + [node]
        return master


def _nodes(url: str, hosts: str, port: int) -> list[Address]:
    nodes = []
    for part in hosts.split(","):
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", part)
        number = int(match[3] or port) if match else 0
        if match is None or not 0 < number <= MAX_PORT:
            raise ValueError(
                f"{shown(url)!r}: {part!r} is no host with a port; write for example host:{port}, "
                "and percent-encode / @ : ? # in a password"
            )
        nodes.append((unquote(match[1] or match[2]), number))
    return nodes


def _settings(url: str, query: str, *, tls: bool) -> dict[str, Any]:
    """Read what follows the "?"."""
    try:
        settings: dict[str, Any] = parse_url(f"redis://?{query}")  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise ValueError(f"{shown(url)!r}: {error}") from None
    for name, value in settings.items():
        if name not in SETTINGS:
            raise ValueError(
                f"{shown(url)!r}: {name!r} is nothing that this address can set. It can set: "
                f"{', '.join(SETTINGS)}. Time limits and retries are the queue's options."
            )
        if name.startswith("ssl_") and not tls:
            raise ValueError(f"{shown(url)!r}: {name} needs TLS, so the address must begin with rediss")
        if name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") and not Path(value).is_file():
            raise ValueError(f"{shown(url)!r}: {name} names a file that is not there: {value!r}")
    return settings


def find_place(url: str, options: BrokerOptions) -> Place:
    """Read an address.

    :raises ValueError: when it makes no sense; the error says what to write, and no password.
    """
    match = re.fullmatch(r"(?is)(redis|rediss|unix|rediss?\+sentinel|rediss?\+cluster)://([^?]*)\??(.*)", url)
    if match is None:
        raise ValueError(f"{shown(url)!r} is no address of a Redis; write {FORMS}")
    scheme, rest, query = match[1].lower(), match[2], match[3]
    authority, slash, path = rest.partition("/")
    userinfo, _, hosts = authority.rpartition("@")
    if "#" in url or "@" in query or (scheme != "unix" and "@" in path):
        raise ValueError(f"{shown(url)!r}: percent-encode / @ : ? # in the user's name and password")
    tls = scheme.startswith("rediss")
    settings = _settings(url, query, tls=tls)
    settings["connection_class"] = SSLConnection if tls else Connection
    username, _, password = userinfo.partition(":")
    if username:
        settings["username"] = unquote(username)
    if password:
        settings["password"] = unquote(password)

    place: Place
    parts = path.split("/")
    if scheme == "unix":
        if hosts or not path:
            raise ValueError(f"{shown(url)!r} names no socket; write unix:///path/redis.sock")
        settings |= {"connection_class": UnixDomainSocketConnection, "path": unquote(slash + path)}
        place = Place(shown(url), options, settings)
    else:
        if scheme.endswith("+sentinel"):
            db, service = [*parts, ""][:2]
            if len(parts) > 2 or not service:  # noqa: PLR2004 - db and service
                raise ValueError(f"{shown(url)!r} names no service; write {scheme}://host:26379/0/service")
        else:
            db = path.rstrip("/")
        if not re.fullmatch(r"\d*", db):
            raise ValueError(f"{shown(url)!r}: the database is a number, and {db!r} is none; write /0")
        if db:
            settings.setdefault("db", int(db))
        if scheme.endswith("+cluster") and settings.pop("db", 0):
            raise ValueError(f"{shown(url)!r}: a Redis Cluster has only the database 0")
        if scheme.endswith("+sentinel"):
            place = Sentinels(
                shown(url), options, settings, _nodes(url, hosts, SENTINEL_PORT), unquote(service)
            )
        elif scheme.endswith("+cluster"):
            place = Cluster(shown(url), options, settings, _nodes(url, hosts, PORT))
        else:
            [node, *others] = _nodes(url, hosts or "localhost", PORT)
            if others:
                raise ValueError(
                    f"{shown(url)!r} names several hosts; write redis+sentinel:// or redis+cluster://"
                )
            place = Place(shown(url), options, settings | {"host": node[0], "port": node[1]})
    try:
        place.check()
    except (RedisError, TypeError, ValueError) as error:
        raise ValueError(f"{shown(url)!r}: {error}") from None
    return place
