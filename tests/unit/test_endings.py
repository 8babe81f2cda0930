"""Which sessions are over: by id, by name, by time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.user import User
from app.users.endings import Endings, by_id, by_name

AT_MS = 1_800_000_000_000


def user(began_at_ms: int, user_id: str = "a", name: str = "Ada") -> User:
    return User(user_id, name, expires_at=2e10, began_at=began_at_ms / 1000)


def test_what_began_until_the_end_is_over_and_what_began_after_is_not() -> None:
    endings = Endings()
    assert not endings.ended(user(0))
    assert endings.note(by_id("a"), AT_MS)
    assert endings.ended(user(AT_MS - 1))
    assert endings.ended(user(AT_MS)), "in doubt it is over"
    assert not endings.ended(user(AT_MS + 1)), "whoever signs in again is welcome"
    assert not endings.ended(user(AT_MS - 1, "b"))


def test_a_session_of_unknown_beginning_is_before_every_end() -> None:
    endings = Endings()
    assert not endings.ended(User("a", "Ada", 2e10))
    endings.note(by_id("a"), 0)
    assert endings.ended(User("a", "Ada", 2e10))


def test_names_are_compared_as_the_chat_compares_them() -> None:
    endings = Endings()
    endings.note(by_name("  ADA  lovelace"), AT_MS)
    assert endings.ended(user(AT_MS, name="Ada Lovelace"))
    assert not endings.ended(user(AT_MS, name="Ada"))
    assert not endings.ended(user(AT_MS, "ada lovelace", name="Ada")), "an id is no name"


def test_a_token_of_the_same_second_counts_as_signed_before() -> None:
    endings = Endings()
    endings.note(by_id("a"), AT_MS + 500)
    assert endings.ended(user(AT_MS))
    assert not endings.ended(user(AT_MS + 1000))


def test_what_no_session_is_as_old_as_is_forgotten() -> None:
    endings = Endings()
    endings.note(by_id("a"), AT_MS)
    endings.note(by_name("Ada"), AT_MS + 1)
    endings.forget(AT_MS + 1)
    assert len(endings) == 1
    assert not endings.ended(user(AT_MS, name="Bob"))
    assert endings.ended(user(AT_MS))
    endings.forget(AT_MS + 2)
    assert not endings.ended(user(AT_MS))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50))),
    st.sampled_from("abc"),
    st.integers(0, 50),
)
def test_the_order_in_which_they_are_heard_does_not_matter(
    heard: list[tuple[str, int]], user_id: str, began_at_ms: int
) -> None:
    endings = Endings()
    for who, ended_at_ms in heard:
        endings.note(by_id(who), ended_at_ms)
    over = any(who == user_id and ended_at_ms >= began_at_ms for who, ended_at_ms in heard)
    assert endings.ended(user(began_at_ms, user_id)) == over
    assert not any(endings.note(by_id(who), at) for who, at in heard), "all of it is known"
