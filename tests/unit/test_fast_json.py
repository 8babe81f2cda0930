"""The fast JSON means what the standard one means; whatever differs is listed here."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import json
import math
import struct
import types
import uuid
from array import array
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pytest
from engineio import json as standard
from engineio.packet import Packet as EnginePacket
from hypothesis import example, given, settings
from hypothesis import strategies as st
from socketio.packet import Packet

from app.realtime import fast_json
from app.realtime.protocol import BadPacketError, StrictPacket
from tests.support.json_values import COMPACT, SETTINGS, exact, garbage, outcome, values

# The one deliberate difference: how deep is too deep. Within reach of the interpreter's recursion limit one
# may give up some levels before the other.
SURELY_FINE, SURELY_TOO_DEEP = 500, 100_000

quick = settings(**SETTINGS, max_examples=300)


@quick
@given(value=values)
@example(value={1: "one", "1": "again", True: 0, 1e16: 1, 1e-7: 2, math.nan: 3, None: 4})  # noqa: F601
@example(value=[None, {"x": [math.nan]}])
def test_what_is_encoded_decodes_to_what_the_standard_one_s_does(value: Any) -> None:
    expected = json.dumps(value, **COMPACT)
    text = fast_json.dumps(value, **COMPACT)
    assert type(text) is str
    assert exact(json.loads(text)) == exact(json.loads(expected))
    assert outcome(fast_json.loads, text) == outcome(standard.loads, text)


@quick
@given(value=values)
def test_it_writes_utf_8_and_no_control_characters(value: Any) -> None:
    text = fast_json.dumps(value, **COMPACT)
    text.encode()
    # Long polling separates packets by one.
    assert not any(ord(character) < 0x20 for character in text)


class Text(str):
    def __str__(self) -> str:
        return "other"


class Whole(int):
    def __repr__(self) -> str:
        return "other"


class Real(float):
    pass


class Some(list[Any]):
    def __iter__(self) -> Any:
        return iter(["other"])


class First(dict[str, Any]):
    """As a web framework's dict of several values, which shows the first."""

    def items(self) -> Any:
        return [(key, value[0]) for key, value in super().items()]

    def __buffer__(self, flags: int) -> memoryview:
        """Since Python 3.12 marshal takes it for bytes."""
        return memoryview(b"")


class Number(enum.IntEnum):
    ONE = 1


class Name(enum.StrEnum):
    A = "a"


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Ratio(float, enum.Enum):
    HALF = 0.5


class Labelled(int, enum.Enum):
    """An integer to JSON, though its `value` is a text."""

    ONE = (1, "one")

    def __new__(cls, code: int, label: str) -> Labelled:
        member = int.__new__(cls, code)
        member._value_ = label
        return member


Pair = collections.namedtuple("Pair", "left right")
reordered = collections.OrderedDict(a=1, b=2)
reordered.move_to_end("a")
SUBCLASSES = [
    Text("x"),
    {Text("x"): Text("y")},
    Whole(5),
    {Whole(5): 1},
    Real(1.5),
    Some([1, 2]),
    First(a=[1, 2], b=["x"]),
    Number.ONE,
    {Number.ONE: Number.ONE},
    Name.A,
    {Name.A: Name.A},
    Flags.A | Flags.B,
    Ratio.HALF,
    Labelled.ONE,
    Pair(1, [2]),
    reordered,
    collections.defaultdict(list, a=[1]),
    collections.Counter("aab"),
]


@pytest.mark.parametrize("value", SUBCLASSES, ids=lambda value: type(value).__name__)
def test_subclasses_are_what_the_standard_one_takes_them_for(value: Any) -> None:
    expected = json.dumps([value, {"in": value}], **COMPACT)
    assert exact(json.loads(fast_json.dumps([value, {"in": value}], **COMPACT))) == exact(
        json.loads(expected)
    )


class Plain(enum.Enum):
    A = 1


class Raising(enum.Enum):
    """orjson ends the process for it."""

    A = 1

    @property
    def value(self) -> int:
        raise LookupError


@dataclasses.dataclass
class Point:
    x: int = 1


@dataclasses.dataclass
class TaggedText(bytes):
    """Has a buffer, so that marshal takes it for bytes."""

    x: int = 1


class Struct(msgspec.Struct):
    x: int = 1


circle: list[Any] = []
circle.append({"again": circle})
REFUSED = [
    *(datetime.datetime(2026, 1, 1), datetime.date(2026, 1, 1), datetime.time(1), datetime.timedelta(1)),
    uuid.UUID(int=1),
    Decimal("1.5"),
    *(Plain.A, Raising.A),
    Point(),
    Point,
    TaggedText(),
    Struct(),
    orjson.Fragment(b"1"),
    msgspec.Raw(b"1"),
    {1},
    frozenset(),
    *(b"bytes", bytearray(b"bytes"), memoryview(b"view"), array("d", [1.0])),
    1j,
    ...,
    range(3),
    {}.keys(),
    collections.deque([1]),
    types.MappingProxyType({}),
    object(),
    {(1, 2): 3},
    {b"key": 1},
    circle,
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_the_standard_one_refuses_is_refused_in_its_words(value: Any) -> None:
    for data in (value, [None, {"deep": (1, value)}]):
        expected = outcome(json.dumps, data, **COMPACT)
        assert expected[0] == "refused"
        assert outcome(fast_json.dumps, data, **COMPACT) == expected
        assert fast_json.encode(data) is None


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**99, 10**400, -(10**400)])
def test_integers_of_any_size_are_written(number: int) -> None:
    assert fast_json.dumps({"n": [number]}, **COMPACT) == json.dumps({"n": [number]}, **COMPACT)


def test_numbers_and_texts_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    for value in ("int64(1)", "float64(1.5)", "float64('nan')", "float32(1)", "str_('x')", "bytes_(b'x')"):
        data = [None, eval(f"numpy.{value}", {"numpy": numpy})]
        assert outcome(fast_json.dumps, data, **COMPACT) == outcome(json.dumps, data, **COMPACT)
    for value in (numpy.array([1, 2]), numpy.array([]), numpy.bool_(True), {numpy.str_("k"): 1}):
        assert outcome(fast_json.dumps, value, **COMPACT) == outcome(json.dumps, value, **COMPACT)


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"in": value}
    return value


@pytest.mark.parametrize("levels", [1, 100, 252, 253, 254, 255, 256, SURELY_FINE])
def test_deep(levels: int) -> None:
    text = json.dumps(nested(levels), **COMPACT)
    assert fast_json.dumps(nested(levels), **COMPACT) == text
    assert fast_json.loads(text) == nested(levels)


def test_too_deep() -> None:
    value = nested(SURELY_TOO_DEEP)
    with pytest.raises(RecursionError):
        fast_json.dumps(value, **COMPACT)
    while isinstance(value, list | dict):
        # Otherwise it would be freed level within level.
        value = value[0] if isinstance(value, list) else value["in"]
    for opening in ("[", '{"a":', '[{"a":'):
        with pytest.raises(RecursionError):
            fast_json.loads(opening * SURELY_TOO_DEEP)


@pytest.mark.parametrize(
    "number",
    [
        math.nan,
        -math.nan,
        math.inf,
        -math.inf,
        *struct.unpack("<3d", b"gggggg\xf0\xff\n\n\n\n\n\n\xf8\x7f\xe7\n\xe7ggg\xf8\xff"),
    ],
)
@pytest.mark.parametrize(
    "place", [lambda n: n, lambda n: [None, n], lambda n: {"a": (n, n)}, lambda n: ["g", "null", n]]
)
def test_what_is_not_finite_is_never_null(number: float, place: Callable[[float], Any]) -> None:
    data = place(number)
    assert fast_json.encode(data) is None
    assert fast_json.dumps(data, **COMPACT) == json.dumps(data, **COMPACT)


def test_null_alone_is_no_reason_for_the_long_way() -> None:
    data = {"a": None, "b": ["null", 1.5, 2**63, "gggggggggg", -1.5e300, None]}
    assert fast_json.encode(data) == json.dumps(data, **COMPACT)


@quick
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), min_size=1))
def test_floats_beside_null_are_written_exactly(numbers: list[Any]) -> None:
    assert exact(json.loads(fast_json.dumps(numbers, **COMPACT))) == exact(numbers)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"separators": (", ", ": ")},
        {"indent": 2},
        {"sort_keys": True, **COMPACT},
        {"default": str, **COMPACT},
        {"allow_nan": False, **COMPACT},
        {"ensure_ascii": True, **COMPACT},
    ],
    ids=str,
)
def test_other_options_are_the_standard_one_s(options: dict[str, Any]) -> None:
    for data in ({"b": [1, "ü"], "a": None}, {"when": datetime.date(2026, 1, 2)}, [math.nan]):
        assert outcome(fast_json.dumps, data, **options) == outcome(json.dumps, data, **options)


# In its place.

ORDINARY = [
    ["tick", {"n": 12345, "at": 1.5, "text": "x" * 80, "ok": True, "none": None, "list": [1, [2, ("ü🚀",)]]}],
    ["m", "7" * 99, "x" * 5000, 2**64 - 1, -(2**63)],
    ["rows", [{"id": number, "price": number / 7, "note": None} for number in range(100)]],
]


@pytest.mark.parametrize("value", ORDINARY, ids=lambda value: value[0])
def test_ordinary_data_never_goes_the_long_way(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = json.dumps(value, **COMPACT)
    decoded = json.loads(expected)
    broken = types.SimpleNamespace()
    monkeypatch.setattr(fast_json, "_standard", broken)
    text = fast_json.dumps(value, **COMPACT)
    assert fast_json.loads(text) == decoded
    assert fast_json.loads(expected) == decoded


class FastPacket(StrictPacket):
    json = fast_json.Default()


def test_the_default_gives_way_to_the_application_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FastPacket.json is fast_json
    assert FastPacket().json is fast_json
    own = types.SimpleNamespace(dumps=lambda value, **_: "own", loads=lambda text: ["own"])
    # As the library does it for SocketIO(json=own).
    monkeypatch.setattr(Packet, "json", own)
    assert FastPacket(data=["x"]).encode() == "2own"
    assert FastPacket(encoded_packet='2["x"]').data == ["own"]
    monkeypatch.undo()
    assert FastPacket(data=["x"]).encode() == '2["x"]'


@quick
@given(
    data=st.lists(values, min_size=1, max_size=3),
    namespace=st.sampled_from(["/", "/chat"]),
    id=st.none() | st.integers(0, 99),
    attached=st.booleans(),
)
def test_packets_decode_as_with_the_standard_one(
    data: Any, namespace: str, id: int | None, attached: bool
) -> None:
    if attached:
        data = [*data, b"1", {"a": [b"2"]}]
    for ours, theirs in ((Packet, FastPacket), (FastPacket, Packet)):
        encoded = ours(data=data, namespace=namespace, id=id).encode()
        text, *attachments = encoded if isinstance(encoded, list) else [encoded]
        packets = [theirs(encoded_packet=text), Packet(encoded_packet=text)]
        for packet in packets:
            for attachment in attachments:
                packet.add_attachment(attachment)
        decoded, expected = [(p.packet_type, p.namespace, p.id, exact(p.data)) for p in packets]
        assert decoded == expected


@quick
@given(
    text=st.text(max_size=4) | garbage,
    head=st.sampled_from(["2", "2/chat,", "251-", "51-/chat,7", "0", "3", "4"]),
)
def test_a_packet_of_garbage_is_refused_in_one_way(text: str, head: str) -> None:
    class Slow(StrictPacket):
        json = standard

    def decode(kind: type[Packet]) -> Any:
        try:
            packet = kind(encoded_packet=head + text)
        except BadPacketError:
            return "refused"
        return packet.packet_type, packet.namespace, packet.id, packet.attachment_count, exact(packet.data)

    assert decode(FastPacket) == decode(Slow)


def test_engine_packets_may_use_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    handshake = {"sid": "n1.x", "upgrades": ["websocket"], "pingInterval": 25000}
    expected = EnginePacket(0, handshake).encode()
    monkeypatch.setattr(EnginePacket, "json", fast_json)
    assert EnginePacket(0, handshake).encode() == expected
    assert EnginePacket(encoded_packet=expected).data == handshake
    for text in ("2probe", "4[1", '4{"a":NaN}', "4hello", "4123", "1", "42[1]"):
        packet = EnginePacket(encoded_packet=text)
        monkeypatch.setattr(EnginePacket, "json", standard)
        assert exact(packet.data) == exact(EnginePacket(encoded_packet=text).data) or math.isnan(
            packet.data["a"]
        )
        monkeypatch.setattr(EnginePacket, "json", fast_json)
