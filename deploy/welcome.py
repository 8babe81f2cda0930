"""What `make cluster` says when everything runs: where it is, and what to try."""

from __future__ import annotations

import sys

from deploy.machine import Machine


def welcome(machine: Machine, *, by_make: bool) -> str:
    """The text of several lines.

    :param by_make: name the commands of `make`, which know the usual folder alone.
    """
    if by_make:
        words = {"watch": "make cluster-watch", "roll": "make cluster-roll", "down": "make cluster-stop"}
        words |= {name: f"make cluster-kill WHAT={name}" for name in ("n1", "redis")}
    else:
        python = f"{sys.executable} -m deploy"
        words = {name: f"{python} {name} --folder {machine.folder}" for name in ("watch", "roll", "down")}
        words |= {name: f"{python} kill {name} --folder {machine.folder}" for name in ("n1", "redis")}
    tries = {words["watch"]: "every second: who runs, who is ready, how many clients"}
    tries[words["n1"]] = "a node dies: its people are back at once, on another"
    if len(machine.brokers) > 1:
        tries[words["redis"]] = "messages go over RabbitMQ until Redis is back"
    tries[words["roll"]] = "new code, node by node, and nobody notices"
    tries[words["down"]] = "end it, and leave nothing behind"
    width = max(map(len, tries))
    return "\n".join(
        [
            f"\n  {machine.url}\n",
            f"nodes    {'  '.join(f'{node.id} {node.address}' for node in machine.nodes)}",
            *(f"{name:<8} {url}" for name, url in machine.brokers.items()),
            "",
            "Open it in two browsers, sign in with two names, talk, and try:",
            *(f"  {command:<{width}}  {meaning}" for command, meaning in tries.items()),
            *_tour(machine),
        ]
    )


def _tour(machine: Machine) -> list[str]:
    """Where its parts can be broken in a browser."""
    from config.ops import DEFAULT_ADMIN_TOKEN

    settings = machine.environment()
    if "CLUSTER_CONTROL" not in settings:
        return []
    token = settings.get("ADMIN_TOKEN", DEFAULT_ADMIN_TOKEN)
    return [
        "",
        "Or break it in the browser, and see whether anything is lost:",
        f"  {machine.url}/ops?tour  (the token is {token})",
    ]
