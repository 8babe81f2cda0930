"""docs/deployment.md, done as it stands: on a Debian 12 of its own, by root, under systemd (see debian.py).

What differs from a machine of one's own: packages are there already, the code comes from a folder, and nobody
asks Let's Encrypt. Each test leaves three nodes that are ready.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import guide
from tests.deploy.debian import OVERCOMMIT, BootError, Debian
from tests.deploy.production import CTL, NODES, Machine, commit_a_version, make_origin
from tests.support.waiting import wait_until

# On a busy machine; a quiet one needs a third of it.
pytestmark = pytest.mark.timeout(300)

ROLL_SECONDS = 200.0


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_origin(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def machine(origin: Path) -> Iterator[Machine]:
    """A machine on which section 2 has been done."""
    why_not = Debian.missing()
    if why_not:
        pytest.skip(f"no Debian of its own: {why_not}")
    with contextlib.ExitStack() as stack:
        try:
            debian = stack.enter_context(Debian(origin.parent))
        except BootError as error:
            # Containers are of many kinds, and not all let systemd run.
            pytest.skip(f"no Debian of its own: {error}")
        machine = Machine(debian)
        for name in ("services", "user", "code", "settings", "nodes", "https"):
            machine.do(name)
        if debian.attempt("prlimit --nofile=65536:65536 true").returncode:
            # Where root may not raise the limit: what the guide says for containers.
            debian.run(
                'sed -i "s/^minfds=.*/minfds=$(ulimit -Hn)/" /srv/realtime/supervisor/supervisord.conf'
            )
        machine.do("start")
        machine.wait_ready()
        yield machine


# Section 2.


def test_one_machine_serves(machine: Machine) -> None:
    told = machine.do("look")
    assert "test is successful" in told
    assert '"status":"ready"' in told
    listed = re.findall(r"^(n\d) +serving", told, re.MULTILINE)
    assert listed == list(NODES)
    assert machine.run("cd /srv/realtime && git status --short") == ""
    signed_in = machine.run(
        "curl --silent --insecure --cookie-jar /root/jar --output /dev/null --write-out '%{http_code}' "
        "--data name=Ada https://localhost/sign-in"
    )
    assert signed_in == "303"
    assert (
        machine.run("curl --silent --output /dev/null --write-out '%{http_code}' http://localhost/") == "308"
    )
    assert machine.run(f"cat {OVERCOMMIT}").strip() == "1"


def test_systemd_understands_the_unit(machine: Machine) -> None:
    unit = "/srv/realtime/config/systemd/realtime.service"
    # It may have something to say of Debian's units too.
    assert "realtime" not in machine.run(f"systemd-analyze verify {unit}")
    assert machine.run("systemctl is-enabled realtime").strip() == "enabled"


def test_who_may_do_what(machine: Machine) -> None:
    def may(user: str, command: str) -> bool:
        return machine.debian.attempt(f"runuser -u {user} -- {command}").returncode == 0

    assert may("realtime", "cat /srv/realtime/.env")
    assert not may("www-data", "cat /srv/realtime/.env")
    assert may("www-data", "cat /srv/realtime/app/static/css/tokens.css")
    # Root's processes write or read there.
    for folder in (
        "/run/realtime",
        "/var/lib/realtime",
        "/var/lib/realtime/nginx",
        "/srv/realtime/supervisor",
    ):
        assert not may("realtime", f"touch {folder}/x"), folder
    assert not may("www-data", f"{CTL} status")
    assert not may("nobody", "ls /run/realtime/nodes")


# Section 3.


def test_a_node_joins_and_leaves(machine: Machine) -> None:
    before = machine.pids()
    machine.do("join")
    machine.wait_ready((*NODES, "n4"))
    assert machine.served_by("n4") == "n4"
    joined = machine.pids()
    machine.do("leave")
    machine.wait_ready()
    assert machine.served_by("n4") in NODES
    assert "n4" in joined
    assert {name: pid for name, pid in joined.items() if name != "n4"} == before == machine.pids()


def test_a_node_on_a_unix_socket(machine: Machine) -> None:
    join = guide.replaced(
        guide.blocks()["join"].text, {"n4 127.0.0.1:5004": "n4 unix:/run/realtime/nodes/n4.sock"}
    )
    machine.run(join)
    machine.wait_ready((*NODES, "n4"))
    assert machine.served_by("n4") == "n4"
    machine.do("leave")
    machine.wait_ready()


# Section 5.


def test_a_balancer_in_front_is_believed_and_nobody_else(machine: Machine) -> None:
    ask = (
        "curl --silent --head --header 'X-Forwarded-For: 198.51.100.7' --header 'X-Forwarded-Proto: https' "
        "http://127.0.0.1/healthz"
    )
    lines = guide.replaced(guide.blocks()["balancer"].text, {"192.0.2.0/24": "127.0.0.1"}).splitlines()
    edits = [
        f"-e 's|^\\( *\\)#{line.strip().replace('127.0.0.1', '192.0.2.0/24')}|\\1{line.strip()}|'"
        for line in lines
    ]
    reload = "nginx -s reload -c /srv/realtime/nginx/nginx.conf"
    conf = "/srv/realtime/nginx/realtime.conf"
    plain = "-e 's/^include https.conf;/include http.conf;/'"
    machine.run(f"cp {conf} /root/kept; sed -i {plain} {conf}; {reload}")
    wait_until(lambda: "HTTP/1.1 200" in machine.run(ask), "HTTP without a redirect")
    assert "Secure" not in machine.run(ask)
    machine.run(f"sed -i {' '.join(edits)} {conf}; {reload}")
    wait_until(lambda: "Secure" in machine.run(ask), "the balancer's HTTPS is believed")
    assert '"address":"198.51.100.7"' in machine.log()
    machine.run(f"cp /root/kept {conf}; {reload}")
    wait_until(lambda: "308" in machine.run(ask), "the redirect to HTTPS is back")


# Section 6.


def test_a_renewed_certificate_is_served(machine: Machine) -> None:
    machine.do("hook")
    machine.run(
        "install -d /root/live; openssl req -x509 -newkey rsa:2048 -nodes -days 30 "
        "-subj /CN=renewed.example.org -keyout /root/live/privkey.pem -out /root/live/fullchain.pem"
    )
    before = machine.pids()
    # As certbot.timer does: with a stdout that is the journal's.
    machine.run(
        "systemd-run --quiet --wait --setenv RENEWED_LINEAGE=/root/live /usr/local/sbin/realtime-certificate"
    )
    shown = "openssl s_client -connect localhost:443 < /dev/null 2>&1 | grep subject"
    wait_until(lambda: "renewed.example.org" in machine.run(shown), "the new certificate is served")
    assert machine.run("stat --format '%U %a' /etc/realtime/tls/privkey.pem").strip() == "root 600"
    assert machine.pids() == before


# Section 7.


@pytest.mark.parametrize(
    "rolled",
    [
        # The others stay as they are, and meet the next one's schema.
        pytest.param(NODES[:1], id="one node"),
        pytest.param(NODES, id="all nodes", marks=pytest.mark.soak),
    ],
)
def test_a_deploy_and_the_way_back(machine: Machine, origin: Path, rolled: tuple[str, ...]) -> None:
    roll = "deploy roll --production"
    instead = {} if rolled == NODES else {roll: f"{roll} --only {rolled[0]}"}

    def do(name: str) -> str:
        return machine.run(guide.replaced(guide.blocks()[name].text, instead), ROLL_SECONDS)

    def page(node: str) -> str:
        return machine.run(f"curl --silent --insecure --cookie NODE={node} https://localhost/sign-in")

    name, revision = commit_a_version(origin)
    before = machine.pids()
    told = do("deploy")
    assert re.findall(r"(n\d): back in the cluster", told) == list(rolled)
    machine.wait_ready()
    assert [node for node in NODES if name in page(node)] == list(rolled)
    deployed = machine.pids()
    assert tuple(name for name, pid in deployed.items() if pid != before[name]) == rolled

    do("rollback")
    # The version of before, with the next one's schema.
    machine.wait_ready()
    assert not any(name in page(node) for node in NODES)
    schema = "SELECT version_num FROM alembic_version"
    found = machine.run(f"runuser -u postgres -- psql --tuples-only --command '{schema}' realtime")
    assert found.strip() == revision


def test_a_broken_version_takes_no_node_down(machine: Machine) -> None:
    before = machine.pids()
    wsgi = "/srv/realtime/wsgi.py"
    machine.run(f"cp {wsgi} /root/kept && echo 'import nothing_of_that_name' >> {wsgi}")
    roll = "cd /srv/realtime && .venv/bin/python -m deploy roll --production --nginx https://localhost"
    done = machine.debian.attempt(roll, ROLL_SECONDS)
    machine.run(f"cp /root/kept {wsgi}")
    assert done.returncode != 0
    assert "nothing_of_that_name" in done.stdout
    assert machine.pids() == before


def test_a_broker_is_restarted_while_the_other_is_used(machine: Machine) -> None:
    before = machine.pids()["redis"]
    told = machine.do("broker")
    assert told.count("prefers rabbitmq, uses rabbitmq") == len(NODES)
    assert "redis: started" in told
    machine.wait_ready()
    assert machine.pids()["redis"] != before


# Section 8.


def test_a_user_of_its_own_in_rabbitmq(machine: Machine) -> None:
    told = machine.do("rabbitmqctl")
    assert len(re.findall(r"^socketio\.flask-socketio\.", told, re.MULTILINE)) == len(NODES)
    assert "Alarms" in told
    emitted = machine.run(
        "cd /srv/realtime && runuser -u realtime -- env "
        'MESSAGE_QUEUE="amqp://realtime:$(cat /root/rabbitmq-password)@127.0.0.1:5672//" '
        ".venv/bin/flask --app wsgi emit news 1"
    )
    assert "delivered over rabbitmq" in emitted


# Section 10.


def test_a_backup_can_be_restored(machine: Machine) -> None:
    machine.do("backup")
    # In the chat there is always the first room.
    assert int(machine.do("restore").split()[-1]) >= 1
    assert machine.run("stat --format %a /var/backups/realtime/env").strip() == "600"
    kept = machine.run("tar --list --file /var/backups/realtime/etc.tar.gz")
    assert "etc/realtime/tls/privkey.pem" in kept


def test_a_request_is_found_in_both_logs(machine: Machine) -> None:
    found = wait_until(
        lambda: machine.debian.attempt(guide.blocks()["logs"].text).stdout, "the request in the log"
    )
    entries = [json.loads(line) for line in found.splitlines()]
    [nginx] = [entry for entry in entries if "upstream" in entry]
    [node] = [entry for entry in entries if "logger" in entry]
    assert nginx["request_id"] == node["request_id"]
    assert nginx["node"] == node["node"] in NODES


def test_what_is_to_be_watched_can_be(machine: Machine) -> None:
    told = machine.do("watch")
    said = json.loads(told[told.index('{\n  "channel"') :])
    assert len(said["nodes"]) == len(NODES)
    for status in said["nodes"]:
        assert {broker["state"] for broker in status["brokers"].values()} == {"up"}
        assert status["inbox"]["lost"] == status["outbox"]["dropped"] == 0
        assert status["outbox"]["oldest_age_seconds"] < 5


def test_nginx_is_checked_from_a_service_by_a_pipe(machine: Machine) -> None:
    check = "nginx -t -c /srv/realtime/nginx/nginx.conf"
    assert machine.debian.attempt(f"systemd-run --quiet --wait {check}").returncode != 0
    machine.run(f"systemd-run --quiet --wait bash -o pipefail -c '{check} | cat'")


# Last, for they end what runs.


def test_supervisord_is_killed(machine: Machine) -> None:
    machine.run("kill -9 $(systemctl show realtime --property MainPID --value)")
    machine.wait_ready()
    assert int(machine.run("systemctl show realtime --property NRestarts --value")) >= 1


def test_a_stop_leaves_nothing_and_a_start_finds_everything(machine: Machine) -> None:
    machine.run("systemctl stop realtime", 120)
    assert machine.run("systemctl show realtime --property Result --value").strip() == "success"
    ours = "^(/srv/realtime|/bin/sh .*rabbit|/usr/(bin|lib)/(erlang|epmd|redis)|nginx: )"
    assert machine.run(f"pgrep --full --list-full '{ours}' || true") == ""
    assert not machine.run("ls -A /run/realtime 2>/dev/null || true")
    # As a boot does.
    machine.run("systemctl isolate multi-user.target")
    machine.wait_ready()
    assert int(machine.run("runuser -u postgres -- psql -tAc 'SELECT count(*) FROM rooms' realtime")) >= 1
