"""The logs: one JSON object a line in production, with request id and user."""

import json
import logging

import pytest
import structlog

from tests.unit.conftest import MakeApp


@pytest.fixture(autouse=True)
def restore_logging() -> object:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers, root.level = before[0], before[1]
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_each_request_is_a_json_object_with_id_and_user(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    client = make_app(log_format="json").test_client()
    client.post("/sign-in", data={"name": "Ada"})
    capsys.readouterr()
    client.get("/api/v1/rooms", headers={"X-Request-ID": "r-1"})
    (line,) = lines(capsys)
    assert line["event"] == "request"
    assert (line["request_id"], line["user"], line["status"], line["path"]) == (
        "r-1",
        "Ada",
        200,
        "/api/v1/rooms",
    )
    assert line["level"] == "info"
    assert str(line["timestamp"]).endswith("Z")


def test_exceptions_and_foreign_records_are_json_too(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app(log_format="json")
    capsys.readouterr()
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        logging.getLogger("some.library").exception("it failed: %s", "x")
    (line,) = lines(capsys)
    assert line["event"] == "it failed: x"
    assert "ValueError: bad" in str(line["exception"])


def test_quiet_endpoints_are_quiet_unless_they_fail(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    client = make_app(log_format="json").test_client()
    capsys.readouterr()
    client.get("/healthz")
    assert lines(capsys) == []
    client.get("/readyz")
    assert [line["status"] for line in lines(capsys)] == [503]


def test_a_line_break_in_a_message_stays_in_its_line(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app(log_format="console")
    capsys.readouterr()
    logging.getLogger("some.library").warning("Invalid session %s", "x\n2026-11-20T00:00:00Z [info] FORGED")
    (line,) = capsys.readouterr().err.splitlines()
    assert "x\\n2026" in line


def test_a_name_cannot_forge_a_line(make_app: MakeApp, capsys: pytest.CaptureFixture[str]) -> None:
    client = make_app(log_format="json").test_client()
    capsys.readouterr()
    client.get('/no%0A{"event":"forged"}')
    assert [line["event"] for line in lines(capsys)] == ["request"]


def test_each_line_names_the_node(make_app: MakeApp, capsys: pytest.CaptureFixture[str]) -> None:
    client = make_app(log_format="json", node_id="n1").test_client()
    capsys.readouterr()
    client.get("/sign-in")
    logging.getLogger("some.library").warning("careful")
    assert [line["node"] for line in lines(capsys)] == ["n1", "n1"]
    make_app(log_format="json")
    capsys.readouterr()
    logging.getLogger("some.library").warning("careful")
    assert "node" not in lines(capsys)[0], "one node needs no name"
