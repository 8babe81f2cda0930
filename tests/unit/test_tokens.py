"""Tokens: what is taken, and every way to be refused."""

from __future__ import annotations

import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_encode

from app.errors import EventError
from app.users.keys import KeySet
from app.users.tokens import Tokens
from tests.support.jwks import jwks, new_key, sign
from tests.unit.conftest import make_settings

SECRET = "a-secret-of-another-site-with-40-letters"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return new_key()


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, with changes; None leaves one out."""
    now = int(time.time())
    good = {"sub": "42", "name": "Ada", "iat": now - 10, "exp": now + 600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def hs256(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm)


def shared(tmp_path: Path, **settings: Any) -> Tokens:
    return Tokens(make_settings(tmp_path, auth_jwt_secret=SECRET, **settings))


def encoded(header: dict[str, Any]) -> str:
    return base64url_encode(json.dumps(header).encode()).decode()


def refusal(tokens: Tokens, token: object) -> str:
    with pytest.raises(EventError) as refused:
        tokens.read(token)
    assert refused.value.code == "unauthorized"
    assert SECRET not in refused.value.message
    return refused.value.message


def test_a_good_token_says_who_and_how_long(tmp_path: Path) -> None:
    now = int(time.time())
    user = shared(tmp_path, auth_jwt_leeway_seconds=5).read(hs256(iat=now - 7, exp=now + 100))
    assert (user.id, user.name, user.began_at, user.expires_at) == ("42", "Ada", now - 7, now + 105)


def test_names_are_made_as_the_chat_makes_them(tmp_path: Path) -> None:
    assert shared(tmp_path).read(hs256(name="  Ada   L\u0101 ")).name == "Ada L\u0101"


def test_other_claims_may_say_who(tmp_path: Path) -> None:
    tokens = shared(tmp_path, auth_jwt_id_claim="uid", auth_jwt_name_claim="nick")
    user = tokens.read(hs256(sub=None, name=None, uid=7, nick="Bob"))
    assert (user.id, user.name) == ("7", "Bob")


def test_an_id_may_be_a_whole_number(tmp_path: Path) -> None:
    assert shared(tmp_path).read(jwt.encode(claims(sub=5), SECRET, "HS256")).id == "5"


NOW = time.time()
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": NOW - 60}, "has expired"),
    "without an end": ({"exp": None}, "has no claim exp"),
    "without a beginning": ({"iat": None}, "has no claim iat"),
    "signed tomorrow": ({"iat": NOW + 86_400, "exp": NOW + 90_000}, "not valid yet"),
    "not before tomorrow": ({"nbf": NOW + 86_400}, "not valid yet"),
    "signed long ago": ({"iat": NOW - 31 * 86_400}, "SESSION_LIFETIME_DAYS=30"),
    "a beginning in letters": ({"iat": "1"}, "no numbers"),
    "for an audience": ({"aud": "shop"}, "another audience"),
    "without an id": ({"sub": None}, "has no claim sub"),
    "an empty id": ({"sub": ""}, "AUTH_JWT_ID_CLAIM"),
    "a long id": ({"sub": "x" * 65}, "1 to 64 printable characters in sub"),
    "an id with a line break": ({"sub": "a\nb"}, "printable"),
    "an id that is a fraction": ({"sub": 5.5}, "AUTH_JWT_ID_CLAIM"),
    "an id that is a truth": ({"sub": True}, "AUTH_JWT_ID_CLAIM"),
    "an id that is a list": ({"sub": ["5"]}, "AUTH_JWT_ID_CLAIM"),
    "a guest's id": ({"sub": "guest.AAAAAAAAAAAAAAAA"}, "begins with 'guest.'"),
    "without a name": ({"name": None}, "has no claim name"),
    "a name that is a list": ({"name": ["Ada"]}, "AUTH_JWT_NAME_CLAIM"),
    "a name that the chat refuses": ({"name": "<b>"}, "letters and digits"),
    "a long name": ({"name": "x" * 25}, "At most 24 characters"),
}


@pytest.mark.parametrize(("changes", "why"), REFUSED.values(), ids=REFUSED)
def test_claims_that_are_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    assert why in refusal(shared(tmp_path), jwt.encode(claims(**changes), SECRET, "HS256"))


@pytest.mark.parametrize(
    "token", [None, 5, {}, [], "", "x", "a.b.c", "é.é.é", "\ud800", "a.b", "..", "x" * 9_000, "e30.e30.e30"]
)
def test_what_is_no_token(tmp_path: Path, token: object) -> None:
    refusal(shared(tmp_path), token)


def test_leeway_is_bounded(tmp_path: Path) -> None:
    tokens = shared(tmp_path, auth_jwt_leeway_seconds=30)
    assert tokens.read(hs256(exp=int(time.time()) - 10)).name == "Ada"
    assert "has expired" in refusal(tokens, hs256(exp=int(time.time()) - 40))


def test_a_token_is_not_good_for_longer_than_anybody_remembers_who_was_signed_out(tmp_path: Path) -> None:
    user = shared(tmp_path, session_lifetime_days=1).read(hs256(exp=2**40))
    assert user.expires_at == user.began_at + 86_400


def test_nobody_signs_after_now(tmp_path: Path) -> None:
    """Otherwise an end that is recorded now would not be after it."""
    assert shared(tmp_path).read(hs256(iat=int(time.time()) + 5)).began_at <= time.time()


def test_audience_and_issuer(tmp_path: Path) -> None:
    tokens = shared(tmp_path, auth_jwt_audience="chat", auth_jwt_issuer="https://id.example.org")
    good: dict[str, Any] = {"aud": ["shop", "chat"], "iss": "https://id.example.org"}
    assert tokens.read(hs256(**good)).name == "Ada"
    assert "another audience" in refusal(tokens, hs256(**{**good, "aud": "shop"}))
    assert "has no claim aud" in refusal(tokens, hs256(**{**good, "aud": None}))
    assert "another issuer" in refusal(tokens, hs256(**{**good, "iss": "https://id.example.com"}))
    assert "has no claim iss" in refusal(tokens, hs256(**{**good, "iss": None}))


# The algorithm is the settings', not the token's.


def test_another_secret_or_algorithm_is_refused(tmp_path: Path) -> None:
    tokens = shared(tmp_path)
    assert "not signed by the key" in refusal(tokens, hs256("another-secret-of-40-characters-or-so---"))
    assert "algorithm" in refusal(tokens, hs256(SECRET * 2, "HS512"))
    unsigned = jwt.encode(claims(), "", "none")
    assert "algorithm" in refusal(tokens, unsigned)
    assert "algorithm" in refusal(tokens, unsigned.replace("eyJhbGciOiJub25l", "eyJhbGciOiJOb25l"))


def public(tmp_path: Path, *keys: tuple[str | None, rsa.RSAPrivateKey], **settings: Any) -> Tokens:
    return Tokens(
        make_settings(tmp_path, auth_jwt_jwks="keys.json", **settings),
        KeySet(lambda: jwks(*keys), "keys.json"),
    )


def test_public_keys_are_found_by_their_name(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    other = new_key()
    tokens = public(tmp_path, ("one", other), ("two", key))
    assert tokens.read(sign(key, "two", claims())).name == "Ada"
    assert "not signed by the key" in refusal(tokens, sign(key, "one", claims()))
    assert "a key that this server does not know" in refusal(tokens, sign(key, "three", claims()))
    assert "a key that this server does not know" in refusal(tokens, sign(key, None, claims()))


def test_a_single_key_needs_no_name(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    assert public(tmp_path, ("only", key)).read(sign(key, None, claims())).name == "Ada"


def test_a_public_key_is_no_secret(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    """What is known to everybody must not be good to sign with, by calling it HS256."""
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, jwks(("one", key))):
        _, payload, _ = hs256().split(".")
        signed = f"{encoded({'alg': 'HS256', 'kid': 'one'})}.{payload}"
        digest = hmac.digest(secret, signed.encode(), "sha256")
        forged = f"{signed}.{base64url_encode(digest).decode()}"
        assert "algorithm" in refusal(public(tmp_path, ("one", key)), forged)


@pytest.mark.parametrize("kid", [5, ["one"], {}, True])
def test_a_name_of_a_key_that_is_none(tmp_path: Path, key: rsa.RSAPrivateKey, kid: Any) -> None:
    _, payload, signature = sign(key, "one", claims()).split(".")
    forged = f"{encoded({'alg': 'RS256', 'kid': kid})}.{payload}.{signature}"
    refusal(public(tmp_path, ("one", key)), forged)


def test_keys_that_cannot_be_read_are_no_fault_of_the_token(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    def fail() -> bytes:
        raise OSError("no route to host")

    tokens = Tokens(make_settings(tmp_path, auth_jwt_jwks="keys.json"), KeySet(fail, "keys.json"))
    with pytest.raises(EventError) as refused:
        tokens.read(sign(key, "one", claims()))
    assert refused.value.code == "unavailable"
