"""Who else is on the channel, and which brokers they hear and reach. Pure; time is passed in.

Everybody tells in its pulses what it hears and reaches, so each process knows by itself

- which brokers to publish on, so that every node hears it (`uncovered`), and
- whether to *bridge*: to copy a parcel from the broker that it came on to another one, for a node that hears
  only that, from a sender that reaches it not. Of all who could, the one with the smallest origin does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

# A pulse may be lost, and one more be late.
PULSES_MISSED = 3.5
# A parcel that a broker repeats is not copied again.
BRIDGED_MAX = 4_096
# Nobody runs so many; whoever pulsed longest ago is forgotten first.
PEERS_MAX = 1_000
PULSE_MAX_SECONDS = 60.0


@dataclass(slots=True)
class Peer:
    """One other process, as its last pulse tells."""

    is_node: bool
    hears: frozenset[str]
    reaches: frozenset[str]
    expires_at: float


@dataclass(slots=True)
class Peers:
    """All other processes that live.

    :param origin: our own.
    :param brokers: the brokers that we know, for others are of no use to us; None: all.
    """

    origin: str
    brokers: frozenset[str] | None = None
    _peers: dict[str, Peer] = field(default_factory=dict)
    _bridged: dict[tuple[str, int], None] = field(default_factory=dict)  # parcels, oldest first

    def pulse(
        self,
        origin: str,
        *,
        is_node: bool,
        hears: Collection[str],
        reaches: Collection[str],
        every_seconds: float,
        now: float,
    ) -> bool:
        """Note a pulse; returns whether it says something new."""
        before = self._peers.pop(origin, None)
        if len(self._peers) >= PEERS_MAX:
            del self._peers[next(iter(self._peers))]
        expires_at = now + PULSES_MISSED * min(every_seconds, PULSE_MAX_SECONDS)
        peer = Peer(is_node, self._known(hears), self._known(reaches), expires_at)
        self._peers[origin] = peer
        return before is None or (before.hears, before.reaches) != (peer.hears, peer.reaches)

    def _known(self, names: Collection[str]) -> frozenset[str]:
        return frozenset(names) if self.brokers is None else self.brokers & frozenset(names)

    def goodbye(self, origin: str) -> None:
        """Forget who ends."""
        self._peers.pop(origin, None)

    def expire(self, now: float) -> None:
        """Forget who is silent."""
        for origin in [origin for origin, peer in self._peers.items() if peer.expires_at < now]:
            del self._peers[origin]

    def __contains__(self, origin: object) -> bool:
        return origin in self._peers

    @property
    def nodes(self) -> list[str]:
        """The origins of the other nodes that live."""
        # A copy, for whoever asks from another thread.
        return sorted(origin for origin, peer in list(self._peers.items()) if peer.is_node)

    def uncovered(self, brokers: Collection[str]) -> list[frozenset[str]]:
        """What those nodes hear that hear none of these brokers, and hear anything at all."""
        return [
            peer.hears
            for peer in self._peers.values()
            if peer.is_node and peer.hears and peer.hears.isdisjoint(brokers)
        ]

    def bridge(
        self, sender: str, number: int, came_on: str, hears: Collection[str], reaches: Collection[str]
    ) -> list[str]:
        """The brokers to copy a parcel to.

        :param sender: who published it, as its parcel of that number.
        :param came_on: the broker that brought it.
        :param hears: the brokers that we hear; so is `reaches`.
        """
        peer = self._peers.get(sender)
        if peer is None or len(reaches) < 2 or came_on not in peer.reaches:  # noqa: PLR2004 - from one to another
            return []
        copies: list[str] = []
        for broker in reaches:
            if broker == came_on or broker in peer.reaches:
                continue
            wanted = any(
                other.is_node and broker in other.hears and came_on not in other.hears
                for origin, other in self._peers.items()
                if origin != sender
            )
            able = [
                origin
                for origin, other in self._peers.items()
                if origin != sender and came_on in other.hears and broker in other.reaches
            ]
            if wanted and came_on in hears and self.origin < min(able, default="~"):
                copies.append(broker)
        if not copies or (sender, number) in self._bridged:
            return []
        self._bridged[sender, number] = None
        if len(self._bridged) > BRIDGED_MAX:
            del self._bridged[next(iter(self._bridged))]
        return copies
