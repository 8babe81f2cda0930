"""The fast JSON decodes what clients send as the standard one does, and refuses what that refuses."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from engineio import json as standard
from hypothesis import given, settings
from hypothesis import strategies as st

from app.realtime import fast_json
from tests.support.json_values import SETTINGS, garbage, nearly_json, number_texts, outcome


@settings(**SETTINGS, max_examples=600)
@given(text=garbage | nearly_json() | st.text() | number_texts)
def test_a_text_decodes_to_the_same_or_is_refused_by_both(text: str) -> None:
    assert outcome(fast_json.loads, text) == outcome(standard.loads, text)
    assert outcome(fast_json.loads, f'["event",{text}]') == outcome(standard.loads, f'["event",{text}]')


WORDS = r"""
18446744073709551615 18446744073709551616 -9223372036854775808 -9223372036854775809
-0 -0.0 -0e5 0e99999999999999999999 00 01 - -- +1 1. .5 0x1 1_000 1e 1e+ 1.e5 1e5.5 1E+05
1e400 -1e400 1e-400 1.7976931348623157e308 1.7976931348623159e308 1e99999999999999999999
9007199254740993.0 2.2250738585072011e-308 2.4703282292062327e-324 2.4703282292062328e-324
NaN Infinity -Infinity -NaN nan [NaN,null] nul True null1 truefalse
"\ud800" "\udc00" "\ud83d\u0041" "\ude00\ud83d" "\ud83d\ud83d\ude00" {"\ud800":1}
"\x" "\u12" "\u+123" "\u0x1f" "\/\u0000" "\" "a "\u00e9\u2028" "\uD83D\uDE00"
[ [1 [1,] [,1] ] [] [[]] [1:2] {1:2} {} { } {] 1, 'a' /**/1 1//
{"a":1,} {"b":1,"a":2,"b":3} {"a"} {"a":} {"a",1} {"":{"":[]}} {"a":1 {"a":1]
"""
CORNERS = [
    *WORDS.split(),
    *(f"0.{'0' * 400}1", f"{'1' * 400}e-390", f"{'1' * 400}.0", f"1{'0' * 22}.5", f"0.1{'0' * 200}1"),
    *('"\ud800"', '"\\ud83d\ude00"', '"a\nb"', '"\x00"', '"\x1f"', '"\x7f"', r'"\u 123"', '"\t"'),
    *("", " ", "\ufeff1", " 1\t\n\r", "\x0b1", "\xa01", "1 2", "[1 2]", '{"a" 1}', "1\x00", "\x00"),
    *("\u0661", "1e\u0661", '"\\u\u0661\u0661\u0661\u0661"', "1\u0661"),
]


@pytest.mark.parametrize("text", CORNERS, ids=ascii)
def test_corners(text: str) -> None:
    assert outcome(fast_json.loads, text) == outcome(standard.loads, text)


@pytest.mark.parametrize("digits", [98, 99, 100, 101, 102, 300, 5000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_integers_of_many_digits_are_refused_at_the_same_length(digits: int, sign: str) -> None:
    number = sign + "7" * digits
    for before in range(25):
        for text in (
            f"{' ' * before}{number}",
            f'["{"x" * before}",{number},{{"a":"{"y" * (100 - before)}"}}]',
        ):
            assert outcome(fast_json.loads, text) == outcome(standard.loads, text)
    refused = outcome(fast_json.loads, number)[0] == "refused"
    assert refused == (len(number) > 100)
    # Elsewhere digits are what they are.
    for text in (f'"{"7" * digits}"', f"{sign}0.{'7' * digits}", '{"' + "7" * digits + '":1}'):
        assert outcome(fast_json.loads, text) == outcome(standard.loads, text)
        assert outcome(fast_json.loads, text)[0] == "value"


@pytest.mark.parametrize(
    "text", [b'{"a":[1,"\xc3\xa9"]}', b'"\xff"', b'"\xed\xa0\x80"', '"é"'.encode("utf-16"), None, 5, ["[]"]]
)
def test_what_is_no_str_is_the_standard_one_s(text: Any) -> None:
    assert outcome(fast_json.loads, text) == outcome(standard.loads, text)


def test_options_of_decoding_are_the_standard_one_s() -> None:
    assert fast_json.loads("[0.1,2]", parse_float=Decimal) == [Decimal("0.1"), 2]
    assert fast_json.loads("1" * 200, parse_int=len) == 200
