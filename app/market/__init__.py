"""The market: made-up or recorded prices, sent to whoever subscribes (see docs/market.md)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from flask import Flask

from app.market.board import Board
from app.market.feed import Feed
from app.market.namespace import MarketNamespace
from app.market.sharing import Sharing
from app.market.sources import (
    DEFAULT_INSTRUMENTS,
    Instrument,
    RandomWalk,
    Replay,
    Source,
    SourceError,
)
from app.realtime import Emitter, Rates, SocketIO
from config import Settings, SettingsError

logger = logging.getLogger(__name__)

SAMPLE_SESSION = Path(__file__).with_name("session.csv")


def init_app(app: Flask, socketio: SocketIO, emitter: Emitter, settings: Settings) -> Feed | None:
    """Register `/market` and build the feed, which the caller starts and stops.

    :returns: None when the feed is off: then `/market` answers, and has no symbols; and None when another
        node runs it: then the symbols' ticks come over the queue. With a queue, `app.extensions` has the
        `market_sharing`, which the caller starts and stops, too.
    :raises SettingsError: for symbols or a recording that cannot be used.
    """
    try:
        source = build_source(settings)
    except SourceError as error:
        raise SettingsError(f"MARKET_SOURCE={settings.market_source}: {error}") from None
    board = Board(source.symbols, settings.market_history_points) if source else None
    rates = Rates({"default": settings.rate_default, "connect": settings.rate_connect})
    namespace = MarketNamespace(board, rates)
    socketio.on_namespace(namespace)
    app.extensions["market"] = namespace
    if source is None or board is None:
        return None
    has_feed = settings.market_node in (None, settings.node_id)
    if settings.message_queue:
        app.extensions["market_sharing"] = Sharing(board, socketio, has_feed)
    elif not has_feed:
        logger.warning(
            "MARKET_NODE is another node, and without MESSAGE_QUEUE its prices cannot come here",
        )
    if not has_feed:
        return None
    return Feed(source, board, emitter, namespace.namespace)


def build_source(settings: Settings) -> Source | None:
    """Build the source that the settings ask for; None for "off".

    :raises SourceError: for symbols or a recording that cannot be used.
    """
    if settings.market_source == "replay":
        path = settings.market_replay_file or SAMPLE_SESSION
        return Replay(path, speed=settings.market_replay_speed)
    if settings.market_source == "random-walk":
        return RandomWalk(
            parse_instruments(settings.market_symbols),
            seed=settings.market_seed,
            ticks_per_second=settings.market_ticks_per_second,
        )
    return None


def parse_instruments(entries: Sequence[str]) -> list[Instrument]:
    """Turn entries like "ACME=Acme Corporation" into instruments; no entries: the built-in ones.

    :raises SourceError: naming the entry that is wrong.
    """
    if not entries:
        return [Instrument(symbol, name) for symbol, name in DEFAULT_INSTRUMENTS.items()]
    instruments = []
    for entry in entries:
        symbol, separator, name = entry.partition("=")
        if not separator:
            raise SourceError(f"market symbol {entry!r}: write SYMBOL=Name, like ACME=Acme Corporation")
        instruments.append(Instrument(symbol.strip(), name.strip()))
    return instruments
