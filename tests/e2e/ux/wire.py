"""What a page says to the server, read from its WebSocket."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import WebSocket, WebSocketRoute

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


class Late:
    """Holds back the server's answers to requests of one name. To be made before the page is loaded.

    :param person: who has not opened the page yet.
    :param event: what the page asks.
    """

    def __init__(self, person: Person, event: str) -> None:
        self.holds = False
        self.held: list[tuple[WebSocketRoute, str | bytes]] = []
        self._asked = re.compile(rf'^42(/\w+,\d+)\["{event}"')
        person.page.route_web_socket(re.compile("/socket.io/"), self._connect)

    def release(self) -> None:
        """Let the answers that were held back arrive, and all others."""
        self.holds = False
        for socket, answer in self.held:
            socket.send(answer)
        self.held.clear()

    def _connect(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        answers: set[str] = set()

        def to_server(frame: str | bytes) -> None:
            asked = self._asked.match(frame) if isinstance(frame, str) else None
            if asked:
                answers.add(f"43{asked[1]}[")
            server.send(frame)

        def to_page(frame: str | bytes) -> None:
            if self.holds and isinstance(frame, str) and frame.startswith(tuple(answers)):
                self.held.append((socket, frame))
            else:
                socket.send(frame)

        socket.on_message(to_server)
        server.on_message(to_page)
