"""What keeps the pages safe: cookies, headers, proxies, and who may call from elsewhere."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import gevent
from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from app.errors import EventError
from config import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

# No script, style or frame from anywhere else, and none inline: injected text stays text.
# connect-src 'self' covers the page's own WebSocket (CSP level 3).
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# RFC 9110, 9.2.1: they change nothing.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What is left of a body: this much at a time, for this long.
READ_BYTES = 65_536
READ_SECONDS = 5.0
# Enough to see what is wrong, and no more than an attacker may make us remember.
REPORTED_ORIGINS_MAX = 50


def flask_config(settings: Settings) -> dict[str, Any]:
    """Flask's own configuration, as it follows from the settings."""
    return {
        "SECRET_KEY": settings.secret_key,
        "TESTING": settings.testing,
        "MAX_CONTENT_LENGTH": settings.max_request_bytes,
        "PERMANENT_SESSION_LIFETIME": timedelta(days=settings.session_lifetime_days),
        "SESSION_COOKIE_SECURE": settings.session_cookie_secure,
        "SESSION_COOKIE_HTTPONLY": True,
        # The session's end is fixed at the sign-in (app/auth.py); sending the cookie again would not move it.
        "SESSION_REFRESH_EACH_REQUEST": False,
        # Other sites' requests come without it; what they may do without one, `OriginCheck` decides.
        "SESSION_COOKIE_SAMESITE": "Lax",
        "TEMPLATES_AUTO_RELOAD": settings.app_env == "development",
        "RATELIMIT_STORAGE_URI": "memory://",
        # The exact moving window of the library keeps every address for ever.
        "RATELIMIT_STRATEGY": "sliding-window-counter",
        "RATELIMIT_HEADERS_ENABLED": True,
    }


def cors_resources(settings: Settings) -> dict[str | re.Pattern[str], dict[str, Any]]:
    """What other sites' scripts may read: the REST API, from the origins in the settings."""
    return {r"/api/.*": {"origins": settings.cors_origins, "supports_credentials": False}}


class OriginCheck:
    """Decides which pages may open a socket or post: the application's own, and those in the settings.

    :param origins: `CORS_ORIGINS`.
    """

    def __init__(self, origins: list[str]) -> None:
        self._origins = frozenset(origins)
        self._reported: set[str] = set()

    def __call__(self, origin: str, environ: dict[str, Any]) -> bool:
        """Say whether a page of this origin may; a refusal is logged with what to do about it."""
        if not origin:
            # Not a browser; a browser names the origin of a WebSocket and of every POST.
            return False
        own = f"{environ.get('wsgi.url_scheme')}://{environ.get('HTTP_HOST')}"
        if origin == own or origin in self._origins or "*" in self._origins:
            return True
        if origin not in self._reported and len(self._reported) < REPORTED_ORIGINS_MAX:
            self._reported.add(origin)
            logger.warning(
                "a page of %r may not use %r. If it is yours, add it to CORS_ORIGINS; if both "
                "are the same site, the proxy in front hides it: set TRUSTED_PROXIES",
                origin,
                own,
            )
        return False


class ReadWhole:
    """Reads what the application has left of a request's body, for the proxy that sends it.

    gunicorn closes the connection after the answer, and with unread data in it that is a reset. nginx takes
    a reset in mid-request for a fault of the node: whoever posts much to an address that wants nothing could
    make it turn away from all nodes.

    :param wsgi_app: what answers.
    :param max_bytes: the most that is read; more is refused by `MAX_CONTENT_LENGTH`, and by the proxy.
    """

    def __init__(self, wsgi_app: WSGIApplication, max_bytes: int) -> None:
        self._wsgi_app = wsgi_app
        self._max_bytes = max_bytes

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        answer = self._wsgi_app(environ, start_response)
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        if chunked or environ.get("CONTENT_LENGTH", "0") not in ("", "0"):
            left = self._max_bytes
            # The proxy has the body already; whoever else stands there may not keep the node waiting.
            with contextlib.suppress(OSError, gevent.Timeout), gevent.Timeout(READ_SECONDS):
                while left > 0 and (part := environ["wsgi.input"].read(min(left, READ_BYTES))):
                    left -= len(part)
        return answer


def init_app(app: Flask, settings: Settings) -> None:
    """Add the headers, and believe as many proxies as the settings say."""

    accepts = OriginCheck(settings.cors_origins)

    @app.before_request
    def refuse_other_sites() -> None:
        """Keep another site's form from signing its visitors in or out."""
        origin = request.headers.get("Origin")
        if request.method not in SAFE_METHODS and origin and not accepts(origin, request.environ):
            raise EventError("forbidden", "This request was sent by a page of another site.")

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        behind_proxy = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)
        app.wsgi_app = ReadWhole(behind_proxy, settings.max_request_bytes)  # type: ignore[method-assign]
