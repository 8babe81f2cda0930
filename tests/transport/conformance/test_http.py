"""What polling does with HTTP: content types, cookies, CORS, compression, caches."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tests.support.small import SmallServer
from tests.support.wire import Answer, fetch, query
from tests.support.wire_socketio import Polling
from tests.support.wire_websocket import WebSocket
from tests.transport.conformance.conftest import ORIGIN, Open

HANDSHAKE = query(transport="polling")


def cookies(answer: Answer) -> list[str]:
    """All headers Set-Cookie."""
    return [value for name, value in answer.raw_headers if name == "set-cookie"]


def opening(server: SmallServer, opened: Open, **headers: str) -> Answer:
    """The answer to a handshake; the session is closed in the end."""
    answer = fetch(server.url, "GET", HANDSHAKE, headers)
    if answer.status == 200:
        polling = Polling(server.url, sid=Polling.opening(answer)["sid"], headers=headers)
        opened.keep(polling)
    return answer


def test_an_answer_is_text(server: SmallServer, opened: Open) -> None:
    answer = opening(server, opened)
    assert answer.headers["content-type"].lower().replace(" ", "") == "text/plain;charset=utf-8"
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_no_cache_keeps_an_answer(server: SmallServer, opened: Open) -> None:
    assert opening(server, opened).headers["cache-control"] == "no-store"
    polling = opened.polling(server)
    assert polling.post_body("3").headers["cache-control"] == "no-store"
    polling.post("40/bench,")
    assert polling.poll().headers["cache-control"] == "no-store"


def test_a_cookie_is_set_at_the_handshake(strict: SmallServer, opened: Open) -> None:
    answer = opening(strict, opened)
    sid = Polling.opening(answer)["sid"]
    (cookie,) = cookies(answer)
    value, *attributes = [part.strip() for part in cookie.split(";")]
    assert value == f"io={sid}"
    assert {"path=/", "samesite=lax"} <= {attribute.lower() for attribute in attributes}
    polling = opened.polling(strict)
    assert not cookies(polling.post_body("40/bench,"))
    assert not cookies(polling.poll())


def test_no_cookie_unless_wanted(server: SmallServer, opened: Open) -> None:
    assert not cookies(opening(server, opened))


def test_cors_for_an_origin(strict: SmallServer, opened: Open) -> None:
    answer = opening(strict, opened, Origin=ORIGIN)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"


def test_cors_for_all_answers_of_a_session(strict: SmallServer, opened: Open) -> None:
    # A browser shows a script neither an answer nor an error without this header.
    polling = opened.polling(strict, headers={"Origin": ORIGIN})
    for answer in (polling.post_body("40/bench,"), polling.poll(), polling.post_body("abc"), polling.poll()):
        assert answer.headers["access-control-allow-origin"] == ORIGIN, answer


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", ORIGIN + ":8443", ORIGIN + "/"])
def test_another_origin_is_refused(strict: SmallServer, opened: Open, origin: str) -> None:
    answer = opening(strict, opened, Origin=origin)
    assert answer.status == 400
    assert "access-control-allow-origin" not in answer.headers
    with WebSocket(strict.url) as websocket:
        assert websocket.handshake(None, {"Origin": origin}, check=False).status == 400


def test_its_own_origin_may_always(server: SmallServer, opened: Open) -> None:
    assert opening(server, opened, Origin=server.url).status == 200
    with WebSocket(server.url) as websocket:
        websocket.handshake(None, {"Origin": server.url})
        assert str(websocket.receive()).startswith("0{")


def test_a_websocket_of_an_origin(strict: SmallServer) -> None:
    with WebSocket(strict.url) as websocket:
        websocket.handshake(None, {"Origin": ORIGIN})
        assert str(websocket.receive()).startswith("0{")


def test_a_browser_asks_first(strict: SmallServer) -> None:
    wanted = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-own",
    }
    answer = fetch(strict.url, "OPTIONS", HANDSHAKE, wanted)
    assert answer.status in (200, 204)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    methods = {each.strip() for each in answer.headers["access-control-allow-methods"].split(",")}
    assert {"GET", "POST"} <= methods
    allowed = {each.strip() for each in answer.headers["access-control-allow-headers"].lower().split(",")}
    assert {"content-type", "x-own"} <= allowed
    assert not answer.body or b"sid" not in answer.body


def large_answer(server: SmallServer, opened: Open, size: int, encoding: str | None) -> Answer:
    """The answer to a poll that brings an event of so many bytes."""
    client = opened.join(server, "polling")
    assert isinstance(client.engine, Polling)
    client.emit("message", "x" * size, namespace="/bench")
    if encoding is not None:
        client.engine.headers = {"Accept-Encoding": encoding}
    return client.engine.poll()


def test_a_large_answer_is_gzipped(server: SmallServer, opened: Open) -> None:
    answer = large_answer(server, opened, 5000, "gzip, deflate, br")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < 1000
    assert len(gzip.decompress(answer.body)) > 5000


def test_a_large_answer_is_deflated(server: SmallServer, opened: Open) -> None:
    answer = large_answer(server, opened, 5000, "deflate")
    assert answer.headers["content-encoding"] == "deflate"
    assert len(zlib.decompress(answer.body)) > 5000


@pytest.mark.parametrize(
    ("size", "encoding"), [(500, "gzip"), (5000, None), (5000, "br"), (5000, "identity")]
)
def test_other_answers_are_plain(server: SmallServer, opened: Open, size: int, encoding: str | None) -> None:
    answer = large_answer(server, opened, size, encoding)
    assert "content-encoding" not in answer.headers
    assert len(answer.body) > size
