"""Where quotes come from: a random walk, or a recorded session (see docs/market.md).

Nothing here sleeps, emits or looks at a clock. A source says *when* each quote is due, counted in
seconds since the feed's start, and the feed (feed.py) does the waiting.
"""

from __future__ import annotations

import csv
import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SYMBOL_PATTERN = r"^[A-Z0-9.]{1,12}$"
NAME_MAX_CHARS = 60  # two lines of a phone in the watch list
# One OS thread for each symbol: fifty are cheap, and one subscription may name fifty.
WALK_SYMBOLS_MAX = 50
WALK_RATE_MIN, WALK_RATE_MAX = 0.1, 100.0  # ticks per second of one symbol
REPLAY_SPEED_MIN, REPLAY_SPEED_MAX = 0.1, 1000.0
DEFAULT_INSTRUMENTS: Mapping[str, str] = {
    "ACME": "Acme Corporation",
    "BREW": "Brewster Coffee",
    "CLDR": "Cinder Lane Books",
    "FERN": "Fernwood Gardens",
    "HALO": "Halo Lighting",
    "LARK": "Lark Airlines",
    "MAPL": "Maple Street Foods",
    "NOVA": "Nova Robotics",
    "ORCA": "Orca Shipping",
    "TIDE": "Tidewater Energy",
}


class SourceError(ValueError):
    """A source cannot work with what it was given. The message says what to write instead."""


# What may stand in each column of a recording: the test, and the words for the error.
_RULES: Mapping[str, tuple[Callable[[str], object], str]] = {
    "time_ms": (re.compile(r"[0-9]{1,15}").fullmatch, "milliseconds, 1 to 15 digits"),
    "symbol": (re.compile(SYMBOL_PATTERN).fullmatch, "1 to 12 characters of A-Z, 0-9 and the dot"),
    "name": (
        lambda name: name.isprintable() and 1 <= len(name.strip()) == len(name) <= NAME_MAX_CHARS,
        f"1 to {NAME_MAX_CHARS} printable characters without spaces around them",
    ),
    "price": (
        lambda price: re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,8})?", price) and float(price) > 0,
        "a number above 0 like 12.5, with 1 to 9 digits before and at most 8 after the point",
    ),
}
HEADER = ",".join(_RULES)


def _check(column: str, value: str, where: str) -> None:
    accepts, allowed = _RULES[column]
    if not accepts(value):
        raise SourceError(f"{where}{column}: {value!r} should be {allowed}")


@dataclass(frozen=True, slots=True)
class Instrument:
    """Something that has a price.

    :param symbol: 1 to 12 characters of A-Z, 0-9 and the dot.
    :param name: for people, 1 to 60 printable characters.
    :raises SourceError: for anything else.
    """

    symbol: str
    name: str

    def __post_init__(self) -> None:
        _check("symbol", self.symbol, "instrument, ")
        _check("name", self.name, f"instrument {self.symbol}, ")


@dataclass(frozen=True, slots=True)
class Quote:
    """One price of one symbol, before the board has numbered it.

    :param price: 0.00000001 to 1000000000000; the board refuses anything else.
    """

    symbol: str
    price: float


Lane = Iterator[tuple[float, Quote]]


class Source(Protocol):
    """What the feed asks of a source. Write your own by offering these two members."""

    @property
    def symbols(self) -> tuple[Instrument, ...]:
        """Every instrument that a lane may quote."""

    def lanes(self) -> list[Lane]:
        """Fresh iterators of (due, quote), each run by one OS thread of the feed.

        `due` is in seconds since the feed's start and never goes back within a lane. All quotes of
        a symbol belong to one lane, or its ticks could be sent in another order than numbered.
        """


class RandomWalk:
    """Prices that wander: one lane per symbol, the same for the same seed.

    :param symbols: 1 to 50 instruments, each symbol once.
    :param seed: any integer. A symbol's prices depend on it and the symbol alone, not on other symbols.
    :param ticks_per_second: mean rate of each symbol, 0.1 to 100.
    :raises SourceError: when one of these is out of bounds.
    """

    # Per square root of a second: so the rate of ticks does not matter, and a minute moves about 1 %.
    VOLATILITY = 0.0012
    # The drift: share of the (logarithmic) way back to the opening price made up in a second.
    # Without it a walk that runs for months ends at one cent, or beyond every bound.
    PULL_PER_SECOND = 0.0005
    OPENING_PRICE = (12.0, 480.0)
    PRICE_MIN = 0.01  # the smallest price above 0 with two decimals
    # Gaps are exponential, as of independent trades, but bounded: no pile-ups, no long silences.
    GAP_MIN, GAP_MAX = 0.25, 3.0

    def __init__(self, symbols: Iterable[Instrument], seed: int, ticks_per_second: float) -> None:
        self.symbols = tuple(symbols)
        count = len({instrument.symbol for instrument in self.symbols})
        if count != len(self.symbols):
            raise SourceError("a symbol is given twice: every symbol can have one name only")
        if not 1 <= count <= WALK_SYMBOLS_MAX:
            raise SourceError(f"{count} symbols: a random walk may have 1 to {WALK_SYMBOLS_MAX}")
        if not WALK_RATE_MIN <= ticks_per_second <= WALK_RATE_MAX:
            raise SourceError(f"ticks_per_second={ticks_per_second}: allowed is 0.1 to 100")
        self.seed = seed
        self.ticks_per_second = ticks_per_second

    def lanes(self) -> list[Lane]:
        """One endless lane for each symbol."""
        return [self._lane(instrument.symbol) for instrument in self.symbols]

    def _lane(self, symbol: str) -> Lane:
        # random.Random hashes text with SHA-512: the same on every machine and in every process.
        dice = random.Random(f"{self.seed}:{symbol}")  # noqa: S311 - no secret
        low, high = self.OPENING_PRICE
        # The mean of an exponential gap cut at both ends, to come out at the asked rate exactly.
        mean_gap = self.GAP_MIN + math.exp(-self.GAP_MIN) - math.exp(-self.GAP_MAX)
        scale = 1.0 / (self.ticks_per_second * mean_gap)
        opening = low * (high / low) ** dice.random()
        offset = 0.0  # logarithm of price / opening
        due = 0.0
        while True:
            gap = scale * min(max(dice.expovariate(1.0), self.GAP_MIN), self.GAP_MAX)
            due += gap
            offset -= offset * self.PULL_PER_SECOND * gap
            offset += dice.gauss(0.0, self.VOLATILITY * math.sqrt(gap))
            price = max(round(opening * math.exp(offset), 2), self.PRICE_MIN)
            yield due, Quote(symbol, price)


class Replay:
    """A recorded session from a CSV file, in its recorded order and at its recorded pace.

    The file is read at once, so that a bad line is found at the start and not hours later.

    :param path: the file; its format is described in docs/market.md.
    :param speed: 1 is the recorded pace, 10 is ten times as fast; 0.1 to 1000.
    :param loop: begin again after the last line, after a pause of the mean gap between two lines.
    :raises SourceError: naming the file, the line, the column, the value, and what is allowed.
    """

    # The pause before the next round, when the recording itself has no duration to take it from.
    PAUSE_MS = 1_000.0

    def __init__(self, path: Path, *, speed: float = 1.0, loop: bool = True) -> None:
        if not REPLAY_SPEED_MIN <= speed <= REPLAY_SPEED_MAX:
            raise SourceError(f"speed={speed}: allowed is 0.1 to 1000 (1 is the recorded pace)")
        self.speed = speed
        self.loop = loop
        self._rows, self.symbols = _read(path)

    def lanes(self) -> list[Lane]:
        """One lane with everything, so that the order between symbols is the recorded one."""
        return [self._lane()]

    def _lane(self) -> Lane:
        first_ms, last_ms = self._rows[0][0], self._rows[-1][0]
        length_ms = last_ms - first_ms
        round_ms = length_ms + (length_ms / (len(self._rows) - 1) if length_ms else self.PAUSE_MS)
        base_ms = 0.0
        while True:
            for time_ms, quote in self._rows:
                yield (base_ms + (time_ms - first_ms)) / (1000.0 * self.speed), quote
            if not self.loop:
                return
            base_ms += round_ms


def _read(path: Path) -> tuple[list[tuple[int, Quote]], tuple[Instrument, ...]]:
    """Read and check a recording; the first bad line ends it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}; name an existing CSV file") from None
    rows: list[tuple[int, Quote]] = []
    instruments: dict[str, Instrument] = {}
    header: list[str] | None = None
    # Line by line, so that an unbalanced quotation mark cannot swallow the rest of the file.
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        where = f"{path}, line {number}"
        fields = _fields(raw, where)
        if not fields:
            continue
        if header is None:
            header = fields
            if header != list(_RULES):
                raise SourceError(f"{where}: {','.join(fields)!r} should be the header {HEADER}")
            continue
        if len(fields) != len(_RULES):
            raise SourceError(f"{where}: {len(fields)} columns; write {len(_RULES)}: {HEADER}")
        for column, value in zip(_RULES, fields, strict=True):
            _check(column, value, f"{where}, column ")
        time_ms, symbol, name, price = int(fields[0]), fields[1], fields[2], float(fields[3])
        if rows and time_ms < rows[-1][0]:
            least = rows[-1][0]
            raise SourceError(f"{where}, column time_ms: {time_ms} should be {least} or later")
        known = instruments.setdefault(symbol, Instrument(symbol, name))
        if known.name != name:
            raise SourceError(f"{where}, column name: {name!r} should be {known.name!r}, as above")
        rows.append((time_ms, Quote(known.symbol, price)))
    if not rows:
        raise SourceError(f"{path}: no quotes in it; write the header {HEADER}, then lines")
    return rows, tuple(instruments.values())


def _fields(raw: bytes, where: str) -> list[str]:
    """The columns of one line; none for an empty line or a comment."""
    try:
        text = raw.decode().strip()
        if text.startswith("#"):
            return []
        return [field.strip() for field in next(csv.reader([text], strict=True), [])]
    except UnicodeDecodeError:
        raise SourceError(f"{where}: {raw[:40]!r} is not UTF-8; save the file as UTF-8") from None
    except csv.Error as error:
        raise SourceError(f"{where}: {text[:40]!r} is not a line of CSV ({error})") from None
