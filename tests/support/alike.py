"""Whether what a page says is printed is what was printed: the same words, and numbers that differ in last places alone."""

from __future__ import annotations

import re

import pytest

NUMBER = re.compile(r"[-−]?\d[\d,]*\.?\d*")


def alike(told: str, printed: str) -> bool:
    """Whether two texts have the same words, and numbers that differ by two in a hundred."""
    a, b = (NUMBER.sub("#", text).split() for text in (told, printed))
    numbers = [
        [float(number.replace(",", "").replace("−", "-")) for number in NUMBER.findall(text)]
        for text in (told, printed)
    ]
    return a == b and numbers[1] == pytest.approx(numbers[0], rel=0.02, abs=0.02)
