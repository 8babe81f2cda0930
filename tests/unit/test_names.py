"""The rules of names, and leases on display names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.names import Names, room_name
from app.errors import EventError
from app.names import person_name


@pytest.mark.parametrize(
    ("typed", "shown", "key"),
    [
        ("  Ada   Lovelace ", "Ada Lovelace", "ada lovelace"),
        ("Ａｄａ", "Ada", "ada"),
        ("Straße", "Straße", "strasse"),
        ("Zoë-Ann O'Neill", "Zoë-Ann O'Neill", "zoë-ann o'neill"),
        ("Νίκος", "Νίκος", "νίκοσ"),
        ("O’Neill", "O’Neill", "o'neill"),
        ("प्रिया", "प्रिया", "प्रिया"),
        ("நிலா", "நிலா", "நிலா"),
        ("שָׁרָה", "שָׁרָה", "שָׁרָה"),
        ("李雷", "李雷", "李雷"),
        ("Ken 田中さん", "Ken 田中さん", "ken 田中さん"),
        ("Kaʻahumanu", "Kaʻahumanu", "kaʻahumanu"),
        ("Əli", "Əli", "əli"),
    ],
)
def test_person_names_are_tidied_and_folded(typed: str, shown: str, key: str) -> None:
    assert person_name(typed, 24) == (shown, key)


NOT_NAMES = [
    *("", " ", "A", "-Ada", "_x", "<b>Ada</b>"),
    # Nobody would see what these are: reversed, cut short, blank, filled, or in Cyrillic what looks Latin.
    *("A\u202eda", "A\x00da", "Ada\u200b", "\u3164\u3164", "Ada\u1160", "\u0410da", "\u0301Ada"),
    *("Ada\ufe0f", "Ada\U000e0100", "Ada\u180b", "Ada" + "\u0323" * 5),
    # Likewise Cherokee, Lisu and Armenian, and letters of phonetics.
    *("\u13aada", "\ua4eeda", "Ad\u0561", "Ad\u0251", "\u1d00da"),
]


@pytest.mark.parametrize("typed", NOT_NAMES)
def test_other_person_names_are_refused(typed: str) -> None:
    with pytest.raises(EventError) as error:
        person_name(typed, 24)
    assert error.value.code == "bad_payload"
    assert error.value.details == {"field": "name"}


def test_long_names_are_told_the_limit() -> None:
    assert person_name("x" * 24, 24)[0] == "x" * 24
    with pytest.raises(EventError) as error:
        person_name("x" * 25, 24)
    assert (error.value.code, error.value.details["limit"]) == ("too_long", 24)


@pytest.mark.parametrize(
    ("typed", "shown"), [("Book Club", "Book-Club"), ("#general", "general"), (" a  b ", "a-b")]
)
def test_room_names_take_the_form_of_a_room(typed: str, shown: str) -> None:
    assert room_name(typed, 40)[0] == shown


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_a_clear_refusal(typed: str) -> None:
    for check in (person_name, room_name):
        try:
            shown, key = check(typed, 24)
        except EventError as error:
            assert error.code in ("bad_payload", "too_long")  # noqa: PT017 - either outcome is right
        else:
            assert 2 <= len(shown) <= 24
            assert shown.isprintable()
            assert check(shown, 24) == (shown, key), "a checked name stays as it is"


def test_a_name_has_one_holder_while_online() -> None:
    names = Names(lease_seconds=30)
    assert names.claim("ada", "u1", now=0, online=True)
    assert not names.claim("ada", "u2", now=1_000_000, online=True)
    assert names.claim("ada", "u1", now=5, online=True), "a second tab"


def test_a_name_stays_reserved_for_the_lease_and_no_longer() -> None:
    names = Names(lease_seconds=30)
    assert names.claim("ada", "u1", now=0, online=False)
    assert not names.claim("ada", "u2", now=29.9, online=False)
    assert names.claim("ada", "u1", now=29.9, online=True)
    names.went_offline("u1", now=100)
    assert not names.claim("ada", "u2", now=129.9, online=True)
    assert names.claim("ada", "u2", now=130, online=True)
    assert not names.claim("ada", "u1", now=131, online=True)


def test_signing_in_elsewhere_does_not_end_a_connected_holder() -> None:
    names = Names(lease_seconds=30)
    names.claim("ada", "u1", now=0, online=True)
    names.claim("ada", "u1", now=0, online=False)
    assert not names.claim("ada", "u2", now=1_000, online=True)


def test_release_frees_at_once_and_only_for_the_holder() -> None:
    names = Names(lease_seconds=30)
    names.claim("ada", "u1", now=0, online=True)
    names.release("ada", "u2")
    assert not names.claim("ada", "u2", now=1, online=True)
    names.release("ada", "u1")
    assert names.claim("ada", "u2", now=1, online=True)


def test_a_renamed_account_gives_both_names_back_in_the_end() -> None:
    names = Names(lease_seconds=30)
    assert names.claim("ada", "u1", now=0, online=True)
    assert names.claim("ada bee", "u1", now=1, online=True)
    names.went_offline("u1", now=10)
    for now, free in ((39, False), (40, True)):
        for name in ("ada", "ada bee"):
            assert names.claim(name, "u2", now=now, online=True) == free


def test_ended_leases_are_forgotten() -> None:
    names = Names(lease_seconds=30)
    for number in range(100):
        names.claim(f"name{number}", "u", now=0, online=False)
    names.claim("another", "u", now=31, online=False)
    assert len(names._leases) == 1
