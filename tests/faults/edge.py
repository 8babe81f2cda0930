"""A client at the edge of a node: an Engine.IO socket whose queue of packets writes down what comes.

Everything before that queue is the real thing: the Socket.IO server, its manager, rooms, packets. What is
left out is the WebSocket and the network, which cost processor time on both sides and have nothing to do with
brokers; so a small machine can run several nodes, and what the figures show is the message queue.
`test_end_to_end.py` leaves nothing out.
"""

from __future__ import annotations

import json
import time
from typing import Any

from engineio.socket import Socket

from tests.faults.records import Received, Recorder

EVENT = "numbered"
_EIO_SID = "edge"


class RecordingQueue:
    """Stands for the queue that a connection sends from."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def put(self, packet: Any) -> None:
        """Write an event down; anything else (the answer to the connect) is of no interest."""
        now = time.monotonic()
        text = packet.data if packet else None
        if isinstance(text, str) and text.startswith("2["):
            name, payload = json.loads(text[1:])[:2]
            if name == EVENT:
                self._recorder.received(Received(payload["label"], payload["number"], now))

    def join(self) -> None:
        """A server that closes its sockets waits until all is sent."""


def connect(server: Any, recorder: Recorder) -> None:
    """Connect a client to the default namespace of a `socketio.Server`."""
    edge = Socket(server.eio, _EIO_SID)
    edge.connected = True
    # Nobody answers pings here.
    edge.last_ping = None
    edge.queue = RecordingQueue(recorder)
    server.eio.sockets[_EIO_SID] = edge
    server.eio._trigger_event("connect", _EIO_SID, {}, run_async=False)
    server.eio._trigger_event("message", _EIO_SID, "0", run_async=False)
    assert server.manager.sid_from_eio_sid(_EIO_SID, "/"), "the client was not let in"
