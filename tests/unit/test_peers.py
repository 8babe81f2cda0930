"""Who is on the channel, and who bridges: everybody decides alone, and exactly one does it."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.realtime.queue.peers import BRIDGED_MAX, PULSES_MISSED, Peers

BROKERS = ("one", "two", "three")


def pulse(
    peers: Peers, origin: str, hears: str, reaches: str, now: float = 0.0, *, is_node: bool = True
) -> None:
    """Tell of somebody; brokers by words."""
    peers.pulse(
        origin, is_node=is_node, hears=hears.split(), reaches=reaches.split(), every_seconds=1.0, now=now
    )


def test_who_is_silent_is_forgotten() -> None:
    peers = Peers("me")
    pulse(peers, "b", "one", "one")
    pulse(peers, "a", "one", "one", 1.0)
    pulse(peers, "e", "one", "one", 1.0, is_node=False)
    assert peers.nodes == ["a", "b"]
    peers.expire(PULSES_MISSED)
    assert peers.nodes == ["a", "b"], "a pulse may be lost"
    peers.expire(PULSES_MISSED + 0.1)
    assert peers.nodes == ["a"]
    assert "e" in peers
    peers.goodbye("a")
    peers.goodbye("unknown")
    assert peers.nodes == []


def test_who_hears_none_of_some_brokers() -> None:
    peers = Peers("me")
    pulse(peers, "a", "one two", "")
    pulse(peers, "b", "three", "")
    pulse(peers, "deaf", "", "")
    pulse(peers, "e", "two", "", is_node=False)
    assert peers.uncovered(["one"]) == [frozenset({"three"})]
    assert sorted(map(sorted, peers.uncovered([]))) == [["one", "two"], ["three"]]
    assert peers.uncovered(["two", "three"]) == []


def test_a_bridge() -> None:
    peers = Peers("me")
    pulse(peers, "a", "one", "one")
    pulse(peers, "b", "two", "two")
    both = ["one", "two"]
    assert peers.bridge("a", 1, "one", both, both) == ["two"]
    assert peers.bridge("a", 1, "one", both, both) == [], "once"
    assert peers.bridge("b", 1, "two", both, both) == ["one"]
    assert peers.bridge("a", 2, "two", both, both) == [], "a copy that somebody made"
    assert peers.bridge("stranger", 2, "one", both, both) == []
    assert peers.bridge("a", 3, "one", both, ["one"]) == []
    assert peers.bridge("a", 3, "one", ["two"], both) == []
    pulse(peers, "b", "one two", "two")
    assert peers.bridge("a", 4, "one", both, both) == [], "it is heard"
    pulse(peers, "b", "two", "two", is_node=False)
    assert peers.bridge("a", 5, "one", both, both) == [], "whoever only emits need not hear"


def test_what_is_remembered_of_bridged_parcels_is_bounded() -> None:
    peers = Peers("me")
    pulse(peers, "a", "one", "one")
    pulse(peers, "b", "two", "two")
    for number in range(BRIDGED_MAX + 100):
        assert peers.bridge("a", number, "one", ["one", "two"], ["one", "two"]) == ["two"]
    assert len(peers._bridged) == BRIDGED_MAX


subsets = st.sets(st.sampled_from(BROKERS))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    members=st.lists(st.tuples(subsets, subsets, st.booleans()), min_size=3, max_size=6),
    came_on=st.sampled_from(BROKERS),
)
def test_exactly_one_bridges(members: list[tuple[set[str], set[str], bool]], came_on: str) -> None:
    """All know the same; the first of them has published a parcel on a broker that it reaches."""
    origins = [f"{number}" for number in range(len(members))]
    assume(came_on in members[0][1])
    copies: list[str] = []
    for own in origins[1:]:
        peers = Peers(own)
        for origin, (hears, reaches, is_node) in zip(origins, members, strict=True):
            if origin != own:
                pulse(peers, origin, " ".join(hears), " ".join(reaches), is_node=is_node)
        hears, reaches, _ = members[int(own)]
        if came_on in hears:
            copies += peers.bridge("0", 1, came_on, sorted(hears), sorted(reaches))
    assert len(copies) == len(set(copies)), "never two for the same broker"
    assert came_on not in copies
    assert not set(copies) & members[0][1], "the sender reaches it itself"
    for number, (hears, _, is_node) in enumerate(members):
        if number == 0 or not is_node or came_on in hears:
            continue
        able = {
            broker
            for bridge_number, (bridge_hears, bridge_reaches, _) in enumerate(members)
            if bridge_number not in (0, number) and came_on in bridge_hears and came_on in bridge_reaches
            for broker in bridge_reaches
        }
        for broker in (hears & able) - members[0][1]:
            assert broker in copies, f"{number} hears {broker} only"
