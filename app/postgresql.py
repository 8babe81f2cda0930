"""A connection to PostgreSQL that does not wait for ever."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout  # psycopg gives the bound of `wait` no public name
from sqlalchemy import Engine, event

# Statements end in the server after twice the time that locks are waited for: a server that says nothing for
# longer than that is frozen, or out of reach.
SILENCE_FACTOR = 3


class BoundedConnection(psycopg.Connection[Any]):
    """Gives a server up that does not answer.

    libpq waits for as long as the connection stands, and it does stand while the server's process is
    stopped, or its machine is gone without a word.
    """

    silence_seconds = 15.0

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer, at most for `silence_seconds`.

        :raises psycopg.OperationalError: when none comes; the connection is closed then.
        """
        try:
            return super().wait(gen, interval, self.silence_seconds if timeout is None else timeout)
        except _WaitTimeout:
            if timeout is not None:
                raise
            # What the server does with the statement is unknown, and its answer would be taken for another's.
            self.pgconn.finish()
            raise psycopg.OperationalError(
                f"PostgreSQL has said nothing for {self.silence_seconds:g} s"
            ) from None


def bound(engine: Engine, timeout_seconds: float) -> None:
    """Let an engine's connections be of this kind.

    :param timeout_seconds: how long the server waits for a lock.
    """

    @event.listens_for(engine, "do_connect")
    def connect(
        _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
    ) -> BoundedConnection:
        connection = BoundedConnection.connect(*arguments, **options)
        connection.silence_seconds = SILENCE_FACTOR * timeout_seconds
        return connection
