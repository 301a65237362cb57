"""The few shapes a picture is made of, as values in pixels, y downwards; `svg.py` and `raster.py` write them down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from edgewise.viewer.layout import Box, Position

INK, QUIET, FAINT, PAPER, BAND = "#1d2733", "#66727f", "#cbd0cc", "#fcfcfa", "#f2f3ef"
FILL = {"head": "#ffffff", "other": "#e6ecf3"}
# Corners of the end marks of q and k, and of the arrow head that looks along x, around the end of the line; v is a circle.
Corners = tuple[tuple[float, float], ...]
MARKS: dict[str, Corners] = {
    "q": ((-4.0, 3.4), (0.0, -4.0), (4.0, 3.4)),
    "k": ((0.0, -4.4), (4.4, 0.0), (0.0, 4.4), (-4.4, 0.0)),
}
MARK_RADIUS, MARK_OUTLINE = 3.7, 1.1
ARROW: Corners = ((-5.5, -3.0), (1.0, 0.0), (-5.5, 3.0))

ORIGIN = Position(0.0, 0.0)


@final
@dataclass(frozen=True)
class Label:
    """One line of text; `at` is the left end, or for `middle` the middle, of its base line."""

    at: Position
    text: str
    size: float = 12.0
    fill: str = INK
    anchor: str = ""
    weight: str = ""


@final
@dataclass(frozen=True)
class Panel:
    """A rounded rectangle."""

    box: Box
    fill: str
    radius: float
    stroke: str = ""


@final
@dataclass(frozen=True)
class Dot:
    """A small filled circle."""

    at: Position
    fill: str
    radius: float


@final
@dataclass(frozen=True)
class Mark:
    """The end mark of q (triangle), k (diamond) or v (circle)."""

    kind: str
    at: Position


@final
@dataclass(frozen=True)
class Line:
    """A straight line of two points or a cubic Bézier curve of four, in the pattern of `kind`, with an arrow head or none.

    Of an edge `name` is its name, `told` what a reader sees who points at it.
    """

    points: tuple[Position, ...]
    colour: str
    width: float
    opacity: float = 1.0
    kind: str = ""
    arrow: bool = False
    name: str = ""
    told: str = ""
    score: float | None = None


Shape = Label | Panel | Dot | Mark | Line


@final
@dataclass(frozen=True)
class Layer:
    """Shapes that belong together, moved to `at`; of a node `name` is its name."""

    shapes: tuple[Shape | Layer, ...]
    at: Position = ORIGIN
    name: str = ""


@final
@dataclass(frozen=True)
class Scene:
    """A whole picture: its size, what it is called, and its layers from back to front."""

    width: float
    height: float
    title: str
    described: str
    layers: tuple[Layer, ...]
