"""The `/market` events, through a Flask-SocketIO test client without a session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import market
from app.market import SAMPLE_SESSION, schemas
from app.market.feed import Feed
from app.market.namespace import MarketNamespace
from app.market.sources import DEFAULT_INSTRUMENTS, Quote, RandomWalk, Replay, SourceError
from app.realtime import Emitter, SocketIO
from config import Settings, load_settings


def settings(**values: Any) -> Settings:
    return load_settings(app_env="testing", rate_default="1000/second", **values)


class Site:
    """An application with nothing but a market, and one client of it."""

    def __init__(self, **values: Any) -> None:
        self.app = Flask(__name__)
        self.app.secret_key = "test"
        self.app.extensions["settings"] = settings(**values)
        self.socketio = SocketIO(self.app, async_mode="threading", async_handlers=False)
        self.emitter = Emitter(self.socketio)
        feed = market.init_app(self.app, self.socketio, self.emitter, settings(**values))
        self.feed: Feed | None = feed
        self.client = self.connect()

    def connect(self) -> Any:
        return self.socketio.test_client(self.app, namespace="/market")

    def ask(self, event: str, *payload: object) -> Any:
        return self.client.emit(event, *payload, namespace="/market", callback=True)

    def tick(self, symbol: str, price: float, time_ms: int = 1) -> None:
        """One quote on its whole way, without the feed's threads."""
        assert self.feed is not None
        tick = self.feed.board.record(Quote(symbol, price), time_ms)
        assert tick is not None
        self.socketio.emit("tick", tick.as_dict(), namespace="/market", to=f"symbol:{symbol}")

    def received(self) -> list[tuple[str, Any]]:
        return [(packet["name"], packet["args"][0]) for packet in self.client.get_received("/market")]


@pytest.fixture
def site() -> Site:
    return Site(market_source="random-walk", market_symbols=["ACME=Acme Corp", "NOVA=Nova"])


def test_symbols_are_listed_for_anybody(site: Site) -> None:
    expected = [{"symbol": "ACME", "name": "Acme Corp"}, {"symbol": "NOVA", "name": "Nova"}]
    assert site.ask("symbols") == {"ok": True, "symbols": expected}
    assert site.ask("symbols", {}) == {"ok": True, "symbols": expected}


def test_subscribe_answers_with_what_is_known(site: Site) -> None:
    site.tick("ACME", 100.0, 1)
    site.tick("ACME", 110.0, 2)
    answer = site.ask("subscribe", {"symbols": ["NOVA", "ACME", "NOVA"]})
    assert answer == {
        "ok": True,
        "snapshots": [
            {"symbol": "NOVA", "name": "Nova", "last": None, "history": []},
            {
                "symbol": "ACME",
                "name": "Acme Corp",
                "last": {
                    "symbol": "ACME",
                    "run": 1,
                    "seq": 2,
                    "price": 110.0,
                    "change_percent": 10.0,
                    "time_ms": 2,
                },
                "history": [100.0, 110.0],
            },
        ],
    }
    for snapshot in answer["snapshots"]:
        schemas.Snapshot.model_validate(snapshot)


def test_ticks_reach_subscribers_until_they_unsubscribe(site: Site) -> None:
    site.tick("ACME", 1.0)
    assert site.received() == []
    site.ask("subscribe", {"symbols": ["ACME"]})
    site.tick("ACME", 2.0)
    site.tick("NOVA", 5.0)
    assert [(name, tick["symbol"], tick["seq"]) for name, tick in site.received()] == [("tick", "ACME", 2)]
    assert site.ask("unsubscribe", {"symbols": ["ACME", "NOVA"]}) == {"ok": True}
    site.tick("ACME", 3.0)
    assert site.received() == []


def test_a_tick_while_subscribing_is_not_missed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site.feed is not None
    board = site.feed.board
    enter_room: Callable[..., None] = MarketNamespace.enter_room
    snapshot = board.snapshot

    def enter_room_slowly(*args: Any, **kwargs: Any) -> None:
        site.tick("ACME", 1.0)
        enter_room(*args, **kwargs)
        site.tick("ACME", 2.0)

    def snapshot_slowly(symbol: str) -> Any:
        site.tick("ACME", 3.0)
        taken = snapshot(symbol)
        site.tick("ACME", 4.0)
        return taken

    monkeypatch.setattr(MarketNamespace, "enter_room", enter_room_slowly)
    monkeypatch.setattr(board, "snapshot", snapshot_slowly)
    known = site.ask("subscribe", {"symbols": ["ACME"]})["snapshots"][0]["last"]["seq"]
    sent = {tick["seq"] for _, tick in site.received()}
    assert set(range(1, known + 1)) | sent == {1, 2, 3, 4}


def test_history_has_the_points_for_a_chart() -> None:
    site = Site(
        market_source="random-walk", market_symbols=["ACME=Acme Corp", "NOVA=Nova"], market_history_points=60
    )
    for seq in range(1, 71):
        site.tick("ACME", float(seq), 1_000 + seq)
    answer = site.ask("history", {"symbol": "ACME"})
    assert answer["ok"]
    assert answer["max_points"] == 60
    assert [list(point) for point in answer["points"]] == [
        [1_001, seq, 1_000 + seq, float(seq)] for seq in range(11, 71)
    ]
    assert site.ask("history", {"symbol": "NOVA"}) == {"ok": True, "points": [], "max_points": 60}
    assert site.ask("history", {"symbol": "NONE"})["error"]["code"] == "symbol_not_found"
    assert site.ask("history", {"symbol": "acme"})["error"]["code"] == "bad_payload"
    assert Site(market_source="off").ask("history", {"symbol": "ACME"})["error"]["code"] == "unavailable"


@pytest.mark.parametrize("event", ["subscribe", "unsubscribe"])
def test_an_unknown_symbol_is_refused_before_anything_is_done(site: Site, event: str) -> None:
    site.ask("subscribe", {"symbols": ["NOVA"]})
    answer = site.ask(event, {"symbols": ["ACME", "NOVA", "NONE"]})
    assert not answer["ok"]
    assert answer["error"]["code"] == "symbol_not_found"
    assert answer["error"]["symbol"] == "NONE"
    assert "`symbols` lists all" in answer["error"]["message"]
    site.tick("ACME", 1.0)
    site.tick("NOVA", 1.0)
    assert [tick["symbol"] for _, tick in site.received()] == ["NOVA"]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"symbols": []},
        {"symbols": "ACME"},
        {"symbols": ["acme"]},
        {"symbols": ["ACME\n"]},
        {"symbols": [""]},
        {"symbols": ["ABCDEFGHIJKLM"]},
        {"symbols": [7]},
        {"symbols": ["ACME"] * 51},
        {"symbols": ["ACME"], "more": 1},
        ["ACME"],
    ],
)
def test_a_bad_payload_is_refused(site: Site, payload: object) -> None:
    answer = site.ask("subscribe", payload)
    assert not answer["ok"]
    assert answer["error"]["code"] == "bad_payload"


def test_a_market_that_is_off_answers() -> None:
    site = Site(market_source="off")
    assert site.feed is None
    assert site.ask("symbols") == {"ok": True, "symbols": []}
    answer = site.ask("subscribe", {"symbols": ["ACME"]})
    assert answer["error"]["code"] == "unavailable"


def test_the_settings_choose_the_source(tmp_path: Path) -> None:
    walk = market.build_source(
        settings(market_source="random-walk", market_seed=3, market_ticks_per_second=50)
    )
    assert isinstance(walk, RandomWalk)
    assert (walk.seed, walk.ticks_per_second) == (3, 50)
    assert {i.symbol: i.name for i in walk.symbols} == DEFAULT_INSTRUMENTS

    replay = market.build_source(settings(market_source="replay", market_replay_speed=20))
    assert isinstance(replay, Replay)
    assert replay.speed == 20
    assert next(replay.lanes()[0]) == next(Replay(SAMPLE_SESSION).lanes()[0])

    with pytest.raises(SourceError, match=r"gone\.csv"):
        market.build_source(settings(market_source="replay", market_replay_file=tmp_path / "gone.csv"))
    assert market.build_source(settings(market_source="off")) is None
