"""Parcels: what is packed is what is opened, whatever else comes is Rejected, and no byte can be forged."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from app.realtime.queue import envelope
from app.realtime.queue.envelope import SIGNATURE_BYTES, SIGNED, UNSIGNED, Newest, Parcel, Rejected, Sealer

WALL = 1_700_000_000.0
MAX_BYTES = 10_000


def sealer(secret: str | None = "secret", channel: str = "chat") -> Sealer:
    """One for parcels of a minute at most."""
    return Sealer(secret, channel, MAX_BYTES, 60.0)


def parcel(**values: Any) -> Parcel:
    """A parcel; the fields that matter by keyword."""
    bodies = [Raw(envelope.encode_body(envelope.Disconnect("sid", "/")))]
    defaults = ("a", 1, WALL, "a", 1, False, bodies)
    return Parcel(**dict(zip(Parcel.__struct_fields__, defaults, strict=True)) | values)


def why(opener: Sealer, data: bytes, at: float = WALL) -> str | None:
    """Why it is rejected; None: it is not."""
    try:
        opener.open(data, at)
    except Rejected as error:
        return error.reason
    return None


names = st.text(min_size=1, max_size=10)
whole = st.integers(0, 2**53 - 1)
scalars = st.text(max_size=5) | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False)
raw = st.binary(max_size=20).map(lambda data: Raw(msgspec.msgpack.encode(["text", data])))
messages = st.one_of(
    st.builds(
        envelope.Emit, names, st.none() | scalars | st.lists(scalars, max_size=3), st.lists(names), whole, raw
    ),
    st.builds(envelope.Disconnect, names, names),
    st.builds(envelope.EnterRoom, names, names, scalars),
    st.builds(envelope.LeaveRoom, names, names, scalars),
    st.builds(envelope.CloseRoom, scalars, names),
    st.builds(envelope.Ack, names, names, whole, raw),
    st.builds(envelope.Switch, st.none() | names),
)
floats = st.floats(0, 1e6)
notes = st.one_of(
    st.builds(envelope.Pulse, names, whole, floats, st.booleans(), st.lists(names), st.lists(names)),
    st.builds(envelope.Request, names, st.lists(st.tuples(whole, whole), max_size=4), whole),
    st.builds(envelope.Locate, names, floats),
    st.builds(envelope.Start, names, names, whole),
    st.builds(envelope.Gone, names, whole, whole),
    st.builds(envelope.Goodbye, names),
    st.builds(envelope.Ask),
    st.builds(envelope.Report, st.binary()),
)


@settings(deadline=None, derandomize=True, database=None)
@given(messages)
def test_a_message_arrives_as_it_was(message: envelope.AnyMessage) -> None:
    decoded = envelope.decode_message(envelope.encode_body(message))
    assert type(decoded) is type(message)
    assert envelope.encode_body(decoded) == envelope.encode_body(message)
    if not hasattr(message, "frames"):
        assert decoded == message


def test_what_was_signed_before_a_process_began_is_no_news_to_it() -> None:
    sealer = envelope.Sealer("secret", "channel", 10_000, 300.0)
    data = sealer.pack(envelope.Parcel("a", 1, 1_000.0, "a", 1, False, []))
    assert sealer.open(data, 1_020.0, uptime_seconds=1.0).sender == "a", "clocks may differ a little"
    with pytest.raises(envelope.Rejected, match="stale"):
        sealer.open(data, 1_040.0, uptime_seconds=1.0)
    assert sealer.open(data, 1_040.0, uptime_seconds=60.0).sender == "a"
    assert sealer.open(data, 999.0, uptime_seconds=1.0).sender == "a", "a clock that was set back"


@settings(deadline=None, derandomize=True, database=None)
@given(notes)
def test_a_note_arrives_as_it_was(note: envelope.AnyNote) -> None:
    assert envelope.decode_note(envelope.encode_body(note)) == note


@settings(deadline=None, derandomize=True, database=None)
@given(messages | notes)
def test_messages_and_notes_are_never_taken_for_each_other(body: Any) -> None:
    other = envelope.decode_note if isinstance(body, envelope.Message) else envelope.decode_message
    with pytest.raises(msgspec.DecodeError):
        other(envelope.encode_body(body))


@pytest.mark.parametrize("secret", [None, "secret"])
@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(messages, max_size=4), names, names, whole, st.booleans())
def test_a_parcel_arrives_as_it_was(
    secret: str | None, bodies: list[Any], sender: str, about: str, first: int, again: bool
) -> None:
    packed = parcel(
        sender=sender,
        about=about,
        first=first,
        again=again,
        bodies=[Raw(envelope.encode_body(body)) for body in bodies],
    )
    opened = sealer(secret).open(sealer(secret).pack(packed), WALL)
    for field in Parcel.__struct_fields__:
        if field != "bodies":
            assert getattr(opened, field) == getattr(packed, field)
    assert [bytes(body) for body in opened.bodies] == [bytes(body) for body in packed.bodies]


@pytest.mark.parametrize("secret", [None, "secret"])
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=200), st.sampled_from([b"", UNSIGNED, SIGNED]))
def test_garbage_is_rejected_and_nothing_else(secret: str | None, data: bytes, kind: bytes) -> None:
    assert why(sealer(secret), kind + data) in (
        None if secret is None else "malformed",  # bytes may be a parcel by chance
        "malformed",
        "unsigned",
        "forged",
        "signed",
    )


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_a_damaged_parcel_is_rejected_or_still_a_parcel(data: st.DataObject) -> None:
    """Without a secret damage may go unnoticed, but it becomes nothing else, and raises nothing else."""
    packed = bytearray(sealer(None).pack(parcel()))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(packed)))
    try:
        opened = sealer(None).open(bytes(packed[:length]), WALL)
    except Rejected:
        return
    assert isinstance(opened.sender, str)
    for body in opened.bodies:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            envelope.decode_message(body)


def test_every_single_byte_is_signed() -> None:
    packed = sealer().pack(parcel())
    assert why(sealer(), packed) is None
    for place in range(len(packed)):
        for bit in (1, 128):
            forged = bytearray(packed)
            forged[place] ^= bit
            assert why(sealer(), bytes(forged)) in ("malformed", "unsigned", "forged")
    for length in range(len(packed)):
        assert why(sealer(), packed[:length]) in ("malformed", "forged")
    assert why(sealer(), packed + b"\x00") == "forged"


def test_secrets_and_channels_are_apart() -> None:
    packed = sealer().pack(parcel())
    assert why(sealer("another"), packed) == "forged"
    assert why(sealer(channel="game"), packed) == "forged"
    assert why(sealer(None), packed) == "signed"
    assert why(sealer(), sealer(None).pack(parcel())) == "unsigned"
    assert why(sealer(""), sealer(None).pack(parcel())) is None, "an empty secret is none"
    body = packed[1 + SIGNATURE_BYTES :]
    assert why(sealer(), UNSIGNED + body) == "unsigned"
    assert why(sealer(None), UNSIGNED + body) is None


@pytest.mark.parametrize(
    ("age", "reason"), [(0, None), (59, None), (61, "stale"), (-59, None), (-61, "stale"), (1e12, "stale")]
)
def test_what_is_old_or_from_the_future_is_stale(age: float, reason: str | None) -> None:
    assert why(sealer(), sealer().pack(parcel(sent_at=WALL - age))) == reason
    assert why(sealer(None), sealer(None).pack(parcel(sent_at=WALL - age))) is None, "clocks may be wrong"


def test_what_is_too_large_is_not_even_looked_at() -> None:
    body = Raw(msgspec.msgpack.encode(b"x" * MAX_BYTES))
    assert why(sealer(), sealer().pack(parcel(bodies=[body]))) == "oversized"


@pytest.mark.parametrize("values", [{"first": -1}, {"sender": ""}, {"about": ""}])
def test_nonsense_is_malformed(values: dict[str, Any]) -> None:
    assert why(sealer(), sealer().pack(parcel(**values))) == "malformed"


@pytest.mark.parametrize("shell", [b"\x91", b"\x81\xa1x"])
def test_a_deep_nest_is_malformed(shell: bytes) -> None:
    """A bomb for decoders that recurse."""
    nest = shell * 3_000 + b"\xc0"
    assert why(sealer(None), UNSIGNED + nest) == "malformed"
    assert why(sealer(None), sealer(None).pack(parcel(bodies=[Raw(nest)]))) == "malformed"
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        envelope.decode_message(nest)


def test_origins_differ() -> None:
    assert len({envelope.new_origin() for _ in range(1_000)}) == 1_000


def test_the_newest_of_each_sender() -> None:
    newest = Newest(max_senders=2)
    assert [newest.advance("a", number) for number in (3, 3, 2, 4)] == [True, False, False, True]
    assert newest.advance("b", 1)
    assert newest.advance("a", 5)
    assert newest.advance("c", 1)
    assert not newest.advance("a", 5), "b was the longest silent"
    assert newest.advance("b", 1)
