"""The recent prices of each symbol: threads and other nodes write them, greenlets read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from gevent import monkey

from app.market.sources import Instrument, Quote

SPARKLINE_PRICES = 60  # what a sparkline in the watch list can show
HISTORY_POINTS = 600  # of a board that is told nothing else; see MARKET_HISTORY_POINTS

# Far beyond any market, and near enough that a change in percent is always a finite number.
PRICE_MIN, PRICE_MAX = 1e-8, 1e12

# Two nodes with a feed: the one that began later counts. When it has been silent for longer than a slow walk
# (0.1 ticks/second) takes between two ticks, the other one goes on.
TAKE_OVER_MS = 30_000

# A native lock, because native threads and greenlets meet here. A patched lock belongs to the hub
# of the thread that made it: a feed thread that waits for it would start a hub of its own. Whoever
# holds a native lock must not switch greenlets (no emit, no log, no I/O), or the greenlet that wants
# it next stops the whole process. Here it is held for a few assignments and one copy of the history,
# so the hub waits for microseconds; for a millisecond when a node that has just started gets the
# history of the others. One lock a symbol: a reader meets only its lane.
_allocate_lock: Any = monkey.get_original("_thread", "allocate_lock")


class Point(NamedTuple):
    """A price in a history. What was later sorts as larger: a later run, then a larger seq.

    :param run: when the feed began to number, in milliseconds since the epoch, and later than any run before.
    :param seq: 1, 2, 3, ... for each symbol, without gaps, within a run.
    :param time_ms: milliseconds since the epoch.
    """

    run: int
    seq: int
    time_ms: int
    price: float

    @property
    def position(self) -> tuple[int, int]:
        """What tells the point from all others of its symbol, on every node."""
        return self.run, self.seq


@dataclass(frozen=True, slots=True)
class Tick:
    """One numbered price, as clients get it; see Point.

    :param change_percent: since the opening price, the first one of the run; two decimals.
    """

    symbol: str
    run: int
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
    :param history: at most SPARKLINE_PRICES prices, oldest first; the last one is `last.price`.
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


@dataclass(frozen=True, slots=True)
class History:
    """Points of one symbol, oldest first, as nodes tell each other.

    :param opening: the price from which the newest point's change is counted; None when there is no point.
    """

    symbol: str
    opening: float | None
    points: tuple[Point, ...]


@dataclass(slots=True)
class _Entry:
    """The state of one symbol; its lock guards all of it together."""

    instrument: Instrument
    points: deque[Point]
    lock: Any = field(default_factory=_allocate_lock)
    run: int = 0  # of the feed of this process; 0 before its first tick
    opening: float | None = None
    heard_ms: int = 0  # when another node last told something newer

    @property
    def newest(self) -> Point | None:
        return self.points[-1] if self.points else None

    def tick(self, point: Point) -> Tick:
        # Adding zero turns -0.0 into 0.0, which JSON would show.
        change_percent = round((point.price / (self.opening or point.price) - 1) * 100, 2) + 0.0
        return Tick(self.instrument.symbol, point.run, point.seq, point.price, change_percent, point.time_ms)


class Board:
    """Numbers the ticks of each symbol and keeps the newest ones, also those of a feed on another node.

    Every method may be called from any native thread and any greenlet.

    :param instruments: what can be recorded; fixed for the board's life.
    :param history_points: how many points of each symbol are kept, SPARKLINE_PRICES or more.
    """

    def __init__(self, instruments: Iterable[Instrument], history_points: int = HISTORY_POINTS) -> None:
        self.history_points = history_points
        self._entries = {
            instrument.symbol: _Entry(instrument, deque(maxlen=history_points)) for instrument in instruments
        }

    @property
    def instruments(self) -> list[Instrument]:
        """Every instrument, in the order in which they were given."""
        return [entry.instrument for entry in self._entries.values()]

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._entries

    def record(self, quote: Quote, time_ms: int) -> Tick | None:
        """Take in a quote of this process's feed and number it.

        :param time_ms: now, in milliseconds since the epoch.
        :returns: None when the quote does not count, because another node's feed has begun later.
        :raises KeyError: for a symbol that the board does not have.
        :raises ValueError: for a price that is not a number from 0.00000001 to 1000000000000.
        """
        entry = self._entry(quote.symbol)
        _check_price(quote.symbol, quote.price)
        with entry.lock:
            newest = entry.newest
            if newest is None or newest.run != entry.run:
                if entry.run and time_ms - entry.heard_ms < TAKE_OVER_MS:
                    return None
                # A run that begins is the newest, also where the clock is behind another node's.
                entry.run = max(time_ms, newest.run + 1 if newest else 1)
                entry.opening = quote.price
                seq = 1
            else:
                seq = newest.seq + 1
            point = Point(entry.run, seq, time_ms, quote.price)
            entry.points.append(point)
            return entry.tick(point)

    def merge(self, history: History, time_ms: int) -> int:
        """Take in what another node has; what is known already counts once.

        :param time_ms: now, in milliseconds since the epoch.
        :returns: how many of the points are newer than all that was known.
        :raises KeyError: for a symbol that the board does not have.
        :raises ValueError: for a price that `record` would refuse, too.
        """
        entry = self._entry(history.symbol)
        for point in history.points:
            _check_price(history.symbol, point.price)
        points = sorted(history.points)
        if not points:
            return 0
        with entry.lock:
            before = entry.newest.position if entry.newest else (0, 0)
            newer = sum(point.position > before for point in points)
            if newer == len(points):
                entry.points.extend(points)
            else:
                known = {point.position: point for point in (*points, *entry.points)}
                entry.points = deque(sorted(known.values()), maxlen=self.history_points)
            if newer:
                entry.opening = history.opening
                entry.heard_ms = time_ms
        return newer

    def recorded_since(self, symbol: str, position: tuple[int, int]) -> History:
        """Say what this process's feed has recorded after a point's position.

        :raises KeyError: for a symbol that the board does not have.
        """
        entry = self._entry(symbol)
        points: list[Point] = []
        with entry.lock:
            for point in reversed(entry.points):
                if point.run != entry.run or point.position <= position:
                    break
                points.append(point)
            return History(symbol, entry.opening, tuple(reversed(points)))

    def history(self, symbol: str) -> History:
        """Say all that is known of a symbol.

        :raises KeyError: for a symbol that the board does not have.
        """
        entry = self._entry(symbol)
        with entry.lock:
            return History(symbol, entry.opening, tuple(entry.points))

    def snapshot(self, symbol: str) -> Snapshot:
        """Say what is known of a symbol now.

        :raises KeyError: for a symbol that the board does not have.
        """
        entry = self._entry(symbol)
        with entry.lock:
            newest = entry.newest
            last = entry.tick(newest) if newest else None
            first = max(0, len(entry.points) - SPARKLINE_PRICES)
            prices = tuple(point.price for point in islice(entry.points, first, None))
        return Snapshot(entry.instrument, last, prices)

    def _entry(self, symbol: str) -> _Entry:
        try:
            return self._entries[symbol]
        except KeyError:
            known = ", ".join(self._entries)
            raise KeyError(f"no symbol {symbol!r} on the board; it has: {known}") from None


def _check_price(symbol: str, price: float) -> None:
    if not PRICE_MIN <= price <= PRICE_MAX:
        raise ValueError(f"{symbol}: price {price!r} should be {PRICE_MIN} to {PRICE_MAX}")
