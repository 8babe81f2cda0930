"""What the applications of the nodes tell each other, by topic: once and in order, as events are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from app.realtime.errors import NotSerializable
from app.realtime.queue import envelope

logger = logging.getLogger(__name__)

# Called with (origin, data); must not wait, for all other messages wait meanwhile.
Handler = Callable[[str, Any], None]
TOPIC_MAX_CHARS = 64


class NodeMessages:
    """Sends and hands out.

    :param publish: takes a message to all other nodes.
    """

    def __init__(self, publish: Callable[..., None]) -> None:
        self._publish = publish
        self._handlers: dict[str, Handler] = {}

    def on(self, topic: str, handler: Handler) -> None:
        """Say who takes what the other nodes tell under a topic.

        :param topic: 1 to 64 characters, the same on all nodes.
        :raises ValueError: when somebody takes it already.
        """
        if not 1 <= len(topic) <= TOPIC_MAX_CHARS:
            raise ValueError(f"topic {topic!r}: 1 to {TOPIC_MAX_CHARS} characters")
        if topic in self._handlers:
            raise ValueError(f"topic {topic!r} has a handler already: take another name")
        self._handlers[topic] = handler

    def tell(self, topic: str, data: Any) -> None:
        """Tell all other nodes.

        :raises NotSerializable: when msgpack cannot carry the data.
        """
        try:
            body = Raw(msgspec.msgpack.encode(data))
        except (TypeError, UnicodeEncodeError, OverflowError) as error:
            raise NotSerializable(f"topic {topic!r}: the data cannot travel: {error}") from None
        self._publish(envelope.Told, topic, body)

    def take(self, origin: str, message: envelope.Told) -> None:
        """Hand out what another node tells; a topic that nobody takes is another version's."""
        handler = self._handlers.get(message.topic)
        if handler is None:
            logger.debug("nobody takes the topic %r", message.topic)
            return
        handler(origin, msgspec.msgpack.decode(message.body))
