"""The market's events: which symbols there are, and who wants their ticks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pydantic import BaseModel

from app.errors import EventError
from app.market import schemas
from app.market.board import Board
from app.market.feed import room_of
from app.realtime import Client, Nothing, Rates, event
from app.users.namespace import UserNamespace


class MarketNamespace(UserNamespace):
    """`/market`: ticks for everybody, signed in or not.

    :param board: what is known of each symbol; None when this process has no feed.
    """

    requires_user = False
    # The feed's threads send it, through the emitter.
    emits: ClassVar[dict[str, type[BaseModel]]] = {"tick": schemas.Tick}

    def __init__(self, board: Board | None, rates: Rates) -> None:
        super().__init__("/market", rates)
        self._board = board

    @event(answer=schemas.SymbolsAnswer)
    def on_symbols(self, client: Client, payload: Nothing) -> schemas.SymbolsAnswer:
        """List all symbols; none when the feed is off."""
        instruments = self._board.instruments if self._board else []
        return schemas.SymbolsAnswer(
            symbols=[schemas.Instrument(symbol=i.symbol, name=i.name) for i in instruments]
        )

    @event(schemas.Subscribe, schemas.SubscribeAnswer)
    def on_subscribe(self, client: Client, payload: schemas.Subscribe) -> schemas.SubscribeAnswer:
        """Send the client all further ticks of some symbols, and answer with what is known now.

        The rooms come before the snapshots. A tick between the two is in both, and the client tells
        by its `seq`; the other way round it would be in neither.
        """
        board, symbols = self._known(payload.symbols)
        for symbol in symbols:
            self.enter_room(client.sid, room_of(symbol))
        return schemas.SubscribeAnswer(
            snapshots=[schemas.Snapshot.model_validate(board.snapshot(s).as_dict()) for s in symbols]
        )

    @event(schemas.HistoryOf, schemas.HistoryAnswer)
    def on_history(self, client: Client, payload: schemas.HistoryOf) -> schemas.HistoryAnswer:
        """Answer with the recent prices of a symbol, for a chart.

        Subscribe first. A tick may be in both, and the client tells by `run` and `seq`. A node without the
        feed knows a tick up to half a second later than the sockets: whoever misses a `seq` between the
        history and the ticks asks again a second later.
        """
        board, (symbol,) = self._known([payload.symbol])
        return schemas.HistoryAnswer(
            points=list(board.history(symbol).points), max_points=board.history_points
        )

    @event(schemas.Unsubscribe)
    def on_unsubscribe(self, client: Client, payload: schemas.Unsubscribe) -> None:
        """Send the client no more ticks of some symbols; those not subscribed to are no error."""
        _, symbols = self._known(payload.symbols)
        for symbol in symbols:
            self.leave_room(client.sid, room_of(symbol))

    def _known(self, symbols: Iterable[str]) -> tuple[Board, list[str]]:
        """The board, and each symbol once; nothing is done for a list with an unknown one in it."""
        if self._board is None:
            raise EventError("unavailable", "This server has no market feed (MARKET_SOURCE=off).")
        unique = list(dict.fromkeys(symbols))
        for symbol in unique:
            if symbol not in self._board:
                raise EventError(
                    "symbol_not_found",
                    f"There is no symbol {symbol}. The event `symbols` lists all that there are.",
                    symbol=symbol,
                )
        return self._board, unique
