"""The chat's SQL and the migrations on SQLite and PostgreSQL: numbering, paging and races."""

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from flask import Flask
from gevent.pool import Pool
from sqlalchemy import inspect

from app import create_app
from app.chat.schemas import Message
from app.chat.service import ChatService
from app.errors import EventError
from app.extensions import db
from app.schema import current, upgrade, wanted
from app.user import User
from config import load_settings
from config.kinds import ROOT
from tests.support.servers import Postgres
from tests.unit.conftest import close_database

ADA, BOB = User("ada", "Ada", 9e9), User("bob", "Bob", 9e9)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """An application on an empty database of each kind, and a context to use it in."""
    url = f"sqlite:///{tmp_path}/test.db"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.create_database()
    app = create_app(load_settings(app_env="testing", database_url=url, market_source="off"))
    with app.app_context():
        yield app
    close_database(app)


@pytest.fixture
def service(empty_app: Flask) -> ChatService:
    """The chat's service, with Ada and Bob in room 1."""
    upgrade(empty_app)
    service: ChatService = empty_app.extensions["chat"].service
    service.join_default(ADA)
    service.join_default(BOB)
    return service


def in_context(work: object, *args: object) -> object:
    """Run in a greenlet with the application's context, as a handler does."""
    from flask import current_app

    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def run() -> object:
        with app.app_context():
            return work(*args)  # type: ignore[operator]

    return run


def post(service: ChatService, user: User, client_id: str, room: int = 1) -> Message:
    return service.post(user, room, client_id, f"text {client_id}")


def everything(service: ChatService, room: int = 1, limit: int = 7) -> list[Message]:
    """The whole history, read backwards page by page."""
    page = service.history(room, None, None, limit)
    messages = page.messages
    while page.has_more:
        page = service.history(room, messages[0].seq, None, limit)
        messages = page.messages + messages
    return messages


def test_migrations_lead_to_the_models_and_back(empty_app: Flask) -> None:
    upgrade(empty_app)
    assert db.read(current) == wanted()
    upgrade(empty_app)
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.attributes["app"] = empty_app
    command.check(config)
    command.downgrade(config, "base")
    with db.engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    with pytest.raises(CommandError):
        command.check(config)
    upgrade(empty_app)
    command.check(config)


def test_concurrent_posts_are_numbered_without_gaps(service: ChatService) -> None:
    pool = Pool(20)
    jobs = [(user, f"m{number}") for number in range(60) for user in (ADA, BOB)]
    greenlets = [pool.spawn(in_context(post, service, user, client_id)) for user, client_id in jobs]
    gevent.joinall(greenlets, raise_error=True)
    stored = everything(service)
    assert [message.seq for message in stored] == list(range(1, 121))
    assert sorted((m.author.id, m.client_id) for m in stored) == sorted((u.id, c) for u, c in jobs)
    assert service.room(1).last_seq == 120


def test_the_same_message_from_many_connections_is_stored_once(service: ChatService) -> None:
    pool = Pool(20)
    greenlets = [pool.spawn(in_context(post, service, ADA, "same")) for _ in range(20)]
    gevent.joinall(greenlets, raise_error=True)
    assert len({greenlet.value.model_dump_json() for greenlet in greenlets}) == 1
    assert [message.seq for message in everything(service)] == [1]
    assert post(service, BOB, "next").seq == 2, "no number was spent on the repetitions"


def test_the_same_client_id_at_once_in_two_rooms_is_refused_once(service: ChatService) -> None:
    other = service.create_room(ADA, "other").id
    for number in range(10):
        outcomes = [gevent.spawn(in_context(post, service, ADA, f"m{number}", room)) for room in (1, other)]
        gevent.joinall(outcomes)
        failures = [outcome.exception for outcome in outcomes if outcome.exception]
        assert [getattr(failure, "code", failure) for failure in failures] == ["id_reused"]


def test_pages_fit_together_while_others_post(service: ChatService) -> None:
    for number in range(40):
        post(service, ADA, f"before{number}")
    pages: list[Message] = []
    cursor, has_more = None, True
    while has_more:
        page = service.history(1, cursor, None, 7)
        pages = page.messages + pages
        cursor, has_more = page.messages[0].seq, page.has_more
        for number in range(3):
            post(service, BOB, f"during{cursor}-{number}")
    assert [message.seq for message in pages] == list(range(1, 41))
    forwards = service.history(1, None, 40, 100).messages
    assert [message.seq for message in forwards] == list(range(41, 41 + len(forwards)))


def test_rooms_made_at_once_are_one(service: ChatService) -> None:
    def create(user: User) -> int:
        try:
            return service.create_room(user, "Together").id
        except EventError as error:
            assert error.code == "room_exists"  # noqa: PT017 - one wins, the others are told
            return int(str(error.details["room"]))

    greenlets = [gevent.spawn(in_context(create, user)) for user in (ADA, BOB) * 5]
    gevent.joinall(greenlets, raise_error=True)
    assert len({greenlet.value for greenlet in greenlets}) == 1
    assert [room.name for room in service.rooms()] == ["general", "Together"]


def test_joining_at_once_in_two_tabs_is_joining(service: ChatService) -> None:
    guest = User("guest", "Guest", 9e9)
    greenlets = [gevent.spawn(in_context(service.join, guest, 1)) for _ in range(8)]
    gevent.joinall(greenlets, raise_error=True)
    assert service.joined(guest) == [1]


@pytest.mark.parametrize(
    "text", ["🎈 emoji", "ﷺ" * 100, "a\x00b", "line\nbreak", "'; DROP TABLE rooms; --", "\u202e"]
)
def test_text_comes_back_as_it_was(service: ChatService, text: str) -> None:
    service.post(ADA, 1, "x", text)
    assert everything(service)[0].text == text.replace("\x00", "")
