"""What a connection may take, keep and wait for."""

from __future__ import annotations

from dataclasses import dataclass, fields

# A round number below which a deflated message is hardly smaller, and Socket.IO's own threshold on Node.
DEFLATE_THRESHOLD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Bounds of every connection; docs/transport.md tells what happens at each.

    :param buffer_bytes: what may wait for a client that reads slowly, from 1 KB; above it the client is
        disconnected, with the reason "slow client".
    :param volatile_bytes: what may wait for a client while volatile events still reach it, 0 or more.
    :param max_fragments: of how many frames a WebSocket message may consist, 1 or more.
    :param max_attachments: how many binary attachments a packet may have, 0 or more; together they may not be
        larger than `max_http_buffer_size` either.
    :param max_packets: how many packets a request of a polling client may carry, 1 or more.
    :param max_waiting: how many packets of a client may wait for its handlers, 1 or more; it is not read from
        meanwhile. So many handlers of one client run at a time, too, if handlers are asynchronous.
    :param post_seconds: how long the body of a polling client's request may take, above 0.
    :param connect_seconds: how long a connection may be in no namespace, above 0.
    :param upgrade_seconds: how long a change from polling to a WebSocket may take, above 0.
    :param per_message_deflate: compress WebSocket messages from 1 KB on with clients that can.
    :param freeze_sessions: after how many new sessions the garbage collector is relieved of what is there
        (see garbage.py), 0 or more; 0: never.
    :raises ValueError: for what is out of bounds.
    """

    buffer_bytes: int = 4 * 1024 * 1024
    volatile_bytes: int = 64 * 1024
    max_fragments: int = 1000
    max_attachments: int = 10
    max_packets: int = 1000
    max_waiting: int = 64
    post_seconds: float = 30.0
    connect_seconds: float = 45.0
    upgrade_seconds: float = 10.0
    per_message_deflate: bool = False
    freeze_sessions: int = 1000

    def __post_init__(self) -> None:
        least = {
            "buffer_bytes": 1024,
            "volatile_bytes": 0,
            "max_fragments": 1,
            "max_attachments": 0,
            "max_packets": 1,
            "max_waiting": 1,
            "post_seconds": 0.001,
            "connect_seconds": 0.001,
            "upgrade_seconds": 0.001,
            "freeze_sessions": 0,
        }
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in least and (isinstance(value, bool) or not value >= least[field.name]):
                raise ValueError(f"{field.name}={value!r}: must be {least[field.name]} or more")
        if self.volatile_bytes > self.buffer_bytes:
            raise ValueError(
                f"volatile_bytes={self.volatile_bytes}: must not be above buffer_bytes={self.buffer_bytes}"
            )
