"""Fills in what differs from the shipped configuration: ports, paths, the user; the rest stays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# What stands in the shipped files for what differs from machine to machine.
ROOT = "/srv/realtime"
RUN = "/run/realtime"
DATA = "/var/lib/realtime"
NGINX_USER = "user www-data;"
HTTP = "listen 80;"
HTTP_IPV6 = "listen [::]:80;"
HTTPS = "listen 443 ssl http2;"
HTTPS_IPV6 = "listen [::]:443 ssl http2;"
HTTPS_REDIRECT = "https://$host$request_uri"
SCHEME = "include http.conf;"
CERTIFICATE = "/etc/realtime/tls/fullchain.pem"
KEY = "/etc/realtime/tls/privkey.pem"


class FillError(ValueError):
    """The shipped files do not contain what was to be replaced."""


def fill(text: str, replacements: Mapping[str, str]) -> str:
    """Replace canonical strings, each wherever it occurs; what is filled in is not looked at again.

    :param replacements: by what they replace; of two that begin at one place the longer counts.
    :raises FillError: when one of them does not occur.
    """
    return fill_all({"the text": text}, replacements)["the text"]


def fill_all(texts: Mapping[str, str], replacements: Mapping[str, str]) -> dict[str, str]:
    """Replace canonical strings in several files' texts; each must occur in one of them.

    :param texts: by the names of the files.
    :raises FillError: when one does not occur in any.
    """
    if not replacements:
        return dict(texts)
    longest_first = sorted(replacements, key=len, reverse=True)
    pattern = re.compile("|".join(re.escape(canonical) for canonical in longest_first))
    found: set[str] = set()

    def replacement(match: re.Match[str]) -> str:
        found.add(match[0])
        return replacements[match[0]]

    filled = {name: pattern.sub(replacement, text) for name, text in texts.items()}
    missing = [canonical for canonical in replacements if canonical not in found]
    if missing:
        raise FillError(
            f"{', '.join(map(repr, missing))} should occur in {', '.join(texts)}, and does not: "
            "they were changed, and what fills them in was not"
        )
    return filled


def nginx_replacements(
    *,
    root: Path,
    run: Path,
    data: Path,
    user: str,
    host: str,
    port: int,
    https: tuple[int, Path, Path] | None = None,
) -> dict[str, str]:
    """What to fill into the files of nginx/ for a server of one's own.

    :param root: of the checkout: what nginx serves itself is there.
    :param run: folder of the pid file.
    :param data: folder with a folder `nginx` in it, for temporary files.
    :param user: who the workers are to be, when root starts nginx.
    :param host: the IPv4 address to listen on.
    :param port: the TCP port for HTTP.
    :param https: the TCP port for HTTPS, the certificate and its key; None: only HTTP.
    """
    places = {
        ROOT: str(root),
        RUN: str(run),
        DATA: str(data),
        NGINX_USER: f"user {user};",
        HTTP: f"listen {host}:{port};",
        # One address is enough here, and a machine may have no IPv6.
        HTTP_IPV6: "",
    }
    if https:
        https_port, certificate, key = https
        places |= {
            SCHEME: "include https.conf;",
            HTTPS: f"listen {host}:{https_port} ssl http2;",
            HTTPS_IPV6: "",
            HTTPS_REDIRECT: f"https://$host:{https_port}$request_uri",
            CERTIFICATE: str(certificate),
            KEY: str(key),
        }
    return places
