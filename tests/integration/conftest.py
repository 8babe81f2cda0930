"""Fixtures of the integration tests: databases, nodes and people."""

# First of all, as in the application: the clients of these tests are greenlets.
from gevent import monkey

monkey.patch_all()

import signal  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402

import pytest  # noqa: E402

from tests.support.clients import People  # noqa: E402
from tests.support.rabbitmq import RabbitMQ  # noqa: E402
from tests.support.redis import Redis  # noqa: E402
from tests.support.servers import Node, Postgres  # noqa: E402

API_TOKEN = "an-api-token-for-the-tests-of-32-characters"

# A runner that gives up sends SIGTERM: let the fixtures end their servers then, as at a Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)


def assert_no_traceback(node: Node, since: int = 0) -> None:
    """A stack trace in the log is a defect of the server, whatever a client did.

    :param since: how much of the log, in characters, is of no interest.
    """
    _, found, rest = node.log()[since:].partition("Traceback")
    assert not found, found + rest[:4000]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def any_database_url(request: pytest.FixtureRequest) -> str | None:
    """An empty database of each kind; None is Node's own SQLite file."""
    if request.param == "sqlite":
        return None
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_database()


@pytest.fixture(scope="module")
def any_node(any_database_url: str | None) -> Iterator[Node]:
    """A node on each kind of database. Names are free at once, so that tests may share it."""
    with Node(any_database_url, CHAT_NAME_LEASE_SECONDS="0", API_TOKEN=API_TOKEN) as node:
        yield node
        assert_no_traceback(node)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node on SQLite, for what has nothing to do with the database."""
    with Node(CHAT_NAME_LEASE_SECONDS="0", API_TOKEN=API_TOKEN, MARKET_SOURCE="random-walk") as node:
        yield node
        assert_no_traceback(node)


@pytest.fixture(scope="module")
def brokers() -> Iterator[tuple[Redis, RabbitMQ]]:
    """Redis and RabbitMQ, which a test may kill and start again."""
    with Redis() as redis, RabbitMQ() as rabbitmq:
        yield redis, rabbitmq


@pytest.fixture
def gather() -> Iterator[Callable[[Node], People]]:
    """Gather people around any node."""
    gathered: list[People] = []

    def around(node: Node) -> People:
        people = People(node.url)
        gathered.append(people)
        return people

    yield around
    for people in gathered:
        people.close()


@pytest.fixture
def people(any_node: Node, gather: Callable[[Node], People]) -> People:
    """People around the node on each kind of database."""
    return gather(any_node)
