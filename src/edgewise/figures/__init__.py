"""Figures: plain data about scores and circuits, each with a function that draws it. Drawing needs matplotlib."""

from edgewise.figures.by_role import RoleScores, draw_roles, groups_by_layer, roles
from edgewise.figures.canvas import need_matplotlib, pictures
from edgewise.figures.curves import Line, Panel, draw_panels, panels_size
from edgewise.figures.effects import Scatter, draw_scatters, scatter
from edgewise.figures.head_map import HeadMap, HeadMapRow, draw_heads
from edgewise.figures.histograms import Histogram, draw_histograms, histogram
from edgewise.figures.interpolation import Interpolation, draw_interpolations, interpolate, worst_predicted

__all__ = [
    "HeadMap",
    "HeadMapRow",
    "Histogram",
    "Interpolation",
    "Line",
    "Panel",
    "RoleScores",
    "Scatter",
    "draw_heads",
    "draw_histograms",
    "draw_interpolations",
    "draw_panels",
    "draw_roles",
    "draw_scatters",
    "groups_by_layer",
    "histogram",
    "interpolate",
    "need_matplotlib",
    "panels_size",
    "pictures",
    "roles",
    "scatter",
    "worst_predicted",
]
