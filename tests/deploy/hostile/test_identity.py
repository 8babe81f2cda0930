"""Clients that lie about who they are, which page they are and where they belong: refused, or harmless."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.deploy.front import Poller, Visitor
from tests.deploy.hostile.conftest import CONNECTS, SIGN_INS, UNIX_NODE
from tests.deploy.hostile.wire import (
    POLLING,
    UPGRADE,
    WEBSOCKET,
    Ear,
    Nodes,
    ask,
    head,
    heard_of,
    logged,
    new_address,
    send,
    shake_hands,
    sid_in,
)
from tests.support.nginx import Nginx
from tests.support.servers import HOST

ELSEWHERE = "203.0.113.7"

# Who one is.


@pytest.mark.parametrize(
    "lies",
    [
        (f"X-Forwarded-For: {ELSEWHERE}",),
        (f"X-Forwarded-For: {ELSEWHERE}, {HOST}", f"X-Forwarded-For: {ELSEWHERE}", "X-Forwarded-For:"),
        (f"Forwarded: for={ELSEWHERE};proto=https;host=evil.example", f"X-Real-IP: {ELSEWHERE}"),
        (f"X-Client-IP: {ELSEWHERE}", f"True-Client-IP: {ELSEWHERE}", f"CF-Connecting-IP: {ELSEWHERE}"),
        (f"X_Forwarded_For: {ELSEWHERE}", f"REMOTE_ADDR: {ELSEWHERE}", f"Remote-Addr: {ELSEWHERE}"),
        ("X-Request-ID: forged", "X-Forwarded-Prefix: /forged"),
    ],
    ids=lambda lies: lies[0].partition(":")[0],
)
def test_the_logs_have_the_true_address(
    nginx: Nginx, nodes: Nodes, source: str, path: str, lies: tuple[str, ...]
) -> None:
    for node in nodes:
        answer = ask(nginx, path, *lies, f"Cookie: NODE={node.node_id}", source=source)
        assert answer.status == 404
        assert ELSEWHERE.encode() not in answer.raw
    entries = logged(nginx, source, len(nodes))
    for node, entry in zip(nodes, entries, strict=True):
        [line] = heard_of([node], path)
        assert f"address={source} " in line
        assert f"request_id={entry['request_id']} " in line
        assert "forged" not in line


@pytest.mark.parametrize("target", ["/x", "/api/v1/rooms", POLLING, WEBSOCKET])
def test_what_a_node_is_told(source: str, target: str) -> None:
    """It believes these fields: each is there once, as nginx knows it. Others that say so are gone."""
    lies = [
        f"X-Forwarded-For: {ELSEWHERE}",
        "X-Forwarded-Proto: forged",
        "X-Forwarded-Host: forged",
        "X-Request-ID: forged",
    ]
    others = ["Forwarded", "X-Real-IP", "Proxy", "X_Forwarded_For", "X-Forwarded-Port", "X-Forwarded-Prefix"]
    others += ["X-Forwarded-Protocol", "X-Forwarded-Server", "X-Forwarded-Ssl", "Upgrade", "Keep-Alive", "TE"]
    lies += [f"{name}: forged" for name in others]
    with Ear() as ear, Nginx([ear.address]) as nginx:
        assert ask(nginx, target, *lies, *lies[:4], source=source).status == 204
        fields = ear.fields()
        host = [f"{HOST}:{nginx.port}"]
        assert fields["x-forwarded-for"] == [source]
        assert fields["x-forwarded-proto"] == ["http"]
        assert fields["x-forwarded-host"] == fields["host"] == host
        assert fields["x-request-id"] == [logged(nginx, source)[0]["request_id"]]
        assert fields["connection"] == ["close"]
        assert not {name.lower() for name in others} & fields.keys()
        assert "forged" not in str(fields)
        # Only a WebSocket is handed on as such.
        send(nginx, head(nginx, target, *UPGRADE[1:], "Connection: Upgrade, close", close=False), source)
        upgrade = ear.fields().get("upgrade")
        assert upgrade == (["websocket"] if "socket.io" in target else None)


@pytest.mark.parametrize("node", ["n1", UNIX_NODE])
def test_sign_ins_count_for_the_true_address(nginx: Nginx, source: str, node: str) -> None:
    def sign_in(number: int, source: str) -> int:
        lies = (f"X-Forwarded-For: 203.0.113.{number}", f"X-Real-IP: 203.0.113.{number}")
        body = f"name=Eve+{secrets.token_hex(3)}".encode()
        form = "Content-Type: application/x-www-form-urlencoded"
        return ask(
            nginx, "/sign-in", *lies, form, f"Cookie: NODE={node}", method="POST", body=body, source=source
        ).status

    assert [sign_in(number, source) for number in range(SIGN_INS)] == [303] * SIGN_INS
    assert sign_in(SIGN_INS, source) == 429
    # Whoever was named instead has not paid for it.
    assert sign_in(0, new_address()) == 303


@pytest.mark.parametrize("node", ["n1", UNIX_NODE])
def test_connections_count_for_the_true_address(nginx: Nginx, source: str, node: str) -> None:
    def join_market(number: int) -> bytes:
        lie = f"X-Forwarded-For: 203.0.113.{number}"
        session = f"{POLLING}&sid={sid_in(ask(nginx, POLLING, lie, f'Cookie: NODE={node}', source=source))}"
        assert ask(nginx, session, lie, method="POST", body=b"40/market,", source=source).status == 200
        return ask(nginx, session, lie, source=source).raw

    for number in range(CONNECTS):
        assert b'40/market,{"sid"' in join_market(number)
    assert b"44/market,{" in join_market(CONNECTS)


# Which page one is.


def cross_site(nginx: Nginx, *headers: str, source: str) -> dict[str, int]:
    """How each way in answers a page of another site, which has a visitor's cookie, and even a session."""
    mine = sid_in(ask(nginx, POLLING, source=source))
    form = "Content-Type: application/x-www-form-urlencoded"
    name = f"name=Eve+{secrets.token_hex(3)}".encode()
    return {
        "websocket": shake_hands(nginx, *headers, source=source).status,
        "upgrade": shake_hands(nginx, *headers, target=f"{WEBSOCKET}&sid={mine}", source=source).status,
        "handshake": ask(nginx, POLLING, *headers, source=source).status,
        "polling": ask(
            nginx, f"{POLLING}&sid={mine}", *headers, method="POST", body=b"40/market,", source=source
        ).status,
        "form": ask(nginx, "/sign-in", form, *headers, method="POST", body=name, source=source).status,
        "sign out": ask(nginx, "/sign-out", form, *headers, method="POST", body=b"", source=source).status,
    }


@pytest.mark.parametrize(
    "headers",
    [
        ("Origin: https://evil.example",),
        ("Origin: null",),
        ("Origin: {other}://127.0.0.1:{port}",),
        ("Origin: {scheme}://127.0.0.1:{port}.evil.example",),
        ("Origin: {scheme}://127.0.0.1",),
        ("Origin: {scheme}://evil.example", "X-Forwarded-Host: evil.example"),
        ("Origin: {scheme}://evil.example", "Forwarded: host=evil.example", "X-Host: evil.example"),
        ("Origin: {other}://127.0.0.1:{port}", "X-Forwarded-Proto: {other}", "X-Forwarded-Ssl: on"),
        ("Origin: {other}://127.0.0.1:{port}", "X-Forwarded-Protocol: ssl", "X-Forwarded-Scheme: {other}"),
    ],
    ids=lambda headers: " and ".join(headers).replace(": ", "="),
)
def test_a_page_of_another_site_is_refused(either: Nginx, source: str, headers: tuple[str, ...]) -> None:
    scheme, other = ("https", "http") if either.tls else ("http", "https")
    filled = [header.format(scheme=scheme, other=other, port=either.port) for header in headers]
    answers = cross_site(either, *filled, source=source)
    assert set(answers.values()) <= {400, 403}, answers


def test_the_pages_of_this_site_are_served(either: Nginx, source: str) -> None:
    origin = f"Origin: {either.url}"
    answers = cross_site(either, origin, source=source)
    expected = {"websocket": 101, "upgrade": 101, "handshake": 200, "polling": 200, "form": 303}
    assert answers == expected | {"sign out": 303}


# Which node one belongs to.


@pytest.mark.parametrize(
    "value",
    [
        "n9",
        "",
        '"n1"',
        "n1 n2",
        "N1",
        "%6e1",
        "../n1",
        "n1/../n2",
        "to_n1",
        "at_n1",
        "n1>n2",
        "127.0.0.1:22",
        "unix:/run/secrets",
        "$pool",
        "${served}",
        "\xff\xfe",
        "n1\tn2",
        "n" * 7000,
    ],
    ids=lambda value: ascii(value[:20]),
)
def test_a_cookie_that_names_no_node(nginx: Nginx, value: str) -> None:
    answer = ask(nginx, "/healthz", f"Cookie: NODE={value}")
    assert answer.status == 200
    assert answer.node_cookie == json.loads(answer.body)["node"]


@pytest.mark.parametrize(
    "headers",
    [
        ("Cookie: NODE=n2; NODE=n1",),
        ("Cookie: NODE=n2", "Cookie: NODE=n1"),
        ("Cookie: a=b; NODE=n2; c=NODE=n3",),
    ],
)
def test_of_several_cookies_one_counts(nginx: Nginx, headers: tuple[str, ...]) -> None:
    """And the same one each time: nobody is sent to and fro."""
    for _ in range(3):
        answer = ask(nginx, "/healthz", *headers)
        assert json.loads(answer.body)["node"] == "n2"
        assert answer.node_cookie is None


def forged_sids(sid: str) -> list[str]:
    """What somebody sends who knows a session's id in part, or another session's."""
    node, _, secret = sid.partition(".")
    others = [f"{other}.{secret}" for other in ("n1", "n2", "n3", "n9", "") if other != node]
    return [
        *others,
        secret,
        f"{node}.",
        f"{node}.{secret.swapcase()}",
        f"{node}.../{secret}",
        f"%22{sid}%22",
        f"%6e9.{secret}",
        f"n9.x&sid={sid}",
        f"{node}.x&sid={sid}",
        f"../{sid}",
        f"{sid}%00",
        f"{sid}%20",
        f"{node}.{'x' * 3000}",
        f"to_{sid}",
    ]


def test_a_forged_session_touches_nobody(nginx: Nginx, source: str) -> None:
    with Visitor(nginx) as victim:
        poller = Poller(victim)
        for sid in forged_sids(poller.sid):
            target = f"{POLLING}&sid={sid}"
            assert ask(nginx, target, source=source).status == 400, sid
            # 1 is the goodbye of Engine.IO.
            assert ask(nginx, target, method="POST", body=b"1", source=source).status == 400, sid
            shaken = shake_hands(nginx, target=f"{WEBSOCKET}&sid={sid}", source=source)
            assert shaken.status == 400, sid
        poller.exchange()
        assert victim.cookie == poller.sid.partition(".")[0]


def test_a_forged_session_leaves_the_cookie_right(nginx: Nginx) -> None:
    """Whoever is bound stays bound, and who is bound to nobody is bound to whoever answered."""
    sid = sid_in(ask(nginx, POLLING, "Cookie: NODE=n1"))
    assert sid.startswith("n1.")
    for forged in (f"n2.{sid[3:]}", f"n9.{sid[3:]}"):
        target = f"{POLLING}&sid={forged}"
        assert ask(nginx, target, "Cookie: NODE=n1").node_cookie is None
        assert ask(nginx, target).node_cookie in nodes_by_prefix(forged)


def nodes_by_prefix(sid: str) -> set[str]:
    node = sid.partition(".")[0]
    return {node} if node != "n9" else {"n1", "n2", "n3"}
