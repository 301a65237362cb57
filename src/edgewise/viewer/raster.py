"""A scene as pixels, by the renderer inside matplotlib: no figure, no global state, the same bytes each time.

This module needs matplotlib; `png` imports it when something is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import atan2, cos, sin
from typing import Any, assert_never, final

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.path import Path
from matplotlib.transforms import Affine2D
from PIL import Image

from edgewise.viewer.layout import Box, Position
from edgewise.viewer.shapes import (
    ARROW,
    INK,
    MARK_OUTLINE,
    MARK_RADIUS,
    MARKS,
    ORIGIN,
    PAPER,
    Corners,
    Dot,
    Label,
    Layer,
    Line,
    Mark,
    Panel,
    Scene,
    Shape,
)
from edgewise.viewer.style import PATTERNS

# Pixels of a scene per inch: to the renderer, whose own unit is the point, and in the file, as screens count them.
POINTS, SCREEN = 72, 96
PIXEL_FONT, MISSING_LETTER, BOLD_WEIGHT = "DejaVu Sans", "\ufffd", 600
STYLE: dict[Any, Any] = {"text.hinting": "no_hinting", "text.parse_math": False, "agg.path.chunksize": 0}
# How far the control points of a quarter of a circle lie from its ends, as a share of the radius.
ROUND = 0.5523
# Pixels of the PNG that text leaves free on the right.
PIXEL_MARGIN = 16.0


def raster(drawn: Scene, factor: float) -> bytes:
    """A scene as PNG, `factor` pixels for each of its own."""
    size = round(drawn.width * factor), round(drawn.height * factor)
    with rc_context(STYLE):
        renderer = RendererAgg(*size, POINTS * factor)
        pen = Pen(renderer, factor)
        pen.fill(Path.unit_rectangle().transformed(Affine2D().scale(drawn.width + 1, drawn.height + 1)), PAPER)
        for layer in drawn.layers:
            pen.draw(layer)
    out = io.BytesIO()
    image = Image.fromarray(np.asarray(renderer.buffer_rgba()))
    image.convert("RGB").save(out, "PNG", dpi=(SCREEN * factor, SCREEN * factor))
    return out.getvalue()


@final
@dataclass(frozen=True)
class Pen:
    """Draws shapes, moved to `origin`, by a renderer of `factor` pixels for each pixel of the scene."""

    renderer: RendererAgg
    factor: float
    origin: Position = ORIGIN

    def draw(self, shape: Shape | Layer) -> None:
        """Draws a shape on top of what is there."""
        match shape:
            case Layer():
                self._layer(shape)
            case Label():
                self._label(shape)
            case Panel():
                self.fill(_rounded(shape.box, shape.radius), shape.fill, outline=shape.stroke, width=1.0)
            case Dot():
                self.fill(_circle(shape.at, shape.radius), shape.fill)
            case Mark():
                outline = _circle(shape.at, MARK_RADIUS) if shape.kind == "v" else _polygon(MARKS[shape.kind], shape.at)
                self.fill(outline, PAPER, outline=INK, width=MARK_OUTLINE)
            case Line():
                self._line(shape)
            case _:
                assert_never(shape)

    def fill(self, path: Path, colour: str, *, opacity: float = 1.0, outline: str = "", width: float = 0.0) -> None:
        """Draws an area, and its outline if that has a colour."""
        pen = self._pen(outline or colour, width if outline else 0.0)
        self.renderer.draw_path(pen, path, self._to_pixels, to_rgba(colour, opacity))

    def _layer(self, layer: Layer) -> None:
        moved = replace(self, origin=Position(self.origin.x + layer.at.x, self.origin.y + layer.at.y))
        for shape in layer.shapes:
            moved.draw(shape)

    def _line(self, line: Line) -> None:
        pen = self._pen(line.colour, line.width, line.opacity)
        if line.kind:
            pen.set_dashes(0, PATTERNS[line.kind])
        step = Path.CURVE4 if len(line.points) == 4 else Path.LINETO
        path = Path([(p.x, p.y) for p in line.points], [Path.MOVETO, *[step] * (len(line.points) - 1)])
        self.renderer.draw_path(pen, path, self._to_pixels)
        if line.arrow:
            before, end = line.points[-2:]
            head = _polygon(ARROW, end, atan2(end.y - before.y, end.x - before.x))
            self.fill(head, line.colour, opacity=line.opacity)

    def _label(self, label: Label) -> None:
        font = FontProperties(family=PIXEL_FONT, weight="bold" if label.weight == "600" else "normal", size=label.size)
        known = _letters(findfont(font))
        text = "".join(letter if ord(letter) in known else MISSING_LETTER for letter in label.text)
        x, y = (self.origin.x + label.at.x) * self.factor, (self.origin.y + label.at.y) * self.factor
        width, room = self.renderer.get_text_width_height_descent(text, font, False)[0], self.renderer.width - x
        if label.anchor == "middle":
            x -= width / 2
        elif width > room - PIXEL_MARGIN:
            # A line is wrapped for letters of usual width; one of wider letters is drawn smaller.
            font.set_size(label.size * (room - PIXEL_MARGIN) / width)
        self.renderer.draw_text(self._pen(label.fill), x, y, text, font, 0.0)

    def _pen(self, colour: str, width: float = 0.0, opacity: float = 1.0) -> Any:
        pen = self.renderer.new_gc()
        pen.set_foreground(to_rgba(colour, opacity), isRGBA=True)
        pen.set_linewidth(width)
        pen.set_snap(False)
        pen.set_joinstyle("miter")
        return pen

    @cached_property
    def _to_pixels(self) -> Affine2D:
        """From the scene to the renderer, whose y goes upwards."""
        move = Affine2D().translate(self.origin.x, self.origin.y)
        return move.scale(self.factor, -self.factor).translate(0, self.renderer.height)


# -- shapes as paths --------------------------------------------------------------------------------------------------


def _circle(at: Position, radius: float) -> Path:
    return Path.circle((at.x, at.y), radius)


def _polygon(corners: Corners, at: Position, angle: float = 0.0) -> Path:
    """Corners around a point, turned."""
    across, down = cos(angle), sin(angle)
    turned = [(at.x + x * across - y * down, at.y + x * down + y * across) for x, y in corners]
    return Path([*turned, turned[0]], closed=True)


def _rounded(box: Box, radius: float) -> Path:
    """A rectangle with a quarter of a circle at each corner."""
    r, k = radius, radius * (1 - ROUND)
    left, right, top, bottom = box.x - box.width / 2, box.right, box.top, box.bottom
    corners = (
        ((left, top + r), (left, top + k), (left + k, top), (left + r, top)),
        ((right - r, top), (right - k, top), (right, top + k), (right, top + r)),
        ((right, bottom - r), (right, bottom - k), (right - k, bottom), (right - r, bottom)),
        ((left + r, bottom), (left + k, bottom), (left, bottom - k), (left, bottom - r)),
    )
    points = [point for corner in corners for point in corner]
    codes = [Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4] * 4
    return Path([*points, points[0]], [Path.MOVETO, *codes[1:], Path.CLOSEPOLY])


@cache
def _letters(font: str) -> Mapping[int, int]:
    """The letters that a font file has."""
    return get_font(font).get_charmap()
