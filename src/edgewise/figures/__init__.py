"""Figures: plain data about scores and circuits, each with a function that draws it. Drawing needs matplotlib."""

from edgewise.figures.canvas import need_matplotlib, pictures
from edgewise.figures.curves import Line, Panel, draw_panels

__all__ = ["Line", "Panel", "draw_panels", "need_matplotlib", "pictures"]
