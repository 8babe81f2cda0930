"""Where a RabbitMQ is, and who we are there: read its address.

    amqp://user:password@host:5672/vhost
    amqps://user:password@host:5671/vhost?ssl_ca_certs=/path/ca.pem     the same over TLS
    amqp://user:password@host1/vhost;host2;host3:5673                   nodes of one cluster

Without user and password it is guest, without a vhost "/"; `//` and `/%2F` at the end mean "/", too.
Characters like / @ : ? # ; in a password are percent-encoded. Over TLS the server's certificate is checked,
against the system's authorities if none are named; SETTINGS says what may follow the `?`.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kombu.utils.url import url_to_parts

SCHEMES = {"amqp": 5672, "pyamqp": 5672, "amqps": 5671}
#: What may follow a "?", with the values that make sense; None: the name of a file.
SETTINGS: dict[str, tuple[str, ...] | None] = {
    "ssl_ca_certs": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ssl_cert_reqs": ("required", "none"),
    "ssl_check_hostname": ("true", "false"),
}
EXAMPLE = "amqp://user:password@host:5672/vhost"


@dataclass(frozen=True, slots=True)
class Address:
    """Where one RabbitMQ node is, and who we are there. Its text is fit for logs."""

    host: str
    port: int
    user: str = field(repr=False)
    password: str = field(repr=False)
    vhost: str
    tls: dict[str, Any] | None  # as py-amqp takes it

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def shown(url: str) -> str:
    """Make an address fit for errors and logs: without user, password and what follows a "?"."""
    return re.sub(r"(?s)(://).*@", r"\1***@", re.sub(r"(?s)\?(?!.*@).*", "", url))


def read_addresses(url: str) -> list[Address]:
    """Read one address, or several with `;` between them.

    Those after the first may be only `host` or `host:port`, and have the rest from the first.

    :raises ValueError: when one makes no sense; the error says what to write, and no password.
    """
    addresses: list[Address] = []
    for part in url.split(";"):
        if "://" in part or not addresses:
            addresses.append(_read(part.strip()))
        else:
            first = addresses[0]
            scheme = "amqps" if first.tls else "amqp"
            other = _read(f"{scheme}://{part.strip()}")
            tls = first.tls and first.tls | {"server_hostname": first.tls["server_hostname"] and other.host}
            addresses.append(replace(first, host=other.host, port=other.port, tls=tls))
    return addresses


def _read(url: str) -> Address:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"{shown(url)!r} is no address of a RabbitMQ; write {EXAMPLE}")
    # Before anything is parsed: an unescaped character would make a host of half a password.
    if "#" in rest or "@" in rest.partition("/")[2]:
        raise ValueError(f"{scheme}://...: percent-encode / @ : ? # ; in the user's name and password")
    try:
        parts = url_to_parts(url)
        port = SCHEMES[scheme] if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        raise ValueError(
            f"{scheme}://...: no number of a port after the host; write {EXAMPLE}, "
            "and percent-encode / @ : ? # ; in the user's name and password"
        )
    if not parts.hostname:
        raise ValueError(f"{shown(url)!r} names no host; write {EXAMPLE}")
    tls = _tls(shown(url), parts.hostname, dict(parts.query), wanted=scheme == "amqps")
    return Address(
        host=parts.hostname,
        port=port,
        user=parts.username or "guest",
        password=parts.password if parts.password is not None else "guest",
        vhost=parts.path or "/",
        tls=tls,
    )


def _tls(url: str, host: str, query: dict[str, str], *, wanted: bool) -> dict[str, Any] | None:
    for name, value in query.items():
        if name not in SETTINGS:
            raise ValueError(
                f"{url!r}: {name!r} is nothing that this address can set. It can set: {', '.join(SETTINGS)}. "
                "Time limits are the queue's options."
            )
        if not wanted:
            raise ValueError(f"{url!r}: {name} needs TLS, so the address must begin with amqps")
        values = SETTINGS[name]
        if values is None and not Path(value).is_file():
            raise ValueError(f"{url!r}: {name} names a file that is not there: {value!r}")
        if values is not None and value not in values:
            raise ValueError(f"{url!r}: {name} is {' or '.join(values)}, not {value!r}")
    if not wanted:
        return None
    if "ssl_keyfile" in query and "ssl_certfile" not in query:
        raise ValueError(f"{url!r}: ssl_keyfile is the key of ssl_certfile, which is missing")
    checked = query.get("ssl_cert_reqs") != "none"
    named = checked and query.get("ssl_check_hostname") != "false"
    return {
        "cert_reqs": ssl.CERT_REQUIRED if checked else ssl.CERT_NONE,
        # py-amqp compares the certificate with this name, or with none.
        "server_hostname": host if named else None,
        "ca_certs": query.get("ssl_ca_certs"),
        "certfile": query.get("ssl_certfile"),
        "keyfile": query.get("ssl_keyfile"),
    }
