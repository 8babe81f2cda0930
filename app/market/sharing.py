"""Lets every node know the prices: the feed's node tells the others, and a node that starts asks for them.

They answer with it those who come. The ticks themselves go to the sockets, and no node looks into them.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent
import msgspec
from gevent.event import Event

from app.market.board import Board, History
from app.realtime import QueueError

logger = logging.getLogger(__name__)

# A message for each tick would double what the queue carries; and whoever subscribes meanwhile asks for the
# history again, a little later than this.
SHARE_SECONDS = 0.5
# The feed's node answers at once. Any other one waits for up to this long whether somebody else has answered.
ANSWER_SPREAD_SECONDS = 1.0
# Who is not answered asks again: the node that would have known has just ended, or nobody knows anything yet.
ASK_AGAIN_SECONDS = 3.0
ASKS_MAX = 3

TICKS, ASK, ANSWER = "market", "market.ask", "market.answer"


class Nodes(Protocol):
    """What is asked of the engine; `app.realtime.SocketIO` is one."""

    def tell_nodes(self, topic: str, data: Any) -> None:
        """Tell all other nodes; may raise QueueError."""

    def on_nodes(self, topic: str, handler: Callable[[str, Any], None]) -> None:
        """Say who takes a topic; it must not wait."""


class Answer(msgspec.Struct):
    """The history of one symbol, for the node that asked.

    :param token: of the question.
    :param left: how many further symbols follow.
    """

    token: str
    left: int
    history: History


class Sharing:
    """Keeps a board in step with those of the other nodes.

    :param board: what this node knows.
    :param nodes: the other nodes.
    :param has_feed: whether this process runs a feed, whose points the others need.
    """

    def __init__(self, board: Board, nodes: Nodes, has_feed: bool) -> None:
        self._board = board
        self._nodes = nodes
        self._has_feed = has_feed
        self._symbols = [instrument.symbol for instrument in board.instruments]
        self._told = dict.fromkeys(self._symbols, (0, 0))  # the last position that the others have
        self._token = secrets.token_hex(8)
        self._answered = Event()
        self._answering: dict[str, Any] = {}  # token of a question -> the greenlet that will answer it
        self._greenlets: list[Any] = []
        self._warned: set[str] = set()
        self.skipped = 0  # points that were forgotten here before they could be told
        nodes.on_nodes(TICKS, self._take_ticks)
        nodes.on_nodes(ASK, self._take_question)
        nodes.on_nodes(ANSWER, self._take_answer)

    def start(self) -> None:
        """Ask for what the others know, and begin to tell; call it when the queue has been started."""
        self._greenlets = [gevent.spawn(self._ask)]
        if self._has_feed:
            self._greenlets.append(gevent.spawn(self._tell_for_ever))

    def stop(self) -> None:
        """Tell the last, after the feed has stopped and before the queue is closed."""
        gevent.killall([*self._greenlets, *self._answering.values()])
        self._greenlets = []
        if self._has_feed:
            self.tell()

    def tell(self) -> None:
        """Tell the others what the feed has recorded since the last time."""
        news = [self._board.recorded_since(symbol, self._told[symbol]) for symbol in self._symbols]
        news = [history for history in news if history.points]
        if not news or not self._send(TICKS, news):
            return
        for history in news:
            (told_run, told_seq), first = self._told[history.symbol], history.points[0]
            if skipped := first.seq - 1 - (told_seq if told_run == first.run else 0):
                self.skipped += skipped
                self._warn_once("skipped", "the other nodes miss %d prices of %s", skipped, history.symbol)
            self._told[history.symbol] = history.points[-1].position

    def _tell_for_ever(self) -> None:
        while True:
            gevent.sleep(SHARE_SECONDS)
            self.tell()

    def _ask(self) -> None:
        for _ in range(ASKS_MAX):
            self._send(ASK, self._token)
            if self._answered.wait(ASK_AGAIN_SECONDS):
                return

    def _send(self, topic: str, data: Any) -> bool:
        try:
            self._nodes.tell_nodes(topic, data)
        except QueueError as error:
            self._warn_once(topic, "the other nodes do not get %s: %s", topic, error)
            return False
        return True

    # What the others tell. Nothing here waits.

    def _take_ticks(self, origin: str, data: Any) -> None:
        newer = sum(self._merge(history) for history in self._read(origin, data, list[History]) or ())
        if newer and self._has_feed:
            self._warn_once(
                "feeds",
                "another node (%s) runs a market feed, too: of two, the one that began later counts. "
                "Let one node run it: MARKET_NODE",
                origin,
            )

    def _take_question(self, origin: str, data: Any) -> None:
        token = self._read(origin, data, str)
        if token is None or token in self._answering:
            return
        share = random.uniform(0.1, 1.0)  # noqa: S311 - no secret
        wait_seconds = 0.0 if self._has_feed else share * ANSWER_SPREAD_SECONDS
        self._answering[token] = gevent.spawn_later(wait_seconds, self._answer, token)

    def _answer(self, token: str) -> None:
        del self._answering[token]
        known = [self._board.history(symbol) for symbol in self._symbols]
        known = [history for history in known if history.points]
        for left, history in zip(range(len(known) - 1, -1, -1), known, strict=True):
            if not self._send(ANSWER, Answer(token, left, history)):
                return

    def _take_answer(self, origin: str, data: Any) -> None:
        answer = self._read(origin, data, Answer)
        if answer is None:
            return
        if answer.token == self._token:
            self._merge(answer.history)
            if answer.left == 0:
                self._answered.set()
        elif pending := self._answering.pop(answer.token, None):
            pending.kill(block=False)  # somebody else has answered

    def _read(self, origin: str, data: Any, kind: Any) -> Any:
        """What another node told, or None: it may be of another version."""
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            self._warn_once(origin, "not understood what node %s tells of the market: %s", origin, error)
            return None

    def _merge(self, history: History) -> int:
        try:
            return self._board.merge(history, time.time_ns() // 1_000_000)
        except (KeyError, ValueError) as error:
            self._warn_once(history.symbol, "a price of another node does not count: %s", error)
            return 0

    def _warn_once(self, key: str, message: str, *args: object) -> None:
        if key not in self._warned:
            self._warned.add(key)
            logger.warning(message, *args)
