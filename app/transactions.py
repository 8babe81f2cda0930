"""What services need of the database; app/database.py is it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Transactions(Protocol):
    """Runs `work(session, *args)` in a transaction."""

    def read(self, work: Callable[..., T], *args: object) -> T:
        """Only read. :raises EventError: `unavailable`."""

    def write(self, work: Callable[..., T], *args: object) -> T:
        """Perhaps write. :raises EventError: `unavailable`."""
