"""What Presence is given, and what it is not: rooms and users that could not travel, a queue that is full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from app.realtime.errors import NotSerializable, OutboxFull
from app.realtime.presence import Member
from app.realtime.presence_keeper import PresenceKeeper


@dataclass(frozen=True)
class Somebody:
    id: str
    name: str
    expires_at: float = 0.0


ADA = Somebody("a", "Ada")


class Manager:
    """Of a node whose background tasks run when the test says so."""

    def __init__(self) -> None:
        self.server = self
        self.tasks: list[Callable[[], None]] = []
        self.rooms: list[Any] = []

    def start_background_task(self, task: Callable[[], None]) -> None:
        self.tasks.append(task)

    def sleep(self, seconds: float) -> None:
        """No time passes."""

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        return [sid, *self.rooms]


@pytest.fixture
def manager() -> Manager:
    return Manager()


def test_rooms_that_cannot_travel_are_left_out_and_counted(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    keeper = PresenceKeeper(manager, told.append, lambda: ([], True))  # type: ignore[arg-type]
    keeper.start("n1")
    manager.rooms = ["good", ("no", "tuple")]
    keeper.announce("s1", "/", ADA)
    for room in ("\ud800", 10**30, float("nan"), object(), 7):
        keeper.entered("s1", "/", room)
    for room in ("\ud800", object()):
        keeper.left("s1", "/", room)
    manager.tasks[-1]()
    (entry,) = told[-1][2]
    assert list(entry[-1]) == [7, "good"]
    assert keeper.members("good", "/") == keeper.members(7, "/") == [Member("a", "Ada")]
    assert keeper.status()["untold"] == 5
    assert caplog.text.count("cannot travel") == 1


@pytest.mark.parametrize("user", [Somebody("\ud800", "Ada"), Somebody("a", "\ud800"), Somebody(b"a", "A")])  # type: ignore[arg-type]
def test_a_user_who_cannot_travel_is_refused(manager: Manager, user: Somebody) -> None:
    keeper = PresenceKeeper(manager)  # type: ignore[arg-type]
    with pytest.raises(NotSerializable, match="id and name"):
        keeper.announce("s1", "/", user)
    assert keeper.members(None, "/") == []


def test_a_full_queue_costs_a_message_and_nothing_else(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_data: Any) -> None:
        raise OutboxFull("no room")

    keeper = PresenceKeeper(manager, full, lambda: ([], True))  # type: ignore[arg-type]
    keeper.start("n1")
    keeper.announce("s1", "/", ADA)
    manager.tasks[-1]()
    assert "presence could not be told: no room" in caplog.text
    assert keeper.members(None, "/") == [Member("a", "Ada")]


def test_a_listener_that_fails_does_not_keep_others_from_hearing(manager: Manager) -> None:
    keeper = PresenceKeeper(manager)  # type: ignore[arg-type]
    heard: list[Any] = []

    def fails(_moved: list[Any]) -> None:
        raise RuntimeError("a defect")

    keeper.listen(fails)
    keeper.listen(heard.extend)
    keeper.announce("s1", "/", ADA)
    assert [(move.room, move.here) for move in heard] == [(None, True)]


def test_what_another_version_says_is_counted(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    keeper = PresenceKeeper(manager, lambda _: None, lambda: ([], True))  # type: ignore[arg-type]
    keeper.take("n2", {"version": 99})
    assert keeper.status()["malformed"] == 1
    assert "another version?" in caplog.text


def test_a_node_too_many_pushes_another_one_out_and_it_is_told(
    manager: Manager, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.realtime.presence.OTHERS_MAX", 2)
    told: list[Any] = []
    elsewhere = PresenceKeeper(manager, told.append, lambda: ([], True))  # type: ignore[arg-type]
    elsewhere.start("n2")
    elsewhere.announce("s1", "/", ADA)
    manager.tasks[-1]()
    keeper = PresenceKeeper(manager, lambda _: None, lambda: ([], True))  # type: ignore[arg-type]
    for origin in ("n2", "n3", "n4"):
        for data in told:
            keeper.take(origin, data)
    assert (keeper.status()["nodes"], keeper.status()["pushed_out"]) == (2, 1)
    assert caplog.text.count("too many nodes") == 1
