"""The request context in which a handler runs, without what only a request needs.

Flask-SocketIO pushes a new context for every event, from the request that opened the connection. Flask
matches the URL for it and opens the user's session from its cookie, each time anew; here the result of the
one is remembered, and the session that Flask-SocketIO keeps is there already.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Request
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, RequestRedirect

# In the environ of a connection: this is no request any more.
EVENT = "socketio.event"

# Where Flask-SocketIO keeps the session of a connection.
SAVED_SESSION = "saved_session"

# There is one path as a rule; whoever invents others is matched each time.
REMEMBERED_MATCHES = 64

_MATCHES = "event_matches"


class EventContext(RequestContext):
    """A request context that looks at the URL when somebody asks.

    Handlers see what they see in Flask's own: `request`, `session`, `g`, `url_for`, teardown functions.

    :param app: the application.
    :param environ: the WSGI environment of a connection.
    :param request: for a copy of a context: its request.
    :param session: for a copy of a context: its session.
    """

    def __init__(
        self,
        app: Flask,
        environ: dict[str, Any],
        request: Request | None = None,
        session: SessionMixin | None = None,
    ) -> None:
        # Not the one of RequestContext, which binds the URL map.
        self.app = app
        self.flashes = None
        self._session = environ.get(SAVED_SESSION) if session is None else session
        self._after_request_functions = []
        self._cv_tokens = []
        self._bound = False
        self._adapter: MapAdapter | None = None
        self._pushing = False
        if request is None:
            self.request = app.request_class(environ)
            self.request.json_module = app.json
            self._matched = self._recall()
        else:
            self.request = request
            self._matched = True

    @property
    def url_adapter(self) -> MapAdapter | None:  # type: ignore[override]
        """What builds URLs; None for a host that makes no sense."""
        if self._pushing and self._matched and self._session is not None:
            # RequestContext asks, and would match the URL again.
            return None
        if not self._bound:
            self._bound = True
            try:
                self._adapter = self.app.create_url_adapter(self.request)
            except HTTPException as error:
                self.request.routing_exception = error
        return self._adapter

    def push(self) -> None:
        """Make this the current context."""
        self._pushing = True
        try:
            if self._session is None and self._has_no_session():
                self._session = self.app.session_interface.session_class()  # type: ignore[attr-defined]
            super().push()
        finally:
            self._pushing = False
        if not self._matched:
            self._matched = True
            self._remember()

    def _has_no_session(self) -> bool:
        """Whether opening the session would only tell that the client sent none."""
        interface = self.app.session_interface
        if type(interface) is not SecureCookieSessionInterface or not self.app.secret_key:
            return False
        return interface.get_cookie_name(self.app) not in self.request.environ.get("HTTP_COOKIE", "")

    def _recall(self) -> bool:
        """Tell the request which route its URL has, as a rule none. :returns: whether that is known."""
        known = self.app.extensions.get(_MATCHES, {}).get(self._key())
        if known is None:
            return False
        request = self.request
        request.url_rule, view_args, request.routing_exception = known
        request.view_args = view_args and dict(view_args)
        return True

    def _remember(self) -> None:
        app, request = self.app, self.request
        matches = app.extensions.setdefault(_MATCHES, {})
        depends_on_host = (
            app.url_map.host_matching
            or app.subdomain_matching
            or app.config["TRUSTED_HOSTS"] is not None
            or self._adapter is None
            or isinstance(request.routing_exception, RequestRedirect)
        )
        if not depends_on_host and len(matches) < REMEMBERED_MATCHES:
            view_args = request.view_args and dict(request.view_args)
            matches[self._key()] = (request.url_rule, view_args, request.routing_exception)

    def _key(self) -> tuple[Any, ...]:
        # A route that is added later counts, too.
        environ = self.request.environ
        return (
            environ.get("PATH_INFO"),
            environ.get("REQUEST_METHOD"),
            environ.get("HTTP_UPGRADE"),
            len(self.app.view_functions),
        )


def use_event_contexts(app: Flask) -> None:
    """Let an application make such a context for an environ that has `EVENT` in it.

    An application whose class has a `request_context` of its own keeps it.
    """
    ordinary = app.request_context
    if getattr(ordinary, "__func__", None) is not Flask.request_context:
        return

    def request_context(environ: dict[str, Any]) -> RequestContext:
        return EventContext(app, environ) if EVENT in environ else ordinary(environ)

    app.request_context = request_context  # type: ignore[method-assign]
