"""The list of nodes, `config/nodes.txt`: reads, checks and changes its text. Nothing here touches files."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# NODE_ID in config/settings.py, but not a dash in front: commands would take such a name for an option.
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
MACHINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# Supervisor runs these beside the nodes, and `all` means every program.
RESERVED = frozenset({"all", "epmd", "health", "nginx", "rabbitmq", "redis"})
UNIX = "unix:"
# As in config/kinds.py; without what means something to nginx, supervisor or a shell.
SOCKET_PATH = re.compile(r"(?:/[A-Za-z0-9._@+-]+)+")
SOCKET_PATH_MAX_BYTES = 107
PORT_MAX = 65_535


class NodesError(ValueError):
    """The list of nodes is wrong. The message says where, and what should be there."""


@dataclass(frozen=True)
class Node:
    """One node.

    :param id: a letter or digit, then letters, digits, - and _; 32 at most. The name of no other program.
    :param address: IP:PORT, [IPV6]:PORT or unix:/PATH, as nginx names it.
    :param machine: which machine runs it; None: there is only one.
    :raises NodesError: when one of them is not that.
    """

    id: str
    address: str
    machine: str | None = None

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise NodesError(
                f"{self.id!r} is no id of a node: 1 to 32 letters, digits, - and _, "
                "beginning with a letter or digit, for example n1"
            )
        if self.id.lower() in RESERVED:
            raise NodesError(f"{self.id!r} is the name of another program: take another id, for example n1")
        if self.machine is not None and not MACHINE.fullmatch(self.machine):
            raise NodesError(
                f"{self.machine!r} is no name of a machine: letters, digits, '.', - and _, for example web1"
            )
        object.__setattr__(self, "address", _address(self.address))

    @property
    def unix_socket(self) -> str | None:
        """The path of its unix socket; None: it listens on `host` and `port`."""
        return self.address.removeprefix(UNIX) if self.address.startswith(UNIX) else None

    @property
    def host(self) -> str | None:
        """The IP address it listens on, IPv6 in brackets; None: on a unix socket."""
        return None if self.unix_socket else self.address.rpartition(":")[0]

    @property
    def port(self) -> int | None:
        """The TCP port it listens on; None: on a unix socket."""
        return None if self.unix_socket else int(self.address.rpartition(":")[2])


def parse(text: str) -> list[Node]:
    """Read a list of nodes.

    :param text: of `config/nodes.txt`.
    :raises NodesError: naming the line, and saying what should be there.
    """
    nodes: list[Node] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = _fields(line)
        if not fields:
            continue
        if not 2 <= len(fields) <= 3:  # noqa: PLR2004 - see the message
            raise NodesError(
                f"line {number} of the list of nodes, {line.strip()!r}: "
                "it should be ID ADDRESS, or ID ADDRESS MACHINE, for example: n1 127.0.0.1:5001"
            )
        try:
            nodes.append(Node(*fields))
            check(nodes)
        except NodesError as error:
            raise NodesError(f"line {number} of the list of nodes: {error}") from None
    if not nodes:
        raise NodesError("the list of nodes is empty: it needs one a line, for example: n1 127.0.0.1:5001")
    return nodes


def check(nodes: Sequence[Node]) -> None:
    """See whether these nodes can be in one cluster.

    :raises NodesError: when two have one id or one address, or when only some name their machine.
    """
    ids: dict[str, Node] = {}
    addresses: dict[tuple[str, str | None], Node] = {}
    for node in nodes:
        # nginx does not tell small letters from capitals in the names of its upstreams.
        twin = ids.setdefault(node.id.lower(), node)
        if twin is not node:
            raise NodesError(f"{node.id!r} and {twin.id!r} are one id, but for capitals: each needs its own")
        twin = addresses.setdefault((node.address, None), node)
        if twin is not node:
            raise NodesError(
                f"{node.id} and {twin.id} both have {node.address}: each needs an address of its own"
            )
        if (node.machine is None) != (nodes[0].machine is None):
            without = node if node.machine is None else nodes[0]
            raise NodesError(
                f"{without.id} names no machine and others do: name it for every node, or for none"
            )


def of_machine(nodes: Sequence[Node], machine: str | None) -> list[Node]:
    """Pick those that one machine runs.

    :param machine: its name in the list; None when the list names none.
    :raises NodesError: when that name is missing, or not in the list.
    """
    known = sorted({node.machine for node in nodes if node.machine})
    if machine is None and known:
        raise NodesError(f"the list names machines: say which one this is (--machine {' or '.join(known)})")
    if machine is not None and machine not in known:
        raise NodesError(
            f"the list has no machine {machine!r}: it names {', '.join(known) or 'none, so name none here'}"
        )
    return [node for node in nodes if node.machine == machine]


def write(nodes: Iterable[Node]) -> str:
    """Make the text of a list."""
    return "".join(f"{_line(node)}\n" for node in nodes)


def with_node(text: str, node: Node) -> str:
    """Add a node to the end of a list's text; everything else in it, comments too, stays.

    :raises NodesError: when the list is wrong then.
    """
    changed = f"{text.rstrip()}\n{_line(node)}\n".lstrip()
    parse(changed)
    return changed


def without_node(text: str, node_id: str) -> str:
    """Take a node out of a list's text; everything else in it, comments too, stays.

    :raises NodesError: when it is not in the list, or the last one.
    """
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if _fields(line)[:1] != [node_id]]
    if len(kept) == len(lines):
        ids = ", ".join(node.id for node in parse(text))
        raise NodesError(f"there is no node {node_id!r} in the list: it has {ids}")
    changed = "".join(kept)
    parse(changed)
    return changed


def _fields(line: str) -> list[str]:
    return line.partition("#")[0].split()


def _line(node: Node) -> str:
    return " ".join(field for field in (node.id, node.address, node.machine) if field)


def _address(value: str) -> str:
    """Check an address and write it as nginx does, which tells nodes apart by it."""
    if value.startswith(UNIX):
        path = value.removeprefix(UNIX)
        if not SOCKET_PATH.fullmatch(path):
            raise NodesError(
                f"{value!r}: after unix: there should be an absolute path of letters, digits and . _ @ + -, "
                "for example unix:/run/realtime/nodes/n1.sock"
            )
        if len(path) > SOCKET_PATH_MAX_BYTES:
            raise NodesError(
                f"{value!r}: the path has {len(path)} bytes, and may have {SOCKET_PATH_MAX_BYTES}"
            )
        return value
    host, _, port = value.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        bracketed = host.startswith("[") and host.endswith("]")
        if bracketed != (ip.version == 6) or "%" in host:  # noqa: PLR2004 - IPv6
            raise ValueError
    except ValueError:
        raise NodesError(
            f"{value!r} should be IP:PORT, [IPV6]:PORT or unix:/PATH, for example 127.0.0.1:5001 (no name: "
            "nginx tells by the IP address which node has answered)"
        ) from None
    if ip.version == 6 and ip.ipv4_mapped:  # noqa: PLR2004
        raise NodesError(f"{value!r}: write it as the IPv4 address that it is, {ip.ipv4_mapped}:{port}")
    if ip.is_unspecified or ip.is_multicast:
        raise NodesError(f"{value!r}: nginx cannot connect to {ip}; 127.0.0.1 is this machine")
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= PORT_MAX:
        raise NodesError(f"{value!r}: the port should be a number from 1 to {PORT_MAX}")
    # Compressed, as nginx writes it.
    return f"[{ip}]:{int(port)}" if bracketed else f"{ip}:{int(port)}"
