"""Every point has a test."""

from __future__ import annotations

import re
from pathlib import Path

POINTS = range(1, 26)
NAME = re.compile(r"^def test_(\d\d)_", re.MULTILINE)


def test_every_point_has_a_test() -> None:
    here = Path(__file__).parent
    tested = {
        int(number) for file in here.glob("test_*.py") for number in NAME.findall(file.read_text("utf-8"))
    }
    assert tested == set(POINTS)
