"""The errors of the engine.

EventError                refuses one client event (or one REST request); answered, never logged as a failure
QueueError                an emit that cannot be done; raised in the caller, before anybody has got anything
├── NotSerializable       a value that JSON cannot carry (also a TypeError)
├── MessageTooLarge       more bytes than QueueOptions.max_message_bytes (also a ValueError)
├── OutboxFull            no room, and the overflow policy is "reject", or "block" and the time is up
└── QueueClosed           emitted after close()
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One row of the table of error codes.

    :param meaning: what happened, for the documentation.
    :param temporary: whether the same request may succeed later without being changed.
    :param http_status: the status that says the same over HTTP.
    """

    meaning: str
    temporary: bool
    http_status: int


# The codes of the dispatch itself; an application adds its own (see app/errors.py).
DISPATCH_CODES: dict[str, Code] = {
    "unauthorized": Code("You are not signed in, or your session has ended.", False, 401),
    "bad_payload": Code("The payload does not fit the event's schema; `field` says where.", False, 422),
    "too_long": Code("A text is longer than `limit` characters; `field` says which.", False, 422),
    "unknown_event": Code("There is no event of this name in the namespace.", False, 404),
    "rate_limited": Code("Too fast: try again after `retry_after_ms`.", True, 429),
    "unavailable": Code("Something that the server needs does not answer; try again.", True, 503),
    "internal": Code("A defect of the server; it is logged under `incident`.", False, 500),
}


class EventError(Exception):
    """Refuse an event with a code, a sentence for people, and details for programs.

    :param code: a code of the application's table.
    :param message: one sentence that says what was wrong and what to do instead.
    :param details: JSON values that go along, for example `field` or `retry_after_ms`.
    """

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def as_dict(self) -> dict[str, object]:
        """The error as it goes to the client."""
        return {"code": self.code, "message": self.message, **self.details}


class QueueError(Exception):
    """Say why an emit could not be done."""


class NotSerializable(QueueError, TypeError):
    """A value cannot travel; the message names where in the data it is."""


class MessageTooLarge(QueueError, ValueError):
    """A message is larger than may be published."""


class OutboxFull(QueueError):
    """There is no room for a message, because no broker takes what is waiting."""


class QueueClosed(QueueError):
    """The queue was closed."""
