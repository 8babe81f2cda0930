"""The commands of `python -m deploy`: a cluster on this machine, and what a production machine needs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import click

from deploy.control import Control, ControlError
from deploy.fill import RUN
from deploy.launching import OF_A_NODE
from deploy.layout import BROKERS, CHECKOUT
from deploy.machine import ClusterError, Machine
from deploy.nodes import Node, NodesError, of_machine
from deploy.render import Balance, load, render_all, stale, write
from deploy.watching import changes, look, table
from deploy.welcome import welcome

FOLDER = CHECKOUT / "instance/cluster"
BALANCES = get_args(Balance)
WATCH_SECONDS = 1.0
CHANGES_SHOWN = 12
LOG_LINES = 50


@dataclass(frozen=True)
class Site:
    """Where a command works: a cluster of `up`, or (machine is None) this machine in production."""

    control: Control
    nodes: Callable[[], list[Node]]
    url: str | None
    machine: Machine | None


class Commands(click.Group):
    """Commands whose expected errors are one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (ClusterError, ControlError, NodesError) as error:
            raise click.ClickException(str(error)) from None


folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=FOLDER,
    show_default="instance/cluster",
    help="Of the cluster.",
)


def site_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command work on a cluster of `up`, or on this machine in production."""
    production = click.option(
        "--production",
        is_flag=True,
        help=f"Not a cluster of `up`: the supervisord at {RUN}/supervisor.sock, and config/nodes.txt.",
    )
    name = click.option(
        "--machine", "machine_name", help="Which one this is, if config/nodes.txt names several."
    )
    return folder_option(production(name(command)))


def find_site(folder: Path, production: bool, machine_name: str | None) -> Site:
    """Find what a command works on.

    :raises ClusterError: when no cluster runs in the folder.
    :raises NodesError: when config/nodes.txt is wrong, or does not name this machine.
    """
    if production:
        nodes = of_machine(load(CHECKOUT), machine_name)
        return Site(Control(f"{RUN}/supervisor.sock"), lambda: nodes, None, None)
    machine = Machine.find(folder)
    return Site(machine.control, lambda: machine.nodes, machine.url, machine)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Run a cluster on this machine, and do what a cluster in production needs."""


# A cluster on this machine.


@main.command()
@click.option("--nodes", "count", type=int, default=3, show_default=True, help="How many, 1 to 32.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="Of nginx; 0, the default: any that is free."
)
@click.option(
    "--balance", type=click.Choice(BALANCES), default="cookie", show_default=True, help="How nginx spreads."
)
@click.option(
    "--unix-sockets", is_flag=True, help="Let nginx reach the nodes by unix sockets instead of ports."
)
@folder_option
def up(count: int, port: int, balance: Balance, unix_sockets: bool, folder: Path) -> None:
    """Start nodes, nginx, Redis and RabbitMQ in a private folder, on loopback.

    Settings of the application in the environment (DATABASE_URL, MARKET_SOURCE, ...) are for all nodes; with
    MESSAGE_QUEUE, those brokers are used, and none is started.
    """
    settings = _caller_settings()
    brokers = () if settings.get("MESSAGE_QUEUE") else BROKERS
    machine = Machine(
        folder, count, brokers, balance, unix_sockets=unix_sockets, settings=settings, port=port
    )
    machine.check()
    parts = [f"{count} node{'' if count == 1 else 's'}", "nginx", *brokers]
    click.echo(f"Starting {', '.join(parts)} ...")
    # Like Ctrl-C, and like a terminal that is closed: what has been started by then is ended.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    machine.start()
    click.echo(welcome(machine, by_make=machine.folder == FOLDER))


@main.command()
@folder_option
def down(folder: Path) -> None:
    """End the cluster, with its data, and leave nothing behind."""
    if not Machine(folder).stop():
        raise ClusterError(f"no cluster runs in {folder}")
    click.echo("The cluster has ended, and its folder is removed.")


@main.command()
@folder_option
def add(folder: Path) -> None:
    """Let one more node join."""
    node = Machine.find(folder).add_node()
    click.echo(f"{node.id} has joined, at {node.address}; new clients come to it.")


@main.command()
@click.argument("node_id", metavar="ID")
@folder_option
def remove(node_id: str, folder: Path) -> None:
    """Let a node leave: its clients go to the others."""
    machine = Machine.find(folder)
    machine.remove_node(node_id)
    click.echo(f"{node_id} has left.")
    if machine.environment().get("MARKET_NODE") == node_id:
        click.echo(f"{node_id} had the market (MARKET_NODE): there are no new prices now.")


@main.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@folder_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(folder: Path, command: tuple[str, ...]) -> None:
    """Run a command with the cluster's settings, for example: exec -- flask --app wsgi queue watch."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_NODE}
    environment |= Machine.find(folder).environment()
    environment["PATH"] = f"{sys.prefix}/bin:{environment.get('PATH', os.defpath)}"
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise click.ClickException(f"{shlex.join(command)}: {error.strerror}") from None


@main.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@folder_option
def logs(names: tuple[str, ...], follow: bool, folder: Path) -> None:
    """Show the end of what programs have written; without a name, of all."""
    machine = Machine.find(folder)
    known = sorted(path.stem for path in machine.log("any").parent.glob("*.log"))
    for name in names:
        if name not in known:
            raise click.ClickException(f"there is no log of {name}, but of {', '.join(known)}")
    files = [str(machine.log(name)) for name in names or known]
    sys.stdout.flush()
    os.execvp("tail", ["tail", "-n", str(LOG_LINES), *(["-F"] if follow else []), "--", *files])


# Either.


@main.command()
@site_options
def status(folder: Path, production: bool, machine_name: str | None) -> None:
    """Show every program, and for each node whether it is ready, and its clients."""
    site = find_site(folder, production, machine_name)
    rows = look(site.control, site.nodes())
    for line in table(rows):
        click.echo(line)
    if site.url:
        click.echo(f"\n{site.url}")


@main.command()
@site_options
def watch(folder: Path, production: bool, machine_name: str | None) -> None:
    """Show the same every second, and what has changed, until Ctrl-C."""
    site = find_site(folder, production, machine_name)
    happened: deque[str] = deque(maxlen=CHANGES_SHOWN)
    screen = sys.stdout.isatty()
    before = None
    try:
        while True:
            rows = look(site.control, site.nodes())
            new = [f"{datetime.now():%H:%M:%S}  {line}" for line in changes(before or rows, rows)]
            happened.extend(new)
            if screen:
                click.clear()
            if screen or before is None:
                click.echo("\n".join(table(rows)) + "\n")
            for line in happened if screen else new:
                click.echo(line)
            before = rows
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return
    except ClusterError as error:
        click.echo(f"{error}.")


@main.command()
@click.argument("name")
@site_options
def kill(name: str, folder: Path, production: bool, machine_name: str | None) -> None:
    """End a program and its children at once (kill -9), to see what happens; supervisor starts it again."""
    find_site(folder, production, machine_name).control.kill(name)
    click.echo(f"{name} is dead. supervisor starts it again.")


@main.command()
@click.argument("name")
@site_options
def freeze(name: str, folder: Path, production: bool, machine_name: str | None) -> None:
    """Stop a program where it is, with its connections open; the health listener replaces a frozen node."""
    find_site(folder, production, machine_name).control.freeze(name)
    click.echo(f"{name} is frozen. `python -m deploy thaw {name}` lets it go on.")


@main.command()
@click.argument("name")
@site_options
def thaw(name: str, folder: Path, production: bool, machine_name: str | None) -> None:
    """Let a frozen program go on."""
    find_site(folder, production, machine_name).control.thaw(name)
    click.echo(f"{name} goes on.")


@main.command()
@click.option("--only", metavar="ID", multiple=True, help="Only this node; repeat for more.")
@click.option("--dry-run", is_flag=True, help="Only look whether it could be done, and try the code.")
@click.option(
    "--nginx", metavar="URL", help="Where nginx answers, to see that it sends clients to a node again."
)
@click.option(
    "--ready",
    type=click.FloatRange(1, 3_600),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a node may take to get ready.",
)
@click.option(
    "--steady",
    type=click.FloatRange(0, 3_600),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it must stay so before the next one is stopped.",
)
@site_options
def roll(
    only: Sequence[str],
    dry_run: bool,
    nginx: str | None,
    ready: float,
    steady: float,
    folder: Path,
    production: bool,
    machine_name: str | None,
) -> None:
    """Restart the nodes one by one, with what is in the checkout now; stops at the first that fails."""
    from deploy.roll import roll as roll_nodes

    site = find_site(folder, production, machine_name)
    sys.exit(
        roll_nodes(
            site.control,
            site.nodes(),
            only=only,
            dry_run=dry_run,
            nginx=nginx or _asked_url(site),
            ready_seconds=ready,
            steady_seconds=steady,
            say=click.echo,
        )
    )


# Production.


@main.command()
@click.option(
    "--balance", type=click.Choice(BALANCES), help="How nginx spreads clients; as it does now, by default."
)
@click.option("--machine", "machine_name", help="Which one this is, if the list names several.")
@click.option("--check", is_flag=True, help="Write nothing; fail if something would be written.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=CHECKOUT, hidden=True)
def nodes(balance: Balance | None, machine_name: str | None, check: bool, root: Path) -> None:
    """Write the files that follow from config/nodes.txt, for nginx and supervisor."""
    files = render_all(root, load(root), machine_name, balance or _balance_now(root / "nginx/nodes.conf"))
    if check:
        if old := stale(files):
            paths = ", ".join(str(path.relative_to(root)) for path in old)
            raise click.ClickException(
                f"not as config/nodes.txt has it: {paths}; run: python -m deploy nodes"
            )
        click.echo("Everything is as config/nodes.txt has it.")
        return
    try:
        written = write(files)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    for path in written:
        click.echo(f"written: {path.relative_to(root)}")
    if not written:
        click.echo("Everything is as config/nodes.txt has it: nothing to write.")
        return
    click.echo(
        "Now let supervisor and nginx read it; no other node is touched:\n"
        f"  {sys.prefix}/bin/supervisorctl -c {root}/supervisor/supervisord.conf update\n"
        f"  nginx -c {root}/nginx/nginx.conf -s reload"
    )


# Below.


def _balance_now(path: Path) -> Balance:
    """What the file in use does: who changed the list does not want another way of balancing."""
    text = path.read_text("utf-8") if path.exists() else ""
    if re.search(r"^\s*ip_hash;", text, re.MULTILINE):
        return "ip_hash"
    return "sticky" if re.search(r"^\s*sticky ", text, re.MULTILINE) else "cookie"


def _caller_settings() -> dict[str, str]:
    """The application's settings in the environment, but for those that each node has of its own."""
    from config.settings import Settings

    names = {name.upper() for name in Settings.model_fields} - OF_A_NODE
    return {name: os.environ[name] for name in sorted(names) if os.environ.get(name)}


def _asked_url(site: Site) -> str | None:
    """Where a roll asks nginx for single nodes, which it finds by cookies only."""
    return site.url if site.machine and site.machine.balance == "cookie" else None
