"""Who gets to the operations page, through Flask's test client."""

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.extensions import socketio
from app.ops.access import COOKIE, Operator
from app.ops.node import code_version
from app.realtime import OutboxFull
from config import SettingsError, load_settings
from config.ops import DEFAULT_ADMIN_TOKEN
from tests.unit.conftest import MakeApp

TOKEN = "t" * 40
PRODUCTION = {"app_env": "production", "secret_key": "s" * 48}


def sign_in(client: FlaskClient, token: str = DEFAULT_ADMIN_TOKEN) -> Any:
    return client.post("/ops/sign-in", data={"token": token})


def connect(app: Flask, client: FlaskClient | None = None, **options: Any) -> Any:
    return socketio.test_client(app, namespace="/ops", flask_test_client=client, **options)


def test_development_shows_its_token_and_lets_it_in(client: FlaskClient) -> None:
    assert client.get("/ops").location == "/ops/sign-in"
    assert DEFAULT_ADMIN_TOKEN in client.get("/ops/sign-in").text
    response = sign_in(client)
    assert (response.status_code, response.location) == (303, "/ops")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Max-Age=43200" in cookie
    page = client.get("/ops")
    assert page.status_code == 200
    assert DEFAULT_ADMIN_TOKEN not in page.text


def test_the_tours_address_outlives_the_sign_in_and_nothing_else_does(client: FlaskClient) -> None:
    asked = client.get("/ops?tour&next=//elsewhere.example")
    assert asked.location == "/ops/sign-in?tour"
    assert 'action="/ops/sign-in?tour"' in client.get(asked.location).text
    assert 'action="/ops/sign-in?tour"' in client.post(asked.location, data={"token": "guess"}).text
    response = client.post(asked.location, data={"token": DEFAULT_ADMIN_TOKEN})
    assert response.location == "/ops?tour"


def test_a_token_of_ones_own_is_not_shown(make_app: MakeApp) -> None:
    client = make_app(admin_token=TOKEN).test_client()
    assert TOKEN not in client.get("/ops/sign-in").text
    assert sign_in(client).status_code == 401
    assert client.get("/ops").status_code == 302
    assert sign_in(client, f" {TOKEN} ").status_code == 303


def test_production_is_off_until_a_token_is_set(make_app: MakeApp) -> None:
    client = make_app(**PRODUCTION).test_client()
    for path in ("/ops", "/ops/sign-in"):
        response = client.get(path, headers={"Accept": "text/html"})
        assert response.status_code == 404
        assert "ADMIN_TOKEN" in response.text
    app = make_app(**PRODUCTION, admin_token=TOKEN)
    assert "Secure" in sign_in(app.test_client(), TOKEN).headers["Set-Cookie"]


@pytest.mark.parametrize("token", [DEFAULT_ADMIN_TOKEN, "short"])
def test_production_refuses_a_token_that_others_know_or_guess(token: str) -> None:
    with pytest.raises(SettingsError, match="ADMIN_TOKEN") as error:
        load_settings(**PRODUCTION, admin_token=token)
    assert "token_urlsafe" in str(error.value)


def test_where_it_is_off_there_is_no_link_to_it(make_app: MakeApp) -> None:
    assert '"/ops"' not in make_app(**PRODUCTION).test_client().get("/api/docs").text
    assert '"/ops"' in make_app().test_client().get("/api/docs").text


def test_the_mark_outlives_the_chats_sign_in_and_out(client: FlaskClient) -> None:
    sign_in(client)
    client.post("/sign-in", data={"name": "Ada"})
    client.post("/sign-out")
    assert client.get("/ops").status_code == 200


def test_signing_out_forgets_the_mark_and_ends_the_connection(app: Flask, client: FlaskClient) -> None:
    sign_in(client)
    socket = connect(app, client)
    assert socket.is_connected("/ops")
    assert client.post("/ops/sign-out").location == "/ops/sign-in?reason=signed_out"
    assert not socket.is_connected("/ops")
    assert client.get("/ops").status_code == 302


def test_another_token_ends_what_the_old_one_let_in(make_app: MakeApp) -> None:
    before = make_app().test_client()
    sign_in(before)
    mark = before.get_cookie("operator")
    assert mark is not None
    after = make_app(admin_token=TOKEN).test_client()
    after.set_cookie("operator", mark.value)
    assert after.get("/ops").status_code == 302


def test_a_mark_ends_with_its_time(app: Flask, client: FlaskClient) -> None:
    now = time.time()
    for seconds, status in ((60, 200), (-1, 302)):
        operator = Operator("x", now - 100, now + seconds)
        response = app.response_class()
        app.extensions["operator_access"].remember(response, operator)
        client.set_cookie(COOKIE, response.headers["Set-Cookie"].partition("=")[2].partition(";")[0])
        assert client.get("/ops").status_code == status
        assert connect(app, client).is_connected("/ops") == (status == 200)


@pytest.mark.parametrize("value", ["", "nonsense", "eyJpZCI6IngifQ.forged", "W10.x"])
def test_a_forged_mark_is_none(client: FlaskClient, value: str) -> None:
    client.set_cookie("operator", value)
    assert client.get("/ops").status_code == 302


@pytest.mark.parametrize("token", [None, 7, "", "guess", "\ud800", {"a": 1}])
def test_a_wrong_token_of_a_program_is_refused(app: Flask, token: Any) -> None:
    assert not connect(app, auth={"token": token}).is_connected("/ops")


def test_the_namespace_answers_an_operator(app: Flask) -> None:
    socket = connect(app, auth={"token": DEFAULT_ADMIN_TOKEN})
    assert socket.is_connected("/ops")
    answer = socket.emit("overview", namespace="/ops", callback=True)
    assert answer["ok"]
    node = answer["nodes"][0]
    assert node["seen"] == "here"
    assert node["figures"]["queue"]["in_process"]
    assert node["figures"]["clients"] >= 0
    # There is nobody else: whoever drained it could not come back to resume it.
    refusal = socket.emit("drain", {"origin": node["origin"]}, namespace="/ops", callback=True)
    assert refusal["error"]["code"] == "last_node"
    refusal = socket.emit("switch", {"broker": None}, namespace="/ops", callback=True)
    assert refusal["error"]["code"] == "broker_not_found"


# Pages of other sites.

SIBLING = "https://sibling.example"


def test_a_page_of_another_site_needs_the_token(make_app: MakeApp) -> None:
    app = make_app(cors_origins=SIBLING)
    client = app.test_client()
    sign_in(client)
    for origin, got_in in ((None, True), ("http://localhost", True), (SIBLING, False), ("null", False)):
        headers = {"Origin": origin} if origin else {}
        assert connect(app, client, headers=headers).is_connected("/ops") == got_in, origin
    auth = {"token": DEFAULT_ADMIN_TOKEN}
    assert connect(app, client, headers={"Origin": SIBLING}, auth=auth).is_connected("/ops")


@pytest.mark.parametrize("path", ["/ops/sign-in", "/ops/sign-out"])
def test_a_page_of_another_site_posts_nothing(make_app: MakeApp, path: str) -> None:
    client = make_app(cors_origins=SIBLING).test_client()
    sign_in(client)
    data = {"token": DEFAULT_ADMIN_TOKEN}
    assert client.post(path, data=data, headers={"Origin": SIBLING}).status_code == 403
    assert client.get("/ops").status_code == 200
    assert client.post(path, data=data, headers={"Origin": "http://localhost"}).status_code == 303


# All namespaces of operators.


@pytest.fixture
def with_tour(make_app: MakeApp, tmp_path: Path) -> Iterator[Flask]:
    """An application that offers the tour; there is a socket, and no supervisord that answers."""
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "s"))
        yield make_app(cluster_control=tmp_path / "s")


def both(app: Flask, client: FlaskClient) -> dict[str, Any]:
    sockets = {
        name: socketio.test_client(app, namespace=name, flask_test_client=client)
        for name in ("/ops", "/tour")
    }
    assert connected(sockets) == [True, True]
    return sockets


def connected(sockets: dict[str, Any]) -> list[bool]:
    return [each.is_connected(name) for name, each in sockets.items()]


def farewell(client_socket: Any) -> str:
    """Why it was let go. The library's client shows nothing of what came before the end."""
    told = [packet for packet in client_socket.queue if packet["name"] == "session_ended"]
    return str(told[0]["args"][0]["reason"])


def test_signing_out_ends_the_tours_connections_too(with_tour: Flask) -> None:
    client = with_tour.test_client()
    sign_in(client)
    sockets = both(with_tour, client)
    other = with_tour.test_client()
    sign_in(other)
    stay = both(with_tour, other)
    client.post("/ops/sign-out")
    assert connected(sockets) == [False, False]
    assert connected(stay) == [True, True]
    assert [farewell(each) for each in sockets.values()] == ["ended"] * 2
    with_tour.extensions["operators"].end_expired(time.time() + 1e6)
    assert connected(stay) == [False, False]
    assert [farewell(each) for each in stay.values()] == ["expired"] * 2


def test_a_namespace_that_fails_hides_no_other(
    with_tour: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = with_tour.test_client()
    sign_in(client)
    sockets = both(with_tour, client)

    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(socketio.server.namespace_handlers["/ops"], "end_clients", fail)
    with_tour.extensions["operators"].end_expired(time.time() + 1e6)
    assert connected(sockets) == [True, False]
    assert "operators could not be ended" in caplog.text


def test_signing_out_works_while_the_queue_takes_nothing(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OutboxFull("no room")

    sign_in(client)
    monkeypatch.setattr(socketio, "tell_nodes", full)
    assert client.post("/ops/sign-out").status_code == 303
    assert client.get("/ops").status_code == 302


# What is written down.


def test_what_operators_ask_for_is_in_the_log(with_tour: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = with_tour.test_client()
    sign_in(client)
    sockets = both(with_tour, client)
    for name, event, payload in (
        ("/ops", "switch", {"broker": "kafka"}),
        ("/ops", "drain", {"origin": "an origin"}),
        ("/ops", "resume", {"origin": "an origin"}),
        ("/tour", "break", {"what": "kill-redis"}),
    ):
        caplog.clear()
        sockets[name].emit(event, payload, namespace=name, callback=True)
        line = next(text for text in caplog.messages if "operator asked" in text)
        assert "127.0.0.1" in line
        assert payload.get("what", event) in line
        assert next(iter(payload.values())) in line


def test_a_wrong_token_is_logged_with_its_address(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    sign_in(client, "guess")
    line = next(text for text in caplog.messages if "wrong token" in text)
    assert "127.0.0.1" in line
    assert "guess" not in line


def test_a_token_over_a_socket_is_one_attempt(make_app: MakeApp) -> None:
    app = make_app(rate_sign_in="1/minute")
    auth = {"token": DEFAULT_ADMIN_TOKEN}
    assert connect(app, auth=auth).is_connected("/ops")
    assert not connect(app, auth=auth).is_connected("/ops")


def test_a_token_is_as_long_as_the_form_takes(make_app: MakeApp) -> None:
    assert sign_in(make_app(admin_token="t" * 512).test_client(), "t" * 512).status_code == 303
    with pytest.raises(SettingsError, match="ADMIN_TOKEN"):
        make_app(admin_token="t" * 513)


def test_what_editors_leave_among_the_code_stops_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ops.node.CODE", tmp_path)
    (tmp_path / "a.py").write_text("a = 1")
    before = code_version()
    (tmp_path / ".#a.py").symlink_to("ada@machine.123:456")
    (tmp_path / "folder.js").mkdir()
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path, read=Path.read_bytes: _readable(path, read))
    (tmp_path / "secret.css").write_text("")
    assert code_version() == before
    (tmp_path / "b.html").write_text("b")
    assert code_version() != before


def _readable(path: Path, read: Any) -> bytes:
    if path.name == "secret.css":
        raise PermissionError(path)
    return bytes(read(path))
