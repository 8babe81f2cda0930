"""Brokers: the pipes between nodes, behind one small interface (base.py)."""

from __future__ import annotations

from collections import Counter

from app.realtime.brokers.base import Broker, BrokerError, BrokerOptions, BrokerRefused

__all__ = [
    "Broker",
    "BrokerError",
    "BrokerOptions",
    "BrokerRefused",
    "broker_class",
    "name_brokers",
    "parse_message_queue",
]

_REDIS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_RABBITMQ = ("amqp", "amqps", "pyamqp")


def parse_message_queue(value: str | list[str] | tuple[str, ...] | None) -> list[str]:
    """Turn a `message_queue` argument into a list of addresses, best first; empty means in process.

    A comma separates addresses only before a scheme, for the addresses of Sentinel and Cluster contain some.
    """
    if value is None:
        return []
    if not isinstance(value, str):
        return [part.strip() for part in value if part.strip()]
    urls: list[str] = []
    for part in filter(None, map(str.strip, value.split(","))):
        if "://" in part or not urls:
            urls.append(part)
        else:
            urls[-1] += f",{part}"
    return urls


def broker_class(url: str) -> type[Broker]:
    """The class for an address; its library is imported only now.

    :raises ValueError: for a scheme that none speaks.
    """
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme == "memory":
        from app.realtime.brokers.memory import MemoryBroker

        return MemoryBroker
    if scheme in _REDIS:
        from app.realtime.brokers.redis import RedisBroker

        return RedisBroker
    if scheme in _RABBITMQ or scheme.startswith("kombu+"):
        from app.realtime.brokers.kombu import KombuBroker

        return KombuBroker
    wrong = f"no broker speaks {scheme}" if scheme else "an address has no scheme"
    raise ValueError(
        f"message_queue: {wrong}: write redis://, "
        "rediss://, unix://, redis+sentinel://, redis+cluster://, amqp://, amqps://, memory:// or "
        "kombu+ before any address of kombu's"
    )


def kind_of(url: str) -> str:
    """What the name of a broker begins with."""
    scheme = url.partition("://")[0].lower()
    if scheme == "memory" or scheme.startswith("kombu+"):
        return scheme.partition("+")[0]
    return "rabbitmq" if scheme in _RABBITMQ else "redis"


def name_brokers(urls: list[str]) -> dict[str, str]:
    """Name each address by its kind, numbered when repeated: redis, rabbitmq, redis-2."""
    seen: Counter[str] = Counter()
    named: dict[str, str] = {}
    for url in urls:
        broker_class(url)
        kind = kind_of(url)
        seen[kind] += 1
        named[kind if seen[kind] == 1 else f"{kind}-{seen[kind]}"] = url
    return named
