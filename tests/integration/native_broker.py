"""A program without gevent for test_rabbitmq: listen, publish, rest, and close from another thread."""

import socket
import sys
import threading
import time

from app.realtime.brokers.base import BrokerError, BrokerOptions
from app.realtime.brokers.kombu import KombuBroker
from tests.support.waiting import wait_until


def main(url: str) -> None:
    assert "gevent" not in socket.socket.__module__
    broker = KombuBroker(url, "native", "origin", BrokerOptions())
    heard: list[bytes] = []
    subscribed = threading.Event()
    errors: list[BrokerError] = []

    def listen() -> None:
        try:
            for batch in broker.listen():
                subscribed.set()
                heard.extend(batch)
        except BrokerError as error:
            errors.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    assert subscribed.wait(10), errors
    parcels = [b"x" * 100] * 2000 + [b"y" * 1_000_000]
    broker.publish(parcels)
    wait_until(lambda: len(heard) >= len(parcels), "heard")
    assert heard == parcels

    used = time.process_time()
    time.sleep(2)
    used = time.process_time() - used
    assert used < 0.1, f"{used} s of CPU while resting for 2 s"

    began = time.monotonic()
    broker.close(forget=True)
    thread.join(5)
    assert not thread.is_alive()
    assert time.monotonic() - began < 2
    assert [str(error) for error in errors] == ["closed"]


main(sys.argv[1])
