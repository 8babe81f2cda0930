"""What people do by other ways than the page: quickly, and in any number."""

from __future__ import annotations

import secrets
from typing import Any

from tests.support.browser import Person


def post(person: Person, text: str) -> None:
    """Let somebody post to the room that is open in their page, over the REST API."""
    answer = person.context.request.post(
        _messages(person), data={"client_id": secrets.token_hex(8), "text": text}
    )
    assert answer.ok, answer.text()


def history(person: Person) -> list[dict[str, Any]]:
    """What is stored of the room that is open in somebody's page: its newest messages, oldest first."""
    answer = person.context.request.get(_messages(person))
    assert answer.ok, answer.text()
    messages: list[dict[str, Any]] = answer.json()["messages"]
    return messages


def _messages(person: Person) -> str:
    room = person.page.evaluate("location.hash.replace('#room-', '')")
    return f"{person.url}/api/v1/rooms/{int(room)}/messages"
