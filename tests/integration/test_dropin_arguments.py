"""Each argument of Flask-SocketIO's SocketIO does on the engine what it does on the library."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import requests

from tests.support.engine import Failed, Library, Mode, Peer, Program
from tests.support.programs import BinaryPacket
from tests.support.waiting import WAIT_SECONDS, wait_until


def look_at_variants(program: Program) -> dict[str, Any]:
    """See what each argument of SocketIO does."""
    seen: dict[str, Any] = {}
    url = program.url

    def echo(name: str, *data: Any, path: str = "", **options: Any) -> None:
        with Peer(url, path=path or f"{name}/socket.io", **options) as peer:
            seen[name] = (peer.call("echo", *data), peer.wait_for("echoed"), set(peer.cookies))

    def handshake(name: str, path: str = "", **headers: str) -> requests.Response:
        address = f"{url}/{path or f'{name}/socket.io'}/?EIO=4&transport=polling"
        return requests.get(address, headers=headers, timeout=WAIT_SECONDS)

    echo("plain", 1, [b"2", {"a": None}])
    echo("binary", 1, [b"2", {"a": None}], 2**63, serializer=BinaryPacket)
    echo("own", "quiet", {"a": "quiet"})
    echo("resource", 1, path="resource/other")
    echo("manager", 1)
    echo("polling", 1, transports=["polling"])
    echo("logger", 1)
    seen["logger lines"] = program.run("server.logger.lines[:3]", path="/logger")
    for name in ("cookie", "cookies"):
        header = handshake(name).headers["Set-Cookie"]
        seen[name] = header.split(";")[1:], header.startswith("io=")
    for name, origin in itertools.product(
        ("plain", "cors", "nocors", "credentials"), ("http://friend.example", "http://foe.example")
    ):
        answer = handshake(name, Origin=origin)
        headers = {key: value for key, value in answer.headers.items() if key.startswith("Access-Control")}
        seen[f"{name} {origin}"] = answer.status_code, headers
    for name in ("upgrade", "factory1", "factory2"):
        hello = handshake(name).text
        seen[f"{name} handshake"] = re.sub('"sid":"[^"]*"', "", hello)
    seen["websocket to polling"] = requests.get(
        f"{url}/polling/socket.io/?EIO=4&transport=websocket", timeout=WAIT_SECONDS
    ).status_code

    for name in ("plain", "session"):
        with Peer(url, path=f"{name}/socket.io") as peer:
            session = requests.Session()
            session.get(f"{url}/{name}/session/http", timeout=WAIT_SECONDS)
            with Peer(url, path=f"{name}/socket.io", headers={"Cookie": _cookies(session)}) as signed_in:
                seen[f"{name} session"] = [signed_in.call("session"), signed_in.call("session", "socket")]
                seen[f"{name} session"] += [signed_in.call("session"), peer.call("session")]
            session.close()

    with Peer(url, path="everywhere/socket.io", namespace="/any") as peer:
        seen["everywhere"] = peer.connected
    with Peer(url, path="inline/socket.io") as peer:
        seen["inline"] = peer.call("echo", 1)
        with pytest.raises(Failed) as failed:
            program.run("socketio.call('x', to=sid)", path="/inline", sid=peer.sid)
        seen["inline call"] = str(failed.value)
    with Peer(url, path="always/socket.io") as peer:
        wait_until(lambda peer=peer: peer.reasons, "the end")  # type: ignore[misc]
        seen["always"] = peer.received, peer.reasons

    with (
        Peer(url, path="factory1/socket.io") as first,
        Peer(url, path="factory2/socket.io") as second,
        Peer(url, path="factory2/socket.io", namespace="/late") as late,
    ):
        seen["factory"] = first.call("early", 1), second.call("early", 2), late.call("early", 3)
        seen["factory after"] = second.call("after")
        program.run("socketio.emit('x', 1)", path="/factory2")
        second.wait_for("x")
        seen["factory's applications"] = program.run("len(manager.rooms['/'][None])", path="/factory2")
    return seen


def _cookies(session: requests.Session) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)


@pytest.mark.parametrize("mode", ["gevent", "threading"])
def test_the_arguments_do_what_they_do_on_the_library(mode: Mode) -> None:
    libraries: list[Library] = ["stock", "ours"]
    seen = {}
    for library in libraries:
        with Program(library, mode, name="variants") as program:
            seen[library] = look_at_variants(program)
    for name, stock in seen["stock"].items():
        assert (name, seen["ours"][name]) == (name, stock)


def test_json_is_what_the_application_says() -> None:
    moments = "datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)"
    seen = []
    libraries: list[Library] = ["stock", "ours"]
    for library in libraries:
        with Program(library, json="flask.json") as program, Peer(program.url) as peer:
            program.run("socketio.emit('x', {'at': " + moments + "})")
            peer.run("flask_socketio.emit('y', [" + moments + "])")
            seen.append((peer.wait_for("x"), peer.wait_for("y"), peer.call("several", 1)))
    assert seen[0] == seen[1]
    assert "2020" in seen[1][0][0][0]["at"]
