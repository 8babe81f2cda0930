"""Messages of 10 MB, and those that are larger than the server takes."""

from __future__ import annotations

import time

import pytest

from tests.support.small import SmallServer
from tests.support.waiting import wait_until
from tests.transport.clients.conftest import LARGE_BYTES, Meet, Serve
from tests.transport.clients.peers import KINDS, TRANSPORTS, JavaScript, Kind, Peer, Transport

# python-socketio posts as it always does, and aiohttp would like that otherwise for much.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

LARGE_SECONDS = 30.0
LIMIT_BYTES = 100_000
# Of a text: 42["message-with-ack",""] with the number of the acknowledgement; what is said back is shorter.
EVENT = '42["message",""]'


@pytest.mark.parametrize(
    ("transport", "content"),
    [
        ("websocket", "text"),
        ("websocket", "bytes"),
        ("polling", "text"),
        ("polling", "bytes"),
        ("upgrade", "bytes"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_large_message_goes_both_ways(
    kind: Kind, transport: Transport, content: str, meet: Meet, roomy: SmallServer
) -> None:
    peer = meet(kind, transport, roomy.url)
    assert peer.echoes(content, LARGE_BYTES, LARGE_SECONDS)
    assert peer.call("message-with-ack", "still here") == ["still here"]
    assert peer.disconnects() == []


def test_a_large_blob(meet: Meet, roomy: SmallServer) -> None:
    for transport in TRANSPORTS:
        assert meet("chromium", transport, roomy.url).echoes("Blob", LARGE_BYTES, LARGE_SECONDS)


@pytest.fixture
def strict(serve: Serve) -> SmallServer:
    """A server that takes no more than LIMIT_BYTES."""
    return serve(max_http_buffer_size=LIMIT_BYTES)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_message_may_be_as_large_as_the_limit_and_no_larger(
    kind: Kind, transport: Transport, meet: Meet, strict: SmallServer
) -> None:
    peer = meet(kind, transport, strict.url)
    most = LIMIT_BYTES - len(EVENT)
    peer.emit("message", "x" * most)
    (came,) = peer.wait_for("message-back")
    assert came == ["x" * most]
    peer.emit("message", "x" * (most + 1))
    _refused_and_back(peer, strict)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_attachment_that_is_too_large(
    kind: Kind, transport: Transport, meet: Meet, strict: SmallServer
) -> None:
    peer = meet(kind, transport, strict.url)
    # Long-polling carries it as base64.
    most = LIMIT_BYTES // 2
    assert peer.call("message-with-ack", b"x" * most) == [b"x" * most]
    peer.emit("message", b"x" * (LIMIT_BYTES + 1))
    _refused_and_back(peer, strict)


def _refused_and_back(peer: Peer, server: SmallServer) -> None:
    """The connection ends, with 1009 for a WebSocket and 413 for a POST, and the client makes another."""
    peer.wait_until_connected(connects=2)
    assert len(peer.disconnects()) == 1
    if isinstance(peer, JavaScript):
        websocket = peer.wanted != "polling"
        assert peer.disconnects() == ["transport close" if websocket else "transport error"]
        # The GET that comes then may be answered before the POST.
        assert peer.state()["codes"] in ([[1009]] if websocket else [[413], [400]])
    assert peer.call("message-with-ack", "back again") == ["back again"]
    peer.close()
    wait_until(lambda: not any(server.status()["left"].values()), lambda: f"left: {server.status()['left']}")


@pytest.mark.parametrize("kind", ["node", "chromium"])
def test_a_polling_client_divides_what_it_sends_by_the_limit(
    kind: Kind, meet: Meet, strict: SmallServer
) -> None:
    peer = meet(kind, "polling", strict.url)
    began = time.monotonic()
    # Four times the limit in one turn: the client knows maxPayload from the handshake.
    peer.emit_all([("message", [number, "x" * (LIMIT_BYTES // 10)]) for number in range(40)])
    came = peer.wait_for("message-back", 40)
    assert [number for number, _ in came] == list(range(40))
    assert peer.disconnects() == [], f"after {time.monotonic() - began:.1f} s"
