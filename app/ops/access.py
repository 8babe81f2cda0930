"""Who is an operator: whoever has shown ADMIN_TOKEN, for some hours.

The page keeps it in a cookie of its own, so that signing in to the chat, or out, changes nothing. It is
signed by SECRET_KEY and ADMIN_TOKEN together: another token ends what the old one let in.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import asdict, dataclass

import structlog
from flask import current_app, request
from itsdangerous import BadSignature, URLSafeSerializer
from werkzeug.wrappers import Response

from app.errors import EventError
from app.realtime import Rates
from config import Settings

log = structlog.get_logger(__name__)

COOKIE = "operator"
HOUR_SECONDS = 3_600
# 96 random bits, as a user's id.
ID_BYTES = 12


@dataclass(frozen=True)
class Operator:
    """Somebody who has shown the token.

    :param id: opaque and unique.
    :param began_at: when they showed it, in seconds since 1970.
    :param expires_at: when they must show it again, in seconds since 1970; checked on each request and event.
    """

    id: str
    began_at: float
    expires_at: float
    name: str = "Operator"


class Access:
    """Checks tokens and cookies.

    :param settings: with an `admin_token`.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.admin_token is not None
        self._token = settings.admin_token
        self._seconds = settings.operator_hours * HOUR_SECONDS
        self._secure = settings.session_cookie_secure
        self._rates = Rates({"token": settings.rate_sign_in})
        self._signer = URLSafeSerializer(f"{settings.secret_key}\n{settings.admin_token}", salt=COOKIE)

    def check(self, token: object, address: str) -> Operator:
        """Let somebody in who shows the token.

        :param address: who pays for the attempt.
        :raises EventError: `rate_limited`, or `unauthorized` for another token.
        """
        wait_seconds = self._rates.spend("token", address, time.monotonic())
        if wait_seconds:
            wait_ms = int(wait_seconds * 1000) + 1
            message = f"Too many attempts. Try again in {-(-wait_ms // 1000)} s."
            raise EventError("rate_limited", message, retry_after_ms=wait_ms)
        if not isinstance(token, str) or not hmac.compare_digest(_bytes(token), _bytes(self._token)):
            log.warning("operator refused: a wrong token", address=address)
            raise EventError("unauthorized", "This is not the value of ADMIN_TOKEN.")
        now = time.time()
        return Operator(secrets.token_urlsafe(ID_BYTES), now, now + self._seconds)

    def remember(self, response: Response, operator: Operator) -> None:
        """Put an operator into the cookie."""
        response.set_cookie(
            COOKIE,
            self._signer.dumps(asdict(operator)),
            max_age=int(self._seconds),
            httponly=True,
            secure=self._secure,
            samesite="Lax",
        )

    def forget(self, response: Response) -> None:
        """Take the cookie away."""
        response.delete_cookie(COOKIE, httponly=True, secure=self._secure, samesite="Lax")

    def remembered(self) -> Operator | None:
        """Say which operator sends the request in hand, by its cookie."""
        try:
            operator = Operator(**self._signer.loads(request.cookies.get(COOKIE, "")))
        except (BadSignature, TypeError):
            return None
        return operator if operator.expires_at > time.time() else None


def _bytes(token: str) -> bytes:
    # JSON may carry half a character, which UTF-8 would not.
    return token.encode("utf-8", "surrogatepass")


def is_own_page() -> bool:
    """Whether the request in hand comes from a page of this site, or from no page.

    Browsers send the cookie with what a page of a sibling host asks for, and CORS_ORIGINS lets such pages use
    sockets: that makes them no operators. A browser names the origin of each WebSocket and each POST.
    """
    own = f"{request.scheme}://{request.host}"
    return request.headers.get("Origin", own) == own


def operator_from(auth: object) -> Operator | None:
    """Say which operator opens the connection in hand: by `{"token": ADMIN_TOKEN}`, or by the page's cookie.

    :param auth: what came with the connection.
    :raises EventError: `unauthorized` for a wrong token, or for the cookie from a page of another site;
        `rate_limited`.
    """
    access: Access | None = current_app.extensions.get("operator_access")
    if access is None:
        return None
    if isinstance(auth, dict) and "token" in auth:
        return access.check(auth["token"], request.remote_addr or "")
    if not is_own_page():
        raise EventError(
            "unauthorized", 'A page of another site gets in by {"token": ADMIN_TOKEN} in `auth`.'
        )
    return access.remembered()
