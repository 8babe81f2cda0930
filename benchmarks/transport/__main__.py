"""Measure the native transport beside stock Flask-SocketIO, Socket.IO on Node, and the raw limit.

Run it from the project's root with `python -m benchmarks.transport`: about 12 minutes, with --quick 2.
Compare only figures of one run: they move with the machine and with what else runs on it.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import time
from pathlib import Path

from benchmarks.transport import machine
from benchmarks.transport.bench import FULL, QUICK, Bench
from benchmarks.transport.crowd import CrowdError
from benchmarks.transport.peers import KINDS
from benchmarks.transport.pinned import raise_file_limit
from benchmarks.transport.results import Results
from benchmarks.transport.scenarios import LONG, SCENARIOS
from tests.support.servers import StartError

# Stock by the switch is measured in one place, beside the library's own.
PEERS = ("native", "library", "node", "raw")


def main() -> None:
    """Do what the command line says."""
    arguments = _arguments()
    # As Ctrl-C: the servers end with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = Results.load(arguments.load) if arguments.load else _measure(arguments)
    if arguments.docs:
        # matplotlib takes a second, and is not needed otherwise.
        from benchmarks.transport.page import write

        write(results)


def _measure(arguments: argparse.Namespace) -> Results:
    raise_file_limit()
    bench = Bench(QUICK if arguments.quick else FULL, arguments.peers)
    bench.results.about = {
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "command": _command(arguments),
    }
    if len(set(machine.cores())) == 1:
        bench.say("This machine has one core: server and generator share it, and the figures mean little.")
    begun = time.monotonic()
    for name in arguments.only or [name for name in SCENARIOS if not (arguments.quick and name in LONG)]:
        bench.say(f"\n== {name}, {time.monotonic() - begun:.0f} s")
        try:
            SCENARIOS[name](bench)
        except (CrowdError, StartError, AssertionError) as error:
            bench.say(f"{name} ended: {error}")
        bench.results.about["minutes"] = f"{(time.monotonic() - begun) / 60:.1f}"
        # What there is by now is not lost when a later one fails.
        if arguments.json:
            bench.results.save(arguments.json)
    return bench.results


def _command(arguments: argparse.Namespace) -> str:
    """The command line, without where the figures were kept."""
    words = ["python", "-m", "benchmarks.transport"]
    words += ["--quick"] * arguments.quick
    words += ["--only", *arguments.only] if arguments.only else []
    words += ["--peers", *arguments.peers] if tuple(arguments.peers) != PEERS else []
    words += ["--docs"] * arguments.docs
    return " ".join(words)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument(
        "--peers", nargs="+", choices=KINDS, default=PEERS, metavar="PEER", help=", ".join(KINDS)
    )
    parser.add_argument("--quick", action="store_true", help="fewer, shorter, smaller: about 2 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--load", type=Path, metavar="FILE", help="measure nothing, take these figures")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md and its pictures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
