"""Acknowledgements: each counts once, in time, and nothing is kept of what nobody answers."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.realtime.acks import Acks

TIMEOUT_SECONDS = 10.0


def nothing(*values: object) -> None:
    """A callback."""


def test_ids_are_unlike_any_other_and_exact_in_javascript() -> None:
    ids = [acks.expect(nothing, "room", 0.0) for acks in [Acks(10.0) for _ in range(50)] for _ in range(20)]
    assert len(set(ids)) == len(ids)
    assert all(2**24 <= ack < 2**53 for ack in ids)


def test_one_client_answers_once_a_room_often() -> None:
    acks = Acks(TIMEOUT_SECONDS)
    alone = acks.expect(nothing, "sid", 0.0)
    room = acks.expect(nothing, "room", 0.0)
    assert acks.callback("sid", alone, 1.0) is nothing
    assert acks.callback("sid", alone, 1.0) is None
    assert [acks.callback(sid, room, 1.0) for sid in ("sid", "other")] == [nothing, nothing]
    assert acks.callback("sid", 12345, 1.0) is None


def test_what_was_not_sent_is_not_waited_for() -> None:
    acks = Acks(TIMEOUT_SECONDS)
    ack = acks.expect(nothing, "sid", 0.0)
    acks.cancel(ack)
    acks.cancel(ack)
    assert acks.callback("sid", ack, 0.0) is None
    assert len(acks) == 0


class AcksMachine(RuleBasedStateMachine):
    """Against two dicts: callback by id, and origin by client and id."""

    @initialize()
    def begin(self) -> None:
        self.now = 100.0
        self.acks = Acks(TIMEOUT_SECONDS)
        self.expected: dict[int, tuple[object, str, float]] = {}
        self.owed: dict[tuple[str, int], tuple[str, float]] = {}
        self.ids = [1]

    sids = st.sampled_from(["x", "y", "z"])

    @rule(room=st.sampled_from(["x", "y", "room"]))
    def expect(self, room: str) -> None:
        def callback() -> None: ...

        ack = self.acks.expect(callback, room, self.now)
        assert ack not in self.expected
        self.expected[ack] = (callback, room, self.now + TIMEOUT_SECONDS)
        self.ids.append(ack)

    @rule(sid=sids, data=st.data(), origin=st.sampled_from(["me", "other"]))
    def owe(self, sid: str, data: st.DataObject, origin: str) -> None:
        ack = data.draw(st.sampled_from(self.ids))
        if (sid, ack) not in self.owed:
            self.acks.owe(sid, ack, origin, self.now)
            self.owed[sid, ack] = (origin, self.now + TIMEOUT_SECONDS)

    @rule(sid=sids, data=st.data())
    def answered(self, sid: str, data: st.DataObject) -> None:
        ack = data.draw(st.sampled_from(self.ids))
        origin, deadline = self.owed.pop((sid, ack), (None, 0.0))
        assert self.acks.answered(sid, ack, self.now) == (origin if deadline > self.now else None)

    @rule(sid=sids, data=st.data())
    def callback(self, sid: str, data: st.DataObject) -> None:
        ack = data.draw(st.sampled_from(self.ids))
        callback, room, deadline = self.expected.get(ack, (None, "", 0.0))
        in_time = deadline > self.now
        assert self.acks.callback(sid, ack, self.now) is (callback if in_time else None)
        if in_time and room == sid:
            del self.expected[ack]

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ack = data.draw(st.sampled_from(self.ids))
        self.acks.cancel(ack)
        self.expected.pop(ack, None)

    @rule(sid=sids)
    def forget(self, sid: str) -> None:
        self.acks.forget(sid)
        self.owed = {key: value for key, value in self.owed.items() if key[0] != sid}

    @rule(seconds=st.sampled_from([0.0, 3.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        before = len(self.expected) + len(self.owed)
        expired = self.acks.expired
        self.acks.expire(self.now)
        self.expected = {key: value for key, value in self.expected.items() if value[2] > self.now}
        self.owed = {key: value for key, value in self.owed.items() if value[1] > self.now}
        assert self.acks.expired - expired == before - len(self.expected) - len(self.owed)

    @invariant()
    def nothing_else_is_kept(self) -> None:
        if hasattr(self, "acks"):
            assert len(self.acks) == len(self.expected) + len(self.owed)
            assert {sid for sid, _ in self.owed} == set(self.acks._owed_by)


AcksMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
TestAcks = AcksMachine.TestCase
