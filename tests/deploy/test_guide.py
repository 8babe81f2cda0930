"""docs/deployment.md says nothing that is not so: its names, commands and settings are looked up and tried.

`test_guide_numbers.py` does the same with its numbers; `test_guide_run.py` does what it says, on a Debian.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from app.realtime.cli import emit, queue
from app.realtime.node_cli import node
from config.settings import ProductionSettings
from deploy.cli import main as deploy
from deploy.nodes import parse
from deploy.render import render_supervisor
from tests.deploy import guide
from tests.support.servers import ROOT, child_environment

NGINX = ROOT / "nginx"
# Capitals with an underscore that are no settings of ours.
OTHERS = {"RENEWED_LINEAGE", "ORIG_HEAD", "ON_ERROR_STOP"}
# The only settings that a block or table gives a value without meaning the default.
TAUGHT = {"DRAIN_WAIT_SECONDS", "DRAIN_SECONDS", "GRACEFUL_TIMEOUT_SECONDS"}


# Names.


def test_every_file_that_it_names_exists() -> None:
    folders = "app|benchmarks|config|deploy|docs|nginx|supervisor|tests"
    named = set(re.findall(rf"(?<![\w./-])(?:/srv/realtime/)?((?:{folders})/[\w./-]*\w)", guide.text()))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", guide.text(), re.MULTILINE)
    }
    links = re.findall(r"\]\(([^)]+)\)", guide.text())
    assert len(links) > 10
    for link in links:
        assert (link.startswith("#") and link[1:] in headings) or (guide.GUIDE.parent / link).exists(), link


def test_every_setting_that_it_names_exists() -> None:
    known = {name.upper() for name in ProductionSettings.model_fields}
    named = set(re.findall(r"(?<![\w$])[A-Z]{2,}(?:_[A-Z]+)+\b", guide.text())) - OTHERS
    assert len(named) > 20
    assert named - known == set()
    for prefix in re.findall(r"\b([A-Z]+_)\*", guide.text()):
        assert any(name.startswith(prefix) for name in known), prefix


def test_every_value_of_a_setting_in_the_running_text_is_its_default() -> None:
    stated = re.findall(r"`([A-Z_]+)` \(([\d.]+)\)|^\| `([A-Z_]+)` \| ([\d,]+)", guide.text(), re.MULTILINE)
    pairs = [(first or second, one or other) for first, one, second, other in stated]
    assert {name for name, _ in pairs} == {"QUEUE_PATIENCE_SECONDS", "WORKER_CONNECTIONS"}
    for name, value in pairs:
        assert float(value.replace(",", "")) == ProductionSettings.model_fields[name.lower()].default


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {words[1] for line in guide.code() if len(words := line.split()) > 1 and words[0] == "make"}
    assert len(named) > 4
    assert named - targets == set()


def commands(pattern: str) -> list[list[str]]:
    """What follows a program in each of its calls."""
    found = []
    for line in guide.code():
        for call in re.findall(rf"(?:{pattern}) ([^|&>#]+)", line):
            found.append([word.rstrip("`;)") for word in shlex.split(call)])
    return found


def understood(group: click.Group, words: list[str]) -> None:
    """See whether a command and its options exist.

    :raises click.ClickException: when they do not.
    """
    command: click.Command = group
    context = click.Context(group)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
        context = click.Context(command, parent=context)
    context.resilient_parsing = False
    command.parse_args(context, words)


def test_every_command_of_deploy_is_understood() -> None:
    calls = commands(r"-m deploy|^deploy")
    assert {words[0] for words in calls} >= {"nodes", "status", "roll"}
    for words in calls:
        understood(deploy, words)


def test_every_command_of_flask_is_understood() -> None:
    group = click.Group("flask", commands={"queue": queue, "node": node, "emit": emit})
    calls = commands(r"flask --app wsgi")
    assert {tuple(words[:2]) for words in calls} >= {("node", "drain"), ("node", "list"), ("queue", "switch")}
    for words in calls:
        understood(group, words)


def test_every_command_of_supervisorctl_exists() -> None:
    from supervisor.supervisorctl import DefaultControllerPlugin

    calls = [
        words[2:] if words[0] == "-c" else words
        for words in commands("supervisorctl")
        if words != ["-c", "supervisor/supervisord.conf"]
    ]
    assert {words[0] for words in calls} >= {"update", "restart", "signal", "start"}
    for words in calls:
        assert hasattr(DefaultControllerPlugin, f"do_{words[0]}"), words


# What can be tried without a Debian of its own.


def load_settings_in_production(environment: dict[str, str]) -> dict[str, object]:
    """Load settings as a node does, and say what they are; what is wrong raises."""
    script = (
        "from gevent import monkey; monkey.patch_all()\n"
        "from config import load_settings; print(load_settings().model_dump_json())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=child_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    settings: dict[str, object] = json.loads(done.stdout)
    return settings


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The guide's .env, with secrets in the place of what makes them."""
    [body] = re.findall(r"<<ENV\n(.*?)^ENV$", guide.blocks()["settings"].text, re.MULTILINE | re.DOTALL)
    body = guide.replaced(body, {"$(openssl rand -base64 48)": "x" * 64, "$password": "secret"})
    return dict(line.split("=", 1) for line in body.splitlines() if not line.startswith("#"))


def test_its_settings_are_accepted_in_production(environment: dict[str, str]) -> None:
    settings = load_settings_in_production(environment)
    assert settings["app_env"] == "production"
    with pytest.raises(AssertionError, match="CHANNEL_SECRET"):
        load_settings_in_production(environment | {"CHANNEL_SECRET": ""})


def test_its_times_for_a_balancer_are_accepted(environment: dict[str, str]) -> None:
    times = dict(line.split("=") for line in guide.blocks()["drain"].text.splitlines())
    assert times.keys() == TAUGHT
    load_settings_in_production(environment | times)
    with pytest.raises(AssertionError, match="may take half of"):
        load_settings_in_production(environment | times | {"GRACEFUL_TIMEOUT_SECONDS": "30"})
    graceful = int(times["GRACEFUL_TIMEOUT_SECONDS"])
    told = dict(re.findall(r"(stopwaitsecs|--grace)[= ](\d+)", guide.text()))
    assert int(told["stopwaitsecs"]) > graceful <= int(told["--grace"])


def test_its_list_for_several_machines_is_one(tmp_path: Path) -> None:
    [text] = [body for body in guide.FENCED.findall(guide.text()) if body.startswith("# ID")]
    nodes = parse(text)
    assert {node.machine for node in nodes} == {"web1", "web2"}
    for folder in ("nginx", "supervisor"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/nodes.txt").write_text(text)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy", "nodes", "--root", str(tmp_path), *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert run("--machine", "web1", "--check").returncode == 1, "the shipped files are for other nodes"
    assert run("--machine", "web1").returncode == 0
    assert run("--machine", "web1", "--check").returncode == 0
    assert "--machine" in run().stderr
    [text] = render_supervisor(ROOT, nodes, "web2").values()
    assert re.findall(r'HOST="(.*)"', text) == ["10.0.0.12", "10.0.0.12"]
    nginx = (tmp_path / "nginx/nodes.conf").read_text()
    assert all(node.address in nginx for node in nodes)


def test_its_lines_for_a_balancer_are_those_that_wait_in_the_file() -> None:
    conf = (NGINX / "realtime.conf").read_text()
    for line in guide.blocks()["balancer"].text.splitlines():
        assert re.search(rf"^( *)#?{re.escape(line.strip())}$", conf, re.MULTILINE), line


def test_the_firewall_lets_in_what_its_table_says(tmp_path: Path) -> None:
    rules = guide.blocks()["nftables"].text
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if program:
        path = tmp_path / "rules"
        path.write_text(rules)
        done = subprocess.run(
            [program, "-c", "-f", path], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr
    assert "policy drop;" in rules
    assert rules.count("{") == rules.count("}")
    let_in = {
        int(port) for ports in re.findall(r"dport ([^a]+)accept", rules) for port in re.findall(r"\d+", ports)
    }
    assert let_in == {22, 80, 443, 5001, 5032, 5432, 6379, 5672}
    of_table = {int(port) for cells in guide.table("port") for port in re.findall(r"\d+", cells[0])}
    assert let_in - {22, 5032} <= of_table
    for used in (ROOT / "config/nodes.txt").read_text().split():
        if used.startswith("127.0.0.1:"):
            assert 5001 <= int(used.rpartition(":")[2]) <= 5032


def test_every_block_that_is_to_be_run_is_run() -> None:
    from tests.deploy import test_guide_run

    source = Path(test_guide_run.__file__).read_text("utf-8")
    run = [block.name for block in guide.blocks().values() if block.mark == "run"]
    assert len(run) > 10
    assert [name for name in run if f'"{name}"' not in source] == []
