"""Asks a node, nginx or a broker, by TCP or unix socket, whether it does its work."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from deploy.nodes import UNIX

# A node answers in milliseconds; its checks give up after 2 s.
TIMEOUT_SECONDS = 5.0


class Answer(NamedTuple):
    """What came back: status, body (if it is a JSON object), header fields by names like Set-Cookie."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


class _Connection(http.client.HTTPConnection):
    """HTTP to an address as config/nodes.txt has it."""

    def __init__(self, address: str, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._address = address

    def connect(self) -> None:
        self.sock = _connect(self._address, self.timeout or TIMEOUT_SECONDS)


def get(
    address: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Answer:
    """GET a page.

    :param address: IP:PORT, [IPV6]:PORT or unix:/PATH.
    :param timeout_seconds: for each step: to connect, and for each piece of the answer. More than 0.
    :raises OSError: when there is no answer.
    """
    connection = _Connection(address, timeout_seconds)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        text = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{address} does not speak HTTP: {error!r}") from error
    finally:
        connection.close()
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    headers_by_name = {name.title(): value for name, value in response.getheaders()}
    return Answer(response.status, body if isinstance(body, dict) else {}, headers_by_name)


def ready(address: str, timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[bool, dict[str, Any]]:
    """Ask a node for /readyz: whether it is ready, and everything it says. No answer is "no"."""
    try:
        answer = get(address, "/readyz", timeout_seconds=timeout_seconds)
    except OSError:
        return False, {}
    return answer.status == http.HTTPStatus.OK, answer.body


def speaks(address: str, hello: bytes, answer: bytes) -> bool:
    """Say something to a server, and see whether its answer begins as it should."""
    try:
        with _connect(address, TIMEOUT_SECONDS) as connection:
            connection.sendall(hello)
            return connection.recv(len(answer)) == answer
    except OSError:
        return False


def _connect(address: str, timeout_seconds: float) -> socket.socket:
    if address.startswith(UNIX):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(address.removeprefix(UNIX))
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout_seconds)
