"""Bounds of connections that make no sense are refused with a sentence; the transport is chosen as said."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from app.realtime import SocketIO, TransportOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("buffer_bytes", 1023),
        ("buffer_bytes", True),
        ("volatile_bytes", -1),
        ("max_fragments", 0),
        ("max_attachments", -1),
        ("max_packets", 0),
        ("max_waiting", 0),
        ("connect_seconds", 0),
        ("connect_seconds", float("nan")),
        ("upgrade_seconds", -1),
        ("post_seconds", 0),
        ("freeze_sessions", -1),
    ],
)
def test_a_bound_that_makes_no_sense(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}=.*must be .* or more"):
        TransportOptions(**{name: value})


def test_volatile_events_end_before_the_connection_does() -> None:
    with pytest.raises(ValueError, match=r"volatile_bytes=2000: must not be above buffer_bytes=1500"):
        TransportOptions(buffer_bytes=1500, volatile_bytes=2000)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"async_mode": "gevent"}, "native"),
        ({"async_mode": "gevent", "transport": "native"}, "native"),
        ({"async_mode": "gevent", "transport": "stock"}, "stock"),
        ({"async_mode": "threading"}, "stock"),
        ({"async_mode": "threading", "transport": "stock"}, "stock"),
    ],
)
def test_the_transport_is_chosen(options: dict[str, str], kind: str) -> None:
    socketio = SocketIO(Flask("app"), **options)
    status = socketio.transport_status()
    assert (status["kind"], status["connections"]) == (kind, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"async_mode": "threading", "transport": "native"}, 'write transport="stock"'),
        ({"async_mode": "gevent", "transport": "fast"}, "allowed are native, stock"),
    ],
)
def test_a_transport_that_cannot_be(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SocketIO(Flask("app"), **options)
