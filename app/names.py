"""The rules of names: how they are compared, and what people may be called. Pure."""

from __future__ import annotations

import unicodedata

from app.errors import EventError

MIN_CHARS = 2
PERSON_PUNCTUATION = " .'’-_"
# Letters and marks by category that nobody can see: fillers, joiners, a blank cell, variation selectors.
INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(code)
    for first, last in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
    for code in range(first, last + 1)
}
# Written languages stack two or three marks on a letter; more is made to spill over the lines around.
MARKS_MAX = 3
# Chinese, Japanese and Korean mix their scripts, also with Latin letters, and none looks like another's
# (UTS 39, 5.2: "highly restrictive").
MIXED_SCRIPTS = frozenset(
    {"LATIN", "CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"}
)
# Of no script: the okina, letters that stand for an apostrophe.
NO_SCRIPT = "MODIFIER"
# Latin letters of phonetics only, which look like others: a and g of one storey, small capitals.
PHONETIC = frozenset("\u0251\u0261\ua730\ua731") | {chr(code) for code in range(0x1D00, 0x1DC0)}


def name_key(name: str) -> str:
    """The form in which names are compared (Unicode 3.13, D147: caseless matching of identifiers)."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.replace("’", "'").split())


def _is_well_formed(name: str, punctuation: str) -> bool:
    """Letters, digits and marks of any script, and `punctuation`, beginning with a letter or digit."""
    scripts = set()
    marks = 0
    for character in name:
        category = unicodedata.category(character)[0]
        if character in INVISIBLE | PHONETIC or not (category in "LNM" or character in punctuation):
            return False
        marks = marks + 1 if category == "M" else 0
        if marks > MARKS_MAX:
            return False
        if category == "L":
            scripts.add(unicodedata.name(character, "").partition(" ")[0])
    scripts.discard(NO_SCRIPT)
    return unicodedata.category(name[0])[0] in "LN" and (len(scripts) <= 1 or scripts <= MIXED_SCRIPTS)


def checked(name: str, max_chars: int, punctuation: str, allowed: str) -> tuple[str, str]:
    """Check a name of any kind; returns it as it is shown and as it is compared.

    :param punctuation: the characters that it may have beside letters, digits and marks.
    :param allowed: how the error names them, after "letters and digits of one script".
    :raises EventError: `bad_payload` or `too_long`.
    """
    name = " ".join(unicodedata.normalize("NFKC", name).split())
    if len(name) > max_chars:
        raise EventError(
            "too_long", f"At most {max_chars} characters, please.", field="name", limit=max_chars
        )
    if len(name) < MIN_CHARS or not _is_well_formed(name, punctuation):
        raise EventError(
            "bad_payload",
            f"A name has at least {MIN_CHARS} characters: letters and digits of one script{allowed}, "
            "beginning with a letter or digit.",
            field="name",
        )
    return name, name_key(name)


def person_name(name: str, max_chars: int) -> tuple[str, str]:
    """Check a display name; returns it as it is shown and as it is compared.

    :raises EventError: `bad_payload` or `too_long`.
    """
    return checked(name, max_chars, PERSON_PUNCTUATION, ", spaces and . ' - _")
