"""JSON as the standard library means it, several times as fast: for packets, in the place of `engineio.json`.

orjson encodes, msgspec decodes: of the two, msgspec alone keeps integers beyond 64 bits, and only orjson
leaves bytes and sets to its caller. What either would do in its own way, and all that it refuses, goes to the
standard library, which has the last word, and the errors that everybody knows.
"""

from __future__ import annotations

import json
import marshal
import re
import sys
from typing import Any

import msgspec
import orjson
from engineio import json as _standard
from socketio.packet import Packet

_COMPACT = (",", ":")
_MARSHAL_VERSION = 4
# A float that is not finite, as marshal writes it: a letter (with its high bit, if others refer to it), and
# 8 bytes with an exponent of ones at their end. It is looked for by the last byte, which is rare.
_LAST, _LAST_NEGATIVE = 0x7F, 0xFF
_NOT_FINITE = tuple(
    re.compile(rb"%c(?<=[g\xe7].{6}[\xf0-\xff]%c)" % (last, last), re.DOTALL)
    for last in (_LAST, _LAST_NEGATIVE)
)
# For what marshal takes as plain bytes because it has a buffer, though it is more than that.
_OPTIONS = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)
# engineio refuses integers of more than 100 characters: 100 digits in a row are for the standard way to
# judge. Every tenth of them makes 10 in a row, and where there are none is seen at a tenth of the cost.
_RUN, _STEP = b"0" * 100, 10
_DIGITS_AS_0 = bytes(ord("0") if code in b"0123456789" else ord(" ") for code in range(256))

_standard_dumps = json.JSONEncoder(separators=_COMPACT).encode
_decode = msgspec.json.Decoder().decode


def encode(value: Any) -> str | None:
    """The quick half of `dumps`.

    :returns: None when it takes the standard library: for other types than the built-in ones, keys that are
        no strings, integers beyond 64 bits, NaN and Infinity, lone surrogates, 254 levels and more.
    """
    try:
        # orjson encodes UUIDs, Enums and more unasked, dicts without asking their class, and crashes on an
        # Enum whose value raises. marshal refuses all but built-in types, quicker than a look at them would.
        seen = marshal.dumps(value, _MARSHAL_VERSION)
        text = orjson.dumps(value, None, _OPTIONS)
    except (TypeError, ValueError):
        return None
    # orjson writes null for what is not finite. The cheapest questions come first.
    suspicious = (_LAST in seen or _LAST_NEGATIVE in seen) and b"null" in text
    if suspicious and any(pattern.search(seen) for pattern in _NOT_FINITE):
        return None
    return text.decode()


def dumps(value: Any, *, separators: tuple[str, str] | None = None, **options: Any) -> str:
    """Encode as `json.dumps` does; with other options than python-socketio's it is `json.dumps`.

    Text beyond ASCII is written as it is, not escaped.

    :raises TypeError: for what JSON does not have.
    :raises ValueError: for data that contains itself.
    :raises RecursionError: when it is nested too deeply.
    """
    if options or separators != _COMPACT:
        return _standard.dumps(value, separators=separators, **options)  # type: ignore[no-any-return]
    text = encode(value)
    return _standard_dumps(value) if text is None else text


def loads(text: str | bytes, **options: Any) -> Any:
    """Decode as `engineio.json.loads` does; with options it is that.

    :raises ValueError: for what is no JSON, and for an integer of more than 100 characters.
    :raises RecursionError: when it is nested too deeply.
    """
    if not options and isinstance(text, str):
        try:
            data = text.encode()
            if not _has_long_number(data):
                return _decode(data)
        except (msgspec.MsgspecError, UnicodeError):
            pass
    return _standard.loads(text, **options)


def _has_long_number(data: bytes) -> bool:
    sample = data[::_STEP].translate(_DIGITS_AS_0)
    return _RUN[::_STEP] in sample and _RUN in data.translate(_DIGITS_AS_0)


class Default:
    """For a packet class: `json = Default()` is this module, unless the application brought its own json.

    The library keeps that one in its own packet class, for the whole process.
    """

    def __get__(self, packet: Any, owner: Any = None) -> Any:
        """The module that encodes and decodes now."""
        return sys.modules[__name__] if Packet.json is _standard else Packet.json
