"""The brokers of the fault tests: started when a scenario first needs them, put right after each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis, RedisCluster, RedisSentinelGroup
from tests.support.servers import Server

KINDS: Mapping[str, Callable[[], Any]] = {
    "redis": Redis,
    "rabbitmq": RabbitMQ,
    "sentinel": RedisSentinelGroup,
    "cluster": RedisCluster,
}


class Brokers(dict[str, Any]):
    """Servers by name; asking for one starts it."""

    def __missing__(self, name: str) -> Any:
        server = KINDS[name]()
        server.start()
        self[name] = server
        return server

    def put_right(self, *, thoroughly: bool) -> None:
        """Let the next scenario find them well.

        :param thoroughly: somebody may have left one anyhow: end all, so that new ones are started.
        """
        for name, server in list(self.items()):
            well = isinstance(server, Server) and not thoroughly and server.running and server.ready()
            if not well:
                del self[name]
                self._end(server)

    def close(self) -> None:
        """End all."""
        while self:
            self._end(self.popitem()[1])

    def _end(self, server: Any) -> None:
        with contextlib.suppress(Exception):
            server.thaw()
        server.close()
