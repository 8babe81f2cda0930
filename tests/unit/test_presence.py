"""Presence: whatever happens in whatever order, it agrees with the plainest possible model."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.realtime import Presence

SIDS = st.sampled_from(["s1", "s2", "s3", "s4", "s5"])
ROOMS = st.integers(1, 3)


@dataclass(frozen=True)
class Somebody:
    id: str
    name: str


ADA, BOB = Somebody("a", "Ada"), Somebody("b", "bob")
OWNER = {"s1": ADA, "s2": ADA, "s3": BOB, "s4": BOB, "s5": ADA}


class PresenceMachine(RuleBasedStateMachine):
    """Compares Presence with a set of (sid, room) pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.presence = Presence()
        self.online: set[str] = set()
        self.pairs: set[tuple[str, int]] = set()

    def here(self, user: Somebody, room: int) -> bool:
        return any(OWNER[sid] == user for sid, r in self.pairs if r == room)

    @rule(sid=SIDS)
    def connect(self, sid: str) -> None:
        came = not any(OWNER[other] == OWNER[sid] for other in self.online)
        assert self.presence.connect(sid, OWNER[sid]) == came
        self.online.add(sid)

    @rule(sid=SIDS, room=ROOMS)
    def enter(self, sid: str, room: int) -> None:
        if sid not in self.online:
            return
        came = not self.here(OWNER[sid], room)
        assert self.presence.enter(sid, room) == came
        self.pairs.add((sid, room))

    @rule(sid=SIDS, room=ROOMS)
    def leave(self, sid: str, room: int) -> None:
        was = (sid, room) in self.pairs
        self.pairs.discard((sid, room))
        assert self.presence.leave(sid, room) == (was and not self.here(OWNER[sid], room))

    @rule(sid=SIDS)
    def disconnect(self, sid: str) -> None:
        rooms = {r for s, r in self.pairs if s == sid}
        self.pairs = {(s, r) for s, r in self.pairs if s != sid}
        departure = self.presence.disconnect(sid)
        if sid not in self.online:
            assert departure is None
            return
        self.online.discard(sid)
        assert departure is not None
        assert set(departure.rooms) == {r for r in rooms if not self.here(OWNER[sid], r)}
        assert departure.offline == (not any(OWNER[s] == OWNER[sid] for s in self.online))

    @invariant()
    def agrees(self) -> None:
        assert self.presence.connections() == len(self.online)
        for room in (1, 2, 3):
            people = [user for user in (ADA, BOB) if self.here(user, room)]
            assert self.presence.members(room) == people
            assert self.presence.count(room) == len(people)
            for sid in OWNER:
                assert self.presence.is_in(sid, room) == ((sid, room) in self.pairs)
        for user in (ADA, BOB):
            assert self.presence.sids(user.id) == sorted(s for s in self.online if OWNER[s] == user)


TestPresence = PresenceMachine.TestCase


@given(st.lists(st.tuples(SIDS, ROOMS)))
def test_nothing_is_kept_of_those_who_are_gone(entries: list[tuple[str, int]]) -> None:
    presence = Presence()
    for sid, room in entries:
        presence.connect(sid, OWNER[sid])
        presence.enter(sid, room)
    for sid in OWNER:
        presence.disconnect(sid)
    assert not any(vars(presence).values())
