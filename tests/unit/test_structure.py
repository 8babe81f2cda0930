"""Rules of the structure that a review would forget: who may import whom, and how long files get."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# What decides in the queue, and is tested without any IO.
PURE = (
    "envelope.py",
    "exchange.py",
    "inbox.py",
    "lanes.py",
    "options.py",
    "outbox.py",
    "peers.py",
    "routing.py",
)
MODULES = sorted(ROOT.glob("app/**/*.py"))


def imported(path: Path) -> set[str]:
    """The modules that a file imports, by full name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def under(names: set[str], *packages: str) -> set[str]:
    return {n for n in names if any(n == p or n.startswith(p + ".") for p in packages)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_dependencies_point_one_way(path: Path) -> None:
    names = imported(path)
    place = path.relative_to(ROOT).parts
    if place[1] == "realtime":
        assert under(names, "app") == under(names, "app.realtime"), "the engine knows nothing above it"
        assert not under(names, "config")
    else:
        assert not under(names, "redis", "kombu", "amqp"), "only the engine talks to brokers"
    if path.name != "breaking.py":
        assert not under(names, "deploy"), "only the tour talks to supervisor"
    if place[1:3] in (("realtime", "queue"), ("realtime", "brokers")):
        # They run in greenlets and in native threads, and know no client.
        assert not under(names, "flask", "flask_socketio", "socketio", "engineio", "gevent")
    if place[1:3] == ("realtime", "brokers"):
        assert not under(names, "app.realtime.queue"), "a broker carries bytes"
    if path.name in PURE and place[1:3] == ("realtime", "queue"):
        assert not under(names, "threading", "socket", "sqlite3", "app.realtime.brokers"), "no IO here"
    if place[1] in ("chat", "market"):
        other = {"chat": "app.market", "market": "app.chat"}[place[1]]
        assert not under(names, "app.web", other)
    if place[1] == "users":
        assert not under(names, "app.web", "app.chat", "app.market"), "the chat is for users, not they for it"
    if place[1] == "ops":
        assert not under(names, "app.web", "app.chat", "app.market")
    if path.name == "endings.py":
        assert not under(names, "flask", "app.auth"), "pure"
    if path.name in (
        "user.py",
        "transactions.py",
        "service.py",
        "names.py",
        "board.py",
        "sources.py",
        "presence.py",
        "presence_messages.py",
        "whereabouts.py",
    ):
        assert not under(names, "flask", "flask_socketio", "flask_sqlalchemy", "app.extensions")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_say_what_they_are_for_and_stay_short(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "the first line says what it is for"
    assert len(text.splitlines()) <= 400


def test_gevent_websocket_is_never_installed() -> None:
    """engine.io would prefer it, and every WebSocket would fail under gunicorn's gevent worker."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert "gevent-websocket" not in (ROOT / name).read_text()
    assert importlib.util.find_spec("geventwebsocket") is None


def test_requirements_are_pinned_with_hashes_and_name_what_gunicorn_needs() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        for line in text.splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                assert "==" in line, line
                assert "--hash=sha256:" in line, line
    pinned = (ROOT / "requirements.txt").read_text()
    assert all(f"\n{name}==" in pinned for name in ("gunicorn", "gevent", "packaging"))
