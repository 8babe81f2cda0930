"""The context of a handler against Flask's own: what handlers see is what they saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
import pytest
from flask import Flask, request, url_for
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_socketio import SocketIO
from werkzeug.exceptions import HTTPException, NotFound

from app.realtime.event_context import EVENT, REMEMBERED_MATCHES, EventContext, use_event_contexts

ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/socket.io/",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "EIO=4&transport=websocket&a=1",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "5000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "10.0.0.7",
    "HTTP_HOST": "example.test:5000",
    "HTTP_USER_AGENT": "test",
    "HTTP_COOKIE": "theme=dark",
    "wsgi.url_scheme": "http",
}
WEBSOCKET = {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade"}


def page(number: int) -> str:
    """A view."""
    return str(number)


def make_app(catches_all: bool = False, **config: Any) -> Flask:
    """An application with some routes."""
    app = Flask("events")
    app.config.update({"SECRET_KEY": "secret", **config})
    blueprint = flask.Blueprint("pages", "pages")
    blueprint.add_url_rule("/page/<int:number>", "page", page)
    app.register_blueprint(blueprint)
    app.add_url_rule("/folder/", "folder", lambda: "a folder")
    if catches_all:
        app.add_url_rule("/<path:path>", "everything", lambda path: path)
    return app


def signed_cookie(app: Flask, **values: Any) -> str:
    """A cookie with a session in it."""
    interface = app.session_interface
    assert isinstance(interface, SecureCookieSessionInterface)
    serializer = interface.get_signing_serializer(app)
    assert serializer is not None
    return f"theme=dark; session={serializer.dumps(values)}"


def seen(context: RequestContext) -> dict[str, Any]:
    """What a handler can see in a context."""
    with context:
        error = request.routing_exception
        return {
            "app": flask.current_app._get_current_object(),  # type: ignore[attr-defined]
            "request class": type(flask.request._get_current_object()),  # type: ignore[attr-defined]
            "session class": type(flask.session._get_current_object()),  # type: ignore[attr-defined]
            "session": dict(flask.session),
            "modified": flask.session.modified,
            "flashes": flask.get_flashed_messages(),
            "g": list(flask.g),
            "url": url_of(lambda: url_for("pages.page", number=7)),
            "external": url_of(lambda: url_for("pages.page", number=7, _external=True)),
            "rule": request.url_rule and request.url_rule.rule,
            "endpoint": request.endpoint,
            "view_args": request.view_args,
            "blueprints": request.blueprints,
            "routing": (type(error), getattr(error, "new_url", None)),
            "request url": url_of(lambda: request.url),
            "host": url_of(lambda: request.host),
            "arguments": dict(request.args),
            "cookies": dict(request.cookies),
            "headers": dict(request.headers),
            "remote": request.remote_addr,
            "json": request.json_module,
            "method": request.method,
            "secure": request.is_secure,
        }


def url_of(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (HTTPException, RuntimeError, AttributeError) as error:
        return type(error).__name__


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "long polling": ({}, {}),
    "WebSocket": ({}, WEBSOCKET),
    "a proxy with TLS and a prefix": ({}, {"wsgi.url_scheme": "https", "SCRIPT_NAME": "/app", **WEBSOCKET}),
    "no Host": ({}, {"HTTP_HOST": ""}),
    "a Host that makes no sense": ({}, {"HTTP_HOST": "a b"}),
    "IPv6": ({}, {"HTTP_HOST": "[::1]:5000"}),
    "a trusted host": ({"TRUSTED_HOSTS": ["example.test"]}, {}),
    "a host that is not trusted": ({"TRUSTED_HOSTS": ["other.test"]}, {}),
    "a server's name": ({"SERVER_NAME": "named.test"}, {}),
    "no secret key": ({"SECRET_KEY": None}, {}),
    "a route that catches all": ({"catches_all": True}, {}),
    "a route that catches all but WebSockets": ({"catches_all": True}, WEBSOCKET),
    "another path": ({}, {"PATH_INFO": "/socket.io/else"}),
    "a route's path": ({}, {"PATH_INFO": "/page/12"}),
    "a redirect": ({}, {"PATH_INFO": "/folder"}),
    "a method of no route": ({"catches_all": True}, {"REQUEST_METHOD": "POST"}),
    "no cookie": ({}, {"HTTP_COOKIE": ""}),
}


@pytest.mark.parametrize(("config", "changes"), CASES.values(), ids=CASES)
def test_a_handler_sees_what_it_sees_in_flasks_own_context(
    config: dict[str, Any], changes: dict[str, Any]
) -> None:
    app = make_app(**config)
    environ = {**ENVIRON, **changes}

    expected = seen(RequestContext(app, dict(environ)))

    # The second one finds the first one's route.
    for _ in range(2):
        assert seen(EventContext(app, dict(environ))) == expected


def test_a_session_in_the_cookie_is_opened() -> None:
    app = make_app()
    environ = {**ENVIRON, "HTTP_COOKIE": signed_cookie(app, user="ann")}

    context = seen(EventContext(app, environ))

    assert context == seen(RequestContext(app, environ))
    assert context["session"] == {"user": "ann"}


@pytest.mark.parametrize("cookie", ["session=nonsense", "session=", "xsession=1"])
def test_a_cookie_without_a_session_in_it(cookie: str) -> None:
    app = make_app()
    environ = {**ENVIRON, "HTTP_COOKIE": cookie}

    assert seen(EventContext(app, environ)) == seen(RequestContext(app, environ))


class CountingInterface(SecureCookieSessionInterface):
    """Counts what it opens and saves, and needs the URL for it."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.saved: list[dict[str, Any]] = []

    def open_session(self, app: Flask, request: flask.Request) -> SecureCookieSession | None:
        self.opened.append(url_for("pages.page", number=1))
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: flask.Response) -> None:
        assert isinstance(app, Flask)
        self.saved.append(dict(session))


@pytest.fixture(params=[True, False], ids=["events", "requests"])
def events(request: pytest.FixtureRequest) -> bool:
    """Whether the contexts are ours."""
    return bool(request.param)


def socketio_of(app: Flask, events: bool, **options: Any) -> Any:
    """Flask-SocketIO itself, with our contexts or without."""
    socketio = SocketIO(app, async_mode="threading", **options)
    if events:
        use_event_contexts(app)
        remember = socketio.server._handle_eio_connect

        def connect(eio_sid: str, environ: dict[str, Any]) -> Any:
            environ[EVENT] = True
            return remember(eio_sid, environ)

        socketio.server._handle_eio_connect = connect
    return socketio


def test_flask_socketio_keeps_a_session_of_the_connection(events: bool) -> None:
    app = make_app()
    app.session_interface = interface = CountingInterface()
    socketio = socketio_of(app, events)

    @socketio.on("count")
    def count() -> int:
        flask.session["count"] = flask.session.get("count", 0) + 1
        return int(flask.session["count"])

    client = socketio.test_client(app)

    assert [client.emit("count", callback=True) for _ in range(3)] == [1, 2, 3]
    assert interface.saved == []
    if events:
        # Flask-SocketIO's own copy is all that counts after the first time.
        assert len(interface.opened) == 1


def test_flask_keeps_the_session_where_the_application_wants_that(events: bool) -> None:
    app = make_app()
    app.session_interface = interface = CountingInterface()
    socketio = socketio_of(app, events, manage_session=False)

    @socketio.on("count")
    def count() -> int:
        flask.session["count"] = flask.session.get("count", 0) + 1
        return int(flask.session["count"])

    client = socketio.test_client(app)

    assert [client.emit("count", callback=True) for _ in range(3)] == [1, 1, 1]
    assert interface.saved == [{"count": 1}] * 3
    assert len(interface.opened) >= 3


def test_what_belongs_to_an_event_is_there(events: bool) -> None:
    app = make_app()
    socketio = socketio_of(app, events)
    torn_down: list[str] = []
    signals: list[str] = []
    app.teardown_request(lambda _: torn_down.append("request"))
    app.teardown_appcontext(lambda _: torn_down.append("application"))
    app.before_request(lambda: signals.append("before_request"))

    def torn(_: Flask, **more: Any) -> None:
        signals.append("tearing_down")

    flask.request_tearing_down.connect(torn, app)

    @socketio.on("ask", namespace="/chat")
    def ask(value: int) -> list[Any]:
        flask.g.value = value
        assert flask.current_app._get_current_object() is app  # type: ignore[attr-defined]
        assert request.environ["flask.app"] is app

        @flask.copy_current_request_context
        def copied() -> str:
            return str(request.sid)  # type: ignore[attr-defined]

        with app.app_context():
            pass
        return [
            request.namespace,  # type: ignore[attr-defined]
            request.event,  # type: ignore[attr-defined]
            request.sid == copied(),  # type: ignore[attr-defined]
            url_for("pages.page", number=value, _external=True),
            flask.g.value,
        ]

    client = socketio.test_client(app, namespace="/chat")
    torn_down.clear()
    signals.clear()

    answer = client.emit("ask", 3, namespace="/chat", callback=True)

    assert answer == ["/chat", {"message": "ask", "args": [3]}, True, "http://localhost/page/3", 3]
    # The one that the handler pushed, the copied one, and the handler's own two.
    assert torn_down == ["application", "request", "request", "application"]
    assert signals.count("before_request") == 0
    assert signals.count("tearing_down") == 2


def test_a_context_of_ours_is_only_for_events() -> None:
    app = make_app()
    use_event_contexts(app)

    assert type(app.request_context(ENVIRON)) is RequestContext
    assert type(app.request_context({**ENVIRON, EVENT: True})) is EventContext
    assert app.test_client().get("/page/5").text == "5"


def test_an_application_with_contexts_of_its_own_keeps_them() -> None:
    class Own(Flask):
        def request_context(self, environ: dict[str, Any]) -> RequestContext:
            return RequestContext(self, environ)

    app = Own("own")
    use_event_contexts(app)

    assert type(app.request_context({**ENVIRON, EVENT: True})) is RequestContext


def test_a_route_that_is_added_later_counts() -> None:
    app = make_app()
    assert seen(EventContext(app, dict(ENVIRON)))["routing"][0] is NotFound

    app.add_url_rule("/<path:path>", "everything", lambda path: path)

    assert seen(EventContext(app, dict(ENVIRON)))["endpoint"] == "everything"


def test_paths_that_a_client_invents_are_not_remembered_without_end() -> None:
    app = make_app()

    for number in range(3 * REMEMBERED_MATCHES):
        seen(EventContext(app, {**ENVIRON, "PATH_INFO": f"/socket.io/{number}"}))

    assert len(app.extensions["event_matches"]) <= REMEMBERED_MATCHES


def test_what_a_handler_does_with_its_view_args_is_its_own() -> None:
    app = make_app()
    environ = {**ENVIRON, "PATH_INFO": "/page/12"}
    for _ in range(3):
        with EventContext(app, dict(environ)):
            assert request.view_args == {"number": 12}
            request.view_args.clear()


OTHERS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "a WebSocket after a request": ({"catches_all": True}, [{}, WEBSOCKET]),
    "a request after a WebSocket": ({"catches_all": True}, [WEBSOCKET, {}]),
    "another method": ({"catches_all": True}, [{}, {"REQUEST_METHOD": "POST"}]),
    "another path": ({}, [{}, {"PATH_INFO": "/page/12"}, {"PATH_INFO": "/page/13"}]),
    "redirects of two hosts": (
        {},
        [{"PATH_INFO": "/folder", "HTTP_HOST": host} for host in ("one.test", "two.test")],
    ),
    "a host that is not trusted": (
        {"TRUSTED_HOSTS": ["example.test"]},
        [{}, {"HTTP_HOST": "other.test"}, {}],
    ),
}


@pytest.mark.parametrize(("config", "several"), OTHERS.values(), ids=OTHERS)
def test_a_client_is_not_taken_for_one_of_before(
    config: dict[str, Any], several: list[dict[str, Any]]
) -> None:
    app = make_app(**config)

    for changes in several:
        environ = {**ENVIRON, **changes}
        assert seen(EventContext(app, dict(environ))) == seen(RequestContext(app, dict(environ)))
