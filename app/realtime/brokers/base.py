"""What the engine asks of a broker: take parcels, hand over everybody's parcels, say when it cannot.

A broker is only a pipe that is usually good. Identity, order and repair live in the nodes, so a broker may
lose, repeat or delay; it must not do one thing: wait for ever without saying so.

The same code runs in greenlets (in a node, where the standard library is patched) and in native threads (in
an external process): only blocking calls and `threading`, nothing of gevent's.

BrokerError
└── BrokerRefused    the broker answered, and said no: out of memory, read-only, wrong password
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


class BrokerError(Exception):
    """Say in one line what a broker did not do, and why."""


class BrokerRefused(BrokerError):
    """The broker answered, and refused."""


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """What all brokers have in common."""

    connect_timeout_seconds: float = 2.0  # for the TCP connection
    answer_timeout_seconds: float = 2.0  # for each answer; a frozen broker costs so much, then is an error
    poll_seconds: float = 0.5  # a listener that hears nothing gives a sign of life so often
    keep_seconds: float = 60.0  # how long a broker keeps a parcel for a listener that was cut off
    keep_bytes: int = 64 * 1024 * 1024  # and how much of them
    keep_parcels: int = 20_000  # and how many
    batch_parcels: int = 200  # a listener hands over at most so many at once


class Broker(ABC):
    """One broker, as one process sees it: everybody's parcels go to everybody, the sender included.

    `publish` and `listen` are each called by one thread (or greenlet) of its own, so each uses a connection
    of its own. Both connect when they are first used, and again after an error. Constructing connects to
    nothing and raises ValueError for an address that makes no sense.

    :param url: its address.
    :param channel: what the nodes of one application share on it.
    :param origin: who this process is; unique among all that share the channel.
    """

    #: What its name in `queue_status()` begins with: "redis", "rabbitmq", "memory" or "kombu".
    kind: str

    def __init__(self, url: str, channel: str, origin: str, options: BrokerOptions) -> None:
        self.url = url
        self.channel = channel
        self.origin = origin
        self.options = options

    @abstractmethod
    def publish(self, parcels: Sequence[bytes]) -> None:
        """Hand parcels over, in this order, and return when the broker has accepted all of them.

        When it raises, some may have been accepted: the caller sends all of them again.

        :raises BrokerError: within about `connect_timeout_seconds` + `answer_timeout_seconds`; the
            connection is closed then, and the next call opens another.
        """

    @abstractmethod
    def listen(self) -> Iterator[list[bytes]]:
        """Yield batches of parcels in the broker's order: first an empty one, which says "subscribed".

        From then on nothing that is published is missed, also not while this generator is abandoned and
        made anew after an error, as far as the broker's memory reaches (`BrokerOptions.keep_*`). An empty
        batch comes at least every `poll_seconds` or so when there is nothing to hear. A batch counts as
        taken when the next one is asked for; what was not taken may come again.

        :raises BrokerError: when the connection is lost, refused, or silent for too long.
        """

    @abstractmethod
    def close(self, *, forget: bool = False) -> None:
        """Close both connections; from any thread, also while they are in use (which then raises).

        :param forget: this origin will not come back: remove what the broker keeps for it alone. Best
            effort, within `answer_timeout_seconds`; raises nothing.
        """
