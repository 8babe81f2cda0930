"""Values and texts to compare JSON encoders and decoders with, and how to compare exactly."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# Deterministic: a failure is the same for everybody.
SETTINGS: dict[str, Any] = {"deadline": None, "derandomize": True, "database": None}
COMPACT: dict[str, Any] = {"separators": (",", ":")}


def outcome(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[str, Any]:
    """What comes of a call, comparable: exact types, order of keys, every bit of a float; or the refusal."""
    try:
        return "value", exact(function(*args, **options))
    except ValueError as error:
        # Decoders word it differently.
        return "refused", type(error).__name__ if isinstance(error, UnicodeError) else "ValueError"
    except (TypeError, RecursionError) as error:
        return "refused", (type(error).__name__, str(error))


def exact(value: Any) -> Any:
    """A value with all that `==` does not see."""
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    if isinstance(value, list):
        return "list", [exact(item) for item in value]
    if isinstance(value, dict):
        return "dict", [(key, exact(item)) for key, item in value.items()]
    return type(value), value


# Values.

floats = st.floats() | st.sampled_from([-0.0, 1e16, 1e-7, 5e-324, 1.7976931348623157e308, 2.0**63])
integers = (
    st.integers(-(2**70), 2**70)
    | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**99])
    | st.integers(0, 9)
)
# Every character, also halves of pairs, which st.text() leaves out.
texts = (
    st.text()
    | st.text(st.characters(codec=None), max_size=5)
    | st.text('\x00\x1e\x7f"\\/é☃🚀\u2028g', max_size=9)
)
leaves = st.none() | st.booleans() | integers | floats | texts | st.sampled_from(["null", "NaN", "g" * 12])
keys = texts | integers | floats | st.booleans() | st.none()
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(texts, inner, max_size=5)
        | st.dictionaries(keys, inner, max_size=5)
        | st.tuples(inner, inner)
        | inner.map(lambda item: [item, {"again": item}])
    ),
    max_leaves=20,
)

# Texts.

number_texts = st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
WORDS = r"""
null true false NaN Infinity -Infinity 01 -0 1. .5 1e e5 1e400 nul "a" "a": "\u00 "\x
"\ud800" "\ude00\ud83d" "\ud83d\ude00" "\ud83dA" 18446744073709551616 -9223372036854775809
"""
PIECES = [
    *'[]{},:"\\ \t\n\r\x00\x1f\x7f\x0b\ufeff\xa0/*-01',
    *WORDS.split(),
    *("9" * 40, "9" * 101, "\ud800", "é☃🚀\u2028", "٣"),
]
pieces = st.sampled_from(PIECES)
garbage = st.lists(pieces | number_texts | st.text(max_size=3), max_size=12).map("".join)


@st.composite
def nearly_json(draw: Any) -> str:
    """Somebody's JSON, often with one place of it broken."""
    text: str = json.dumps(
        draw(values), ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1))
    )
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(pieces | st.just("")) + text[at + draw(st.integers(0, 2)) :]
    return text
