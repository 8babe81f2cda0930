"""The same with nothing left out: the application under gunicorn, people on WebSockets, a program."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest
import websocket

from app.realtime import SocketIO
from tests.faults.brokers import Brokers
from tests.faults.judge import Life, judge_pair
from tests.faults.plays import down
from tests.faults.records import ACCEPTED, Emitted, Received
from tests.faults.stage import LEAD_SECONDS, TRAIL_SECONDS, address
from tests.support.clients import People, RawClient, cookie_header, general, new_client_id
from tests.support.servers import Node
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

OUTAGE_SECONDS = 2.0
# A person who sends waits for the database, and for a busy machine; not for a broker, which would take 2 s.
ANSWER_SECONDS = 1.5
# More than what Redis was down, and the time until it is used again.
ARRIVAL_SECONDS = 20.0
ANNOUNCEMENT = "announcement"
ADA, BOB, PROGRAM = 1, 2, 3


class Ear(RawClient):
    """Somebody's second tab, which writes down who was heard when, in the order on the wire."""

    def __init__(self, url: str, cookie: str) -> None:
        super().__init__(url, cookie=cookie)
        self.heard: list[Received] = []
        self.join_namespace("/chat")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        self._thread.join()

    def _listen(self) -> None:
        try:
            while True:
                _, data = json.loads(self.receive_until("42/chat,").partition(",")[2])[:2]
                label, _, number = data.get("text", "").partition(" ")
                if number.isdigit():
                    self.heard.append(Received(int(label), int(number), time.monotonic()))
        except (websocket.WebSocketException, OSError):
            return


class Speaker:
    """Says numbers, one after the other, while a `with` lasts."""

    def __init__(self, label: int, say: Callable[[str], object], pause_seconds: float) -> None:
        self.label = label
        self.said: list[Emitted] = []
        self._say = say
        self._pause_seconds = pause_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def __enter__(self) -> Speaker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _speak(self) -> None:
        while not self._ended.wait(self._pause_seconds):
            number, at = len(self.said) + 1, time.monotonic()
            self._say(f"{self.label} {number}")
            self.said.append(Emitted(number, at, time.monotonic() - at, 0.0, 0.0, ACCEPTED))


@contextmanager
def two_nodes(urls: Sequence[str], channel: str) -> Iterator[tuple[Node, Node]]:
    settings = {"MESSAGE_QUEUE": ",".join(urls), "CHANNEL": channel}
    with Node(**settings) as one, Node(one.database_url, **settings) as two:
        yield one, two


@pytest.mark.parametrize("queue", [("redis", "rabbitmq"), ("redis",)], ids=["both", "redis"])
def test_people_and_programs_are_heard_on_every_node(
    queue: tuple[str, ...], brokers: Brokers, pytestconfig: pytest.Config
) -> None:
    if len(queue) == 1 and not pytestconfig.getoption("--full", False):
        pytest.skip("only with --full")
    urls = [address(brokers[name]) for name in queue]
    channel = f"faults-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        one, two = stack.enter_context(two_nodes(urls, channel))
        people = {}
        for node in (one, two):
            people[node] = People(node.url)
            stack.callback(people[node].close)
        sessions = {node: people[node].sign_in("somebody") for node in (one, two)}
        ears = {
            node: stack.enter_context(Ear(node.url, cookie_header(sessions[node]))) for node in (one, two)
        }
        ada, bob = (people[node].tab(sessions[node]) for node in (one, two))
        room = general(ada)
        program = stack.enter_context(SocketIO(message_queue=urls, channel=channel))
        speakers = {
            "ada": Speaker(ADA, lambda text: ada.send(room, text, new_client_id()), 0.02),
            "bob": Speaker(BOB, lambda text: bob.send(room, text, new_client_id()), 0.02),
            "program": Speaker(
                PROGRAM, lambda text: program.emit(ANNOUNCEMENT, {"text": text}, namespace="/chat"), 0.005
            ),
        }

        def everybody_is_heard() -> bool:
            program.emit(ANNOUNCEMENT, {"text": f"{PROGRAM} 0"}, namespace="/chat")
            return all(any(record.label == PROGRAM for record in ear.heard) for ear in ears.values())

        wait_until(everybody_is_heard, "the nodes hear the program")
        with ExitStack() as talk:
            for speaker in speakers.values():
                talk.enter_context(speaker)
            time.sleep(LEAD_SECONDS)
            with down(brokers["redis"]):
                time.sleep(OUTAGE_SECONDS)
            time.sleep(TRAIL_SECONDS)

        def pairs() -> list[str]:
            return [
                str(pair)
                for node, ear in ears.items()
                for name, speaker in speakers.items()
                for pair in [judge_pair(name, speaker.label, speaker.said, Life(node.url, list(ear.heard)))]
                if not pair.clean or pair.sent < 50
            ]

        wait_until(lambda: not pairs(), lambda: "\n".join(pairs()), ARRIVAL_SECONDS)
        assert program.flush(1) == 0
        slowest = max(record.duration_seconds for name in ("ada", "bob") for record in speakers[name].said)
        assert slowest < ANSWER_SECONDS
