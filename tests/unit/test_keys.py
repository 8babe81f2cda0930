"""The keys of tokens: read again when need be, not too often, and kept when they cannot be read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import gevent
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from app.users import keys as keys_module
from app.users.keys import (
    AGE_SECONDS,
    RETRY_SECONDS,
    SET_MAX_BYTES,
    KeysError,
    KeySet,
    UnknownKey,
    parse,
    reader_of,
)
from config import SettingsError
from tests.support.jwks import jwk, jwks, new_key, provide
from tests.unit.conftest import MakeApp


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return new_key()


@pytest.fixture(scope="module")
def other() -> rsa.RSAPrivateKey:
    return new_key()


class Source:
    """Where a set comes from, with a clock."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.fails = False
        self.reads = 0
        self.now = 1000.0
        self.keys = KeySet(self.read, "test", lambda: self.now)

    def read(self) -> bytes:
        self.reads += 1
        if self.fails:
            raise OSError("connection refused")
        return self.body

    def knows(self, kid: str | None) -> bool:
        try:
            self.keys.find(kid)
        except UnknownKey:
            return False
        return True


def test_a_set_is_read_once(key: rsa.RSAPrivateKey) -> None:
    source = Source(jwks(("one", key)))
    for _ in range(5):
        assert source.keys.find("one") == key.public_key()
    assert source.reads == 1


def test_a_new_key_is_looked_for_and_an_old_one_goes(
    key: rsa.RSAPrivateKey, other: rsa.RSAPrivateKey
) -> None:
    source = Source(jwks(("one", key)))
    assert source.knows("one")
    source.body = jwks(("two", other))
    assert not source.knows("two"), "it was asked a moment ago"
    source.now += RETRY_SECONDS
    assert source.knows("two")
    assert not source.knows("one"), "it was withdrawn"
    assert source.reads == 2


def test_forged_names_do_not_make_it_ask_more_often(key: rsa.RSAPrivateKey) -> None:
    source = Source(jwks(("one", key)))
    for second in range(100):
        source.now = 1000.0 + second
        assert not source.knows(f"forged {second}")
    assert source.reads == 100 / RETRY_SECONDS


def test_a_withdrawn_key_is_found_out_in_time(key: rsa.RSAPrivateKey, other: rsa.RSAPrivateKey) -> None:
    source = Source(jwks(("one", key)))
    assert source.knows("one")
    source.body = jwks(("two", other))
    source.now += AGE_SECONDS - 1
    assert source.knows("one")
    source.now += 1
    assert not source.knows("one")


def test_a_source_that_fails_leaves_the_keys_in_use(
    key: rsa.RSAPrivateKey, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(jwks(("one", key)))
    assert source.knows("one")
    source.fails = True
    source.now += 10 * AGE_SECONDS
    with caplog.at_level(logging.INFO):
        assert source.knows("one")
        assert source.knows("one")
        assert source.reads == 2
        with pytest.raises(UnknownKey) as unknown:
            source.keys.find("two")
        assert not unknown.value.sure
        source.body, source.fails = b"<html>", False
        source.now += RETRY_SECONDS
        assert source.knows("one")
        source.body = jwks(("two", key))
        source.now += RETRY_SECONDS
        assert not source.knows("one")
        assert source.knows("two")
    assert "connection refused" in caplog.text
    assert "no set of keys" in caplog.text
    assert "can be read again" in caplog.text


def test_one_asks_for_all_and_who_knows_his_key_does_not_wait(
    key: rsa.RSAPrivateKey, other: rsa.RSAPrivateKey
) -> None:
    source = Source(jwks(("one", key)))
    assert source.knows("one")
    source.now += AGE_SECONDS
    gate = gevent.event.Event()
    read = source.read

    def slow() -> bytes:
        gate.wait()
        source.body = jwks(("one", key), ("two", other))
        return read()

    source.keys._read = slow
    asking = gevent.spawn(source.keys.find, "one")
    gevent.sleep(0)
    assert source.keys.find("one") == key.public_key()
    waiting = [gevent.spawn(source.keys.find, "two") for _ in range(10)]
    gevent.sleep(0)
    assert not any(greenlet.ready() for greenlet in (asking, *waiting))
    gate.set()
    assert [greenlet.get(timeout=5) for greenlet in waiting] == [other.public_key()] * 10
    assert source.reads == 2


# What a set may have in it.


def with_private_half(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key, as_dict=True), "kid": "one"}


@pytest.mark.parametrize(
    "make",
    [
        lambda key: b"",
        lambda key: b"[]",
        lambda key: b"\xff",
        lambda key: b'{"keys": 5}',
        lambda key: b'{"keys": []}',
        lambda key: b'{"keys": [5, {}, {"kty": "RSA"}]}',
        lambda key: b"[" * 100_000,
        lambda key: json.dumps({"keys": [jwk("one", key, use="enc")]}),
        lambda key: json.dumps({"keys": [jwk("one", key, alg="RS512")]}),
        lambda key: json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}]}),
        lambda key: json.dumps({"keys": [with_private_half(key)]}),
        lambda key: json.dumps({"keys": [jwk("one", new_key(1024))]}),
        lambda key: json.dumps(
            {"keys": [ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)]}
        ),
    ],
)
def test_what_is_no_key_for_tokens(key: rsa.RSAPrivateKey, make: Any) -> None:
    made = make(key)
    with pytest.raises(KeysError):
        parse(made.encode() if isinstance(made, str) else made)


def test_keys_for_other_things_are_passed_over(key: rsa.RSAPrivateKey, other: rsa.RSAPrivateKey) -> None:
    mixed = {"keys": [jwk("enc", other, use="enc"), jwk("sig", key, use="sig", alg="RS256"), {"kty": "?"}]}
    assert list(parse(json.dumps(mixed).encode())) == ["sig"]


# Where it may be.


def test_a_file_is_read_and_read_again(
    tmp_path: Path, key: rsa.RSAPrivateKey, other: rsa.RSAPrivateKey
) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(("one", key)))
    clock = [0.0]
    keys = KeySet(reader_of(str(path)), "file", lambda: clock[0])
    assert keys.find("one") == key.public_key()
    path.write_bytes(jwks(("one", key), ("two", other)))
    clock[0] += RETRY_SECONDS
    assert keys.find("two") == other.public_key()


@pytest.mark.parametrize("body", [None, b"", b"{}"])
def test_a_file_that_is_none_stops_the_start(make_app: MakeApp, tmp_path: Path, body: bytes | None) -> None:
    path = tmp_path / "keys.json"
    if body is not None:
        path.write_bytes(body)
    with pytest.raises(SettingsError, match=r"AUTH_JWT_JWKS=.*keys\.json: "):
        make_app(auth_jwt_jwks=str(path))


def test_an_address_is_asked(key: rsa.RSAPrivateKey) -> None:
    with provide(jwks(("one", key))) as provider:
        assert KeySet(reader_of(provider.url), "url").find("one") == key.public_key()
        assert provider.requests == 1


def test_answers_that_are_none(key: rsa.RSAPrivateKey, caplog: pytest.LogCaptureFixture) -> None:
    with provide(jwks(("one", key))) as provider, provide(jwks(("one", key))) as elsewhere:

        def ask(**answer: Any) -> str:
            for name, value in answer.items():
                setattr(provider, name, value)
            caplog.clear()
            with pytest.raises(UnknownKey):
                KeySet(reader_of(provider.url), "url").find("one")
            return caplog.text

        assert "500" in ask(status=500)
        assert "302" in ask(status=302, headers={"Location": elsewhere.url})
        assert elsewhere.requests == 0
        assert f"more than {SET_MAX_BYTES} bytes" in ask(
            status=200, headers={}, body=b" " * (SET_MAX_BYTES + 1)
        )
        closed = elsewhere.url
    with pytest.raises(UnknownKey):
        KeySet(reader_of(closed), "url").find("one")
    assert "refused" in caplog.text


def test_an_address_that_hangs_stops_nobody_for_long(
    key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys_module, "FETCH_SECONDS", 0.2)
    with provide(jwks(("one", key))) as provider:
        provider.wait.clear()
        ticks: list[int] = []

        def tick() -> None:
            while True:
                ticks.append(1)
                gevent.sleep(0.01)

        ticker = gevent.spawn(tick)
        with pytest.raises(UnknownKey) as unknown:
            KeySet(reader_of(provider.url), "url").find("one")
        ticker.kill()
    assert not unknown.value.sure
    assert len(ticks) > 1, "the hub went on meanwhile"
    assert "cannot be read" in caplog.text
