"""What nginx does besides choosing a node: static files, compression, errors, TLS, and whom it believes."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.web.security import HEADERS
from tests.deploy.front import POLL, ClusterNode, Poller, Visitor, node_of
from tests.support.certificates import Certificate
from tests.support.nginx import STATIC_PATH, Nginx
from tests.support.servers import HOST, ROOT, child_environment, free_port
from tests.support.waiting import wait_until

STATIC = ROOT / "app" / "static"
VERSIONED = "public, max-age=600"
CLIENT = "198.51.100.7"


@pytest.fixture(scope="module")
def node() -> Iterator[ClusterNode]:
    with ClusterNode("n1") as started:
        yield started
        assert "Traceback" not in started.log(), started.log()


@pytest.fixture(scope="module")
def plain(node: ClusterNode) -> Iterator[Nginx]:
    with Nginx([node.address]) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def secure(node: ClusterNode, certificate: Certificate) -> Iterator[Nginx]:
    with Nginx([node.address], tls=certificate) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def alone() -> Iterator[Nginx]:
    """No node is up."""
    with Nginx([f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"]) as nginx:
        yield nginx


# Static files.


def test_every_static_file_is_served_as_the_application_serves_it(plain: Nginx, node: ClusterNode) -> None:
    paths = [path for path in STATIC.rglob("*") if path.is_file()]
    assert len({path.suffix for path in paths}) >= 3
    for path in paths:
        address = f"/static/{path.relative_to(STATIC)}"
        ours = requests.get(plain.url + address, timeout=5)
        theirs = requests.get(node.url + address, timeout=5)
        assert (ours.status_code, ours.content) == (200, path.read_bytes()), address
        for header in ("Content-Type", "Cache-Control", *HEADERS):
            assert ours.headers[header] == theirs.headers[header], f"{address}: {header}"
    assert '"/static/' not in plain.log(), "files are no news"


def test_static_files_need_no_node(alone: Nginx) -> None:
    assert requests.get(alone.url + STATIC_PATH, timeout=5).ok


def test_caches_keep_what_has_a_version_and_ask_for_the_rest(plain: Nginx) -> None:
    versioned = requests.get(f"{plain.url}{STATIC_PATH}?v=0123456789ab", timeout=5)
    assert versioned.headers["Cache-Control"] == VERSIONED
    for address in (STATIC_PATH, f"{STATIC_PATH}?v="):
        fresh = requests.get(plain.url + address, timeout=5)
        assert fresh.headers["Cache-Control"] == "no-cache"
    again = {"If-None-Match": fresh.headers["ETag"]}
    unchanged = requests.get(plain.url + STATIC_PATH, headers=again, timeout=5)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["Cache-Control"] == "no-cache"


def test_what_is_missing_is_not_kept(plain: Nginx) -> None:
    for address in ("/static/css/none.css?v=0123456789ab", "/static/", "/static/css", "/static/css/"):
        answer = requests.get(plain.url + address, timeout=5)
        assert answer.status_code == 404, address
        assert "Cache-Control" not in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "address", ["/static/js/chat/page.js", "/static/css/base.css", "/sign-in", "/openapi/v1.json"]
)
def test_text_is_compressed_for_who_understands_it(plain: Nginx, address: str) -> None:
    packed = requests.get(plain.url + address, headers={"Accept-Encoding": "gzip"}, timeout=5, stream=True)
    raw = packed.raw.read()
    plainly = requests.get(plain.url + address, headers={"Accept-Encoding": "identity"}, timeout=5)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(raw) == plainly.content
    assert len(raw) < len(plainly.content) / 2
    assert "Content-Encoding" not in plainly.headers
    assert "Accept-Encoding" in packed.headers["Vary"], "a cache must not mix them up"
    packed.close()


# Errors.


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_when_no_node_is_up(alone: Nginx, method: str) -> None:
    with Visitor(alone) as visitor:
        answer = visitor.request("/sign-in", method)
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.text == (ROOT / "nginx/pages/unavailable.html").read_text("utf-8")
        assert '<meta http-equiv="refresh" content="3">' in answer.text, "it tries again by itself"
        assert (answer.headers["Retry-After"], answer.headers["Cache-Control"]) == ("3", "no-store")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "style-src 'unsafe-inline'" in answer.headers["Content-Security-Policy"], "its style is in it"
        assert visitor.cookie is None
        # It is for errors only.
        assert visitor.request("/unavailable.html").status_code == 404


def test_the_api_when_no_node_is_up(alone: Nginx) -> None:
    for address in ("/api/v1/rooms", "/api/v1/a.html"):
        answer = requests.get(alone.url + address, timeout=5)
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"] == "1"
        problem = answer.json()
        assert (problem["type"], problem["title"], problem["status"]) == (
            "about:blank",
            "Service Unavailable",
            503,
        )
        # By which an operator finds it.
        assert logged(alone, request_id=problem["request_id"])["status"] == "503"


def test_sockets_when_no_node_is_up(alone: Nginx) -> None:
    answer = requests.get(alone.url + POLL, timeout=5)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_an_answer_of_the_application_passes_as_it_is(plain: Nginx, node: ClusterNode) -> None:
    for address in ("/nowhere", "/api/v1/nowhere", f"{POLL}&sid=n1.nobody"):
        ours, theirs = (requests.get(base + address, timeout=5) for base in (plain.url, node.url))
        assert ours.status_code == theirs.status_code >= 400
        assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]
        assert ours.headers.get("X-Request-ID") != ""


def test_a_redirect_names_no_port(plain: Nginx) -> None:
    """The one that the browser sees may be another one's."""
    answer = requests.get(f"{plain.url}/socket.io?EIO=4", timeout=5, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, "/socket.io/?EIO=4")


def test_the_api_explains_what_nginx_refuses(plain: Nginx) -> None:
    answer = requests.post(f"{plain.url}/api/v1/emit", data=b"x" * 1_048_577, timeout=5)
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, "application/problem+json")
    assert "1048576" in answer.json()["detail"]
    slow = "limit_req_zone $binary_remote_addr zone=pages:10m rate=100r/s;"
    tight = {slow: slow.replace("100r/s", "1r/m"), "burst=1000": "burst=1"}
    with Nginx([plain_address(plain)], replacements=tight) as nginx:
        answers = [requests.get(f"{nginx.url}/api/v1/rooms", timeout=5) for _ in range(4)]
        assert [answer.status_code for answer in answers[2:]] == [429, 429]
        assert answers[3].json()["title"] == "Too Many Requests"
        assert answers[3].headers["Retry-After"] == "1"
        assert answers[3].headers["Content-Type"] == "application/problem+json"


def plain_address(nginx: Nginx) -> str:
    return f"{HOST}:{nginx.port}"


# TLS.


def test_http_leads_to_https(secure: Nginx) -> None:
    for method in ("GET", "POST"):
        answer = requests.request(
            method, f"http://{HOST}:{secure.http_port}/sign-in?next=1", timeout=5, allow_redirects=False
        )
        assert (answer.status_code, answer.headers["Location"]) == (308, f"{secure.url}/sign-in?next=1")


def test_the_certificates_challenge_stays_on_http(secure: Nginx) -> None:
    folder = secure.folder / "data/acme/.well-known/acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token").write_text("proof")
    answer = requests.get(f"http://{HOST}:{secure.http_port}/.well-known/acme-challenge/token", timeout=5)
    assert answer.text == "proof"


@pytest.mark.parametrize("address", ["/sign-in", "/openapi/v1.json", STATIC_PATH, POLL, "/nowhere"])
def test_browsers_are_told_to_insist_on_https(secure: Nginx, plain: Nginx, address: str) -> None:
    answer = requests.get(secure.url + address, timeout=5, verify=secure.verify)
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"
    assert "Strict-Transport-Security" not in requests.get(plain.url + address, timeout=5).headers


def test_the_cookie_is_for_https_only(
    secure: Nginx, node: ClusterNode, certificate: Certificate, new_nginx: str
) -> None:
    with Nginx([node.address], tls=certificate, balance="sticky", program=new_nginx) as sticky:
        for nginx in (secure, sticky):
            with Visitor(nginx) as visitor:
                set_cookie = visitor.request("/sign-in").headers["Set-Cookie"].lower().split("; ")
                assert sorted(set_cookie) == ["httponly", "node=n1", "path=/", "samesite=lax", "secure"]


def test_sockets_work_over_tls(secure: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(secure.verify))
    with Visitor(secure) as visitor:
        visitor.request("/sign-in")
        # The page's origin is https://..., which the node must see to accept it.
        assert node_of(visitor.open_socket()) == "n1"
        Poller(visitor).exchange()


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        (["-tls1"], False),
        (["-tls1_1"], False),
        (["-tls1_2"], True),
        (["-tls1_3"], True),
        # Without forward secrecy, and what is broken for other reasons.
        (["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0"], False),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"], False),
    ],
)
def test_only_tls_of_today(secure: Nginx, options: list[str], accepted: bool) -> None:
    # What this machine's client would refuse by itself is not what is asked here.
    old = [] if "-cipher" in options else ["-cipher", "ALL:@SECLEVEL=0"]
    done = tls_client(secure, *options, *old)
    assert (done.returncode == 0) == accepted, done.stdout + done.stderr
    if not accepted:
        assert "alert" in done.stderr, "the server refused it, not the client"


def test_one_connection_for_all_files(secure: Nginx) -> None:
    assert "ALPN protocol: h2" in tls_client(secure, "-alpn", "h2,http/1.1").stdout


def tls_client(nginx: Nginx, *options: str) -> subprocess.CompletedProcess[str]:
    """Shake hands, and leave."""
    assert isinstance(nginx.verify, str)
    command = ("openssl", "s_client", "-connect", f"{HOST}:{nginx.port}", "-CAfile", nginx.verify, *options)
    return subprocess.run(
        command,
        env=child_environment({}),
        input="",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=20,
        check=False,
    )


# Whom it believes.


def logged_address(nginx: Nginx, node: ClusterNode, forwarded: str) -> str:
    """Which address a node sees."""
    before = len(node.log())
    headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https"}
    answer = requests.get(f"{nginx.url}/sign-in", headers=headers, timeout=5)
    (line,) = [line for line in node.log()[before:].splitlines() if answer.headers["X-Request-ID"] in line]
    return line.partition("address=")[2].split()[0]


def test_behind_another_load_balancer(plain: Nginx, node: ClusterNode) -> None:
    """With its address in both lists it is believed, as to the last client that it names; else it is not."""
    assert logged_address(plain, node, CLIENT) == HOST
    lists = {
        "#set_real_ip_from 192.0.2.0/24;": f"set_real_ip_from {HOST};",
        "#192.0.2.0/24 1;": f"{HOST} 1;",
    }
    with Nginx([node.address], replacements=lists) as nginx:
        assert logged_address(nginx, node, CLIENT) == CLIENT
        # The last one that is not on the list: what stands before it, the client may have written.
        assert logged_address(nginx, node, f"203.0.113.1, {CLIENT}, {HOST}") == CLIENT
        headers = {"X-Forwarded-Proto": "https"}
        answer = requests.get(f"{nginx.url}/sign-in", headers=headers, timeout=5)
        assert "secure" in answer.headers["Set-Cookie"].lower(), "the client came by HTTPS"
        assert "Strict-Transport-Security" in answer.headers


def test_why_a_node_is_not_ready_is_for_this_machine_only(node: ClusterNode) -> None:
    lists = {"#set_real_ip_from 192.0.2.0/24;": f"set_real_ip_from {HOST};"}
    with Nginx([node.address], replacements=lists) as nginx:
        for path in ("/readyz", "//readyz", "/%72eadyz"):
            told = requests.get(f"{nginx.url}{path}", headers={"X-Forwarded-For": CLIENT}, timeout=5)
            assert told.status_code == 403
        assert requests.get(f"{nginx.url}/readyz", timeout=5).json()["status"] == "ready"
        assert requests.get(f"{nginx.url}/healthz", headers={"X-Forwarded-For": CLIENT}, timeout=5).ok


# The log.


def logged(nginx: Nginx, **fields: str) -> dict[str, str]:
    """The log's entry of a request with these fields, once it is there."""

    def find() -> list[dict[str, str]]:
        lines = (nginx.folder / "output.log").read_bytes().splitlines(keepends=True)
        # What nginx says of itself is no object; and the last line may still be on its way.
        objects = [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]
        return [entry for entry in objects if fields.items() <= entry.items()]

    return wait_until(find, f"{fields} in the log")[-1]


def test_the_log_tells_the_way_of_each_request_and_no_secret(plain: Nginx) -> None:
    with Visitor(plain) as visitor:
        poller = Poller(visitor)
        poller.exchange()
        answer = visitor.request('/sign-in?next="x"')
        # The node's log has the same id.
        entry = logged(plain, request_id=answer.headers["X-Request-ID"])
        assert (entry["path"], entry["node"], entry["status"]) == ("/sign-in", "n1", "200")
        assert entry["address"] == HOST
        assert logged(plain, path="/socket.io/", method="POST")
        assert poller.sid not in plain.log(), "whoever reads it could poll in the client's place"


def test_the_log_is_json_whatever_is_asked_for(plain: Nginx) -> None:
    with socket.create_connection((HOST, plain.port), timeout=5) as client:
        client.sendall(b'GET /\xff"?\xff HTTP/1.1\r\nHost: x\r\nUser-Agent: \xff"\x1b[31m\r\n\r\n')
        assert client.recv(100).startswith(b"HTTP/1.1 ")
    assert logged(plain, path="(not ASCII)")["user_agent"] == "(not ASCII)"
    requests.get(f'{plain.url}/"?\xff', headers={"User-Agent": 'a "b" \\'}, timeout=5)
    assert logged(plain, path="/%22")["user_agent"] == 'a "b" \\'


def test_a_path_means_the_same_to_nginx_and_to_a_node(plain: Nginx) -> None:
    """Else limits could be passed by. Browsers resolve dots themselves."""
    for path in (
        b"/socket.io/../x",
        b"/%73ocket.io/%2e%2e/x",
        b"/x/.",
        b"/x%2F..?y",
        b"/./sign-in",
        b"/x/..#y",
    ):
        with socket.create_connection((HOST, plain.port), timeout=5) as client:
            client.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400 "), path
    for path in ("/.well-known/x", "/x..y", "/...", "/x?y=/../z"):
        assert requests.get(plain.url + path, timeout=5).status_code == 404, path


def test_pages_that_ship_fetch_nothing() -> None:
    for path in Path(ROOT / "nginx/pages").iterdir():
        text = path.read_text("utf-8")
        assert not any(word in text for word in ("http://", "https://", "src=", "href=", "url(", "@import"))
