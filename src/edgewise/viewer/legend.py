"""The panel beside the picture that says what its signs mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from edgewise.circuit import Circuit
from edgewise.viewer.layout import Position
from edgewise.viewer.shapes import INK, QUIET, Label, Line, Mark, Shape
from edgewise.viewer.style import HELPS, HURTS, LINES, UNSCORED, Stroke

PANEL = 236.0
X, LINE_END = 14.0, 62.0
ROW = 22.0
WIDTH_SHARES = (1.0, 0.25, 0.05)
READER_KINDS = (("q", "the query of a head"), ("k", "the key of a head"), ("v", "the value of a head"))


@final
@dataclass(frozen=True)
class LineLook:
    """How a sample line is drawn."""

    colour: str
    kind: str = ""
    width: float = 2.0
    opacity: float = 1.0
    arrow: bool = False


def legend(circuit: Circuit, lines: list[Stroke]) -> tuple[Shape, ...]:
    """Sign, line pattern and end mark, width: each with a sample."""
    shapes: list[Shape] = []
    y = _sign(shapes, 16, lines)
    y = _kinds(shapes, y + 18, circuit)
    _widths(shapes, y + 18, lines)
    return tuple(shapes)


def _sign(shapes: list[Shape], y: float, lines: list[Stroke]) -> float:
    if lines and lines[0].score is None:
        return _sample(shapes, y, "no scores", LineLook(UNSCORED))
    y = _head(shapes, y, "Without the edge, the metric")
    y = _sample(shapes, y, "drops: the edge helps", LineLook(HELPS))
    return _sample(shapes, y, "rises: the edge hurts", LineLook(HURTS))


def _kinds(shapes: list[Shape], y: float, circuit: Circuit) -> float:
    y = _head(shapes, y, "The edge goes into")
    for kind, name in READER_KINDS:
        shapes.append(Mark(kind, Position(LINE_END, y - 4)))
        y = _sample(shapes, y, name, LineLook(INK, kind))
    y = _sample(shapes, y, "an MLP or the logits", LineLook(INK, arrow=True))
    if circuit.graph.kv_heads != circuit.graph.heads:
        shapes.append(Label(Position(X, y), "heads above a bar share its k and v", size=11, fill=QUIET))
        y += ROW
    return y


def _widths(shapes: list[Shape], y: float, lines: list[Stroke]) -> None:
    scored = [line for line in lines if line.score and math.isfinite(line.score)]
    if not scored:
        return
    y = _head(shapes, y, "Size of the score")
    strongest = scored[-1]
    for share in WIDTH_SHARES:
        sample = Stroke("", "logits", 1.0, share**0.5, 1, strongest.crowd)
        text = f"{abs(strongest.score or 0.0) * share:.3g}{' (the largest)' if share == 1 else ''}"
        y = _sample(shapes, y, text, LineLook(INK, width=sample.width, opacity=sample.opacity))
    if len(lines) > LINES:
        note = f"all but the strongest {LINES} are a haze"
        shapes.append(Label(Position(X, y), note, size=11, fill=QUIET))


def _head(shapes: list[Shape], y: float, text: str) -> float:
    """The name of a part of the legend at height `y`; returns the height of what follows."""
    shapes.append(Label(Position(X, y), text, weight="600"))
    return y + ROW


def _sample(shapes: list[Shape], y: float, text: str, look: LineLook) -> float:
    """One line of the legend at height `y`; returns the height of the next."""
    ends = (Position(X, y - 4), Position(LINE_END - 3, y - 4))
    shapes.append(Line(ends, look.colour, look.width, look.opacity, kind=look.kind, arrow=look.arrow))
    shapes.append(Label(Position(LINE_END + 12, y), text))
    return y + ROW
