"""The settings of users: guests, or those of another site by token; docs/users.md explains them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator
from pydantic_settings import BaseSettings

from config.kinds import ROOT, SECRET_MIN_CHARS, setting

# Cookies that the application and its load balancer have themselves.
OWN_COOKIES = ("session", "operator", "NODE")


def is_url(address: str) -> bool:
    """Whether an address is one of the web, and not a file's."""
    return address.startswith(("https://", "http://"))


def _keys(value: str) -> str:
    if is_url(value):
        if not urlsplit(value).hostname:
            raise ValueError("should be a file, or an address like https://id.example.org/keys")
        return value
    if "://" in value:
        raise ValueError("should be a file, or begin with https://")
    return str(ROOT / Path(value))


def _secret(value: str) -> str:
    if "-----BEGIN" in value:
        raise ValueError(
            "is a key in PEM, and no secret: publish its public half as a JWKS for AUTH_JWT_JWKS"
        )
    return value


def _sign_in_url(value: str) -> str:
    # What a browser is sent to: "javascript:" and the like must not be.
    if not is_url(value):
        raise ValueError("should be an address like https://example.org/login")
    return value


class Auth(BaseSettings):
    """Users. docs/users.md shows how to bring your own."""

    auth_guests: bool = setting(
        True, "Whoever brings no token may come in as a guest, under a name of their choice."
    )
    auth_jwt_secret: Annotated[str, AfterValidator(_secret)] | None = setting(
        None,
        "Secret that another site of yours signs tokens with (HS256), at least 32 characters. Unset: no such "
        "tokens.",
        min_length=SECRET_MIN_CHARS,
    )
    auth_jwt_jwks: Annotated[str, AfterValidator(_keys)] | None = setting(
        None,
        "Public keys of an identity provider (JWKS) whose tokens are taken (RS256): a file, or an https "
        "address. Not together with AUTH_JWT_SECRET.",
        min_length=1,
    )
    auth_jwt_audience: str | None = setting(
        None,
        "What a token's `aud` must contain. Unset: tokens that are for a certain audience are refused.",
        min_length=1,
    )
    auth_jwt_issuer: str | None = setting(
        None, "What a token's `iss` must be. Unset: it is not looked at.", min_length=1
    )
    auth_jwt_cookie: str | None = setting(
        None,
        "Name of the cookie that carries the token, when the other site shares this one's domain. Unset: it "
        "comes in the socket's `auth`, or as Authorization: Bearer.",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
    )
    auth_jwt_id_claim: str = setting(
        "sub",
        "The claim that tells users apart, 64 characters at most. Others see it.",
        min_length=1,
    )
    auth_jwt_name_claim: str = setting(
        "name",
        "The claim that is shown as the user's name. The chat's rules hold for it, CHAT_NAME_MAX_CHARS too.",
        min_length=1,
    )
    auth_jwt_leeway_seconds: int = setting(
        10, "By how much the clocks of who signs tokens may differ.", unit="seconds", ge=0, le=300
    )
    auth_sign_in_url: Annotated[str, AfterValidator(_sign_in_url)] | None = setting(
        None, "Where users of tokens sign in. The sign-in page leads there; without guests, at once."
    )
    session_check_seconds: float = setting(
        2.0,
        "How often a node asks the database who was signed out. It hears of it at once while a broker works.",
        unit="seconds",
        ge=0.1,
        le=300,
    )

    @property
    def takes_tokens(self) -> bool:
        """Whether there is a key to check them by."""
        return bool(self.auth_jwt_secret or self.auth_jwt_jwks)

    @model_validator(mode="after")
    def _check_auth(self) -> Self:
        if self.auth_jwt_secret and self.auth_jwt_jwks:
            raise ValueError(
                "AUTH_JWT_SECRET and AUTH_JWT_JWKS are two ways to check a token, and each opens the door: "
                "set the one that your tokens are signed for, and remove the other"
            )
        if not self.auth_guests and not self.takes_tokens:
            raise ValueError(
                "AUTH_GUESTS=false without AUTH_JWT_SECRET or AUTH_JWT_JWKS lets nobody in: set one"
            )
        if self.auth_jwt_cookie and not self.takes_tokens:
            raise ValueError("AUTH_JWT_COOKIE needs AUTH_JWT_SECRET or AUTH_JWT_JWKS to check what is in it")
        if self.auth_jwt_cookie in OWN_COOKIES:
            raise ValueError(
                f"AUTH_JWT_COOKIE={self.auth_jwt_cookie} is a cookie of this application's own: name the "
                "other site's"
            )
        return self


def check_production(settings: Auth) -> None:
    """Refuse what is unsafe in production. :raises ValueError: saying what to do instead."""
    address = settings.auth_jwt_jwks or ""
    if address.startswith("http://") and urlsplit(address).hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError(
            f"AUTH_JWT_JWKS={address} is not encrypted, so whoever is on the way can hand in keys of their "
            "own: use its https:// address, or a file"
        )
