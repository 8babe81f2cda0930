"""The public keys that tokens are checked by: a set (JWKS) in a file, or at an identity provider's address.

PyJWT's own client asks as often as it fails, and a provider that is down would keep everybody out. Here

- a set is read again when it is old, or when a token names a key that is not in it;
- not more often than every RETRY_SECONDS, whatever tokens come, and by one who asks for all;
- a set that cannot be read leaves the keys of before in use, and is logged.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

import gevent
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWKSet
from jwt.exceptions import PyJWTError

from config.auth import is_url

logger = logging.getLogger(__name__)

# A key that the provider has withdrawn is good for so long at most, while the provider answers.
AGE_SECONDS = 600.0
# Also how long a new key may be unknown here. Providers publish a key hours before they use it.
RETRY_SECONDS = 10.0
# Whoever connects waits meanwhile, and nobody else.
FETCH_SECONDS = 3.0
# Sets have a few keys of 2 KB.
SET_MAX_BYTES = 256 * 1024
# NIST SP 800-131A: shorter ones are disallowed.
KEY_MIN_BITS = 2048

Keys = dict[str | None, RSAPublicKey]


class KeysError(Exception):
    """A set of keys cannot be read, or has no key that could be used."""


class UnknownKey(Exception):
    """No key of this name is known. `sure`: the set was read, and it is not in it."""

    def __init__(self, sure: bool) -> None:
        super().__init__()
        self.sure = sure


def parse(data: bytes) -> Keys:
    """Take the keys for RS256 out of a set; those for anything else are passed over.

    :raises KeysError: when there is none.
    """
    try:
        found = PyJWKSet.from_dict(json.loads(data)).keys
    except (ValueError, AttributeError, RecursionError, PyJWTError) as error:
        raise KeysError(f"it is no set of keys (JWKS): {error}") from None
    keys = {
        key.key_id: key.key
        for key in found
        if key.algorithm_name == "RS256"
        and key.public_key_use in (None, "sig")
        and isinstance(key.key, RSAPublicKey)
        and key.key.key_size >= KEY_MIN_BITS
    }
    if not keys:
        raise KeysError(f"none of its keys is a public RSA key for RS256 of {KEY_MIN_BITS} bits or more")
    return keys


def reader_of(address: str) -> Callable[[], bytes]:
    """Say how to read a set.

    :param address: a file, or an address of the web.
    """
    return (lambda: _fetch(address)) if is_url(address) else Path(address).read_bytes


class _NoRedirects(HTTPRedirectHandler):
    """Keys come from where the settings say; a redirect could lead away from https."""

    def redirect_request(self, *_: Any) -> Request | None:
        return None


def _fetch(url: str) -> bytes:
    # The socket's own timeout is one for each piece, however small.
    with (
        gevent.Timeout(FETCH_SECONDS, TimeoutError(f"no answer within {FETCH_SECONDS:g} s")),
        build_opener(_NoRedirects).open(url, timeout=FETCH_SECONDS) as response,
    ):
        data: bytes = response.read(SET_MAX_BYTES + 1)
    if len(data) > SET_MAX_BYTES:
        raise KeysError(f"more than {SET_MAX_BYTES} bytes")
    return data


class KeySet:
    """The keys that are in use.

    :param read: reads the set.
    :param name: where from, for the log.
    :param clock: monotonic seconds.
    """

    def __init__(
        self, read: Callable[[], bytes], name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._name = name
        self._clock = clock
        self._keys: Keys = {}
        self._read_at = float("-inf")
        self._asked_at = float("-inf")
        self._failed = False
        self._lock = threading.Lock()

    def load(self) -> None:
        """Read the set now. :raises KeysError: when that is not possible; the keys of before stay."""
        try:
            self._keys = parse(self._read())
        except (OSError, ValueError, HTTPException) as error:
            raise KeysError(str(error) or type(error).__name__) from None
        self._read_at = self._clock()

    def find(self, kid: str | None) -> RSAPublicKey:
        """The key of a name; it may wait for the set, FETCH_SECONDS at most.

        :param kid: as the token names it; None fits a set of one key.
        :raises UnknownKey: when there is none.
        """
        key = self._known(kid)
        if key is None or self._clock() - self._read_at >= AGE_SECONDS:
            # Those whose key is known need not wait for whoever asks.
            self._ask(kid, wait=key is None)
            key = self._known(kid)
        if key is None:
            raise UnknownKey(sure=not self._failed)
        return key

    def _known(self, kid: str | None) -> RSAPublicKey | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _ask(self, kid: str | None, *, wait: bool) -> None:
        if not self._lock.acquire(blocking=wait):
            return
        try:
            now = self._clock()
            fresh = now - self._read_at < AGE_SECONDS and self._known(kid) is not None
            if fresh or now - self._asked_at < RETRY_SECONDS:
                return
            self._asked_at = now
            self.load()
            if self._failed:
                logger.info("the keys of tokens can be read again: %s", self._name)
            self._failed = False
        except KeysError as error:
            self._failed = True
            logger.warning(
                "the keys of tokens cannot be read from %s, those of before (%d) stay in use: %s",
                self._name,
                len(self._keys),
                error,
            )
        finally:
            self._lock.release()
