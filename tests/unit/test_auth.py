"""Users of another site: by token in `auth`, in a cookie, and over REST; and guests beside them."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from flask import Flask

from app import auth
from app.errors import EventError
from app.extensions import socketio
from app.users.sessions import Sessions
from config import SettingsError, load_settings
from tests.support.jwks import claims_of
from tests.unit.conftest import MakeApp, Person

SECRET = "a-secret-of-another-site-with-40-letters"
API_TOKEN = "t" * 40
SITE = "https://example.org/login"


def token(user_id: str = "42", name: str = "Ada", **more: Any) -> str:
    return jwt.encode(claims_of(user_id, name, **more), SECRET, "HS256")


@pytest.fixture
def jwt_app(make_app: MakeApp) -> Flask:
    return make_app(auth_jwt_secret=SECRET, auth_jwt_cookie="site", api_token=API_TOKEN)


def connect(app: Flask, given: object, namespace: str = "/chat", http: Any = None) -> Any:
    return socketio.test_client(app, namespace=namespace, auth=given, flask_test_client=http)


def ask(socket: Any, event: str, payload: object = None, namespace: str = "/chat") -> Any:
    return socket.emit(event, payload, namespace=namespace, callback=True)


def name_of(socket: Any) -> str:
    return str(ask(socket, "hello")["me"]["name"])


# In the `auth` of a socket.


def test_a_token_opens_a_socket_and_the_first_visit_joins_the_default_room(jwt_app: Flask) -> None:
    socket = connect(jwt_app, {"token": token()})
    answer = ask(socket, "hello")
    assert answer["me"] == {"id": "42", "name": "Ada"}
    assert [(room["name"], room["joined"]) for room in answer["rooms"]] == [("general", True)]


def test_the_token_wins_over_a_guests_cookie(jwt_app: Flask) -> None:
    guest = Person(jwt_app, "Guest")
    assert name_of(connect(jwt_app, {"token": token()}, http=guest.http)) == "Ada"
    assert name_of(connect(jwt_app, {"token": None}, http=guest.http)) == "Guest"
    assert name_of(connect(jwt_app, {"other": 1}, http=guest.http)) == "Guest"


@pytest.mark.parametrize("namespace", ["/chat", "/market"])
@pytest.mark.parametrize(
    "given", [{"token": "x"}, {"token": 5}, {"token": ""}, {"token": token(seconds=-60)}]
)
def test_a_bad_token_is_no_guest(jwt_app: Flask, namespace: str, given: object) -> None:
    guest = Person(jwt_app, "Guest")
    assert not connect(jwt_app, given, namespace, guest.http).is_connected(namespace)


def test_the_market_takes_tokens_and_needs_none(jwt_app: Flask) -> None:
    for given in (None, {"token": token()}):
        assert connect(jwt_app, given, "/market").is_connected("/market")
    names = {client.user and client.user.name for client in jwt_app.extensions["market"]._clients.values()}
    assert names == {None, "Ada"}


def test_a_server_without_keys_says_so(app: Flask) -> None:
    with app.test_request_context(), pytest.raises(EventError, match="set AUTH_JWT_SECRET"):
        auth.connecting_user({"token": token()})


# Renewing.


def test_a_new_token_prolongs_an_open_connection(jwt_app: Flask) -> None:
    for namespace in ("/chat", "/market"):
        socket = connect(jwt_app, {"token": token(seconds=60)}, namespace)
        sessions: Sessions = jwt_app.extensions["sessions"]
        later = int(time.time()) + 610
        answer = ask(socket, "renew", {"token": token(seconds=600)}, namespace)
        assert answer["ok"]
        assert abs(answer["expires_at_ms"] - later * 1000) <= 2000
        sessions._clock = lambda: time.time() + 300
        sessions.expire()
        assert socket.is_connected(namespace)
        sessions._clock = lambda: time.time() + 700
        sessions.expire()
        assert not socket.is_connected(namespace)


def test_only_the_same_user_may_renew(jwt_app: Flask) -> None:
    socket = connect(jwt_app, {"token": token()})
    for other in (token("43"), token(name="Eve")):
        assert ask(socket, "renew", {"token": other})["error"]["code"] == "bad_payload"
    assert ask(socket, "renew", {"token": "x"})["error"]["code"] == "unauthorized"
    assert ask(socket, "renew", {"token": 5})["error"]["code"] == "bad_payload"
    assert name_of(socket) == "Ada", "the session of before goes on"
    anybody = connect(jwt_app, None, "/market")
    refused = ask(anybody, "renew", {"token": token()}, "/market")
    assert refused["error"]["code"] == "bad_payload"


def test_an_ended_token_does_not_renew(jwt_app: Flask) -> None:
    socket = connect(jwt_app, {"token": token()})
    old = token(iat=time.time() - 30)
    jwt_app.extensions["sessions"]._endings.note("id:42", round((time.time() - 20) * 1000))
    error = ask(socket, "renew", {"token": old})["error"]
    assert (error["code"], error["reason"]) == ("unauthorized", "ended")


# Over REST.


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def test_rest_takes_tokens_of_users_and_of_programs(jwt_app: Flask) -> None:
    http = jwt_app.test_client()
    made = http.post("/api/v1/rooms", json={"name": "rest"}, headers=bearer(token()))
    assert made.status_code == 201
    assert http.get("/api/v1/rooms", headers=bearer(API_TOKEN)).status_code == 200
    program = http.post("/api/v1/rooms", json={"name": "x"}, headers=bearer(API_TOKEN))
    assert program.status_code == 401
    for wrong in ("x", token(seconds=-60), token(aud="shop")):
        refused = http.get("/api/v1/rooms", headers=bearer(wrong))
        assert refused.status_code == 401
        assert "The token" in str(refused.json)
    assert http.get("/healthz", headers=bearer("x")).status_code == 200


# In a cookie.


def test_the_page_knows_the_user_of_the_other_sites_cookie(jwt_app: Flask) -> None:
    guest = Person(jwt_app, "Guest")
    guest.http.set_cookie("site", token())
    page = guest.http.get("/")
    assert 'data-user-id="42"' in page.text
    assert name_of(guest.open()) == "Ada"
    assert guest.http.get("/sign-in").location == "/"


def test_a_stale_cookie_is_passed_over(jwt_app: Flask) -> None:
    guest = Person(jwt_app, "Guest")
    guest.http.set_cookie("site", token(seconds=-60))
    assert "Guest" in guest.http.get("/").text
    assert name_of(guest.open()) == "Guest"
    http = jwt_app.test_client()
    http.set_cookie("site", token(name="<b>"))
    assert http.get("/").location == "/sign-in"
    assert "has a name in name that cannot be shown" in http.get("/sign-in").text


def test_signing_out_ends_the_token_and_leaves_the_rooms(jwt_app: Flask) -> None:
    http = jwt_app.test_client()
    http.set_cookie("site", token())
    socket = connect(jwt_app, None, http=http)
    room = ask(socket, "create_room", {"name": "mine"})["room"]["id"]
    assert http.post("/sign-out").location == "/sign-in?reason=signed_out"
    assert not socket.is_connected("/chat")
    assert http.get("/").location == "/sign-in?reason=ended"
    assert http.get("/api/v1/rooms", headers=bearer(token(iat=time.time() - 1))).status_code == 401
    again = connect(jwt_app, {"token": token(iat=time.time() + 1)})
    joined = {entry["id"] for entry in ask(again, "hello")["rooms"] if entry["joined"]}
    assert room in joined, "an account comes back, a guest does not"


# Without guests.


def test_without_guests_the_sign_in_is_elsewhere(make_app: MakeApp) -> None:
    app = make_app(auth_guests=False, auth_jwt_secret=SECRET, auth_jwt_cookie="site", auth_sign_in_url=SITE)
    http = app.test_client()
    assert http.get("/").location == "/sign-in"
    assert http.get("/sign-in").location == SITE
    page = http.get("/sign-in?reason=ended").text
    assert "You were signed out." in page
    assert f'href="{SITE}"' in page
    assert "<form" not in page
    assert http.post("/sign-in", data={"name": "Eve"}, headers={"Accept": "text/html"}).status_code == 403
    # What would only come back is not sent away.
    http.set_cookie("site", token(seconds=-60))
    assert "has expired" in http.get("/sign-in").text
    assert "has ended" in http.get("/sign-in?reason=expired").text
    # A page whose session expired comes back as soon as the site has renewed the cookie.
    http.set_cookie("site", token())
    assert http.get("/sign-in?reason=expired").location == "/"
    assert http.get("/").status_code == 200


def test_guests_of_before_are_out_when_guests_are_not_let_in_any_more(make_app: MakeApp) -> None:
    ada = Person(make_app(), "Ada")
    cookie = ada.http.get_cookie("session")
    assert cookie is not None
    http = make_app(auth_guests=False, auth_jwt_secret=SECRET).test_client()
    http.set_cookie("session", cookie.value)
    assert http.get("/").status_code == 302
    assert "the site that brought you here" in http.get("/sign-in").text


def test_with_guests_both_ways_in_are_shown(make_app: MakeApp) -> None:
    page = make_app(auth_jwt_secret=SECRET, auth_sign_in_url=SITE).test_client().get("/sign-in").text
    assert "<form" in page
    assert "Sign in at example.org" in page


def test_whose_accounts_name_is_taken_is_not_asked_to_choose_another(jwt_app: Flask) -> None:
    http = jwt_app.test_client()
    assert "choose another" in http.get("/sign-in?reason=name_taken").text
    http.set_cookie("site", token())
    page = http.get("/sign-in?reason=name_taken").text
    assert "change the name of your account" in page
    assert "choose another" not in page


def test_no_token_has_a_guests_id(jwt_app: Flask) -> None:
    guest_id = ask(Person(jwt_app, "Guest").socket, "hello")["me"]["id"]
    assert len(guest_id) <= 64
    http = jwt_app.test_client()
    answer = http.get("/api/v1/rooms", headers={"Authorization": f"Bearer {token(guest_id)}"})
    assert answer.status_code == 401
    assert "begins with 'guest.'" in answer.text


# Cookies of other versions.


def test_a_guest_whose_id_a_token_may_have_signs_in_again(make_app: MakeApp) -> None:
    app = make_app()
    ada = Person(app, "Ada")
    with ada.http.session_transaction() as session:
        session["user"] = {**session["user"], "id": "AAAAAAAAAAAAAAAA"}
    assert ada.http.get("/").status_code == 200, "where no tokens are taken nobody can have it"
    cookie = ada.http.get_cookie("session")
    assert cookie is not None
    http = make_app(auth_jwt_secret=SECRET).test_client()
    http.set_cookie("session", cookie.value)
    assert http.get("/").location == "/sign-in"


def test_a_guests_cookie_of_before_is_good_until_an_end_is_recorded(app: Flask) -> None:
    ada = Person(app, "Ada")
    with ada.http.session_transaction() as session:
        del session["began_at"]
        assert set(session["user"]) == {"id", "name", "expires_at"}, "as the version before reads it"
    assert name_of(ada.open()) == "Ada"
    app.extensions["sessions"].end_named("Ada")
    assert ada.http.get("/").status_code == 302


# Settings.

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a weak secret": ({"auth_jwt_secret": "s" * 31}, "at least 32 characters"),
    "a key as a secret": ({"auth_jwt_secret": "-----BEGIN PUBLIC KEY-----" + "x" * 9}, "AUTH_JWT_JWKS"),
    "both keys": ({"auth_jwt_secret": SECRET, "auth_jwt_jwks": "keys.json"}, "remove the other"),
    "nobody may come in": ({"auth_guests": False}, "lets nobody in"),
    "a cookie without a key": ({"auth_jwt_cookie": "site"}, "needs AUTH_JWT_SECRET"),
    "our own cookie": ({"auth_jwt_secret": SECRET, "auth_jwt_cookie": "session"}, "application's own"),
    "a file's address": ({"auth_jwt_jwks": "file:///etc/passwd"}, "https://"),
    "an address of nobody": ({"auth_jwt_jwks": "https:///keys"}, "https://id.example.org/keys"),
    "a script": ({"auth_sign_in_url": "javascript:alert(1)"}, "https://example.org/login"),
    "a long leeway": ({"auth_jwt_leeway_seconds": 301}, "0 to 300"),
    "open keys in production": (
        {"app_env": "production", "secret_key": "s" * 48, "auth_jwt_jwks": "http://id.example.org/keys"},
        "is not encrypted",
    ),
}


@pytest.mark.parametrize(("values", "says"), WRONG.values(), ids=WRONG)
def test_settings_that_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(**{"app_env": "testing", **values})
    assert says in str(error.value)
    assert str(values.get("auth_jwt_secret")) not in str(error.value)
