"""A thousand clients that do not read harm nobody else."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

from tests.support.waiting import wait_until
from tests.transport.hostile.conftest import TIGHT
from tests.transport.hostile.people import NAMESPACE, Witness, join
from tests.transport.hostile.reading import Reader
from tests.transport.hostile.target import Target, Usage

STALLED = 1000
TEXT = "x" * 16_000
# What waits for all of them is the same bytes, once. But what the kernel took only a part of is each client's
# own: the events of one turn, here five at the most.
STALLED_RSS_KB = 120_000


def test_a_thousand_stalled_readers(tight: Target) -> None:
    """Others get every event and every answer meanwhile, until the stalled ones are too far behind.

    Not through nginx: its kernel buffers towards the server would take gigabytes.
    """
    emitted = 0

    def emit(count: int) -> None:
        nonlocal emitted
        for _ in range(count):
            tight.emit("big", emitted, TEXT, room="everybody", namespace=NAMESPACE)
            emitted += 1

    slow_before = tight.transport_status()["slow_disconnects"]
    reasons_before = tight.reasons().get("slow client", 0)
    with contextlib.ExitStack() as exits:
        usage = Usage.of(tight)
        pool = exits.enter_context(ThreadPoolExecutor(8))
        stalled = list(pool.map(lambda _: join(tight.url, "everybody", thin=True), range(STALLED)))
        for client in stalled:
            exits.callback(client.engine.close)
        readers = [exits.enter_context(Reader(join(tight.url, "everybody"))) for _ in range(5)]
        witness = exits.enter_context(Witness(tight.url))
        connected = Usage.of(tight)
        # Behind, and not too far.
        emit(25)
        waiting = tight.transport_status()["buffered_bytes"]
        assert waiting > 2 * STALLED_RSS_KB * 1000, f"only {waiting} bytes wait"
        assert Usage.of(tight).peak_rss_kb - connected.peak_rss_kb < STALLED_RSS_KB
        witness.wait_for_answers(20)
        for reader in readers:
            reader.wait_for("big", emitted)
        # Too far.
        while tight.transport_status()["slow_disconnects"] < slow_before + STALLED:
            emit(5)
            assert emitted * len(TEXT) < 10 * TIGHT["buffer_bytes"], tight.transport_status()
        wait_until(
            lambda: tight.reasons().get("slow client", 0) == reasons_before + STALLED,
            lambda: str(tight.reasons()),
        )
        assert tight.transport_status()["slow_disconnects"] == slow_before + STALLED
        assert Usage.of(tight).peak_rss_kb - connected.peak_rss_kb < STALLED_RSS_KB
        witness.wait_for_answers(20)
        for reader in readers:
            assert [event[1] for event in reader.wait_for("big", emitted)] == list(range(emitted))
        assert tight.transport_status()["buffered_bytes"] == 0
    usage.wait_until_back(tight, rss_kb=STALLED_RSS_KB)
