"""The numbers in docs/deployment.md are those of the files and of the settings' defaults."""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable
from typing import Any

from app.realtime.brokers import redis as redis_broker
from config.settings import ProductionSettings
from tests.deploy import guide
from tests.support.servers import ROOT

NGINX = ROOT / "nginx"
SUPERVISOR = ROOT / "supervisor"
UNIT = ROOT / "config" / "systemd" / "realtime.service"
# What the unit's TimeoutStopSec has room for.
NODES_OF_THE_UNIT = 6


def default(name: str) -> Any:
    """What a setting is in production, if nobody sets it."""
    return ProductionSettings.model_fields[name.lower()].default


def seconds(value: str) -> int:
    return int(value.removesuffix("s"))


def option(name: str) -> int:
    """What the health listener is told."""
    [value] = re.findall(
        rf"^command=.* --{name} (\d+)", (SUPERVISOR / "health.conf").read_text(), re.MULTILINE
    )
    return int(value)


def unit(name: str) -> str:
    """What the unit gives a name that it has once."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser["Service"][name]


# The numbers.


def ping() -> str:
    return f"{default('SOCKET_PING_INTERVAL_SECONDS')} + {default('SOCKET_PING_TIMEOUT_SECONDS')} s"


def silence() -> str:
    read, send = (
        seconds(guide.directive(NGINX / "site.conf", f"proxy_{way}_timeout")) for way in ("read", "send")
    )
    assert read == send > default("SOCKET_PING_INTERVAL_SECONDS") + default("SOCKET_PING_TIMEOUT_SECONDS")
    return f"{read} s"


def body() -> str:
    assert int(guide.directive(NGINX / "realtime.conf", "client_max_body_size")) == default(
        "MAX_REQUEST_BYTES"
    )
    return f"{default('MAX_REQUEST_BYTES')} bytes"


def message() -> str:
    assert int(guide.directive(NGINX / "site.conf", "client_max_body_size")) == default(
        "SOCKET_MAX_MESSAGE_BYTES"
    )
    return f"{default('SOCKET_MAX_MESSAGE_BYTES')} bytes"


def dead_node() -> str:
    assert set(re.findall(r"max_fails=\d+", (NGINX / "nodes.conf").read_text())) == {"max_fails=0"}
    return f"{seconds(guide.directive(NGINX / 'realtime.conf', 'proxy_connect_timeout'))} s"


def wait() -> str:
    return f"{default('DRAIN_WAIT_SECONDS'):g} s"


def drain() -> str:
    return f"{default('DRAIN_SECONDS'):g} s"


def stop() -> str:
    assert option("grace") == default("GRACEFUL_TIMEOUT_SECONDS")
    return f"{default('GRACEFUL_TIMEOUT_SECONDS')} s"


def patience() -> str:
    found = int(guide.directive(SUPERVISOR / "nodes.conf", "stopwaitsecs"))
    assert found > default("GRACEFUL_TIMEOUT_SECONDS")
    return f"{found} s"


def systemd() -> str:
    others = sum(
        int(value)
        for name in ("nginx", "health", "redis", "rabbitmq")
        for value in re.findall(
            r"^stopwaitsecs=(\d+)", (SUPERVISOR / f"{name}.conf").read_text(), re.MULTILINE
        )
    )
    each = int(guide.directive(SUPERVISOR / "nodes.conf", "stopwaitsecs"))
    assert f"{others} s and {each} for each node" in guide.text()
    assert seconds(unit("TimeoutStopSec")) >= others + NODES_OF_THE_UNIT * each
    return f"{unit('TimeoutStopSec')} s"


def frozen() -> str:
    return f"{option('timeout')} s, {option('failures')} times"


def connections() -> str:
    assert default("WORKER_CONNECTIONS") < int(guide.directive(SUPERVISOR / "supervisord.conf", "minfds"))
    return f"{default('WORKER_CONNECTIONS')}"


def files() -> str:
    found = {
        guide.directive(SUPERVISOR / "supervisord.conf", "minfds"),
        guide.directive(NGINX / "nginx.conf", "worker_rlimit_nofile"),
        unit("LimitNOFILE"),
    }
    assert len(found) == 1, found
    return found.pop()


def nginx_connections() -> str:
    found = guide.directive(NGINX / "nginx.conf", "worker_connections")
    assert int(found) * 2 == int(guide.directive(NGINX / "nginx.conf", "worker_rlimit_nofile"))
    return found


def one_address() -> str:
    conf = (NGINX / "realtime.conf").read_text()
    rates = dict(re.findall(r"zone=(\w+):\w+ rate=(\d+)r/s", conf))
    return (
        f"{guide.directive(NGINX / 'realtime.conf', 'limit_conn connections')} connections, "
        f"{rates['sockets']} r/s, {rates['pages']} r/s"
    )


def database() -> str:
    return f"{default('DATABASE_POOL_SIZE')} each"


# The first cell of each row, and what its second one should be.
NUMBERS: dict[str, Callable[[], str]] = {
    "ping": ping,
    "silence on a socket": silence,
    "body of a request": body,
    "message of a client": message,
    "a dead node": dead_node,
    "serve on, before the drain": wait,
    "let clients go": drain,
    "a whole stop of a node": stop,
    "supervisor's patience": patience,
    "systemd's patience": systemd,
    "a frozen node": frozen,
    "connections of a node": connections,
    "open files": files,
    "connections of an nginx worker": nginx_connections,
    "one address": one_address,
    "database connections": database,
}


def test_every_number_of_the_table_is_that_of_the_files() -> None:
    stated = {what: number for what, number, *_ in guide.table("what")}
    assert stated == {what: find() for what, find in NUMBERS.items()}


def test_what_it_says_of_the_brokers_is_in_their_files() -> None:
    written = {
        "redis": {
            "maxmemory 512mb",
            "maxmemory-policy noeviction",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
        },
        "rabbitmq": {"vm_memory_high_watermark.relative = 0.25", "disk_free_limit.absolute = 200MB"},
    }
    code = guide.code()
    for broker, lines in written.items():
        conf = (ROOT / "config" / f"{broker}.conf").read_text("utf-8").splitlines()
        for line in lines:
            assert line in code
            assert line in conf


def test_the_rights_in_redis_are_those_that_the_broker_asks_for() -> None:
    hint = next(hint for hint in redis_broker.HINTS.values() if "~socketio:*" in hint)
    rights = re.findall(r"~socketio:\*[ +@a-z]*[a-z]", hint)
    assert rights == ["~socketio:* +@read +@write +@connection"]
    assert f"user realtime on >PASSWORD {rights[0]}" in guide.code()
    for more in ("+role", "+cluster|slots"):
        assert more in hint
        assert more in guide.text().replace("\\|", "|")


def test_a_node_keeps_what_the_table_says_when_brokers_are_away() -> None:
    mib = (default("QUEUE_MAX_BYTES") + default("QUEUE_RETENTION_BYTES")) / 2**20
    assert f"| `QUEUE_MAX_BYTES` + `QUEUE_RETENTION_BYTES`, {mib:g} MiB |" in guide.text()


def test_the_unit_runs_what_ships() -> None:
    assert UNIT.read_text().count("/srv/realtime/supervisor/supervisord.conf") == 2
    assert "> >(exec cat) 2>&1" in unit("ExecStart"), "/dev/fd/1 would be the journal's socket"
    assert unit("KillMode") == "mixed"
    assert unit("OOMPolicy") == "continue"
    assert unit("RuntimeDirectory") == "realtime"
