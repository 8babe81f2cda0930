"""What the health listener sees and does, and its talk with supervisor; its rules: test_deploy_judge.py."""

from __future__ import annotations

import io
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deploy.control import ControlError, Program
from deploy.health import Listener, ask_all, listen, main
from deploy.judge import Judge, Reply, Seen, Verdict
from deploy.nodes import Node
from tests.support.servers import free_port


class FakeControl:
    """A supervisord with some programs."""

    def __init__(self, *programs: Program) -> None:
        self.programs = {program.name: program for program in programs}
        self.killed: list[str] = []
        self.later: dict[str, Program] = {}
        self.broken = ""

    def states(self) -> dict[str, Program]:
        if self.broken:
            raise ControlError(self.broken)
        return self.programs

    def program(self, name: str) -> Program:
        return self.later.get(name) or self.programs[name]

    def kill(self, name: str) -> None:
        self.killed.append(name)


class KillsAtOnce(Judge):
    """Has no mercy."""

    def __init__(self, *names: str) -> None:
        super().__init__(3, 30.0, 3.0)
        self.names = names
        self.seen: list[Mapping[str, Seen]] = []

    def due(self, now: float) -> bool:
        return True

    def judge(self, asked_at: float, answered_at: float, seen: Mapping[str, Seen]) -> Verdict:
        self.seen.append(seen)
        return Verdict(next((name for name in seen if name in self.names), None), (), ())


def program(name: str, state: str = "RUNNING", pid: int = 77) -> Program:
    return Program(name, state, pid, 100, 0, 0, "")


@pytest.fixture
def nodes_file(tmp_path: Path) -> Path:
    path = tmp_path / "nodes.txt"
    path.write_text(f"n1 127.0.0.1:{free_port()}\nn2 unix:{tmp_path}/n2.sock\nn3 127.0.0.1:{free_port()}\n")
    return path


def make_listener(control: Any, nodes_file: Path, judge: Judge) -> Listener:
    return Listener(control, nodes_file, judge, 0.2)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "health")
    return caplog


def test_only_running_nodes_of_the_list_are_looked_at(
    nodes_file: Path, log: pytest.LogCaptureFixture
) -> None:
    control = FakeControl(program("n1"), program("n2"), program("n3", "STOPPING"), program("nginx"))
    judge = KillsAtOnce("n2")
    make_listener(control, nodes_file, judge).tick()
    assert judge.seen[0].keys() == {"n1", "n2"}
    assert {what.reply for what in judge.seen[0].values()} == {Reply.CLOSED}
    assert control.killed == ["n2"]


@pytest.mark.parametrize(
    "now", [program("n1", "STOPPING"), program("n1", pid=78), program("n1", "STOPPED", 0)]
)
def test_who_has_changed_meanwhile_is_not_killed(
    nodes_file: Path, now: Program, log: pytest.LogCaptureFixture
) -> None:
    control = FakeControl(program("n1"))
    control.later["n1"] = now
    make_listener(control, nodes_file, KillsAtOnce("n1")).tick()
    assert control.killed == []
    assert "not killed" in log.text


def test_a_list_that_is_broken_for_a_while_is_said_once(
    nodes_file: Path, log: pytest.LogCaptureFixture
) -> None:
    judge = KillsAtOnce()
    listener = make_listener(FakeControl(program("n1")), nodes_file, judge)
    right = nodes_file.read_text()
    nodes_file.write_text("n1\n")
    listener.tick()
    listener.tick()
    assert log.text.count("cannot look at the nodes: line 1") == 1
    nodes_file.write_text(right)
    listener.tick()
    assert len(judge.seen) == 1


def test_a_supervisord_that_does_not_answer_ends_nothing(
    nodes_file: Path, log: pytest.LogCaptureFixture
) -> None:
    control = FakeControl(program("n1"))
    control.broken = "no supervisord answers"
    judge = KillsAtOnce("n1")
    listener = make_listener(control, nodes_file, judge)
    listener.tick()
    assert "no supervisord answers" in log.text
    assert judge.seen == []


def test_nodes_that_join_are_noticed(nodes_file: Path, log: pytest.LogCaptureFixture) -> None:
    control = FakeControl(program("n1"), program("n2"))
    listener = make_listener(control, nodes_file, KillsAtOnce())
    listener.tick()
    listener.tick()
    assert log.text.count("watching n1, n2; supervisor knows nothing of n3") == 1
    control.programs["n3"] = program("n3")
    listener.tick()
    assert "watching n1, n2, n3\n" in log.text


@pytest.fixture
def server() -> Iterator[Any]:
    """Answers as it is told: bytes, or nothing at all."""
    listening = socket.create_server(("127.0.0.1", 0))
    open_ones = []
    answers: dict[str, bytes] = {"answer": b""}
    ended = threading.Event()

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            open_ones.append(connection)
            if ended.is_set():
                return
            connection.recv(65536)
            if answers["answer"]:
                connection.sendall(answers["answer"])
                if answers["answer"].endswith(b"\r\n\r\n"):
                    connection.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listening.getsockname()[1], answers
    ended.set()
    socket.create_connection(listening.getsockname()).close()
    thread.join()
    for connection in open_ones:
        connection.close()
    listening.close()


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Reply.ANSWERED),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Reply.ANSWERED),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Reply.ANSWERED),
        (b"", Reply.SILENT),
        (b"HTTP/1.1 200", Reply.SILENT),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Reply.SILENT),
    ],
)
def test_any_http_answer_is_an_answer(server: Any, answer: bytes, reply: Reply) -> None:
    port, answers = server
    answers["answer"] = answer
    assert ask_all([Node("n1", f"127.0.0.1:{port}")], 0.5)["n1"][0] is reply


def test_an_answer_byte_by_byte_keeps_nobody_waiting() -> None:
    ended = threading.Event()

    def drip() -> None:
        connection, _ = listening.accept()
        with connection:
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                if ended.wait(0.05):
                    return
                connection.sendall(bytes([byte]))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip)
        thread.start()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        # It would go on for 50 s.
        assert ask_all([Node("n1", address)], 0.5)["n1"] == (
            Reply.SILENT,
            f"{address}: no answer in 0.5 s",
        )
        assert thread.is_alive()
        ended.set()
        thread.join()


def test_where_nobody_listens_is_told_from_silence(tmp_path: Path) -> None:
    nodes = [Node("n1", f"127.0.0.1:{free_port()}"), Node("n2", f"unix:{tmp_path}/nobody.sock")]
    replies = ask_all(nodes, 0.5)
    assert {name: reply for name, (reply, _) in replies.items()} == {
        "n1": Reply.CLOSED,
        "n2": Reply.CLOSED,
    }
    assert "Connection refused" in replies["n1"][1]
    assert "No such file" in replies["n2"][1]


class Ticks(Listener):
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def tick(self) -> None:
        self.count += 1


def test_the_protocol_of_supervisor() -> None:
    def event(name: str, payload: str) -> str:
        header = f"ver:3.0 server:s serial:1 pool:health poolserial:1 eventname:{name} len:{len(payload)}"
        return f"{header}\n{payload}"

    answers = io.StringIO()
    listener = Ticks()
    events = event("TICK_5", "when:10") + event("TICK_60", "when:60") + event("TICK_5", "when:15")
    listen(listener, io.StringIO(events), answers)
    assert listener.count == 2
    # Ready for each, and for the one that never came.
    assert answers.getvalue() == "READY\nRESULT 2\nOK" * 3 + "READY\n"


@pytest.mark.parametrize("address", [None, "http://localhost:9001"])
def test_it_says_so_when_supervisor_has_not_started_it(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUPERVISOR_SERVER_URL", raising=False)
    if address:
        monkeypatch.setenv("SUPERVISOR_SERVER_URL", address)
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 1
    assert "supervisor runs it" in result.output


@pytest.mark.parametrize(
    ("option", "value"), [("--timeout", "5"), ("--timeout", "0"), ("--failures", "0"), ("--grace", "-1")]
)
def test_options_out_of_bounds(option: str, value: str) -> None:
    result = CliRunner().invoke(main, [option, value])
    assert result.exit_code == 2
    assert option in result.output
