"""The library's own transport is a setting away, and serves the same clients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from tests.integration.conftest import assert_no_traceback
from tests.support.clients import People, Transport, general
from tests.support.servers import Node
from tests.support.waiting import WAIT_SECONDS


@pytest.mark.parametrize("kind", ["native", "stock"])
@pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"])
def test_people_talk_over_either(gather: Callable[[Node], People], kind: str, transport: Transport) -> None:
    with Node(SOCKET_TRANSPORT=kind) as node:
        people = gather(node)
        ada, bob = people.join("Ada", transport=transport), people.join("Bob", transport=transport)
        ada.send(general(ada), "Hello, Bob.")
        bob.wait_for("message", lambda message: message["text"] == "Hello, Bob.")
        checks = requests.get(f"{node.url}/readyz", timeout=WAIT_SECONDS).json()["checks"]
        assert checks["node"]["transport"]["kind"] == kind
        assert checks["node"]["transport"]["connections"] == 2
        assert node.terminate() == 0
        assert_no_traceback(node)
