"""Events are encoded once: what can travel arrives as it was, and the rest is named by its place."""

from __future__ import annotations

import datetime
import enum
import json
import math
import types
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio.packet import ACK, EVENT, Packet

from app.realtime import frames
from app.realtime.errors import NotSerializable, QueueError

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | st.text() | st.binary() | st.sampled_from(["NaN", "Infinity", "_placeholder"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.tuples(inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)
lists_and_bytes = st.recursive(
    scalars | st.text() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
namespaces = st.sampled_from(["/", "/chat", "/a/b"])


def plain(value: Any) -> Any:
    """What arrives for it: JSON knows no tuples."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def decode(encoded: frames.Frames) -> Packet:
    """What a client makes of it."""
    packet = Packet(encoded_packet=encoded[0])
    for number, attachment in enumerate(encoded[1:], 1):
        assert packet.add_attachment(attachment) == (number == len(encoded) - 1)
    return packet


@settings(max_examples=250, deadline=None, derandomize=True, database=None)
@given(
    event=st.text(),
    data=values,
    namespace=namespaces,
    ack=st.none() | st.integers(1, 2**53),
    over=st.booleans(),
)
def test_whatever_can_travel_arrives_as_it_was(
    event: str, data: Any, namespace: str, ack: int | None, over: bool
) -> None:
    encoded = frames.encode_event(event, data, namespace, ack)
    assert type(encoded[0]) is str
    assert all(type(attachment) is bytes for attachment in encoded[1:])
    if over:
        encoded = frames.decode(msgspec.Raw(msgspec.msgpack.encode(encoded)))
    packet = decode(encoded)
    assert (packet.namespace or "/", packet.id) == (namespace, ack)
    assert packet.data == [event, *plain(frames.arguments(data))]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=st.lists(values, max_size=4))
def test_an_acknowledgement_arrives_as_it_was(data: list[Any]) -> None:
    assert frames.decode_arguments(frames.encode_arguments(data, "an ack")) == plain(data)


@pytest.mark.parametrize(
    "data",
    [
        (b"", {"a": [b"\x00", (b"\xff", [])]}),
        {"deep": {"er": [{"est": (1, (2, (3, b"x")))}]}},
        bytearray(b"change"),
        [memoryview(b"view")],
        {"a": (bytearray(b"1"), memoryview(b"2"))},
    ],
)
def test_bytes_anywhere(data: Any) -> None:
    packet = decode(frames.encode_event("e", data, "/"))
    assert packet.data == ["e", *plain(frames.arguments(data))]


@pytest.mark.parametrize("beside", [{}, {1: "a key that takes the long way"}])
def test_what_is_encoded_does_not_change_any_more(beside: Any) -> None:
    buffer, tagged = bytearray(b"before"), Tagged(b"tagged")
    encoded = frames.encode_event("e", [buffer, memoryview(buffer), tagged, beside], "/")
    buffer[:] = b"after!"
    assert encoded[1:] == [b"before", b"before", b"tagged"]
    assert [type(attachment) for attachment in encoded[1:]] == [bytes] * 3


class Tagged(bytes):
    pass


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=lists_and_bytes, namespace=namespaces, ack=st.none() | st.integers(0, 99))
def test_frames_are_those_of_the_library_s_packet(data: Any, namespace: str, ack: int | None) -> None:
    # The one difference is that text beyond ASCII is not escaped.
    for kind, place, ours in (
        (EVENT, (namespace, ack), frames.encode_event("e", (data,), namespace, ack)),
        (ACK, ("/", None), frames.encode_arguments(["e", data], "an ack")),
    ):
        theirs = Packet(kind, ["e", data], *place).encode()
        text, *attachments = theirs if isinstance(theirs, list) else [theirs]
        assert ours[1:] == attachments
        head, end = text.split("[", 1)
        assert ours[0].startswith(head + "[")
        assert json.loads(ours[0].removeprefix(head)) == json.loads("[" + end)


class Long(Packet):  # type: ignore[misc]
    """The library's own way, where nothing ordinary may come by."""

    def __init__(self, *_: Any) -> None:
        raise AssertionError("the long way")


@pytest.mark.parametrize(
    ("data", "fast"),
    [
        ("x", True),
        (({"n": None}, [1.5, "ü"]), True),
        # Here at least nobody looks for bytes in what has none, or twice.
        ({1: 2}, False),
        (2**70, False),
        ([b"1", {"a": (bytearray(b"2"), memoryview(b"3"))}], False),
    ],
)
def test_ordinary_data_takes_the_short_way(data: Any, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = frames.encode_event("e", data, "/chat", 7)
    monkeypatch.setattr(frames, "Packet", Long)
    if fast:
        monkeypatch.delattr(frames, "_dumps")
    assert frames.encode_event("e", data, "/chat", 7) == expected


def test_a_dict_that_looks_like_an_attachment_without_any() -> None:
    data = {"_placeholder": True, "num": 0}
    packet = decode(frames.encode_event("e", data, "/"))
    assert packet.data == ["e", data]


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int = 1


NAN = math.nan
RECURSIVE: list[Any] = []
RECURSIVE.append({"again": RECURSIVE})


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (NAN, "data is nan"),
        ({"price": [1.0, math.inf]}, "data['price'][1] is inf"),
        ((1, {"x": -math.inf}), "data[1]['x'] is -inf"),
        ({"x": (b"bytes", NAN)}, "data['x'][1] is nan"),
        ({"when": datetime.datetime(2026, 1, 1)}, "data['when'] is a datetime"),
        (["fine", {"tags": {"a"}}], "data[1]['tags'] is a set"),
        ((b"bytes", {"cost": Decimal("1.5")}), "data[1]['cost'] is a Decimal"),
        (("one", object()), "data[1] is a object"),
        ({"ok": {(1, 2): "three"}}, "data['ok'], key (1, 2)"),
        ({b"key": 1}, "key b'key'"),
        # What the encoder would take by itself.
        ({"id": uuid.UUID(int=1)}, "data['id'] is a UUID"),
        (["fine", Colour.RED], "data[1] is a Colour"),
        ({"at": (b"bytes", Point())}, "data['at'][1] is a Point"),
        ([None, {"x": (None, NAN)}], "data[1]['x'][1] is nan"),
        ({1: None, "x": NAN}, "data['x'] is nan"),
        ([b"bytes", None, -math.inf], "data[2] is -inf"),
        (RECURSIVE, "contains itself"),
        ([b"bytes", RECURSIVE], "contains itself"),
        ((b"bytes", NAN, {1}), "data[2] is a set"),
        ((b"bytes", {"k": [uuid.UUID(int=1)]}), "data[1]['k'][0] is a UUID"),
    ],
)
def test_what_cannot_travel_is_named_by_its_place(data: Any, place: str) -> None:
    with pytest.raises(NotSerializable) as caught:
        frames.encode_event("order", data, "/")
    assert str(caught.value).startswith("emit('order'): ")
    assert place in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, QueueError)


def test_too_deep() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotSerializable, match="nested too deeply"):
        frames.encode_event("e", deep, "/")
    while deep:
        deep = deep[0]


def test_the_same_value_twice_is_no_circle() -> None:
    shared = [1, {"a": b"x"}]
    packet = decode(frames.encode_event("e", [shared, shared], "/"))
    assert packet.data == ["e", plain([shared, shared])]


def test_an_acknowledgement_may_hold_what_only_python_knows() -> None:
    values = [math.inf, None, b"bytes", -math.inf]
    assert frames.decode_arguments(frames.encode_arguments(values, "an ack")) == values
    assert math.isnan(frames.decode_arguments(frames.encode_arguments([None, NAN], "an ack"))[1])


def test_an_application_may_bring_its_own_json(monkeypatch: pytest.MonkeyPatch) -> None:
    def dumps(value: Any, **options: Any) -> str:
        return json.dumps(value, default=lambda other: other.isoformat(), **options)

    module = types.SimpleNamespace(dumps=dumps, loads=json.loads)
    monkeypatch.setattr(Packet, "json", module)
    data = {"when": datetime.date(2026, 1, 2), "bytes": b"x"}
    packet = decode(frames.encode_event("e", data, "/"))
    assert packet.data == ["e", {"when": "2026-01-02", "bytes": b"x"}]
    assert frames.decode_arguments(['3["x"]']) == ["x"]
    # Its json, and not ours beside it, also for what both know.
    own = types.SimpleNamespace(dumps=lambda value, **_: "own", loads=lambda _: ["own"])
    monkeypatch.setattr(Packet, "json", own)
    assert frames.encode_event("e", {"a": 1}, "/") == ["2own"]
    assert frames.decode_arguments(['3["x"]']) == ["own"]
    monkeypatch.setattr(Packet, "json", module)
    with pytest.raises((NotSerializable, AttributeError)):
        frames.encode_event("e", object(), "/")


@pytest.mark.parametrize("body", [[], [1], [b"bytes"], ["text", "text"], ["text", 1], ["text", [b""]]])
def test_what_is_no_event_is_refused(body: list[Any]) -> None:
    with pytest.raises(ValueError, match="without frames"):
        frames.decode(msgspec.Raw(msgspec.msgpack.encode(body)))


@settings(deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=50))
def test_garbage_is_refused(body: bytes) -> None:
    try:
        decoded = frames.decode(msgspec.Raw(body))
    except ValueError:
        return
    assert isinstance(decoded[0], str)
