"""Pictures of circuits: SVG, DOT, and one self-contained HTML page."""

from edgewise.viewer.dot import dot
from edgewise.viewer.page import page
from edgewise.viewer.show import show
from edgewise.viewer.svg import svg

__all__ = ["dot", "page", "show", "svg"]
