"""A certificate for servers on this machine that is its own authority, made by the openssl program."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.support.servers import HOST, child_environment


class Certificate(NamedTuple):
    """PEM files: what a server shows, its key, and whom a client must trust."""

    certificate: Path
    key: Path
    authority: Path


def make_certificate(folder: Path) -> Certificate:
    """Make a certificate for 127.0.0.1 and localhost that is good for two days.

    :param folder: where its files go.
    """
    certificate, key = folder / "server.crt", folder / "server.key"
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    options += ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST},DNS:localhost"]
    subprocess.run(
        ("openssl", "req", *options, "-keyout", key, "-out", certificate),
        env=child_environment({}),
        capture_output=True,
        timeout=30,
        check=True,
    )
    return Certificate(certificate, key, certificate)
