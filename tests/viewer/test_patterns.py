"""The picture of where a head attends: every weight has its square, and text stays text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from edgewise.viewer.patterns import SHADES, SQUARE, pattern_svg


def squares(picture: str) -> dict[float, list[tuple[int, int]]]:
    """Shade → (row, column) of its squares, counted from the first one."""
    paths = re.findall(r'<path fill-opacity="([\d.]+)" d="([^"]+)"', picture)
    left, top = (int(value) for value in re.findall(r'<rect x="(\d+)" y="(\d+)"', picture)[0])
    return {
        float(shade): [
            ((int(y) - top) // SQUARE, (int(x) - left) // SQUARE) for x, y in re.findall(r"M(\d+) (\d+)h", d)
        ]
        for shade, d in paths
    }


def test_every_weight_has_a_square_as_dark_as_it_is_large() -> None:
    weights = [[1.0, 0.0, 0.0], [0.3, 0.7, 0.0], [0.02, 0.28, 0.7]]
    drawn = squares(pattern_svg("a0.h1", ["a", "b", "c"], weights))
    assert drawn == {1.0: [(0, 0)], 0.3: [(1, 0), (2, 1)], 0.7: [(1, 1), (2, 2)]}
    assert SHADES == 10


def test_tokens_are_text_and_the_picture_is_small_and_sound() -> None:
    words = ["<b>", "\n", " \u202e&", ""] * 5
    even = [[1 / (row + 1) if column <= row else 0.0 for column in range(20)] for row in range(20)]
    picture = pattern_svg("<i>", words, even)
    told = [one.text for one in ElementTree.fromstring(picture).iter() if one.tag.endswith("text")]
    assert told[:3] == ["<i>", "<b>", "⏎"]
    assert "\u202e" not in picture
    assert len(picture) < 8_000
