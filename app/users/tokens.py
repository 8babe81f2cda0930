"""Reads the tokens (JWT) of another site's users: checks them, and says whose they are.

The algorithm follows from the settings, never from the token: HS256 with a shared secret, or RS256 with the
public keys of an identity provider.
"""

from __future__ import annotations

import time
from typing import Any

import jwt
from flask import Flask

from app.errors import EventError
from app.names import person_name
from app.user import GUEST_PREFIX, User
from app.users.keys import KeysError, KeySet, UnknownKey, reader_of
from config import Settings, SettingsError
from config.auth import is_url

# Browsers keep cookies of 4 KB, servers take headers of 8 KB.
TOKEN_MAX_CHARS = 8_192
# Columns and other clients rely on it.
ID_MAX_CHARS = 64
DAY_SECONDS = 86_400

REASONS: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "has expired",
    jwt.InvalidSignatureError: "is not signed by the key that this server knows",
    jwt.InvalidAlgorithmError: "is signed by an algorithm that this server does not take",
    jwt.InvalidAudienceError: "is for another audience (aud)",
    jwt.InvalidIssuerError: "is from another issuer (iss)",
    jwt.ImmatureSignatureError: "is not valid yet; do the clocks agree?",
}


def refuse(why: str) -> EventError:
    """Say what is wrong with a token."""
    return EventError("unauthorized", f"The token {why}.")


class Tokens:
    """Checks tokens.

    :param settings: `auth_*`, of which one of the two kinds of keys is set; and the bounds of names.
    :param keys: the public keys, without a shared secret.
    """

    def __init__(self, settings: Settings, keys: KeySet | None = None) -> None:
        self._settings = settings
        self._keys = keys
        self._algorithm = "RS256" if keys else "HS256"

    def read(self, token: object) -> User:
        """Say whose a token is.

        :raises EventError: `unauthorized`, with what is wrong; `unavailable` when the keys cannot be read.
        """
        # A JWT is base64 and dots; what is longer need not even be looked at.
        if not isinstance(token, str) or len(token) > TOKEN_MAX_CHARS or not token.isascii():
            raise refuse(f"is no JSON Web Token of at most {TOKEN_MAX_CHARS} characters")
        s = self._settings
        try:
            claims = jwt.decode(
                token,
                self._key(token),
                algorithms=[self._algorithm],
                audience=s.auth_jwt_audience,
                issuer=s.auth_jwt_issuer,
                leeway=s.auth_jwt_leeway_seconds,
                # `_id` looks at it: numbers are good too.
                options={
                    "require": ["exp", "iat", s.auth_jwt_id_claim, s.auth_jwt_name_claim],
                    "verify_sub": False,
                },
            )
        except jwt.MissingRequiredClaimError as error:
            raise refuse(f"has no claim {error.claim}") from None
        except jwt.PyJWTError as error:
            raise refuse(REASONS.get(type(error), f"cannot be read ({error})")) from None
        return self._user(claims)

    def _key(self, token: str) -> Any:
        if self._keys is None:
            return self._settings.auth_jwt_secret
        kid = jwt.get_unverified_header(token).get("kid")
        try:
            return self._keys.find(kid)
        except UnknownKey as unknown:
            if unknown.sure:
                raise refuse("is signed by a key that this server does not know") from None
            raise EventError(
                "unavailable", "The keys to check your token by cannot be read. Try again in a moment."
            ) from None

    def _user(self, claims: dict[str, Any]) -> User:
        s = self._settings
        times = claims["iat"], claims["exp"]
        if not all(isinstance(value, int | float) for value in times):
            raise refuse("has times (iat, exp) that are no numbers")
        # Whoever's clock is ahead cannot have signed it after now.
        began_at = max(0.0, min(times[0], time.time()))
        # Longer than that nobody remembers who was signed out.
        expires_at = min(
            times[1] + s.auth_jwt_leeway_seconds, began_at + s.session_lifetime_days * DAY_SECONDS
        )
        if expires_at <= time.time():
            raise refuse(f"was signed more than SESSION_LIFETIME_DAYS={s.session_lifetime_days} days ago")
        return User(self._id(claims), self._name(claims), float(expires_at), began_at)

    def _id(self, claims: dict[str, Any]) -> str:
        claim = self._settings.auth_jwt_id_claim
        value = claims[claim]
        # Numbers are what many databases call their users.
        found = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if not 1 <= len(found) <= ID_MAX_CHARS or not found.isprintable():
            raise refuse(
                f"has no id of 1 to {ID_MAX_CHARS} printable characters in {claim}; see AUTH_JWT_ID_CLAIM"
            )
        if found.startswith(GUEST_PREFIX):
            raise refuse(f"has an id in {claim} that begins with {GUEST_PREFIX!r}, as only guests' ids do")
        return found

    def _name(self, claims: dict[str, Any]) -> str:
        claim = self._settings.auth_jwt_name_claim
        value = claims[claim]
        if not isinstance(value, str):
            raise refuse(f"has no text in {claim}; see AUTH_JWT_NAME_CLAIM")
        try:
            return person_name(value, self._settings.chat_name_max_chars)[0]
        except EventError as error:
            raise refuse(f"has a name in {claim} that cannot be shown: {error.message}") from None


def init_app(app: Flask, settings: Settings) -> None:
    """Put what reads tokens at `app.extensions["tokens"]`; None when the settings want none.

    :raises SettingsError: for a file of keys that cannot be used.
    """
    keys = None
    if address := settings.auth_jwt_jwks:
        keys = KeySet(reader_of(address), address)
        if not is_url(address):
            # An address may be out of reach while a node starts, and a file may not.
            try:
                keys.load()
            except KeysError as error:
                raise SettingsError(f"AUTH_JWT_JWKS={address}: {error}") from None
    app.extensions["tokens"] = Tokens(settings, keys) if settings.takes_tokens else None
