"""Pages, REST API, health and what every response carries, through Flask's test client."""

import dataclasses
import io
import re
import time
from pathlib import Path

import gevent
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from app.errors import EventError
from app.extensions import db, socketio
from app.schema import current, upgrade
from app.web.security import ReadWhole
from config import SettingsError
from tests.unit.conftest import MakeApp, Person

TOKEN = "t" * 40


def test_without_a_session_one_is_asked_to_sign_in(client: FlaskClient) -> None:
    response = client.get("/")
    assert (response.status_code, response.location) == (302, "/sign-in")


def test_signing_in_opens_the_chat(client: FlaskClient) -> None:
    response = client.post("/sign-in", data={"name": "Ada"})
    assert (response.status_code, response.location) == (303, "/")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Ada" in client.get("/").text


def test_production_cookies_are_for_https_only(make_app: MakeApp) -> None:
    app = make_app(app_env="production", secret_key="s" * 48)
    response = app.test_client().post("/sign-in", data={"name": "Ada"})
    assert "Secure" in response.headers["Set-Cookie"]


@pytest.mark.parametrize(("name", "says"), [("", "at least 2"), ("x" * 25, "At most 24"), ("<b>", "letters")])
def test_a_bad_name_is_explained_and_kept(client: FlaskClient, name: str, says: str) -> None:
    response = client.post("/sign-in", data={"name": name})
    assert response.status_code == 422
    assert says in response.text
    assert "<b>" not in response.text


def test_a_forged_session_is_no_session(client: FlaskClient) -> None:
    client.set_cookie("session", "eyJ1c2VyIjp7ImlkIjoiYSIsIm5hbWUiOiJBZGEifX0.forged.signature")
    assert client.get("/").status_code == 302


def test_sign_ins_are_limited_by_address(make_app: MakeApp) -> None:
    client = make_app(rate_sign_in="2/minute").test_client()
    for name in ("Ada", "Bob"):
        client.post("/sign-in", data={"name": name})
    response = client.post("/sign-in", data={"name": "Eve"}, headers={"Accept": "text/html"})
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "path", ["/sign-in", "/healthz", "/api/v1/rooms", "/nowhere", "/static/css/base.css"]
)
def test_every_response_has_the_safety_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Request-ID"]


def test_templates_have_no_inline_script_or_style() -> None:
    for template in Path("app/templates").glob("*.html"):
        text = template.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), template
        assert not re.search(r"<style|\sstyle=|\son\w+=", text), template
        assert "//" not in re.sub(r"https?://www\.w3\.org", "", text).replace("{#", ""), (
            f"a CDN in {template}?"
        )


def test_a_request_id_is_taken_over_when_it_is_harmless(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    forged = client.get("/healthz", headers={"X-Request-ID": "a b=c"}).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", forged)


def test_errors_are_pages_for_people_and_problems_for_programs(client: FlaskClient) -> None:
    page = client.get("/nowhere", headers={"Accept": "text/html"})
    assert (page.status_code, page.mimetype) == (404, "text/html")
    problem = client.get("/api/v1/nowhere")
    assert (problem.status_code, problem.mimetype) == (404, "application/problem+json")
    assert problem.json is not None
    assert problem.json["status"] == 404


def test_the_api_needs_a_session_or_the_token(make_app: MakeApp) -> None:
    client = make_app(api_token=TOKEN).test_client()
    response = client.get("/api/v1/rooms")
    assert response.status_code == 401
    assert response.json is not None
    assert response.json["code"] == "unauthorized"
    for scheme in ("Bearer", "bearer"):
        assert client.get("/api/v1/rooms", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200
    for wrong in (f"Basic {TOKEN}", "Bearer ", "Bearer x", "Bearer é"):
        assert client.get("/api/v1/rooms", headers={"Authorization": wrong}).status_code == 401


def test_rooms_and_messages_over_rest_reach_the_sockets(app: Flask) -> None:
    ada, bob = Person(app, "Ada"), Person(app, "Bob")
    room = ada.http.post("/api/v1/rooms", json={"name": "rest"})
    assert room.status_code == 201
    assert room.json is not None
    path = f"/api/v1/rooms/{room.json['room']['id']}"
    assert bob.http.post(f"{path}/messages", json={"client_id": "m", "text": "x"}).status_code == 403
    bob.ask("join", {"room": room.json["room"]["id"]})
    sent = ada.http.post(f"{path}/messages", json={"client_id": "m", "text": "over REST"})
    assert sent.status_code == 201
    assert sent.json is not None
    assert bob.heard("message") == [sent.json["message"]]
    page = ada.http.get(f"{path}/messages?limit=1")
    assert page.json == {"messages": [sent.json["message"]], "has_more": False, "first_seq": 1}
    shown = ada.http.get(path).json
    assert shown is not None
    assert shown["room"]["online"] == 2


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ('{"name":', "application/json", 400),
        ("name=x", "application/x-www-form-urlencoded", 415),
        ("[" * 200_000, "application/json", 422),
        ("[]", "application/json", 422),
        ("{}", "application/json", 422),
        ('{"name":"x1","y":1}', "application/json", 422),
        ('{"name":"%s"}' % ("x" * 2_000_000), "application/json", 413),
    ],
)
def test_bad_bodies_are_problems(app: Flask, body: str, kind: str, status: int) -> None:
    ada = Person(app, "Ada")
    response = ada.http.post("/api/v1/rooms", data=body, content_type=kind)
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")


def test_emit_hands_an_event_to_the_emitter(make_app: MakeApp) -> None:
    app = make_app(api_token=TOKEN, emitter_maxsize=2, emitter_overflow="raise")
    client = app.test_client()
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def emit(**body: object) -> int:
        return client.post("/api/v1/emit", json={"event": "news", **body}, headers=headers).status_code

    assert client.post("/api/v1/emit", json={"event": "news"}).status_code == 401
    assert emit(namespace="/nowhere") == 422
    assert emit(event="disconnect") == 422
    assert emit(event="") == 422
    assert emit(data={"a": 1}, to="room:1") == 202
    assert emit() == 202
    full = client.post("/api/v1/emit", json={"event": "news"}, headers=headers)
    assert full.status_code == 503
    assert full.headers["Retry-After"] in ("1", "2")

    ada = Person(app, "Ada")
    ada.heard()
    app.extensions["lifecycle"].start()
    app.extensions["emitter"].stop()
    assert ada.heard("news") == [{"a": 1}, None]


def test_every_api_route_is_documented(app: Flask, client: FlaskClient) -> None:
    document = client.get("/openapi/v1.json").json
    assert document is not None
    rules = {
        re.sub(r"<(?:[^:>]+:)?(\w+)>", r"{\1}", rule.rule): rule.methods or set()
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
    }
    assert set(document["paths"]) == set(rules)
    for path, methods in rules.items():
        assert {method.upper() for method in document["paths"][path]} >= methods - {"HEAD", "OPTIONS"}


def test_health_and_readiness(app: Flask, client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok", "node": None}
    cold = client.get("/readyz")
    assert cold.status_code == 503
    assert cold.json is not None
    assert cold.json["checks"]["emitter"]["reason"] == "the emitter is not running"
    app.extensions["lifecycle"].start()
    warm = client.get("/readyz")
    assert warm.status_code == 200, warm.json
    assert warm.json is not None
    assert warm.json["checks"]["node"]["clients"] == 0
    drain = app.extensions["drain"]
    drain.begin()
    assert client.get("/readyz").status_code == 503
    drain.wait()
    assert "drained: it takes no new clients, and has 0" in client.get("/readyz").text
    drain.resume()
    assert client.get("/readyz").status_code == 200
    app.extensions["lifecycle"].stop()
    assert client.get("/readyz").status_code == 503
    assert "nobody now" in client.get("/readyz").text


def test_a_broker_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, app: Flask) -> None:
    broker = {"state": "down", "error": "connection refused"}
    status = {"active": None, "strategy": "failover", "brokers": {"redis": broker}}
    monkeypatch.setattr(socketio, "queue_status", lambda: status)
    response = app.test_client().get("/readyz")
    assert "no broker answers: redis: connection refused" in response.text


def test_a_schema_that_is_behind_is_told(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.schema.wanted", lambda: "9999")
    assert "alembic upgrade head" in app.test_client().get("/readyz").text


def test_a_schema_that_is_ahead_is_no_trouble(app: Flask) -> None:
    """While nodes are upgraded one by one, the old ones work on with the new schema."""
    with app.app_context():
        db.write(lambda session: session.execute(text("UPDATE alembic_version SET version_num = 'newer'")))
        app.extensions["lifecycle"].start()
        answer = app.test_client().get("/readyz")
        assert answer.status_code == 200, answer.text
        assert answer.json is not None
        assert answer.json["checks"]["database"]["schema"] == "newer"
        upgrade(app)
        assert db.read(current) == "newer", "an older version's start does not touch it"
        db.write(lambda session: session.execute(text("DELETE FROM alembic_version")))
        assert "alembic upgrade head" in app.test_client().get("/readyz").text, "an empty one is behind"


@pytest.mark.parametrize(("proxies", "left"), [(0, 200_000), (1, 0)])
def test_behind_a_proxy_a_body_is_read_even_if_nobody_wants_it(
    make_app: MakeApp, proxies: int, left: int
) -> None:
    body = io.BytesIO(b"x" * 200_000)
    app = make_app(trusted_proxies=proxies)
    answer = app.test_client().post("/nowhere", input_stream=body, content_length=200_000)
    assert answer.status_code == 404
    assert len(body.read()) == left


def test_no_more_is_read_than_may_be_sent_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_environ: object, _start: object) -> list[bytes]:
        return [b"no"]

    def post(stream: object) -> list[bytes]:
        environ = {"CONTENT_LENGTH": "5000", "wsgi.input": stream}
        return list(ReadWhole(refuse, 3000)(environ, lambda *_: lambda _: None))

    body = io.BytesIO(b"x" * 5000)
    assert post(body) == [b"no"]
    assert len(body.read()) == 2000

    class Stuck(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            gevent.sleep(60)
            return b""

    monkeypatch.setattr("app.web.security.READ_SECONDS", 0.01)
    assert post(Stuck()) == [b"no"]

    class Gone(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError

    assert post(Gone()) == [b"no"]


def test_static_files_are_kept_only_under_a_versioned_address(make_app: MakeApp) -> None:
    client = make_app(app_env="production", secret_key="s" * 48).test_client()
    page = client.get("/sign-in").text
    versioned = re.findall(r'"(/static/css/[^"]+\?v=[0-9a-f]{12})"', page)
    assert versioned
    with client.get(versioned[0].replace("&amp;", "&")) as response:
        assert "max-age=600" in response.headers["Cache-Control"]
    with client.get("/static/js/chat/chat.js") as response:
        assert "no-cache" in response.headers["Cache-Control"]
        etag = response.headers["ETag"]
    with client.get("/static/js/chat/chat.js", headers={"If-None-Match": etag}) as response:
        assert response.status_code == 304


def test_signing_in_again_under_the_same_name_changes_nothing(app: Flask) -> None:
    ada = Person(app, "Ada")
    assert ada.http.post("/sign-in", data={"name": " ada "}).status_code == 303
    assert ada.socket.is_connected("/chat")
    assert ada.ask("hello")["ok"]


def test_signing_in_as_somebody_else_ends_who_one_was(app: Flask) -> None:
    ada = Person(app, "Ada")
    assert ada.http.post("/sign-in", data={"name": "Bob"}).status_code == 303
    assert not ada.socket.is_connected("/chat")
    assert app.test_client().post("/sign-in", data={"name": "Ada"}).status_code == 303, "the name is free"


def test_whose_name_is_taken_stays_the_same_guest_under_another_one(make_app: MakeApp) -> None:
    app = make_app(chat_name_lease_seconds=0)
    ada = Person(app, "Ada")
    ada.ask("create_room", {"name": "mine"})
    me = ada.ask("hello")["me"]
    ada.socket.disconnect("/chat")
    Person(app, "Ada")
    assert ada.http.get("/").status_code == 200
    assert not ada.open().is_connected("/chat")
    page = ada.http.get("/sign-in?reason=name_taken").text
    assert 'name="reason" value="name_taken"' in page
    bad = ada.http.post("/sign-in", data={"name": "-", "reason": "name_taken"})
    assert (bad.status_code, 'value="name_taken"' in bad.text) == (422, True)
    good = ada.http.post("/sign-in", data={"name": "Ada Two", "reason": "name_taken"})
    assert good.status_code == 303
    ada.socket = ada.open()
    hello = ada.ask("hello")
    assert hello["me"] == {**me, "name": "Ada Two"}
    assert "mine" in [room["name"] for room in hello["rooms"] if room["joined"]]


def test_a_sign_in_that_fails_gives_the_name_back(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise EventError("unavailable", "The database is busy.")

    with monkeypatch.context() as broken:
        broken.setattr(app.extensions["chat"].service, "join_default", fail)
        assert app.test_client().post("/sign-in", data={"name": "Ada"}).status_code == 503
    assert app.test_client().post("/sign-in", data={"name": "Ada"}).status_code == 303


def test_signing_out_forgets_the_guest(app: Flask) -> None:
    ada = Person(app, "Ada")
    chat = app.extensions["chat"]
    user = chat.socketio.members("room:1", "/chat")[0]
    ada.http.post("/sign-out")
    with app.app_context():
        assert chat.service.joined(user) == []


def test_a_lower_limit_on_names_does_not_lock_anybody_in(app: Flask) -> None:
    ada = Person(app, "Ada Lovelace")
    object.__setattr__(app.extensions["settings"], "chat_name_max_chars", 5)
    assert ada.open().is_connected("/chat")
    assert ada.http.post("/sign-out").status_code == 303


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/api/v1/rooms"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_another_sites_page_may_not_post(app: Flask, path: str, origin: str) -> None:
    ada = Person(app, "Ada")
    response = ada.http.post(path, data={"name": "Eve"}, headers={"Origin": origin})
    assert response.status_code == 403
    assert "Set-Cookie" not in response.headers
    assert ada.socket.is_connected("/chat")


def test_ones_own_and_listed_pages_may_post(make_app: MakeApp) -> None:
    client = make_app(cors_origins=["https://friend.example"]).test_client()
    for origin in ("http://localhost", "https://friend.example"):
        response = client.post("/sign-in", data={"name": "Ada"}, headers={"Origin": origin})
        assert response.status_code == 303


def test_behind_a_trusted_proxy_the_outer_address_counts(make_app: MakeApp) -> None:
    headers = {
        "Origin": "https://chat.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "chat.example",
        "X-Forwarded-For": "203.0.113.7",
    }
    for proxies, status in ((1, 303), (0, 403)):
        client = make_app(trusted_proxies=proxies).test_client()
        assert client.post("/sign-in", data={"name": "Ada"}, headers=headers).status_code == status


def test_a_session_ends_when_its_time_is_over(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = Person(make_app(session_lifetime_days=1), "Ada")
    real = time.time
    monkeypatch.setattr("app.auth.time.time", lambda: real() + 86_401)
    assert ada.http.get("/").status_code == 302
    assert not ada.open().is_connected("/chat")
    answer = ada.ask("hello")
    assert answer["error"]["code"] == "unauthorized", "on a connection that is open, too"


def test_nobody_posts_under_a_name_that_is_somebody_elses_now(make_app: MakeApp) -> None:
    app = make_app(chat_name_lease_seconds=0)
    first = app.test_client()
    assert first.post("/sign-in", data={"name": "Ada"}).status_code == 303
    ada = Person(app, "Ada")
    assert ada.socket.is_connected("/chat")
    for path, body in (("rooms", {"name": "mine"}), ("rooms/1/messages", {"client_id": "a", "text": "x"})):
        answer = first.post(f"/api/v1/{path}", json=body)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "name_taken")
    assert ada.http.post("/api/v1/rooms", json={"name": "hers"}).status_code == 201


def test_another_guest_does_not_mean_more_rooms(make_app: MakeApp) -> None:
    app = make_app(rate_create="2/hour")
    ada, bob = Person(app, "Ada"), Person(app, "Bob")
    assert ada.ask("create_room", {"name": "one"})["ok"]
    assert bob.http.post("/api/v1/rooms", json={"name": "two"}).status_code == 201
    assert bob.ask("create_room", {"name": "three"})["error"]["code"] == "rate_limited"


def test_a_default_room_that_cannot_be_stops_the_start(make_app: MakeApp) -> None:
    with pytest.raises(SettingsError, match=r"CHAT_DEFAULT_ROOM=general: At most 6 characters"):
        make_app(chat_room_name_max_chars=6)


def test_rest_and_sockets_share_a_users_budget(make_app: MakeApp) -> None:
    ada = Person(make_app(rate_send="1/hour", rate_create="1/hour"), "Ada")
    assert ada.ask("send", {"room": 1, "client_id": "a", "text": "x"})["ok"]
    refused = ada.http.post("/api/v1/rooms/1/messages", json={"client_id": "b", "text": "x"})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert ada.http.post("/api/v1/rooms", json={"name": "first"}).status_code == 201
    assert ada.ask("create_room", {"name": "second"})["error"]["code"] == "rate_limited"


@pytest.mark.parametrize(("setting", "path"), [("rate_api", "/api/v1/rooms"), ("rate_emit", "/api/v1/emit")])
def test_requests_are_limited_by_address(make_app: MakeApp, setting: str, path: str) -> None:
    client = make_app(**{setting: "2/minute"}).test_client()
    ask = client.get if setting == "rate_api" else lambda p: client.post(p, json={"event": "x"})
    assert [ask(path).status_code for _ in range(3)] == [401, 401, 429]


def test_emit_on_a_stopped_node_says_to_come_back(make_app: MakeApp) -> None:
    app = make_app(api_token=TOKEN)
    app.extensions["lifecycle"].start()
    app.extensions["emitter"].stop()
    response = app.test_client().post(
        "/api/v1/emit", json={"event": "x"}, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert response.status_code == 503


def test_a_stuck_emitter_is_not_ready(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    app.extensions["lifecycle"].start()
    stats = dataclasses.replace(app.extensions["emitter"].stats(), lag_seconds=6.0, depth=3)
    monkeypatch.setattr(app.extensions["emitter"], "stats", lambda: stats)
    assert "stuck: 3 events wait" in app.test_client().get("/readyz").text


def test_a_check_that_fails_without_words_is_still_told(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise TimeoutError

    monkeypatch.setattr(socketio, "queue_status", fail)
    response = app.test_client().get("/readyz")
    assert response.status_code == 503
    assert "TimeoutError: no details" in response.text


def test_signing_out_does_not_need_the_database(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = Person(app, "Ada")

    def fail(*_: object) -> None:
        raise EventError("unavailable", "The database does not answer.")

    monkeypatch.setattr(app.extensions["chat"].service, "leave_all", fail)
    response = ada.http.post("/sign-out")
    assert (response.status_code, response.location) == (303, "/sign-in?reason=signed_out")
    assert not ada.socket.is_connected("/chat")
    assert ada.http.get("/").status_code == 302
