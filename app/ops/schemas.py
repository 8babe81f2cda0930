"""The payloads of the `/ops` namespace, and what nodes tell each other about themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# What is shown of words that others chose: names of rooms, errors of brokers.
WORDS_MAX_CHARS = 300
ROOMS_SHOWN = 8
HISTORY_SECONDS = 60
# A screen or two of it; each is about 150 bytes, on every node.
TIMELINE_MAX = 200

Words = Annotated[str, StringConstraints(max_length=WORDS_MAX_CHARS)]
Count = Annotated[int, Field(ge=0)]
Seen = Literal["here", "heard", "silent", "gone"]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Told(BaseModel):
    # A newer version may tell more.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Broker(_Told):
    """A broker, as one node sees it."""

    name: Words
    state: Words = Field(description="`connecting`, `up`, `silent` or `down`: docs/failover.md")
    since_seconds: float = Field(ge=0, description="For how long it has been in this state.")
    error: Words | None = Field(description="The last error, also when it is over.")
    rtt_ms: float | None = Field(description="From publishing a message to hearing it.")
    published: Count
    received: Count


class Queue(_Told):
    """The message queue, as one node sees it."""

    strategy: Words
    active: Words | None = Field(description="The broker in use; null while it is not healthy.")
    preferred: Words
    in_process: bool = Field(description="There is no message queue: this node is alone.")
    brokers: list[Broker]
    outbox_depth: Count = Field(description="Messages that no broker has accepted yet.")
    outbox_oldest_seconds: float = Field(ge=0)
    dropped: Count = Field(description="Messages given up by the outbox.")
    duplicates: Count
    repaired: Count
    lost: Count


class Latency(_Told):
    """How long something took in the last minute, in milliseconds; null when there was nothing."""

    count: Count
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class LargeRoom(_Told):
    """One of the largest rooms of a node."""

    namespace: Words
    name: Words
    members: Count = Field(description="Clients of this node in it.")


class Figures(_Told):
    """What a node says of itself. Counts run since its start, rates are of the last second."""

    node: Words | None = Field(description="NODE_ID; null when it has none.")
    state: Words = Field(description="`serving`, `draining` or `drained`.")
    version: Words = Field(description="A checksum of its code: the same code, the same letters.")
    uptime_seconds: float = Field(ge=0)
    clients: Count
    websocket: Count
    polling: Count
    rooms: Count = Field(description="Rooms with somebody in them, besides each client's own.")
    largest_rooms: list[LargeRoom] = Field(max_length=ROOMS_SHOWN)
    events_per_second: float = Field(ge=0, description="Events that clients sent.")
    emits_per_second: float = Field(ge=0, description="Calls of `emit`.")
    sent_per_second: float = Field(ge=0, description="Events handed to clients, one for each client.")
    refused: dict[str, Count] = Field(description="Refused events and connections, by code.")
    handling: Latency = Field(description="From a client's event to its answer.")
    lateness: Latency = Field(description="How late a timer fires.")
    delivery: Latency = Field(description="From node to node: half of a round trip, by this node's clock.")
    queue: Queue
    emitter_depth: Count
    emitter_dropped: Count


class Node(_Payload):
    """A node of the cluster, as the node that tells it knows it."""

    origin: str = Field(description="Who the process is on the queue; another after each start.")
    seen: Seen = Field(description="`here`: the node that tells it.")
    silent_seconds: float = Field(ge=0, description="Since it was heard.")
    figures: Figures


class Happening(_Told):
    """Something that happened in the cluster."""

    key: Words = Field(description="The same on all nodes.")
    at_ms: int = Field(ge=0, description="By the clock of the node that saw it.")
    node: Words = Field(description="The node that it happened to, or that saw it.")
    kind: Words = Field(description="`node`, `operator`, or a kind of the queue's events.")
    broker: Words | None = None
    state: Words | None = Field(default=None, description="The new state of the broker or node.")
    words: Words


class History(_Payload):
    """The rates of a node in the last minute, oldest first."""

    origin: str
    events_per_second: list[float] = Field(max_length=HISTORY_SECONDS)
    sent_per_second: list[float] = Field(max_length=HISTORY_SECONDS)


class ClusterFigures(_Payload):
    """All nodes, every second."""

    nodes: list[Node]


class Overview(_Payload):
    """Everything that is known now; `figures` and `happened` go on from here."""

    nodes: list[Node]
    history: list[History]
    timeline: list[Happening] = Field(max_length=TIMELINE_MAX, description="Newest first.")


class Switch(_Payload):
    """Let all nodes prefer a broker."""

    broker: Words | None = Field(description="Its name; null is the configured order.")


class NodeChoice(_Payload):
    """One of the nodes."""

    origin: Words = Field(description="As in `figures`.")
