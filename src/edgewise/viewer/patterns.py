"""Where a head attends in one prompt, as a small SVG: a square for each pair of positions, the darker the more."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgewise.viewer.caption import clean

SQUARE = 12
# Weights are drawn in so many shades, those of one shade as one shape: a picture of many heads stays small.
SHADES = 10


def pattern_svg(title: str, tokens: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    """The picture: queries go down, with their tokens; keys go to the right, in the same order. No scripts."""
    words = [escape(clean(token.replace("\n", "⏎"), 20)) or "·" for token in tokens]
    left, top = 7 * max(map(len, words)) + 8, 20
    size = SQUARE * len(tokens)
    labels = [
        f'<text x="{left - 4}" y="{top + SQUARE * row + SQUARE - 3}" text-anchor="end">{word}</text>'
        for row, word in enumerate(words)
    ]
    shapes: dict[int, str] = {}
    for row, line in enumerate(weights):
        for column, weight in enumerate(line):
            shade = min(SHADES, round(SHADES * weight))
            place = f"M{left + SQUARE * column} {top + SQUARE * row}h{SQUARE}v{SQUARE}h-{SQUARE}z"
            shapes[shade] = shapes.get(shade, "") + place
    squares = [f'<path fill-opacity="{shade / SHADES:g}" d="{shapes[shade]}"/>' for shade in sorted(shapes) if shade]
    frame = f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" stroke="#8888"/>'
    shape = f'width="{left + size + 4}" height="{top + size + 4}"'
    head = f'<text x="{left}" y="13" font-weight="bold">{escape(title)}</text>'
    inside = f'{head}<g font-family="monospace">{"".join(labels)}</g><g fill="#1f5fa8">{"".join(squares)}</g>{frame}'
    named = escape(f"where {title} attends", quote=True)
    style = 'font-family="sans-serif" font-size="11" fill="currentColor"'
    return f'<svg role="img" aria-label="{named}" {shape} {style}>{inside}</svg>'
