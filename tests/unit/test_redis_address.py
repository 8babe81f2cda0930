"""Addresses of Redis: what they mean, and what is said about those that mean nothing."""

from pathlib import Path
from typing import Any

import pytest
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from app.realtime.brokers import BrokerOptions
from app.realtime.brokers.redis import RedisBroker
from app.realtime.brokers.redis_address import Cluster, Place, Sentinels, find_place, shown


def place(url: str) -> Any:
    return find_place(url, BrokerOptions())


@pytest.mark.parametrize(
    ("url", "connection_class", "settings"),
    [
        ("redis://h", Connection, {"host": "h", "port": 6379}),
        ("redis://", Connection, {"host": "localhost", "port": 6379}),
        ("Redis://h:1/2", Connection, {"host": "h", "port": 1, "db": 2}),
        ("redis://h?db=2", Connection, {"host": "h", "port": 6379, "db": 2}),
        ("redis://[::1]:1/", Connection, {"host": "::1", "port": 1}),
        ("redis://:p%40%2F%3F@h", Connection, {"host": "h", "port": 6379, "password": "p@/?"}),
        ("redis://u%3A:p:w@h", Connection, {"host": "h", "port": 6379, "username": "u:", "password": "p:w"}),
        (
            "rediss://h?ssl_cert_reqs=none",
            SSLConnection,
            {"host": "h", "port": 6379, "ssl_cert_reqs": "none"},
        ),
        ("unix:///run/redis%201.sock", UnixDomainSocketConnection, {"path": "/run/redis 1.sock"}),
        (
            "unix://:pw@/r.sock?db=3",
            UnixDomainSocketConnection,
            {"path": "/r.sock", "password": "pw", "db": 3},
        ),
    ],
)
def test_one_server(url: str, connection_class: type, settings: dict[str, object]) -> None:
    found = place(url)
    assert type(found) is Place
    assert found._class is connection_class
    assert found._settings == settings


def test_sentinels() -> None:
    found = place("redis+sentinel://u:p%40@a:1,b,[::1]:3/2/my%20master?sentinel_password=s")
    assert type(found) is Sentinels
    assert found._nodes == [("a", 1), ("b", 26379), ("::1", 3)]
    assert found._service == "my master"
    assert found._settings == {"username": "u", "password": "p@", "db": 2}
    assert found._asking == {"password": "s"}, "sentinels have another password, and no databases"
    assert found._class is Connection
    assert place("rediss+sentinel://a/0/m")._class is SSLConnection


def test_cluster() -> None:
    found = place("redis+cluster://:p@a:1,b")
    assert type(found) is Cluster
    assert found._nodes == [("a", 1), ("b", 6379)]
    assert found._settings == found._asking == {"password": "p"}
    assert place("rediss+cluster://a/0")._class is SSLConnection


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "write redis://"),
        ("localhost:6379", "write redis://"),
        ("http://:secret@h", "write redis://"),
        ("redis+mystery://:secret@h", "write redis://"),
        ("redis://:secret@h:port", "write for example host:6379"),
        ("redis://:secret@h:0", "write for example host:6379"),
        ("redis://:secret@h:65536", "write for example host:6379"),
        ("redis://:secret@:6379", "write for example host:6379"),
        ("redis://:sec/ret@h", "percent-encode"),
        ("redis://:sec#ret@h", "percent-encode"),
        ("redis://:sec?ret@h", "percent-encode"),
        ("redis://:secret@h/one", "the database is a number"),
        ("redis://:secret@a,b", r"redis\+sentinel:// or redis\+cluster://"),
        ("redis://:secret@h?socket_timeout=5", "queue's options"),
        ("redis://:secret@h?db=x", "'db'"),
        ("redis://:secret@h?ssl_cert_reqs=none", "must begin with rediss"),
        ("rediss://:secret@h?ssl_cert_reqs=perhaps", "perhaps"),
        ("rediss://:secret@h?ssl_ca_certs=/nowhere/ca.pem", "not there"),
        ("unix://", "names no socket"),
        ("unix://run/redis.sock", "names no socket"),
        ("redis+sentinel://:secret@h:1", "names no service"),
        ("redis+sentinel://:secret@h:1/0", "names no service"),
        ("redis+sentinel://:secret@h:1/mymaster/0", "the database is a number"),
        ("redis+sentinel://:secret@/0/mymaster", "write for example host:26379"),
        ("redis+cluster://:secret@a,/0", "write for example host:6379"),
        ("redis+cluster://:secret@a/1", "only the database 0"),
    ],
)
def test_what_makes_no_sense_is_explained(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        RedisBroker(url, "c", "o", BrokerOptions())
    for secret in ("secret", "sec", "ret@"):
        assert secret not in str(caught.value).replace("services", "")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_certificate_authority_that_is_there(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    assert place(f"rediss://h?ssl_ca_certs={authority}")._settings["ssl_ca_certs"] == str(authority)


def test_addresses_are_shown_without_secrets() -> None:
    assert shown("redis://u:p@h:1/0?password=p") == "redis://***@h:1/0"
    assert shown("redis://u:p/@?#@h:1/0") == "redis://***@h:1/0"
    assert shown("redis://h:1/0") == "redis://h:1/0"
    assert shown("nonsense") == "nonsense"
