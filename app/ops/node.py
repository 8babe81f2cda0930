"""This node, as the operations see it: what it measures of itself, and how it reaches the others."""

from __future__ import annotations

import hashlib
import heapq
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.ops.namespace import OpsNamespace
from app.ops.schemas import ROOMS_SHOWN, WORDS_MAX_CHARS, Broker, Figures, LargeRoom, Latency, Node, Queue
from app.realtime import Emitter, HybridManager, SocketIO
from app.realtime.drain import Drain
from app.realtime.errors import QueueError
from app.realtime.meters import Histogram

logger = logging.getLogger(__name__)

CODE = Path(__file__).resolve().parent.parent
VERSION_CHARS = 7


def code_version() -> str:
    """A checksum of the application's files, so that a rolling deploy can be seen."""
    digest = hashlib.sha256()
    for path in sorted(CODE.rglob("*")):
        # Editors leave locks there, links to nothing, and files that are gone in a moment.
        with suppress(OSError):
            if path.suffix in (".py", ".html", ".js", ".css") and path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()[:VERSION_CHARS]


class ThisNode:
    """Measures and acts; see `app.ops.here.Here`.

    :param manager: of the socketio, which has the rooms and the queue.
    """

    def __init__(
        self,
        socketio: SocketIO,
        manager: HybridManager,
        namespace: OpsNamespace,
        drain: Drain,
        emitter: Emitter,
    ) -> None:
        self.origin = manager.origin
        self.name = manager.node_id
        self.version = code_version()
        self._socketio = socketio
        self._manager = manager
        self._namespace = namespace
        self._drain = drain
        self._emitter = emitter
        self._began = time.monotonic()

    @property
    def state(self) -> str:
        """Of the drain: serving, draining, or drained."""
        return self._drain.state

    def measure(self) -> Figures:
        """What this node has to say of itself."""
        meters, connections = self._manager.meters, self._socketio.transport_status()
        stats = self._emitter.stats()
        return Figures(
            node=self.name,
            state=self.state,
            version=self.version,
            uptime_seconds=round(time.monotonic() - self._began, 1),
            clients=connections["connections"],
            websocket=connections["websocket"],
            polling=connections["polling"],
            rooms=sum(1 for _ in self._rooms()),
            largest_rooms=_largest(self._rooms()),
            events_per_second=round(meters.rates.events, 1),
            emits_per_second=round(meters.rates.emits, 1),
            sent_per_second=round(meters.rates.sent, 1),
            refused=dict(meters.refused),
            handling=_latency(meters.handling),
            lateness=_latency(meters.lateness),
            delivery=_latency(meters.delivery),
            queue=self._queue(),
            emitter_depth=stats.depth,
            emitter_dropped=stats.dropped,
        )

    def _rooms(self) -> Iterator[tuple[int, str, Any]]:
        """The rooms of this node, but for those that each client has for itself: size, namespace, name."""
        for namespace, rooms in list(self._manager.rooms.items()):
            everybody = rooms.get(None, {})
            for room, members in rooms.items():
                if room is not None and room not in everybody:
                    yield len(members), namespace, room

    def _queue(self) -> Queue:
        status = self._socketio.queue_status()
        outbox, inbox = status["outbox"], status["inbox"]
        return Queue(
            strategy=status["strategy"],
            active=status["active"],
            preferred=status["preferred"],
            in_process=self._manager.channel is None,
            brokers=[
                Broker(
                    name=name,
                    state=link["state"],
                    since_seconds=round(max(0.0, time.time() - link["since"]), 1),
                    error=link["error"] and link["error"][:WORDS_MAX_CHARS],
                    rtt_ms=link["rtt_ms"],
                    published=link["published"],
                    received=link["received"],
                )
                for name, link in status["brokers"].items()
            ],
            outbox_depth=outbox["depth"],
            outbox_oldest_seconds=outbox["oldest_age_seconds"],
            dropped=outbox["dropped"],
            duplicates=inbox["duplicates"],
            repaired=inbox["repaired"],
            lost=inbox["lost"],
        )

    def alive(self) -> list[str] | None:
        """The origins of the other nodes whose pulses the queue hears; None while no broker works."""
        status = self._socketio.queue_status()
        works = any(broker["state"] == "up" for broker in status["brokers"].values())
        return list(status["nodes"]) if works else None

    def watched(self) -> bool:
        """Whether an operator watches, on any node."""
        return bool(self._socketio.members(None, self._namespace.namespace))

    def delivered(self, seconds: float) -> None:
        """A message from another node took so long."""
        self._manager.meters.delivery.record(seconds)

    def tell(self, topic: str, data: object) -> None:
        """Tell the other nodes; what the queue does not take is logged."""
        try:
            self._socketio.tell_nodes(topic, data)
        except QueueError as error:
            logger.warning("%s was not told to the other nodes: %s", topic, error)

    def show(self, event: str, payload: BaseModel) -> None:
        """Send an event to the operators of this node."""
        self._namespace.tell(event, payload, here=True)

    def switch(self, broker: str | None) -> None:
        """Let all nodes prefer a broker. :raises ValueError: when there is none of this name."""
        self._socketio.switch_queue(broker, everywhere=True)

    def drain(self, node: Node, drain: bool) -> None:
        """Let a node drain, or serve again. :raises ValueError: when it cannot be reached."""
        if node.origin == self.origin:
            (self._drain.begin if drain else self._drain.resume)()
        elif node.figures.node is None:
            raise ValueError("This node has no name to reach it by: give each one a NODE_ID")
        else:
            self._socketio.drain_node(node.figures.node, drain)


def _largest(rooms: Iterator[tuple[int, str, Any]]) -> list[LargeRoom]:
    largest = heapq.nlargest(ROOMS_SHOWN, rooms, key=lambda room: room[0])
    return [
        LargeRoom(namespace=namespace, name=str(name)[:WORDS_MAX_CHARS], members=members)
        for members, namespace, name in largest
    ]


def _latency(histogram: Histogram) -> Latency:
    return Latency(**asdict(histogram.percentiles()))
