"""supervisor reads the files that ship, and means by them what their comments say."""

from __future__ import annotations

import getpass
import json
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from config.settings import ProductionSettings
from deploy.fill import DATA, RUN, fill_all
from deploy.fill import ROOT as CANONICAL
from deploy.nodes import Node
from deploy.render import load, render_supervisor, stale
from tests.support.servers import ROOT, run_python

BROKERS = {"redis", "rabbitmq", "epmd"}
INCLUDED = "files = nodes.conf nginx.conf health.conf"
# Everything that supervisor has understood, in its own words; and the names that it never asked for, since
# it says nothing of a typing error.
READ = """
import json, sys
from supervisor.options import ServerOptions, UnhosedConfigParser
asked, parsers, ask = set(), [], UnhosedConfigParser.saneget
def saneget(self, section, option, *arguments, **named):
    asked.add((section, option))
    parsers.append(self)
    return ask(self, section, option, *arguments, **named)
UnhosedConfigParser.saneget = saneget
options = ServerOptions()
options.realize(["-c", sys.argv[1]])
def plain(value):
    known = isinstance(value, (str, int, float, bool, dict, type(None)))
    return value if known else getattr(value, "__name__", str(value))
print(json.dumps({
    "unknown": [
        (section, name) for section in parsers[-1].sections() for name in parsers[-1].options(section)
        if (section, name) not in asked and section not in ("supervisorctl", "include")
    ],
    "warnings": options.parse_warnings + options.parse_criticals,
    "supervisord": {name: plain(getattr(options, name)) for name in
                    ("minfds", "nodaemon", "logfile", "logfile_maxbytes", "uid")},
    "servers": [{name: plain(value) for name, value in server.items()} for server in options.server_configs],
    "programs": {
        config.name: {"group": group.name, "kind": type(config).__name__}
        | {name: plain(getattr(config, name)) for name in config.req_param_names}
        | {"environment": config.environment}
        for group in options.process_group_configs for config in group.process_configs
    },
}))
"""
Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Let supervisor read the shipped files, with other folders and user, and say what it understood."""

    def read(
        included: str = INCLUDED,
        nodes: list[Node] | None = None,
        change: Callable[[str], str] = lambda text: text,
    ) -> dict[str, Any]:
        texts = {str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("supervisor/**/*.conf")}
        if nodes:
            texts |= {
                str(path.relative_to(ROOT)): text for path, text in render_supervisor(ROOT, nodes).items()
            }
        for folder in ("srv", "run", "data/redis", "data/rabbitmq", "log"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        user = getpass.getuser()
        filled = fill_all(
            {name: change(text) for name, text in texts.items()},
            {
                CANONICAL: f"{tmp_path}/srv",
                RUN: f"{tmp_path}/run",
                DATA: f"{tmp_path}/data",
                "/var/log/realtime": f"{tmp_path}/log",
                "user=realtime": f"user={user}",
                "user=root": f"user={user}",
                "chown=realtime:realtime": f"chown={user}",
                INCLUDED: included,
            },
        )
        for name, text in filled.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return dict(json.loads(run_python(READ, f"{tmp_path}/supervisor/supervisord.conf")))

    return read


def nodes_of(understood: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: program
        for name, program in understood["programs"].items()
        if "NODE_ID" in program["environment"]
    }


def test_the_shipped_files_are_understood_without_a_warning(read: Read) -> None:
    understood = read()
    assert understood["warnings"] == understood["unknown"] == []
    assert list(nodes_of(understood)) == [node.id for node in load(ROOT)]
    assert set(understood["programs"]) == {"n1", "n2", "n3", "nginx", "health"}
    with_brokers = read(f"{INCLUDED} redis.conf rabbitmq.conf")
    assert with_brokers["warnings"] == with_brokers["unknown"] == []
    assert set(with_brokers["programs"]) == {*understood["programs"], *BROKERS}


def test_the_generated_file_is_what_the_list_and_the_template_make(read: Read) -> None:
    assert stale(render_supervisor(ROOT, load(ROOT))) == [], "run: python -m deploy nodes"


def test_supervisord_runs_in_the_foreground_and_listens_on_a_socket_of_its_user_only(read: Read) -> None:
    understood = read()
    assert understood["supervisord"]["nodaemon"]
    # A file of its own: whoever may ask it to clear its log would have it remove /dev/null.
    assert understood["supervisord"]["logfile"].endswith("/run/supervisord.log")
    assert understood["supervisord"]["logfile_maxbytes"] == 1024 * 1024
    (server,) = understood["servers"]
    assert server["section"] == "unix_http_server"
    assert server["chmod"] == 0o700


def test_a_node_may_open_a_file_for_each_client(read: Read) -> None:
    assert (
        read()["supervisord"]["minfds"] > ProductionSettings.model_fields["worker_connections"].default + 100
    )


def test_every_node_stops_by_draining_within_its_time(read: Read) -> None:
    graceful_seconds = ProductionSettings.model_fields["graceful_timeout_seconds"].default
    for node in nodes_of(read()).values():
        assert node["stopsignal"] == signal.SIGTERM
        assert node["stopwaitsecs"] > graceful_seconds
        assert (node["stopasgroup"], node["killasgroup"]) == (False, True)


def test_everything_is_started_again_whatever_it_ended_by(read: Read) -> None:
    programs = read(f"{INCLUDED} redis.conf rabbitmq.conf")["programs"]
    assert {program["autorestart"] for program in programs.values()} == {"RestartUnconditionally"}
    assert {program["autostart"] for program in programs.values()} == {True}


def test_brokers_start_first_and_nginx_comes_last(read: Read) -> None:
    programs = read(f"{INCLUDED} redis.conf rabbitmq.conf")["programs"]
    order = {name: program["priority"] for name, program in programs.items()}
    assert order["epmd"] < order["rabbitmq"]
    assert max(order[name] for name in BROKERS) < order["n1"] == order["n2"] == order["n3"] < order["nginx"]


def test_nginx_ends_gracefully_and_alone_it_does_not_last(read: Read) -> None:
    nginx = read()["programs"]["nginx"]
    assert nginx["stopsignal"] == signal.SIGQUIT
    assert (nginx["stopasgroup"], nginx["killasgroup"]) == (False, True)
    assert nginx["command"].endswith('-g "daemon off;"')


def test_what_people_write_is_for_nobody_else_to_read(read: Read) -> None:
    programs = read(f"{INCLUDED} redis.conf rabbitmq.conf")["programs"]
    assert {programs[name]["umask"] for name in ("n1", "n2", "n3", "redis", "rabbitmq")} == {0o77}


def test_all_output_leaves_by_supervisords_own(read: Read) -> None:
    for name, program in read(f"{INCLUDED} redis.conf rabbitmq.conf")["programs"].items():
        stream = "stderr" if name == "health" else "stdout"
        assert program[f"{stream}_logfile"] == "/dev/fd/1"
        assert program[f"{stream}_logfile_maxbytes"] == 0
        # stdout is how an event listener talks to supervisor.
        assert program["redirect_stderr"] is (name != "health")


def test_the_rotated_files_of_the_comments_work_in_their_place(read: Read, tmp_path: Path) -> None:
    def rotated(text: str) -> str:
        lines = text.splitlines()
        files = [line.lstrip("; ") for line in lines if re.match(r"; *std(out|err)_logfile", line)]
        settings = dict.fromkeys(files)
        if not settings:
            return text
        stream = next(iter(settings)).partition("_")[0]
        kept = [line for line in lines if not line.startswith(f"{stream}_logfile_maxbytes")]
        return "\n".join(
            "\n".join(settings) if line.startswith(f"{stream}_logfile=") else line for line in kept
        )

    understood = read(f"{INCLUDED} redis.conf rabbitmq.conf", change=rotated)
    assert understood["warnings"] == understood["unknown"] == []
    for name, program in understood["programs"].items():
        stream = "stderr" if name == "health" else "stdout"
        assert program[f"{stream}_logfile"] == f"{tmp_path}/log/{name}.log"
        assert program[f"{stream}_logfile_maxbytes"] == 50 * 1024 * 1024
        assert program[f"{stream}_logfile_backups"] == 10


def test_nodes_listen_where_the_list_says(read: Read) -> None:
    nodes = [
        Node("a", "10.0.0.7:8001"),
        Node("b", "[fd00::5]:8002"),
        Node("c", "unix:/run/realtime/nodes/c.sock"),
    ]
    found = {name: node["environment"] for name, node in nodes_of(read(nodes=nodes)).items()}
    assert list(found) == ["a", "b", "c"]
    assert (found["a"]["HOST"], found["a"]["PORT"]) == ("10.0.0.7", "8001")
    assert (found["b"]["HOST"], found["b"]["PORT"]) == ("[fd00::5]", "8002")
    assert found["c"]["UNIX_SOCKET"].endswith("/run/nodes/c.sock")
    assert "PORT" not in found["c"]
    assert "UNIX_SOCKET" not in found["a"]
    assert {name: node["NODE_ID"] for name, node in found.items()} == {"a": "a", "b": "b", "c": "c"}
    assert {node["TRUSTED_PROXIES"] for node in found.values()} == {"1"}
    # One for all: who starts first publishes what a dead one has left.
    assert len({node["QUEUE_SPOOL"] for node in found.values()}) == 1


def test_a_machine_runs_the_nodes_that_the_list_gives_it() -> None:
    nodes = [Node("n1", "10.0.0.1:5001", "web1"), Node("n2", "10.0.0.2:5001", "web2")]
    (text,) = render_supervisor(ROOT, nodes, "web2").values()
    assert re.findall(r"^\[program:(.+)\]", text, re.MULTILINE) == ["n2"]


def test_another_node_changes_nothing_of_those_that_are_there(read: Read) -> None:
    nodes = load(ROOT)
    before = nodes_of(read(nodes=nodes))
    after = nodes_of(read(nodes=[*nodes, Node("n4", "127.0.0.1:5004")]))
    assert {name: after[name] for name in before} == before
    # Each is a group of its own: `update` restarts whole groups.
    assert [node["group"] for node in after.values()] == ["n1", "n2", "n3", "n4"]


def test_the_section_with_numprocs_makes_the_same_nodes(read: Read) -> None:
    understood = read(INCLUDED.replace("nodes.conf", "variants/numprocs.conf"))
    assert understood["unknown"] == []
    classic = nodes_of(understood)
    assert {node.pop("group") for node in classic.values()} == {"nodes"}
    usual = nodes_of(read())
    for name, node in usual.items():
        assert node.pop("group") == name
    assert classic == usual
