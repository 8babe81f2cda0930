"""Compare JSON encoders and decoders on events: what an event costs, and what keeping the meaning costs.

Run it from the project's root with `python -m benchmarks.json_codec`; it takes about 20 s. Compare only
figures of one run. orjson and msgspec alone are faster, but do not mean what the standard library means.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
from engineio import json as standard
from socketio.packet import EVENT, Packet

from app.realtime import fast_json, frames

ROUNDS, ROUND_SECONDS = 15, 0.01

EVENTS: dict[str, list[Any]] = {
    "130 bytes": ["tick", {"n": 12345, "at": 12345.678901, "text": "x" * 80}],
    "130 bytes, not ASCII": ["message", {"room": "lobby", "text": "Добрый день, как дела? ☃ " * 2, "n": 1}],
    "4 KB of rows": [
        "rows",
        [
            {"id": n, "name": "A product's name", "price": n + 0.5, "tags": ["new"], "note": None}
            for n in range(54)
        ],
    ],
    "4 KB of numbers": ["numbers", [math.sqrt(n) for n in range(230)]],
    "4 KB of text": ["text", "x" * 4080],
    "100 KB of rows": ["rows", [{"id": n, "at": n / 7, "text": "x" * 40, "ok": True} for n in range(1200)]],
}
ODD: dict[str, list[Any]] = {
    "numbers as keys": ["scores", {n: n * 10 for n in range(10)}],
    "an integer beyond 64 bits": ["x", {"a": None, "b": [1.5, 2**64]}],
}
BINARY = {"1 KB of bytes": ["image", {"name": "x.png", "data": b"\x89PNG" * 250, "width": 32}]}


def seconds(function: Callable[[Any], Any], value: Any, count: int) -> float:
    """The processor time of so many calls."""
    started = time.process_time()
    for _ in range(count):
        function(value)
    return time.process_time() - started


def costs(functions: list[Callable[[Any], Any]], value: Any) -> list[float]:
    """The time of a call of each, in us: the best of some rounds, in turn, for what else runs only adds."""
    counts = []
    for function in functions:
        count = 1
        while seconds(function, value, count) < ROUND_SECONDS:
            count *= 2
        counts.append(count)
    rounds = [
        [seconds(function, value, count) / count for function, count in zip(functions, counts, strict=True)]
        for _ in range(ROUNDS)
    ]
    return [min(each) * 1e6 for each in zip(*rounds, strict=True)]


def compare(title: str, values: dict[str, Any], functions: dict[str, Callable[[Any], Any]]) -> None:
    """Print a table; the ratio is that of the first function to the last."""
    print(f"\n| {title} | {' | '.join(functions)} | ratio |\n| --- |{' --- |' * (len(functions) + 1)}")
    for name, value in values.items():
        found = costs(list(functions.values()), value)
        print(f"| {name} | {' | '.join(f'{cost:.2f}' for cost in found)} | {found[0] / found[-1]:.1f} |")


def main() -> None:
    """Print the tables."""
    compact: dict[str, Any] = {"separators": (",", ":")}
    plain, msgspec_encode = json.JSONEncoder(**compact).encode, msgspec.json.Encoder().encode
    ours: dict[str, Callable[[Any], Any]] = {"fast_json": lambda value: fast_json.dumps(value, **compact)}
    compare(
        "encode, us",
        EVENTS,
        {
            "standard": plain,
            "orjson alone": lambda value: orjson.dumps(value).decode(),
            "msgspec alone": lambda value: msgspec_encode(value).decode(),
            **ours,
        },
    )
    compare("encode by the long way, us", ODD, {"standard": plain, **ours})
    compare(
        "decode, us",
        {name: json.dumps(event, ensure_ascii=False, **compact) for name, event in EVENTS.items()},
        {
            "standard": standard.loads,
            "orjson alone": orjson.loads,
            "msgspec alone": msgspec.json.Decoder().decode,
            "fast_json": fast_json.loads,
        },
    )
    compare(
        "frames of an event, us",
        EVENTS | ODD | BINARY,
        {
            "the library's packet": lambda event: Packet(EVENT, event, "/chat").encode(),
            "frames.encode_event": lambda event: frames.encode_event(event[0], event[1], "/chat"),
        },
    )


if __name__ == "__main__":
    main()
