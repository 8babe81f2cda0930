"""What is shown of a cluster, and where one can be laid out."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.control import Program
from deploy.layout import PROGRAMS, LayoutError, check_paths, check_programs, free_ports, listens
from deploy.readiness import trouble
from deploy.watching import Row, changes, table, uptime

READY = {"status": "ready", "checks": {"node": {"ok": True, "clients": 3}, "database": {"ok": True}}}


def program(name: str = "n1", state: str = "RUNNING", pid: int = 7) -> Program:
    return Program(name, state, pid if state == "RUNNING" else 0, 65, 0, 0, "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 d")]
)
def test_uptime_has_one_unit(seconds: int, text: str) -> None:
    assert uptime(seconds) == text


def test_the_table_is_aligned_and_shows_clients_of_nodes_only() -> None:
    lines = table(
        {
            "n1": Row(program(), ready=True, clients=12, note="ready; over redis"),
            "rabbitmq": Row(program("rabbitmq", "BACKOFF"), note="Exited too quickly"),
        }
    )
    assert lines == [
        "program   state    pid  up    clients",
        "n1        RUNNING  7    65 s  12       ready; over redis",
        "rabbitmq  BACKOFF                      Exited too quickly",
    ]


def test_changes_tell_what_happened_and_nothing_else() -> None:
    before = {
        "n1": Row(program(pid=7), True, 5, "ready"),
        "n2": Row(program("n2", pid=8), True, 5, "ready"),
        "redis": Row(program("redis", pid=9)),
    }
    assert list(changes(before, before)) == []
    after = {
        "n1": Row(program("n1", "BACKOFF"), None, None, "Exited too quickly"),
        "n2": Row(program("n2", pid=18), True, 1, "ready"),
        "n3": Row(program("n3", pid=19), True, 0, "ready"),
    }
    assert list(changes(before, after)) == [
        "n1 was RUNNING, is BACKOFF",
        "n1: Exited too quickly",
        "n2 is another process: 18 instead of 8",
        "n2 has 1 client instead of 5",
        "n3 is here",
        "redis is gone",
    ]


def test_a_node_is_in_trouble_when_it_says_so_or_says_nothing_or_lacks_a_broker() -> None:
    assert trouble(True, READY) == ""
    assert trouble(False, {}) == "does not answer"
    stopping = {"checks": {"node": {"ok": False, "reason": "this node is stopping"}}}
    assert trouble(False, stopping) == "this node is stopping"
    lame = {"checks": {"queue": {"ok": True, "brokers": {"redis": "up", "rabbitmq": "down"}}}}
    assert trouble(True, lame) == "rabbitmq is down"


def test_a_path_that_would_be_misunderstood_is_refused(tmp_path: Path) -> None:
    check_paths(Path("/tmp/cluster"))
    for bad in ("with space", "a;b", 'a"b', "per%cent", "new\nline"):
        with pytest.raises(LayoutError, match="letters, digits"):
            check_paths(Path("/tmp") / bad)


def test_a_path_too_long_for_a_unix_socket_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"21 characters too long .* --folder /tmp/cluster"):
        check_paths(Path("/" + "x" * 99))
    check_paths(Path("/" + "x" * 78))


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    check_programs(("redis", "rabbitmq"))
    monkeypatch.setitem(PROGRAMS, "redis", ("/nowhere/redis-server", "redis-server"))
    check_programs(("rabbitmq",))
    advice = r"/nowhere/.*`make cluster-packages`.*apt-get install redis-server"
    with pytest.raises(LayoutError, match=advice):
        check_programs(("redis", "rabbitmq"))


def test_free_ports_differ_from_each_other_and_from_what_is_taken() -> None:
    ports = free_ports(40)
    assert len(set(ports)) == 40
    assert not set(free_ports(40, ports)) & set(ports)
    assert not any(listens(port) for port in ports[:3])
