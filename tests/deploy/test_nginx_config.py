"""nginx's configuration as it ships: nginx takes it, and it fits the application's settings."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.web.security import HEADERS
from config.settings import ProductionSettings, Settings
from deploy import fill
from deploy.nodes import Node
from deploy.render import Balance, load, render_nginx, stale
from tests.support.certificates import Certificate
from tests.support.nginx import PROGRAM, Nginx
from tests.support.servers import ROOT

TCP = ("127.0.0.1:5001", "127.0.0.1:5002", "127.0.0.1:5003")
UNIX = ("unix:/run/realtime/n1.sock", "unix:/run/realtime/n2.sock")
MIXED = ("127.0.0.1:5001", "[::1]:5002", "unix:/run/realtime/n3.sock")
# More than an upstream's shared memory holds at its smallest size.
MANY = tuple(f"10.0.0.{number}:5000" for number in range(1, 151))
# What newer versions say of the notation that older ones need, and what a user who is not root hears.
KNOWN_WARNINGS = re.compile(r'the "(listen \.\.\. http2|user)" directive (is deprecated|makes sense only)')


def settings_of(name: str) -> str:
    """A file's text without its comments."""
    lines = (ROOT / "nginx" / name).read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def values(directive: str, text: str) -> list[str]:
    """What a directive is set to, wherever it stands."""
    return re.findall(rf"^\s*{directive}\s+([^;]+);", text, re.MULTILINE)


def block(beginning: str, text: str) -> str:
    """A location's inside."""
    return text.partition(beginning + " {")[2].partition("\n}")[0]


def check(nginx: Nginx) -> None:
    try:
        said = [line for line in nginx.check().splitlines() if re.search(r"\[(warn|error|alert)", line)]
        assert [line for line in said if not KNOWN_WARNINGS.search(line)] == []
    finally:
        nginx.close()


@pytest.mark.parametrize(
    "nodes", [TCP, TCP[:1], UNIX, MIXED, MANY], ids=["tcp", "one", "unix", "mixed", "many"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("balance", ["cookie", "ip_hash"])
def test_nginx_takes_every_variant(
    balance: Balance, scheme: str, nodes: Sequence[str], certificate: Certificate
) -> None:
    check(Nginx(nodes, balance=balance, tls=certificate if scheme == "https" else None))


@pytest.mark.parametrize(
    "nodes", [TCP, TCP[:1], UNIX, MIXED, MANY], ids=["tcp", "one", "unix", "mixed", "many"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("balance", ["cookie", "ip_hash", "sticky"])
def test_a_new_nginx_takes_every_variant(
    balance: Balance, scheme: str, nodes: Sequence[str], certificate: Certificate, new_nginx: str
) -> None:
    check(Nginx(nodes, balance=balance, tls=certificate if scheme == "https" else None, program=new_nginx))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root opens these ports, and becomes somebody else")
@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_ports_and_the_user_that_ship_are_right_too(scheme: str, certificate: Certificate) -> None:
    """What the other tests fill in."""
    shipped = [fill.NGINX_USER, fill.HTTP, fill.HTTP_IPV6]
    if scheme == "https":
        shipped += [fill.HTTPS, fill.HTTPS_IPV6, fill.HTTPS_REDIRECT]
    tls = certificate if scheme == "https" else None
    check(Nginx(TCP, tls=tls, replacements={line: line for line in shipped}))


def test_a_mistake_is_found() -> None:
    nginx = Nginx(TCP, replacements={"gzip on;": "gzip perhaps;"})
    try:
        with pytest.raises(AssertionError, match="perhaps"):
            nginx.check()
    finally:
        nginx.close()


@pytest.mark.parametrize("balance", ["cookie", "ip_hash", "sticky"])
def test_variants_can_take_each_others_place(balance: Balance) -> None:
    """Each defines what the other files use, so that changing over is copying a file."""
    text = render_nginx(ROOT, [Node("n1", TCP[0])], balance)[ROOT / "nginx/nodes.conf"]
    defined = set(re.findall(r"^map \S+ (?:\S+ )?(\$\w+) \{|^map \".*\" (\$\w+) \{", text, re.MULTILINE))
    names = {name for pair in defined for name in pair if name}
    assert {"$page_route", "$session_route", "$set_node", "$served"} <= names


def test_the_files_follow_from_the_list() -> None:
    assert stale(render_nginx(ROOT, load(ROOT))) == [], "run: python -m deploy nodes"


def test_every_file_says_what_it_is() -> None:
    for path in ROOT.glob("nginx/**/*.conf"):
        assert path.read_text("utf-8").startswith("# "), path


# The application's settings.


def default(name: str) -> int:
    """A setting's default, which must be the same in production."""
    value = Settings.model_fields[name].default
    assert ProductionSettings.model_fields[name].default == value
    return int(value)


def test_bodies_may_be_as_large_as_for_the_application() -> None:
    site = settings_of("site.conf")
    assert values("client_max_body_size", settings_of("realtime.conf")) == [str(default("max_request_bytes"))]
    assert values("client_max_body_size", site) == [str(default("socket_max_message_bytes"))]
    assert "client_max_body_size" in block("location /socket.io/", site)
    assert f"{default('max_request_bytes')} bytes" in site, "what the API says of it"
    buffer = values("client_body_buffer_size", settings_of("realtime.conf"))[0]
    assert int(buffer.removesuffix("k")) * 1024 >= default("socket_max_message_bytes")


def test_a_silent_client_is_given_the_time_that_it_has() -> None:
    """Both sides may be silent from one ping to the next, and as long as the answer may take."""
    silence = default("socket_ping_interval_seconds") + default("socket_ping_timeout_seconds")
    sockets = block("location /socket.io/", settings_of("site.conf"))
    for directive in ("proxy_read_timeout", "proxy_send_timeout"):
        (seconds,) = values(directive, sockets)
        # Room for a slow network, and not so much that dead clients gather.
        assert silence * 1.5 <= int(seconds.removesuffix("s")) <= silence * 3
    assert f"{silence} s" in (ROOT / "nginx/site.conf").read_text("utf-8"), "what the comment says of it"
    assert values("proxy_buffering", sockets) == ["off"]


def test_nginx_sets_the_headers_that_the_application_sets() -> None:
    (policy,) = re.findall(r'default\s+"(default-src[^"]+)"', settings_of("realtime.conf"))
    headers = dict(
        re.findall(r'^add_header (\S+) "?(.*?)"? always;', settings_of("headers.conf"), re.MULTILINE)
    )
    assert headers.pop("Strict-Transport-Security") == "$hsts"
    assert headers | {"Content-Security-Policy": policy} == HEADERS


def test_no_location_forgets_the_headers() -> None:
    """`add_header` in a location undoes those of outside, so each one names what it needs."""
    site = settings_of("site.conf")
    for name in re.findall(r"^location ([^{]+) \{", site, re.MULTILINE):
        inside = block(f"location {name}", site)
        proxied = "proxy_pass" in inside
        assert ("include proxy.conf;" in inside) == proxied, name
        assert ("include headers.conf;" in inside) == (not proxied), name


def test_what_a_client_writes_of_itself_is_overwritten() -> None:
    """Every header by which gunicorn or Flask would believe who the client is."""
    from gunicorn.config import SecureSchemeHeader

    sent = dict(re.findall(r"^proxy_set_header (\S+) (\S+);", settings_of("proxy.conf"), re.MULTILINE))
    believed = {"X-FORWARDED-FOR", "X-FORWARDED-HOST", "X-FORWARDED-PORT", "X-FORWARDED-PREFIX", "FORWARDED"}
    assert believed | set(SecureSchemeHeader.default) <= {name.upper() for name in sent}
    for name, value in sent.items():
        assert not re.search(r"\$http_|\$proxy_add", value), name


def test_limits_leave_room_for_an_office() -> None:
    """A thousand people behind one address, each with a page and a WebSocket, who come back at once."""
    limits, site = settings_of("realtime.conf"), settings_of("site.conf")
    (connections,) = values("limit_conn", limits)
    assert int(connections.split()[1]) >= 2 * 1000
    bursts = [int(burst) for burst in re.findall(r"burst=(\d+) nodelay", site)]
    assert min(bursts, default=0) >= 1000
    assert site.count("limit_req ") == len(bursts), "no request waits: it is served, or refused"
    assert values("limit_conn_status", limits) == values("limit_req_status", limits) == ["429"]


def test_the_program_is_there() -> None:
    assert Path(PROGRAM).exists(), "nginx is not installed: run `make packages`"
