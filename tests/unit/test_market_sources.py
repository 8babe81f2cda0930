"""The random walk and the replay: prices, pace, determinism, and errors that say what to write."""

import csv
import re
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.market import SAMPLE_SESSION, parse_instruments
from app.market.sources import (
    DEFAULT_INSTRUMENTS,
    HEADER,
    Instrument,
    Lane,
    Quote,
    RandomWalk,
    Replay,
    SourceError,
)

ACME, NOVA = Instrument("ACME", "Acme Corp"), Instrument("NOVA", "Nova")
DOCS = Path(__file__).parents[2] / "docs" / "market.md"

seeds = st.integers(min_value=0, max_value=2**63)
rates = st.floats(min_value=0.1, max_value=100)
prices = st.decimals("0.01", "999999", places=2).map(str)
offsets = st.lists(st.integers(0, 10**9), min_size=1, max_size=20).map(sorted)


def take(lane: Lane, count: int) -> list[tuple[float, Quote]]:
    return list(islice(lane, count))


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("market") / "session.csv"


# The random walk.


@given(seeds, rates)
def test_walk_prices_are_above_zero_with_two_decimals(seed: int, rate: float) -> None:
    for _, quote in take(RandomWalk([ACME], seed, rate).lanes()[0], 300):
        assert quote.symbol == "ACME"
        assert quote.price > 0
        assert quote.price == round(quote.price, 2)


def test_walk_stays_above_zero_whatever_the_market_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomWalk, "VOLATILITY", 5.0)  # a crash of everything, many times over
    walk = RandomWalk([ACME], 1, 1.0)
    low = min(quote.price for _, quote in take(walk.lanes()[0], 5_000))
    assert low == RandomWalk.PRICE_MIN


@given(seeds, rates)
def test_walk_goes_forward_in_bounded_steps(seed: int, rate: float) -> None:
    dues = [due for due, _ in take(RandomWalk([ACME], seed, rate).lanes()[0], 300)]
    gaps = [later - earlier for earlier, later in zip([0.0, *dues], dues, strict=False)]
    assert min(gaps) > 0.2 / rate
    assert max(gaps) < 3.2 / rate
    assert len({round(gap * rate, 3) for gap in gaps}) > 30  # irregular, as trades are


@pytest.mark.parametrize("rate", [0.1, 2.0, 100.0])
def test_walk_keeps_the_asked_rate(rate: float) -> None:
    dues = [due for due, _ in take(RandomWalk([ACME], 5, rate).lanes()[0], 20_000)]
    assert 20_000 / dues[-1] == pytest.approx(rate, rel=0.03)


@given(seeds)
def test_walk_depends_on_seed_and_symbol_alone(seed: int) -> None:
    alone = take(RandomWalk([ACME], seed, 2.0).lanes()[0], 50)
    other, beside = RandomWalk([NOVA, ACME], seed, 2.0).lanes()
    other_quotes = take(other, 50)
    assert take(beside, 50) == alone
    assert [quote.price for _, quote in other_quotes] != [quote.price for _, quote in alone]


def test_walk_begins_anew_with_each_call_of_lanes() -> None:
    walk = RandomWalk([ACME], 1, 2.0)
    assert take(walk.lanes()[0], 50) == take(walk.lanes()[0], 50)
    assert take(walk.lanes()[0], 50) != take(RandomWalk([ACME], 2, 2.0).lanes()[0], 50)


@pytest.mark.parametrize(
    ("symbols", "rate", "message"),
    [
        ([], 2.0, "0 symbols: a random walk may have 1 to 50"),
        ([Instrument(f"S{i}", "x") for i in range(51)], 2.0, "51 symbols"),
        ([ACME, Instrument("ACME", "Other")], 2.0, "a symbol is given twice"),
        ([ACME], 0.05, "ticks_per_second=0.05: allowed is 0.1 to 100"),
        ([ACME], float("nan"), "ticks_per_second=nan"),
    ],
)
def test_walk_refuses(symbols: list[Instrument], rate: float, message: str) -> None:
    with pytest.raises(SourceError, match=re.escape(message)):
        RandomWalk(symbols, 1, rate)


# Instruments.


@pytest.mark.parametrize("symbol", ["", "acme", "ABCDEFGHIJKLM", "A B", "ACME\n", "Ä"])
def test_symbol_is_checked(symbol: str) -> None:
    with pytest.raises(SourceError, match="1 to 12 characters of A-Z, 0-9 and the dot"):
        Instrument(symbol, "Name")


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "tab\there", " Acme"])
def test_name_is_checked(name: str) -> None:
    with pytest.raises(SourceError, match="1 to 60 printable characters"):
        Instrument("ACME", name)


def test_instruments_are_parsed_from_settings() -> None:
    assert parse_instruments(["ACME=Acme Corp", "NOVA = Nova"]) == [ACME, NOVA]
    assert {i.symbol: i.name for i in parse_instruments([])} == DEFAULT_INSTRUMENTS
    with pytest.raises(SourceError, match="'ACME': write SYMBOL=Name"):
        parse_instruments(["ACME"])


# The replay.


@given(
    offsets,
    st.integers(0, 10**14),
    st.sampled_from([0.1, 1.0, 7.0, 1000.0]),
    st.lists(prices, min_size=20, max_size=20),
)
def test_replay_keeps_order_and_pace(
    csv_path: Path, times: list[int], zero_ms: int, speed: float, values: list[str]
) -> None:
    rows = list(zip(times, ("ACME", "NOVA") * 10, values, strict=False))
    write(csv_path, *(f"{zero_ms + time},{symbol},{symbol},{p}" for time, symbol, p in rows))
    quotes = list(Replay(csv_path, speed=speed, loop=False).lanes()[0])
    assert [(q.symbol, q.price) for _, q in quotes] == [(s, float(p)) for _, s, p in rows]
    for (due, _), time in zip(quotes, times, strict=True):
        assert due == pytest.approx((time - times[0]) / 1000 / speed, rel=1e-9, abs=1e-9)


@given(offsets, st.sampled_from([0.1, 1.0, 1000.0]))
def test_replay_goes_on_in_time_when_it_begins_again(csv_path: Path, times: list[int], speed: float) -> None:
    write(csv_path, *(f"{time},ACME,Acme,1" for time in times))
    count, length = len(times), (times[-1] - times[0]) / 1000
    dues = [due for due, _ in take(Replay(csv_path, speed=speed).lanes()[0], 5 * count)]
    assert dues == sorted(dues)
    pause = length / (count - 1) if length else 1.0
    for number, due in enumerate(dues[count:]):
        assert due - dues[number] == pytest.approx((length + pause) / speed, rel=1e-9)


def test_replay_takes_a_file_as_spreadsheets_write_it(tmp_path: Path) -> None:
    path = tmp_path / "session.csv"
    path.write_bytes(
        b'\xef\xbb\xbf# a "comment,\r\n\r\ntime_ms,symbol,name,price\r\n'
        b'1700000000000, BRK.B,"Brew, ""Best"" \xc3\xa9",12.5\r\n1700000000500,ACME,Acme,7\r\n'
    )
    replay = Replay(path, loop=False)
    assert replay.symbols == (Instrument("BRK.B", 'Brew, "Best" é'), Instrument("ACME", "Acme"))
    assert list(replay.lanes()[0]) == [(0.0, Quote("BRK.B", 12.5)), (0.5, Quote("ACME", 7.0))]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0,ACME,Acme,1", "x,ACME,Acme,1"], "line 3, column time_ms: 'x' should be milliseconds"),
        (["-1,ACME,Acme,1"], "line 2, column time_ms: '-1' should be"),
        (["0,acme,Acme,1"], "line 2, column symbol: 'acme' should be 1 to 12 characters"),
        (["0,ACME,,1"], "line 2, column name: '' should be 1 to 60 printable"),
        (["0,ACME,Acme,0.00"], "line 2, column price: '0.00' should be a number above 0"),
        (["0,ACME,Acme,nan"], "line 2, column price: 'nan' should be"),
        (["0,ACME,Acme,1e5"], "line 2, column price: '1e5' should be"),
        (["0,ACME,Acme,-3"], "line 2, column price: '-3' should be"),
        (["0,ACME,Acme"], "line 2: 3 columns; write 4: time_ms,symbol,name,price"),
        (["5,ACME,Acme,1", "", "4,ACME,Acme,1"], "line 4, column time_ms: 4 should be 5 or later"),
        (["0,ACME,Acme,1", "1,ACME,Else,1"], "line 3, column name: 'Else' should be 'Acme'"),
        (['0,ACME,"Acme,1', "1,ACME,Acme,1"], "line 2: '0,ACME,\"Acme,1' is not a line of CSV"),
        ([], "no quotes in it; write the header time_ms,symbol,name,price"),
    ],
)
def test_replay_names_the_bad_line(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path / "bad.csv", *lines)
    with pytest.raises(SourceError) as caught:
        Replay(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_replay_names_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.csv: No such file.*name an existing CSV file"):
        Replay(tmp_path / "none.csv")
    with pytest.raises(SourceError, match="Is a directory"):
        Replay(tmp_path)
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(SourceError, match=r"empty\.csv: no quotes in it"):
        Replay(empty)
    with pytest.raises(SourceError, match="line 1: 'time,price' should be the header time_ms,"):
        Replay(write(tmp_path / "header.csv", header="time,price"))
    latin = tmp_path / "latin.csv"
    latin.write_bytes(HEADER.encode() + b"\n0,ACME,Caf\xe9,1\n")
    with pytest.raises(SourceError, match=r"line 2: .* is not UTF-8"):
        Replay(latin)


@pytest.mark.parametrize("speed", [0.0, 0.09, 1001.0, float("nan")])
def test_replay_refuses_a_speed_out_of_bounds(speed: float) -> None:
    with pytest.raises(SourceError, match=r"allowed is 0\.1 to 1000"):
        Replay(SAMPLE_SESSION, speed=speed)


def test_sample_is_what_the_documented_recorder_writes(tmp_path: Path) -> None:
    replay = Replay(SAMPLE_SESSION, loop=False)
    assert {i.symbol: i.name for i in replay.symbols} == DEFAULT_INSTRUMENTS

    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    scope: dict[str, object] = {}
    exec(next(block for block in blocks if "def record" in block), scope)
    scope["record"](scope["source"], tmp_path / "again.csv", 1_000)  # type: ignore[operator]
    again, sample = (
        list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        for path in (tmp_path / "again.csv", SAMPLE_SESSION)
    )
    assert [row[:3] for row in again] == [row[:3] for row in sample]
    for ours, theirs in zip(again[2:], sample[2:], strict=True):
        # Another machine's logarithm may differ in its last bit, and so the last digit here.
        assert float(ours[3]) == pytest.approx(float(theirs[3]), abs=0.011)
