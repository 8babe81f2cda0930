"""Long-polling clients that send what makes no sense: told so, and nothing worse. The log stays clean."""

import json

import pytest
import requests

from tests.support.servers import Node
from tests.support.waiting import wait_until


def open_session(node: Node) -> str:
    """Shake hands, and return the address of the session."""
    base = f"{node.url}/socket.io/?EIO=4&transport=polling"
    opened = requests.get(base, timeout=10).text
    return f"{base}&sid={json.loads(opened[1:])['sid']}"


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"\xff\xfe",
        b"4x",
        b"42/market,[",
        b"44/market",
        b"49",
        b"4\x1e4\x1e4",
        b"\x1e\x1e",
        b"\x1e".join([b"42[1]"] * 100),
        b"b!!!",
        b"451-/market,[1]\x1ebAAAA",
        "4\ufeff".encode(),
    ],
)
def test_a_payload_that_makes_no_sense(node: Node, body: bytes) -> None:
    session = open_session(node)
    answer = requests.post(session, data=body, timeout=10)
    assert answer.status_code in (200, 400), answer.text
    assert requests.get(f"{node.url}/healthz", timeout=10).status_code == 200


def test_a_session_that_has_ended_is_refused(node: Node) -> None:
    session = open_session(node)
    requests.post(session, data=b"1", timeout=10)
    wait_until(lambda: requests.post(session, data=b"2", timeout=10).status_code == 400, "a refusal")
    assert requests.get(session, timeout=10).status_code == 400


def test_an_empty_post_ends_its_session(node: Node) -> None:
    """It has a packet without a type."""
    session = open_session(node)
    assert requests.post(session, data=b"", timeout=10).status_code == 400
    wait_until(lambda: requests.get(session, timeout=10).status_code == 400, "the session to be gone")
