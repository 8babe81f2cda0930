"""An identity provider for tests: keys, the set that publishes them, and tokens that they sign."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.servers import HOST


def new_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """Make a key, in a moment."""
    return rsa.generate_private_key(65537, bits)


def jwk(kid: str | None, key: rsa.RSAPrivateKey, **members: Any) -> dict[str, Any]:
    """The public half of a key, as a set has it."""
    public: dict[str, Any] = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, **({} if kid is None else {"kid": kid}), **members}


def jwks(*keys: tuple[str | None, rsa.RSAPrivateKey]) -> bytes:
    """A set of public keys."""
    return json.dumps({"keys": [jwk(kid, key) for kid, key in keys]}).encode()


def sign(key: rsa.RSAPrivateKey, kid: str | None, claims: dict[str, Any]) -> str:
    """Make a token."""
    return jwt.encode(claims, key, "RS256", headers={} if kid is None else {"kid": kid})


def claims_of(user_id: str, name: str, *, seconds: float = 600, **more: Any) -> dict[str, Any]:
    """What a token says of a user; it ends after so many seconds."""
    now = time.time()
    return {"sub": user_id, "name": name, "iat": now, "exp": int(now + seconds), **more}


class Provider:
    """What an identity provider answers: `body` with `status`, after `wait` is set.

    :param body: the set of keys.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requests = 0
        self.url = ""
        self.wait = threading.Event()
        self.wait.set()


@contextlib.contextmanager
def provide(body: bytes) -> Iterator[Provider]:
    """Serve a set of keys at `Provider.url` while this lasts."""
    provider = Provider(body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.requests += 1
            provider.wait.wait()
            self.send_response(provider.status)
            for name, value in provider.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(provider.body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(provider.body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    provider.url = f"http://{HOST}:{server.server_address[1]}/keys"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        provider.wait.set()
        server.shutdown()
        thread.join()
        server.server_close()
