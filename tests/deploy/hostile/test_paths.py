"""Files, pages and facts that are nobody's business."""

from __future__ import annotations

import json

import pytest

from tests.deploy.hostile.wire import (
    PAGE_BYTES,
    POLLING,
    Nodes,
    ask,
    heard_of,
    logged,
    never_left_nginx,
    shake_hands,
)
from tests.support.nginx import Nginx
from tests.support.servers import HOST, ROOT


@pytest.mark.parametrize("prefix", ["/static/", "/static/img/", "/static", "/static/../static/"])
@pytest.mark.parametrize(
    "climb",
    [
        "../",
        "..%2f",
        "..%252f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..%5c",
        "....//",
        "..;/",
        "%c0%ae%c0%ae/",
        ".%00./",
        "//",
    ],
)
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_static_files_are_those_in_their_folder(nginx: Nginx, prefix: str, climb: str, levels: int) -> None:
    for name in ("factory.py", "app/factory.py", "wsgi.py", "templates/base.html", "nginx/nginx.conf"):
        answer = ask(nginx, f"{prefix}{climb * levels}{name}")
        assert answer.status in (308, 400, 404), name


def test_static_files_are_there(nginx: Nginx) -> None:
    """The counterpart: what the paths above are near to."""
    assert ask(nginx, "/static//img/%6cogo.svg").body == (ROOT / "app/static/img/logo.svg").read_bytes()
    for folder in ("/static/", "/static/img", "/static/img/"):
        assert ask(nginx, folder).status == 404, folder
    assert ask(nginx, "/static/img/logo.svg", method="POST", body=b"").status in (403, 405)


@pytest.mark.parametrize(
    "target",
    [
        "/readyz",
        "//readyz",
        "/%72eadyz",
        "/%2freadyz",
        "/./readyz",
        "/x/../readyz",
        "/readyz?x=y",
        "/readyz#x",
        "http://127.0.0.1/readyz",
        "http://evil.example//readyz",
    ],
)
def test_why_a_node_is_not_ready_is_not_for_everybody(nginx: Nginx, source: str, target: str) -> None:
    for lies in ((), (f"X-Forwarded-For: {HOST}", f"X-Real-IP: {HOST}", f"Forwarded: for={HOST}")):
        assert ask(nginx, target, *lies, source=source).status in (400, 403)
    never_left_nginx(nginx, source, 2)
    # Whoever watches this machine may.
    assert ask(nginx, "/readyz").status == 200


@pytest.mark.parametrize(
    "target",
    ["/readyz/", "/READYZ", "/readyz%20", "/readyz;x", "/healthz/../x/readyz", "/readyz%2f", "/readyz%3f"],
)
def test_nor_by_another_name(nginx: Nginx, source: str, target: str) -> None:
    answer = ask(nginx, target, source=source)
    assert answer.status in (400, 403, 404)
    assert b"checks" not in answer.raw


def test_no_field_leads_a_node_elsewhere(nginx: Nginx, source: str) -> None:
    """gunicorn takes a path from fields of these names, if its proxy lets them pass."""
    for lies in (
        ("SCRIPT_NAME: /healthz", "PATH_INFO: /readyz"),
        ("Script-Name: /healthz", "Path-Info: /readyz"),
        ("X-Original-URL: /readyz", "X-Rewrite-URL: /readyz", "X-HTTP-Method-Override: DELETE"),
        ("X-Accel-Redirect: /unavailable.html", "X-Sendfile: /etc/passwd"),
    ):
        answer = ask(nginx, "/healthz", *lies, source=source)
        assert answer.status == 200
        assert json.loads(answer.body).keys() == {"status", "node"}


@pytest.mark.parametrize(
    "target", ["/unavailable.html", "/pages/unavailable.html", "/nginx_status", "/@no_node"]
)
def test_what_is_internal_stays_so(nginx: Nginx, target: str) -> None:
    assert ask(nginx, target).status == 404


def test_nobody_learns_what_runs_here(nginx: Nginx) -> None:
    answers = [
        ask(nginx, "/sign-in"),
        ask(nginx, "/x"),
        ask(nginx, "/static/x"),
        ask(nginx, "/", method="TRACE"),
        ask(nginx, f"/{'x' * 9000}"),
        ask(nginx, POLLING),
        ask(nginx, "/x", method="POST", body=b"x" * (PAGE_BYTES + 1)),
        shake_hands(nginx),
    ]
    assert {answer.header("Server") for answer in answers} == {"nginx"}
    for answer in answers:
        for secret in (b"nginx/", b"gunicorn", b"Python", b"Werkzeug", b"X-Powered-By", str(ROOT).encode()):
            assert secret not in answer.raw


def test_the_log_cannot_be_forged(nginx: Nginx, nodes: Nodes, source: str, path: str) -> None:
    forged = f'{path}%0a{{"status":"200"}}%0d"'
    agent = 'x","status":"200","y":"\\'
    ask(nginx, forged, f"User-Agent: {agent}", source=source)
    ask(nginx, f"{path}?sid=n1.a-secret", "User-Agent: \xff\x80", source=source)
    # Each line is an object, or `logged` would stumble.
    first, second = logged(nginx, source, 2)
    assert (first["status"], first["user_agent"], first["path"]) == ("404", agent, forged)
    assert second["path"] == path
    assert "a-secret" not in nginx.log()
    lines = heard_of(nodes, path)
    assert len(lines) == 2
    for line in lines:
        assert f"address={source} " in line
