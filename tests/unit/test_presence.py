"""Presence: whatever is lost, repeated or overtaken, all nodes agree with the plainest possible model."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.realtime import presence_messages as messages
from app.realtime.presence import (
    ASK_SECONDS,
    BEAT_SECONDS,
    DROPPED_AT_ONCE,
    GONE_SECONDS,
    Member,
    Presence,
    Room,
)

CHAT = "/chat"
ADA, BOB, CID = Member("a", "Ada"), Member("b", "bob"), Member("c", "Cid")
MEMBERS = {f"{member.id}{number}": member for member in (ADA, BOB, CID) for number in (1, 2)}
ROOMS = (1, "two")
NAMES = ("n1", "n2", "n3")
# Longer than anything takes: a beat, asking, an answer, giving up who is gone.
SETTLE_SECONDS = 3 * (BEAT_SECONDS + 2 * ASK_SECONDS) + GONE_SECONDS
STEP_SECONDS = 0.5


class Cluster:
    """Nodes, and a network between them that does what it is told."""

    def __init__(self, *names: str) -> None:
        self.now = 0.0
        self.lives = 0
        self.nodes: dict[str, Presence] = {}
        self.truth: dict[str, dict[str, set[Room]]] = {}
        # What each node's listeners were told, summed up.
        self.told: dict[str, set[tuple[Room, str]]] = {}
        self.network: list[tuple[str, str, object]] = []
        for name in names:
            self.start(name)

    def start(self, name: str) -> None:
        """Begin a life, with an origin of its own."""
        self.lives += 1
        self.nodes[name], self.truth[name], self.told[name] = Presence(), {}, set()
        self.nodes[name].begin(f"{name}-{self.lives}")
        self.collect(name)

    def kill(self, name: str) -> None:
        """End without a word; what is on its way stays so."""
        del self.nodes[name], self.truth[name], self.told[name]
        self.network = [(origin, to, data) for origin, to, data in self.network if to != name]

    def connect(self, name: str, sid: str, *rooms: Room) -> None:
        self.nodes[name].connect(CHAT, sid, MEMBERS[sid], rooms)
        self.truth[name].setdefault(sid, set(rooms))

    def collect(self, name: str) -> None:
        """Put what a node has to say onto the network, as it travels."""
        node = self.nodes[name]
        for message in node.outgoing:
            data = msgspec.msgpack.decode(msgspec.msgpack.encode(messages.encode(message)))
            self.network += [(node.origin, to, data) for to in self.nodes if to != name]
        node.outgoing.clear()
        for move in node.moved:
            key = move.room, move.member.id
            # Each news is news: nobody comes twice, or goes who was not there.
            assert (key in self.told[name]) != move.here, move
            (self.told[name].add if move.here else self.told[name].remove)(key)
        node.moved.clear()

    def deliver(self, index: int, *, keep: bool = False) -> None:
        origin, to, data = self.network[index] if keep else self.network.pop(index)
        self.nodes[to].take(origin, messages.decode(data), self.now)
        self.collect(to)

    def tick(self, name: str, *, hearing: bool = True) -> None:
        node = self.nodes[name]
        alive = {other.origin for other in self.nodes.values() if hearing} - {node.origin}
        node.tick(self.now, alive, hearing)
        self.collect(name)

    def deliver_all(self) -> None:
        while self.network:
            self.deliver(0)

    def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Let time pass, with a network that works."""
        self.deliver_all()
        ends = self.now + seconds
        while self.now < ends:
            self.now += STEP_SECONDS
            for name in self.nodes:
                self.tick(name)
            self.deliver_all()

    def expected(self, room: Room) -> list[Member]:
        """Who is in a room, in truth."""
        there = {
            MEMBERS[sid]
            for clients in self.truth.values()
            for sid, rooms in clients.items()
            if room is None or room in rooms
        }
        return sorted(there, key=lambda member: member.name.casefold())

    def seen(self, name: str, room: Room) -> list[Member]:
        return self.nodes[name].where.members(room, CHAT)

    def check(self) -> None:
        """All nodes see the truth, and have told it."""
        for name in self.nodes:
            for room in (None, *ROOMS):
                assert self.seen(name, room) == self.expected(room), (name, room)
                assert {user for place, user in self.told[name] if place == room} == {
                    member.id for member in self.expected(room)
                }


class Network(RuleBasedStateMachine):
    """Any interleaving, loss and repetition of messages; nodes that die and come back."""

    node = st.sampled_from(NAMES)
    sid = st.sampled_from(sorted(MEMBERS))
    room = st.sampled_from(ROOMS)
    index = st.integers(0, 10)

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(*NAMES)

    @rule(node=node, sid=sid)
    def connect(self, node: str, sid: str) -> None:
        # A sid is of one connection, so it is on one node.
        taken = any(sid in clients for clients in self.cluster.truth.values())
        if node in self.cluster.nodes and not taken:
            self.cluster.connect(node, sid)

    @rule(sid=sid, room=room)
    def enter(self, sid: str, room: str | int) -> None:
        for name, clients in self.cluster.truth.items():
            if sid in clients:
                self.cluster.nodes[name].enter(CHAT, sid, room)
                clients[sid].add(room)

    @rule(sid=sid, room=room)
    def leave(self, sid: str, room: str | int) -> None:
        for name, clients in self.cluster.truth.items():
            if sid in clients:
                self.cluster.nodes[name].leave(CHAT, sid, room)
                clients[sid].discard(room)

    @rule(sid=sid)
    def disconnect(self, sid: str) -> None:
        for name, clients in self.cluster.truth.items():
            if clients.pop(sid, None) is not None:
                self.cluster.nodes[name].disconnect(CHAT, sid)

    @rule(node=node)
    def publish(self, node: str) -> None:
        if node in self.cluster.nodes:
            self.cluster.nodes[node].publish()
            self.cluster.collect(node)

    @rule(node=node, seconds=st.sampled_from([0.1, 1.0, 3.0]), hearing=st.booleans())
    def tick(self, node: str, seconds: float, hearing: bool) -> None:
        self.cluster.now += seconds
        if node in self.cluster.nodes:
            self.cluster.tick(node, hearing=hearing)

    @rule(index=index)
    def deliver(self, index: int) -> None:
        if waiting := len(self.cluster.network):
            self.cluster.deliver(index % waiting)

    @rule(index=index)
    def repeat(self, index: int) -> None:
        if waiting := len(self.cluster.network):
            self.cluster.deliver(index % waiting, keep=True)

    @rule(index=index)
    def lose(self, index: int) -> None:
        if waiting := len(self.cluster.network):
            del self.cluster.network[index % waiting]

    @rule(node=node)
    def kill_or_start(self, node: str) -> None:
        if node in self.cluster.nodes:
            self.cluster.kill(node)
        else:
            self.cluster.start(node)

    @invariant()
    def each_node_knows_its_own(self) -> None:
        for name, clients in self.cluster.truth.items():
            for sid in clients:
                assert sid in self.cluster.nodes[name].where.sids(MEMBERS[sid].id, CHAT)

    def teardown(self) -> None:
        for name in NAMES:
            if name not in self.cluster.nodes:
                self.cluster.start(name)
        self.cluster.settle()
        self.cluster.check()


TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)


@pytest.fixture
def cluster() -> Cluster:
    """Three nodes that know each other."""
    cluster = Cluster(*NAMES)
    cluster.settle(1.0)
    return cluster


def test_two_tabs_on_two_nodes_are_one_person_until_both_are_gone(cluster: Cluster) -> None:
    cluster.connect("n1", "a1", 1)
    cluster.connect("n2", "a2", 1)
    cluster.settle(1.0)
    assert cluster.seen("n3", 1) == cluster.seen("n3", None) == [ADA]
    assert sorted(cluster.nodes["n3"].where.sids("a", CHAT)) == ["a1", "a2"]
    for name, sid, left in (("n1", "a1", [ADA]), ("n2", "a2", [])):
        cluster.nodes[name].disconnect(CHAT, sid)
        del cluster.truth[name][sid]
        cluster.settle(1.0)
        assert cluster.seen("n3", 1) == left
    cluster.check()


def test_a_room_that_is_left_is_left_everywhere(cluster: Cluster) -> None:
    cluster.connect("n1", "a1", *ROOMS)
    cluster.settle(1.0)
    cluster.nodes["n1"].leave(CHAT, "a1", 1)
    cluster.truth["n1"]["a1"].discard(1)
    cluster.settle(1.0)
    cluster.check()
    assert cluster.seen("n2", "two") == [ADA]


def test_a_new_node_asks_and_need_not_wait_for_a_beat(cluster: Cluster) -> None:
    cluster.connect("n1", "a1", 1)
    cluster.settle(BEAT_SECONDS)
    cluster.kill("n3")
    cluster.start("n3")
    cluster.deliver_all()
    cluster.now += STEP_SECONDS
    cluster.nodes["n1"]._beat_at = cluster.now + 60
    cluster.tick("n1")
    cluster.deliver_all()
    assert cluster.seen("n3", 1) == [ADA]


def test_short_silences_do_not_add_up(cluster: Cluster) -> None:
    cluster.connect("n1", "a1", 1)
    cluster.settle(1.0)
    for _ in range(4):
        for _ in range(int(GONE_SECONDS / STEP_SECONDS) - 1):
            cluster.now += STEP_SECONDS
            cluster.nodes["n2"].tick(cluster.now, (), hearing=True)
        cluster.tick("n2")
    assert cluster.seen("n2", 1) == [ADA]


def test_who_moves_to_another_node_is_never_away(cluster: Cluster) -> None:
    cluster.connect("n1", "a1", 1)
    cluster.settle(1.0)
    cluster.kill("n1")
    cluster.connect("n2", "a2", 1)
    heard = []
    while cluster.now < 30:
        cluster.now += STEP_SECONDS
        for name in ("n2", "n3"):
            cluster.tick(name)
        cluster.deliver_all()
        heard.append(cluster.seen("n3", 1))
    assert all(seen == [ADA] for seen in heard)
    assert cluster.nodes["n3"].where.sids("a", CHAT) == ["a2"]


def test_a_killed_node_takes_its_people_along_in_time(cluster: Cluster) -> None:
    cluster.connect("n1", "a1", 1)
    cluster.settle(1.0)
    cluster.kill("n1")
    cluster.settle(GONE_SECONDS - 2 * STEP_SECONDS)
    assert cluster.seen("n2", 1) == [ADA]
    cluster.settle(4 * STEP_SECONDS)
    assert cluster.seen("n2", 1) == cluster.seen("n3", None) == []


def test_silence_means_nothing_while_no_broker_works_or_this_node_was_frozen(cluster: Cluster) -> None:
    cluster.connect("n1", "a1")
    cluster.settle(1.0)
    for _ in range(100):
        cluster.now += 1.0
        cluster.tick("n2", hearing=False)
    assert cluster.seen("n2", None) == [ADA]
    # An hour in one piece is a stall of our own.
    cluster.now += 3_600
    cluster.nodes["n2"].tick(cluster.now, (), hearing=True)
    assert cluster.seen("n2", None) == [ADA]


def test_a_lost_delta_is_noticed_by_the_next_one_or_by_a_beat(cluster: Cluster) -> None:
    for sid in ("a1", "b1"):
        cluster.connect("n1", sid)
        cluster.nodes["n1"].publish()
        cluster.collect("n1")
        cluster.network.clear()
    cluster.settle(BEAT_SECONDS + ASK_SECONDS + 1)
    cluster.check()
    assert cluster.expected(None) == [ADA, BOB]


def test_a_lost_goodbye_is_noticed_too(cluster: Cluster) -> None:
    cluster.connect("n1", "a1", 1)
    cluster.connect("n1", "b1", 1)
    cluster.settle(1.0)
    cluster.nodes["n1"].disconnect(CHAT, "a1")
    del cluster.truth["n1"]["a1"]
    cluster.nodes["n1"].publish()
    cluster.collect("n1")
    cluster.network.clear()
    cluster.settle(BEAT_SECONDS + ASK_SECONDS + 1)
    cluster.check()
    assert cluster.expected(1) == [BOB]


def test_what_comes_again_or_too_early_changes_nothing(cluster: Cluster) -> None:
    node = cluster.nodes["n1"]

    def say() -> list[messages.Message]:
        node.publish()
        said = list(node.outgoing)
        cluster.collect("n1")
        return said

    cluster.connect("n1", "a1", 1)
    came = say()
    cluster.deliver_all()
    node.disconnect(CHAT, "a1")
    del cluster.truth["n1"]["a1"]
    went = say()
    cluster.deliver_all()
    assert cluster.seen("n2", 1) == []
    # Again, from long ago.
    for message in (*came, *went):
        cluster.nodes["n2"].take(node.origin, message, cluster.now)
        assert cluster.seen("n2", 1) == []
    assert cluster.nodes["n2"].status()["behind"] == 0
    # Two versions ahead: it waits for the whole state.
    cluster.connect("n1", "b1")
    say()
    cluster.network.clear()
    cluster.connect("n1", "c1")
    say()
    cluster.deliver_all()
    assert cluster.seen("n2", None) == []
    assert cluster.nodes["n2"].status()["behind"] == 1
    cluster.settle()
    cluster.check()


def test_a_state_that_was_damaged_is_found_by_its_digest(cluster: Cluster) -> None:
    cluster.connect("n1", "a1", 1)
    cluster.settle(1.0)
    origin = cluster.nodes["n1"].origin
    cluster.nodes["n2"]._apply(origin, cluster.nodes["n2"]._others[origin], (), [(CHAT, "a1")])
    cluster.told["n2"] -= {(None, "a"), (1, "a")}
    cluster.nodes["n2"].moved.clear()
    assert cluster.seen("n2", None) == []
    cluster.settle()
    cluster.check()


def test_a_large_state_goes_in_parts(cluster: Cluster) -> None:
    many = 3_000
    for number in range(many):
        cluster.nodes["n1"].connect(CHAT, f"sid-{number}", Member(f"id-{number}", "x" * 40), range(5))
    cluster.settle(1.0)
    cluster.kill("n3")
    cluster.start("n3")
    cluster.settle()
    assert cluster.nodes["n3"].where.count(4, CHAT) == cluster.nodes["n2"].where.count(4, CHAT) == many
    assert cluster.nodes["n3"].digest == 0
    status = cluster.nodes["n1"].status()
    assert (status["here"], status["elsewhere"], status["behind"]) == (many, 0, 0)


def test_messages_are_small_whatever_happens_at_once() -> None:
    node = Presence()
    node.begin("n1")
    node.outgoing.clear()
    for number in range(5_000):
        node.connect(CHAT, f"sid-{number}", Member(f"id-{number}", "Somebody"))
    node.publish()
    sizes = [len(msgspec.msgpack.encode(messages.encode(message))) for message in node.outgoing]
    assert len(sizes) > 2
    assert max(sizes) < messages.MESSAGE_BYTES * 1.1
    for number in range(5_000):
        node.disconnect(CHAT, f"sid-{number}")
    node.outgoing.clear()
    node.publish()
    assert max(len(msgspec.msgpack.encode(messages.encode(m))) for m in node.outgoing) < 20_000
    assert node.digest == 0


def test_what_did_not_last_is_not_told() -> None:
    node = Presence()
    node.begin("n1")
    node.outgoing.clear()
    node.connect(CHAT, "a1", ADA)
    node.enter(CHAT, "a1", 1)
    node.disconnect(CHAT, "a1")
    node.publish()
    assert not node.outgoing
    assert node.version == 0


def test_while_there_is_nobody_else_nothing_gathers() -> None:
    node = Presence()
    for number in range(100):
        node.connect(CHAT, f"sid-{number}", ADA)
        node.disconnect(CHAT, f"sid-{number}")
    assert not node.unpublished
    # Whoever was there before the others are heard of is told of.
    node.connect(CHAT, "a1", ADA)
    node.begin("n1")
    node.publish()
    assert [m.entries[0].sid for m in node.outgoing if isinstance(m, messages.Delta)] == ["a1"]


def test_a_large_node_that_is_gone_goes_in_pieces(cluster: Cluster) -> None:
    many = 3 * DROPPED_AT_ONCE
    for number in range(many):
        cluster.nodes["n1"].connect(CHAT, f"sid-{number}", Member(f"id-{number}", "Somebody"))
    cluster.settle(1.0)
    cluster.kill("n1")
    node = cluster.nodes["n2"]
    more, pieces = True, 0
    while more or node.where.count(None, CHAT):
        cluster.now += 0.1
        more = node.tick(cluster.now, (), hearing=True)
        if (gone := sum(not move.here for move in node.moved)) > 0:
            pieces += 1
            assert gone <= DROPPED_AT_ONCE
        node.moved.clear()
    assert pieces == 3


def test_a_node_that_comes_back_while_it_is_given_up_is_whole_again(cluster: Cluster) -> None:
    for number in range(3 * DROPPED_AT_ONCE):
        cluster.nodes["n1"].connect(CHAT, f"sid-{number}", Member(f"id-{number}", "Somebody"))
    cluster.settle(1.0)
    node = cluster.nodes["n2"]
    for _ in range(int(GONE_SECONDS / STEP_SECONDS) + 1):
        cluster.now += STEP_SECONDS
        node.tick(cluster.now, (), hearing=True)
    assert 0 < node.where.count(None, CHAT) < 3 * DROPPED_AT_ONCE
    cluster.collect("n2")
    cluster.settle()
    assert node.where.count(None, CHAT) == 3 * DROPPED_AT_ONCE


def test_clients_that_were_not_announced_are_no_concern() -> None:
    node = Presence()
    node.enter(CHAT, "x", 1)
    node.leave(CHAT, "x", 1)
    node.disconnect(CHAT, "x")
    assert not node.moved
    assert not node.unpublished


@pytest.mark.parametrize("data", [None, [], {}, ["d"], ["d", "1", [], []], ["z", 1], ["b", 1], [1, 2]])
def test_what_is_no_message_is_refused(data: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        messages.decode(data)
