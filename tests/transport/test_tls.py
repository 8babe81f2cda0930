"""TLS in gunicorn itself: its state cannot leave the socket, so the connection keeps its greenlet."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket

from tests.support.certificates import Certificate, make_certificate
from tests.support.servers import HOST
from tests.support.small import SmallServer, Worker
from tests.support.waiting import WAIT_SECONDS, wait_until

LARGE = 3_000_000


class TlsServer(SmallServer):
    """A small server that speaks TLS.

    :param certificate: its own.
    """

    def __init__(self, certificate: Certificate, worker: Worker) -> None:
        files = ("--certfile", str(certificate.certificate), "--keyfile", str(certificate.key))
        super().__init__(worker=worker, arguments=files, max_http_buffer_size=2 * LARGE)
        self.authority = str(certificate.authority)

    def ready(self) -> bool:
        """Ask for a page."""
        try:
            return self.get("/ready").ok
        except requests.RequestException:
            return False

    def get(self, path: str) -> requests.Response:
        """Ask for something."""
        return requests.get(f"https://{HOST}:{self.port}{path}", verify=self.authority, timeout=WAIT_SECONDS)

    def status(self, **parameters: str) -> dict[str, Any]:
        """What /status says."""
        status: dict[str, Any] = self.get("/status").json()
        return status

    def connect(self) -> websocket.WebSocket:
        """A client in the namespace /bench."""
        address = f"wss://{HOST}:{self.port}/socket.io/?EIO=4&transport=websocket"
        client = websocket.create_connection(
            address,
            timeout=WAIT_SECONDS,
            sslopt={"ca_certs": self.authority, "cert_reqs": ssl.CERT_REQUIRED},
        )
        assert client.recv()[0] == "0"
        client.send("40/bench,")
        assert client.recv().startswith("40/bench,")
        return client


@pytest.fixture(scope="module", params=["transport", "gevent"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    folder: Path = tmp_path_factory.mktemp("tls")
    with TlsServer(make_certificate(folder), request.param) as server:
        yield server
        assert "Traceback" not in server.log(), server.log()


def test_messages_both_ways(server: TlsServer) -> None:
    client = server.connect()
    for size in (10, 20_000, LARGE):
        text = "x" * size
        client.send(f"42/bench,{json.dumps(['message', text])}")
        assert json.loads(client.recv().removeprefix("42/bench,")) == ["message-back", text]
    client.close()
    server.wait_until_empty()


def test_several_frames_of_one_record(server: TlsServer) -> None:
    """The loop does not tell of what is decrypted already."""
    client = server.connect()
    frames = [
        websocket.ABNF.create_frame(f'42/bench,["message",{number}]', websocket.ABNF.OPCODE_TEXT).format()
        for number in range(500)
    ]
    client.sock.sendall(b"".join(frames))
    for number in range(500):
        assert json.loads(client.recv().removeprefix("42/bench,")) == ["message-back", number]
    client.close()
    server.wait_until_empty()


def test_who_vanishes_leaves_nothing(server: TlsServer) -> None:
    clients = [server.connect() for _ in range(20)]
    assert server.status()["transport"]["websocket"] == 20
    for client in clients:
        client.sock.close()
    server.wait_until_empty()
    wait_until(lambda: server.status()["transport"]["connections"] == 0, "all to be gone")
