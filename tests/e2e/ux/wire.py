"""What a page says to the server, read from its WebSocket."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import WebSocket

from tests.support.browser import Person

# A Socket.IO event in a message of Engine.IO: 42/chat,17["send",{...}]
EVENT = re.compile(r"^42(?P<namespace>/\w+),\d*(?P<event>\[.*)$", re.DOTALL)


class Sent:
    """The events that somebody's page has sent. To be made before the page is loaded.

    :param person: who has not opened the page yet.
    """

    def __init__(self, person: Person) -> None:
        self._events: list[tuple[str, Any]] = []
        person.page.on("websocket", self._watch)

    def __call__(self, name: str) -> list[dict[str, Any]]:
        """What was sent with the events of a name, in order."""
        return [payload for event, payload in self._events if event == name]

    def _watch(self, socket: WebSocket) -> None:
        socket.on("framesent", self._take)

    def _take(self, frame: str | bytes) -> None:
        found = EVENT.match(frame) if isinstance(frame, str) else None
        if found:
            name, *payload = json.loads(found["event"])
            self._events.append((name, payload[0] if payload else None))
