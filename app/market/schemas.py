"""The payloads of the `/market` namespace: what clients send, and what they are sent."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.market.board import SPARKLINE_PRICES
from app.market.sources import SYMBOL_PATTERN

# One event may not make the server look at more than a screen of symbols.
SYMBOLS_MAX = 50

Symbol = Annotated[str, StringConstraints(pattern=SYMBOL_PATTERN)]
SymbolList = Annotated[list[Symbol], Field(min_length=1, max_length=SYMBOLS_MAX)]


class _Payload(BaseModel):
    # Strict: a number is not taken for a symbol. An unknown field is a mistake worth telling.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Subscribe(_Payload):
    """Receive the ticks of some symbols from now on."""

    symbols: SymbolList = Field(description="1 to 50 symbols, as the event `symbols` lists them.")


class Unsubscribe(_Payload):
    """Receive the ticks of some symbols no more."""

    symbols: SymbolList = Field(description="1 to 50 symbols; not being subscribed is no error.")


class HistoryOf(_Payload):
    """Ask for the history of a symbol."""

    symbol: Symbol


class Tick(_Payload):
    """A new price, sent to everybody who subscribed to its symbol."""

    symbol: Symbol
    run: int = Field(
        ge=1,
        description="When the feed began to number, in milliseconds since the epoch. A later run counts.",
    )
    seq: int = Field(ge=1, description="1, 2, 3, ... for each symbol, without gaps, within a run.")
    price: float = Field(gt=0)
    change_percent: float = Field(description="Since the run's opening price.")
    time_ms: int = Field(ge=0, description="Milliseconds since the epoch.")


class Snapshot(_Payload):
    """What is known of a symbol at the moment of subscribing."""

    symbol: Symbol
    name: str
    last: Tick | None = Field(description="The newest tick; null before the first.")
    history: list[float] = Field(
        max_length=SPARKLINE_PRICES,
        description="Recent prices, oldest first; the last is the newest.",
    )


class Instrument(_Payload):
    """Something that has a price."""

    symbol: Symbol
    name: str


class SymbolsAnswer(_Payload):
    """All symbols; none when the feed is off."""

    symbols: list[Instrument]


class SubscribeAnswer(_Payload):
    """What is known now, in the order asked for, each symbol once."""

    snapshots: list[Snapshot]


class HistoryAnswer(_Payload):
    """The recent prices of a symbol."""

    points: list[tuple[int, int, int, float]] = Field(
        description="Each `[run, seq, time_ms, price]`, as of the ticks; oldest first."
    )
    max_points: int = Field(ge=1, description="How many the server keeps.")
