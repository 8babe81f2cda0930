"""Clients and nodes for the tests of nginx: browsers in small, and a node that listens where it is told."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import requests

from deploy import asking
from tests.support.clients import RawClient, cookie_header
from tests.support.nginx import Nginx
from tests.support.servers import HOST, Node
from tests.support.waiting import WAIT_SECONDS, wait_until

POLL = "/socket.io/?EIO=4&transport=polling"


class ClusterNode(Node):
    """A node as one of a cluster behind nginx.

    :param node_id: its name.
    :param unix: whether it listens on a unix socket.
    """

    def __init__(self, node_id: str, *, unix: bool = False, **settings: str) -> None:
        super().__init__(**{"NODE_ID": node_id, "TRUSTED_PROXIES": "1"} | settings)
        self.node_id = node_id
        self.address = f"{HOST}:{self.port}"
        if unix:
            self.settings["UNIX_SOCKET"] = str(self.folder / "node.sock")
            self.address = f"unix:{self.folder}/node.sock"

    def ready(self) -> bool:
        """Ask /readyz, wherever it is."""
        return asking.ready(self.address)[0]


@contextlib.contextmanager
def running(nodes: Sequence[ClusterNode]) -> Iterator[list[ClusterNode]]:
    """Start nodes at the same time, and end them; nothing that is done to them makes them stumble."""
    with contextlib.ExitStack() as exits:
        for node in nodes:
            exits.callback(node.close)
            node.launch()
        for node in nodes:
            wait_until(node.ready, f"{node.node_id} to be ready", 60)
        yield list(nodes)
        for node in nodes:
            assert "Traceback" not in node.log(), node.log()


class Visitor:
    """A browser in small, for `with`: it keeps cookies and opens WebSockets.

    :param cookies: whether it keeps them.
    """

    def __init__(self, nginx: Nginx, *, cookies: bool = True) -> None:
        self.nginx = nginx
        self.session = requests.Session()
        self._cookies = cookies
        self._sockets: list[RawClient] = []

    def request(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        """Ask for something. A redirect is not followed."""
        options |= {"timeout": WAIT_SECONDS, "allow_redirects": False, "verify": self.nginx.verify}
        answer = self.session.request(method, self.nginx.url + path, **options)
        if not self._cookies:
            self.session.cookies.clear()
        return answer

    def node(self) -> str:
        """Which node a request gets to."""
        answer = self.request("/healthz")
        assert answer.status_code == requests.codes.ok, answer.text
        return str(answer.json()["node"])

    @property
    def cookie(self) -> str | None:
        """Which node the cookie names."""
        return self.session.cookies.get("NODE")

    def bind(self, node: str) -> None:
        """Have a cookie of a node from before."""
        self.session.cookies.clear()
        self.session.cookies.set("NODE", node, domain=HOST, path="/")

    def open_socket(self) -> str:
        """Open a WebSocket, to be closed in the end, and return the id of its session."""
        # As a browser does, which names the page's origin.
        client = RawClient(self.nginx.url, cookie=cookie_header(self.session), origin=self.nginx.url)
        self._sockets.append(client)
        return str(client.open["sid"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._sockets:
            client.__exit__(*_)
        self.session.close()


class Poller:
    """A client that polls, on any connection, with nothing but the id of its session.

    :param visitor: who asks.
    """

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        answer = visitor.request(POLL)
        assert answer.status_code == requests.codes.ok, answer.text
        found = re.search(r'"sid":"([^"]+)"', answer.text)
        assert found, answer.text
        self.sid = found[1]

    def exchange(self) -> None:
        """Connect to the namespace of the chat, which refuses, and see the refusal: a POST and a GET.

        :raises AssertionError: when the request came to a node that does not know the session.
        """
        path = f"{POLL}&sid={self.sid}"
        sent = self.visitor.request(path, "POST", data=b"40/chat,")
        assert (sent.status_code, sent.text) == (requests.codes.ok, "ok"), sent.text
        got = self.visitor.request(path)
        assert got.status_code == requests.codes.ok, got.text
        assert "44/chat," in got.text, got.text


def node_of(sid: str) -> str:
    """The node in the id of a session."""
    return sid.partition(".")[0]


def spread(nodes: Iterable[str]) -> list[int]:
    """How many came to each node, smallest first."""
    return sorted(Counter(nodes).values())
