"""permessage-deflate: agreed upon with whoever knows it, and nobody notices but by the bytes."""

from __future__ import annotations

import pytest

from tests.support.small import SmallServer
from tests.transport.clients.conftest import Meet, Serve
from tests.transport.clients.peers import KINDS, JavaScript, Kind, Peer, Transport

THRESHOLD_BYTES = 1024
LARGE = "a text that is the same again and again, " * 2000  # 80 KB
# From nothing to many frames, around the threshold, and around where lengths take more bytes.
SIZES = [0, 1, 100, 125, 126, 1000, 1008, 1024, 1025, 4000, 20_000, 65_535, 65_536, 70_000]


@pytest.fixture
def deflating(serve: Serve) -> SmallServer:
    """A server that compresses for whoever wants it."""
    return serve(options={"per_message_deflate": True})


@pytest.mark.parametrize("transport", ["websocket", "upgrade"])
@pytest.mark.parametrize("kind", KINDS)
def test_who_knows_it_agrees_upon_it(
    kind: Kind, transport: Transport, meet: Meet, deflating: SmallServer, roomy: SmallServer
) -> None:
    agreed = meet(kind, transport, deflating.url).extensions()
    assert agreed.startswith("permessage-deflate") == (kind in ("node", "chromium")), agreed
    # By default it is off.
    assert meet(kind, transport, roomy.url).extensions() == ""


@pytest.mark.parametrize("kind", KINDS)
def test_everything_arrives_as_it_was(kind: Kind, meet: Meet, deflating: SmallServer) -> None:
    peer = meet(kind, "websocket", deflating.url)
    for size in SIZES:
        text = ("Grüße " * size)[:size]
        content = [text, bytes(number * 7 % 256 for number in range(size)), {"text": text}]
        assert peer.call("message-with-ack", *content) == content
    # Many, one right after the other, both ways.
    events = [(f"{number} " * (number * 20)) for number in range(60)]
    peer.emit_all([("message", [each, each.encode()]) for each in events])
    assert peer.wait_for("message-back", len(events)) == [[each, each.encode()] for each in events]
    assert peer.disconnects() == []


def test_a_broadcast_reaches_compressed_and_plain_clients_alike(meet: Meet, deflating: SmallServer) -> None:
    peers = [meet(kind, "websocket", deflating.url) for kind in KINDS]
    peers += [meet(kind, "polling", deflating.url) for kind in KINDS]
    peers.append(meet("node", "websocket", deflating.url, perMessageDeflate=False))
    for peer in peers:
        assert peer.call("join", "everybody") == [True]
    plain = {_compresses(peer) for peer in peers}
    assert plain == {True, False}
    for number in range(20):
        # Some compressed, some not, some with an attachment.
        deflating.emit("news", number, LARGE[: number * number * 200], room="everybody", binary="AAEC")
    for peer in peers:
        came = peer.wait_for("news", 20)
        expected = [[number, LARGE[: number * number * 200], b"\x00\x01\x02"] for number in range(20)]
        assert came == expected, f"{peer!r}"


def test_what_is_large_is_compressed_and_what_is_small_is_not(meet: Meet, deflating: SmallServer) -> None:
    peer = meet("node", "websocket", deflating.url)
    assert isinstance(peer, JavaScript)
    peer.call("join", "everybody")

    def bytes_of(content: str, times: int) -> int:
        before: int = peer.state()["bytes_read"]
        had = len(peer.received("news"))
        deflating.emit("news", content, room="everybody", count=times)
        peer.wait_for("news", had + times)
        now: int = peer.state()["bytes_read"]
        return now - before

    small = "x" * (THRESHOLD_BYTES // 2)
    assert bytes_of(small, 10) >= 10 * len(small)
    assert bytes_of(LARGE, 10) < len(LARGE)


def _compresses(peer: Peer) -> bool:
    return peer.extensions() != ""
