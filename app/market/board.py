"""The last tick and the recent prices of each symbol: threads write them, greenlets read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from gevent import monkey

from app.market.sources import Instrument, Quote

HISTORY_PRICES = 60  # what a sparkline in the watch list can show

# Far beyond any market, and near enough that a change in percent is always a finite number.
PRICE_MIN, PRICE_MAX = 1e-8, 1e12

# A native lock, because native threads and greenlets meet here. A patched lock belongs to the hub
# of the thread that made it: a feed thread that waits for it would start a hub of its own. Whoever
# holds a native lock must not switch greenlets (no emit, no log, no I/O), or the greenlet that wants
# it next stops the whole process. Here it is held for a few assignments and one copy of 60 numbers,
# so the hub waits for microseconds. One lock a symbol: a reader meets only its lane.
_allocate_lock: Any = monkey.get_original("_thread", "allocate_lock")


@dataclass(frozen=True, slots=True)
class Tick:
    """One numbered price, as clients get it.

    :param seq: 1, 2, 3, ... for each symbol, without gaps, since the feed's start.
    :param change_percent: since the session's opening price, the first one recorded; two decimals.
    :param time_ms: milliseconds since the epoch.
    """

    symbol: str
    seq: int
    price: float
    change_percent: float
    time_ms: int

    def as_dict(self) -> dict[str, object]:
        """The tick as it goes to clients."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of one symbol at one moment.

    :param last: the newest tick; None before the first.
    :param history: at most 60 prices, oldest first; the last one is `last.price`.
    """

    instrument: Instrument
    last: Tick | None
    history: tuple[float, ...]

    def as_dict(self) -> dict[str, object]:
        """The snapshot as it goes to clients."""
        return {
            "symbol": self.instrument.symbol,
            "name": self.instrument.name,
            "last": self.last.as_dict() if self.last else None,
            "history": list(self.history),
        }


@dataclass(slots=True)
class _Entry:
    """The state of one symbol; its lock guards `last` and `history` together."""

    instrument: Instrument
    lock: Any = field(default_factory=_allocate_lock)
    opening: float | None = None
    last: Tick | None = None
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY_PRICES))


class Board:
    """Numbers the ticks of each symbol and keeps the newest ones.

    Every method may be called from any native thread and any greenlet.

    :param instruments: what can be recorded; fixed for the board's life.
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._entries = {instrument.symbol: _Entry(instrument) for instrument in instruments}

    @property
    def instruments(self) -> list[Instrument]:
        """Every instrument, in the order in which they were given."""
        return [entry.instrument for entry in self._entries.values()]

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._entries

    def record(self, quote: Quote, time_ms: int) -> Tick:
        """Take in a quote and number it.

        :param time_ms: now, in milliseconds since the epoch.
        :raises KeyError: for a symbol that the board does not have.
        :raises ValueError: for a price that is not a number from 0.00000001 to 1000000000000.
        """
        entry = self._entry(quote.symbol)
        price = quote.price
        if not PRICE_MIN <= price <= PRICE_MAX:
            raise ValueError(f"{quote.symbol}: price {price!r} should be {PRICE_MIN} to {PRICE_MAX}")
        with entry.lock:
            if entry.opening is None:
                entry.opening = price
            # Adding zero turns -0.0 into 0.0, which JSON would show.
            change_percent = round((price / entry.opening - 1) * 100, 2) + 0.0
            seq = entry.last.seq + 1 if entry.last else 1
            entry.last = tick = Tick(quote.symbol, seq, price, change_percent, time_ms)
            entry.history.append(price)
        return tick

    def snapshot(self, symbol: str) -> Snapshot:
        """Say what is known of a symbol now.

        :raises KeyError: for a symbol that the board does not have.
        """
        entry = self._entry(symbol)
        with entry.lock:
            last, history = entry.last, tuple(entry.history)
        return Snapshot(entry.instrument, last, history)

    def _entry(self, symbol: str) -> _Entry:
        try:
            return self._entries[symbol]
        except KeyError:
            known = ", ".join(self._entries)
            raise KeyError(f"no symbol {symbol!r} on the board; it has: {known}") from None
