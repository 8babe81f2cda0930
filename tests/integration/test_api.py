"""The REST API: rooms and messages beside the sockets, events from other processes, problem details."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.integration.conftest import API_TOKEN
from tests.support.clients import Json, People, general, new_client_id, new_room, room_named
from tests.support.servers import Node, child_environment, run_python
from tests.support.waiting import WAIT_SECONDS, wait_until

Gather = Callable[[Node], People]

BEARER = {"Authorization": f"Bearer {API_TOKEN}"}
PROBLEM = "application/problem+json"


def ask(node: Node, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, f"{node.url}/api/v1{path}", timeout=WAIT_SECONDS, **options)


def emit(node: Node, body: Json, headers: dict[str, str] | None = None) -> requests.Response:
    return ask(node, "POST", "/emit", json=body, headers=BEARER if headers is None else headers)


# Rooms and messages.


def test_what_is_posted_over_http_arrives_at_the_sockets(people: People, any_node: Node) -> None:
    ada, bob = people.join("Ada"), people.join("Bob")
    room = new_room(ada)
    bob.call("join", {"room": room})
    body = {"client_id": new_client_id(), "text": "Over HTTP."}
    posted = ask(any_node, "POST", f"/rooms/{room}/messages", json=body, cookies=ada.cookies())
    assert posted.status_code == 201
    message = posted.json()["message"]
    assert bob.wait_for("message") == ada.wait_for("message") == message

    again = ask(any_node, "POST", f"/rooms/{room}/messages", json=body, cookies=ada.cookies())
    assert again.json()["message"] == message
    page = ask(any_node, "GET", f"/rooms/{room}/messages?limit=10", headers=BEARER)
    assert page.json() == {"messages": [message], "has_more": False, "first_seq": 1}


def test_a_room_over_http(people: People, any_node: Node) -> None:
    ada, bob = people.join("Ada"), people.join("Bob")
    name = f"http-{new_client_id()}"[:40].rstrip("-")
    made = ask(any_node, "POST", "/rooms", json={"name": name}, cookies=ada.cookies())
    assert made.status_code == 201
    room = made.json()["room"]
    assert (room["name"], room["joined"], room["online"]) == (name, True, 1)
    bob.wait_for("room_created", lambda e: e["room"]["id"] == room["id"])
    ada.wait_for("membership", lambda e: e["room"]["id"] == room["id"])
    assert ask(any_node, "GET", f"/rooms/{room['id']}", cookies=ada.cookies()).json()["room"] == room
    listed = ask(any_node, "GET", "/rooms", cookies=bob.cookies()).json()["rooms"]
    assert room_named(bob, name) in listed
    taken = ask(any_node, "POST", "/rooms", json={"name": name}, cookies=bob.cookies())
    assert (taken.status_code, taken.json()["code"]) == (409, "room_exists")


# Problems.


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/rooms", {}, 401, "unauthorized"),
        ("GET", "/rooms", {"headers": {"Authorization": "Bearer wrong"}}, 401, "unauthorized"),
        ("GET", "/rooms", {"headers": {"Authorization": "Bearer \xe9"}}, 401, "unauthorized"),
        ("GET", "/rooms", {"headers": {"Authorization": "Basic YTpi"}}, 401, "unauthorized"),
        ("POST", "/rooms", {"json": {"name": "by-token"}, "headers": BEARER}, 401, "unauthorized"),
        ("GET", "/rooms/999999", {"headers": BEARER}, 404, "room_not_found"),
        ("GET", "/rooms/999999/messages", {"headers": BEARER}, 404, "room_not_found"),
        ("GET", "/rooms/1/messages?limit=0", {"headers": BEARER}, 422, "bad_payload"),
        ("GET", "/rooms/1/messages?before_seq=x", {"headers": BEARER}, 422, "bad_payload"),
        ("GET", "/rooms/99999999999999999999", {"headers": BEARER}, 404, None),
        ("GET", "/rooms/one", {"headers": BEARER}, 404, None),
        ("GET", "/nowhere", {}, 404, None),
        ("DELETE", "/rooms", {"headers": BEARER}, 405, None),
        ("POST", "/rooms", {"data": "{", "headers": {"Content-Type": "application/json"}}, 400, None),
        ("POST", "/rooms", {"data": b"\xff\xfe", "headers": {"Content-Type": "application/json"}}, 400, None),
        ("POST", "/rooms", {"data": {"name": "form"}}, 415, None),
        ("POST", "/rooms", {"data": "name", "headers": {"Content-Type": "text/plain"}}, 415, None),
        ("POST", "/rooms", {"json": {"name": "x" * 1_100_000}}, 413, None),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_problem_details(
    node: Node, method: str, path: str, options: dict[str, Any], status: int, code: str | None
) -> None:
    # Also to somebody who would rather see a page.
    options = {**options, "headers": {"Accept": "text/html", **options.get("headers", {})}}
    answer = ask(node, method, path, **options)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM), answer.text[:500]
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert body.get("code") == code


def test_a_body_that_does_not_fit_names_the_field(node: Node, gather: Gather) -> None:
    ada = gather(node).join("Ada")
    room = general(ada)
    for path, body, field in [
        ("/rooms", {}, "name"),
        ("/rooms", {"name": 5}, "name"),
        ("/rooms", {"name": "x", "colour": "red"}, "colour"),
        ("/rooms", {"name": "?"}, "name"),
        (f"/rooms/{room}/messages", {"client_id": "a b", "text": "x"}, "client_id"),
        (f"/rooms/{room}/messages", {"client_id": "a", "text": ""}, "text"),
        (f"/rooms/{room}/messages", {"client_id": "a", "text": "x" * 2001}, "text"),
    ]:
        answer = ask(node, "POST", path, json=body, cookies=ada.cookies())
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)
        assert answer.json()["field"] == field, (path, body)
    for body in ([], "text", 5, None):
        sent = {"data": json.dumps(body), "headers": {"Content-Type": "application/json"}}
        answer = ask(node, "POST", "/rooms", cookies=ada.cookies(), **sent)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM), body


def test_too_many_requests_say_when_to_come_back() -> None:
    with Node(RATE_API="2/minute") as node:
        answers = [ask(node, "GET", "/rooms") for _ in range(3)]
        assert [a.status_code for a in answers] == [401, 401, 429]
        assert answers[-1].headers["Content-Type"] == PROBLEM
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


def test_people_see_a_page_where_programs_see_json(node: Node) -> None:
    page = requests.get(f"{node.url}/nowhere", headers={"Accept": "text/html"}, timeout=WAIT_SECONDS)
    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")


# Events from other processes.


def test_an_emitted_event_reaches_whom_it_is_for(node: Node, gather: Gather) -> None:
    people = gather(node)
    ada, bob = people.join("Ada"), people.join("Bob")
    room = new_room(ada)
    answer = emit(node, {"event": "notice", "data": {"to": "all"}})
    assert (answer.status_code, set(answer.json())) == (202, {"depth"})
    assert ada.wait_for("notice") == bob.wait_for("notice") == {"to": "all"}

    emit(node, {"event": "notice", "data": {"to": "room"}, "to": f"room:{room}"})
    emit(node, {"event": "notice", "data": {"to": "bob"}, "to": bob.sid})
    assert bob.wait_for("notice", lambda d: d["to"] == "bob")
    assert ada.wait_for("notice", lambda d: d["to"] == "room")
    assert [d["to"] for d in ada.received("notice")] == ["all", "room"]
    assert [d["to"] for d in bob.received("notice")] == ["all", "bob"]


def test_a_worker_in_another_process_emits(node: Node, gather: Gather) -> None:
    """A cron job, a queue's worker: nothing of the application is imported there."""
    watcher = gather(node).tab(None, namespace="/market")
    script = """
import json, sys, urllib.request
url, token = sys.argv[1:]
for number in range(20):
    body = json.dumps({"namespace": "/market", "event": "progress", "data": {"percent": number * 5}}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30).close()
"""
    subprocess.run(
        [sys.executable, "-c", script, f"{node.url}/api/v1/emit", API_TOKEN],
        env=child_environment({}),
        timeout=60,
        check=True,
    )
    wait_until(lambda: len(watcher.received("progress")) >= 20, "all that was emitted")
    assert [d["percent"] for d in watcher.received("progress")] == list(range(0, 100, 5))


def test_emit_needs_the_token(node: Node, gather: Gather) -> None:
    ada = gather(node).join("Ada")
    body = {"event": "notice", "data": "secret"}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {API_TOKEN}"}):
        answer = emit(node, body, headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (401, PROBLEM)
    # Being signed in is not enough.
    assert ask(node, "POST", "/emit", json=body, cookies=ada.cookies()).status_code == 401
    emit(node, {"event": "notice", "data": "marker"})
    assert ada.wait_for("notice") == "marker"


def test_emit_is_off_without_a_token() -> None:
    with Node() as node:
        for headers in ({}, BEARER, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            assert emit(node, {"event": "notice"}, headers).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event": "notice", "namespace": "/nowhere"}, "namespace"),
        ({"event": "connect"}, "event"),
        ({"event": "disconnect"}, "event"),
        ({"event": ""}, "event"),
        ({"event": "x" * 65}, "event"),
        ({"data": 1}, "event"),
        ({"event": "notice", "room": "general"}, "room"),
        ({"event": "notice", "to": ""}, "to"),
    ],
    ids=str,
)
def test_emit_refuses(node: Node, body: Json, field: str) -> None:
    answer = emit(node, body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)
    assert answer.json()["field"] == field


# The documentation.


def test_the_openapi_document_is_complete_and_sound(node: Node) -> None:
    page = requests.get(f"{node.url}/api/docs", timeout=WAIT_SECONDS).text
    found = re.search(r'data-spec-url="([^"]+)"', page)
    assert found, page
    answer = requests.get(f"{node.url}{found[1]}", timeout=WAIT_SECONDS)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    document = answer.json()
    assert re.fullmatch(r"3\.[01]\.\d+", document["openapi"])
    assert {"title", "version"} <= set(document["info"])

    for reference in _references(document):
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in target, f"{reference} leads nowhere"
            target = target[step]

    operations = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    ids = [operation.get("operationId") for operation in operations.values()]
    assert len(set(ids)) == len(ids)
    known = set(document["components"]["securitySchemes"])
    for (method, path), operation in operations.items():
        assert operation["summary"], (method, path)
        assert operation["responses"], (method, path)
        declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), (method, path)
        assert all(set(scheme) <= known for scheme in operation["security"]), (method, path)
        assert ("requestBody" in operation) == (method == "POST"), (method, path)

    assert set(operations) == _routes()


def test_the_documentation_comes_from_here_alone(node: Node) -> None:
    page = requests.get(f"{node.url}/api/docs", timeout=WAIT_SECONDS)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses
    for address in addresses:
        assert address.startswith("/"), address
        assert requests.get(f"{node.url}{address}", timeout=WAIT_SECONDS).status_code == 200, address


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return found + [r for part in value.values() for r in _references(part)]
    if isinstance(value, list):
        return [r for part in value for r in _references(part)]
    return []


def _routes() -> set[tuple[str, str]]:
    """Method and path of every route under /api/v1, asked of the application in a process of its own."""
    script = """
import json
from wsgi import app
print(json.dumps([
    [method, rule.rule]
    for rule in app.url_map.iter_rules()
    for method in rule.methods - {"HEAD", "OPTIONS"}
    if rule.rule.startswith("/api/v1/")
]))
"""
    printed = run_python(script)
    # <int(max=9):room_id> is {room_id} in the document.
    parameter = re.compile(r"<(?:[^>]*:)?(\w+)>")
    return {(method, parameter.sub(r"{\1}", rule)) for method, rule in json.loads(printed)}
